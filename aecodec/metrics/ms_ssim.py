"""Multi-scale structural similarity of 8-bit pictures (Wang, Simoncelli & Bovik 2003)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from .pairs import check_pair

if TYPE_CHECKING:
    import torch

#: Exponents beta_j of the five scales, finest first (Wang et al. 2003, section 3.2).
WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
WINDOW = 11
SIGMA = 1.5
#: The smallest side for which the window still fits the coarsest scale: (WINDOW - 1) * 2^4 + 1.
SMALLEST_SIDE = (WINDOW - 1) * 2 ** (len(WEIGHTS) - 1) + 1
#: Rows of a map that are computed at once.
STRIP = 256
C1 = (0.01 * 255.0) ** 2
C2 = (0.03 * 255.0) ** 2


def ms_ssim(a: np.ndarray, b: np.ndarray) -> float:
    """MS-SSIM of one picture, averaged over its channels.

    a, b: (H, W) or (H, W, C) uint8 in [0, 255], of one shape. Returns a number in [0, 1], 1 for equal pictures;
    symmetric in its arguments. **NaN** if the short side is below 161 pixels, where five scales do not exist.

    Definition: Wang, Simoncelli & Bovik, "Multiscale structural similarity for image quality assessment", 2003,
    eq. 7: l_M^beta_M * prod_j (c_j s_j)^beta_j, with an 11-tap Gaussian window of sigma 1.5, filtered without
    padding, and 2x2 averaging between scales. Negative contrast terms count as 0, and odd sides are padded with
    zeros before averaging, both as pytorch-msssim does it, whose figures the literature reports.
    Raises ValueError if a dtype is not uint8 or the shapes differ.
    """
    check_pair(a, b)
    if min(a.shape[:2]) < SMALLEST_SIDE:
        return math.nan
    import torch  # here, so that importing the metrics does not load torch

    with torch.inference_mode():
        return _over_scales(_planes(a), _planes(b))


def ratio_decibels(ratio: float) -> float:
    """A similarity up to 1 on a scale that spreads good pictures: -10 log10(1 - x), `inf` at 1, NaN for NaN.

    Ballé, Minnen, Singh, Hwang & Johnston, "Variational image compression with a scale hyperprior", 2018, appendix.
    """
    if math.isnan(ratio):
        return math.nan
    return -10 * math.log10(1 - ratio) if ratio < 1 else math.inf


def _planes(picture: np.ndarray) -> torch.Tensor:
    """(H, W[, C]) uint8 -> (1, C, H, W) float32."""
    import torch

    channels_first = np.moveaxis(np.atleast_3d(picture), -1, 0)
    return torch.from_numpy(channels_first.astype(np.float32, order="C"))[None]


def _over_scales(x: torch.Tensor, y: torch.Tensor) -> float:
    """x, y: (1, C, H, W) in [0, 255] -> MS-SSIM, mean over C."""
    import torch
    import torch.nn.functional as F

    product = torch.ones(x.shape[1])
    for scale, weight in enumerate(WEIGHTS):
        last = scale == len(WEIGHTS) - 1
        product = product * _mean_term(x, y, with_luminance=last).clamp_min(0.0) ** weight
        if not last:
            odd = [side % 2 for side in x.shape[2:]]
            x, y = F.avg_pool2d(x, 2, padding=odd), F.avg_pool2d(y, 2, padding=odd)
    return float(product.mean())


def _mean_term(x: torch.Tensor, y: torch.Tensor, with_luminance: bool) -> torch.Tensor:
    """Mean over all positions of the contrast (times luminance) map, (C,); strip by strip, to bound memory."""
    import torch

    rows = x.shape[2] - (WINDOW - 1)
    total = torch.zeros(x.shape[1], dtype=torch.float64)
    for top in range(0, rows, STRIP):
        strip = slice(top, top + STRIP + WINDOW - 1)
        luminance, contrast = _similarity(x[:, :, strip], y[:, :, strip])
        term = luminance * contrast if with_luminance else contrast
        total += term.double().sum(dim=(0, 2, 3))
    return (total / (rows * (x.shape[3] - (WINDOW - 1)))).float()


def _similarity(x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(1, C, H, W) -> maps (luminance, contrast times structure), (1, C, H - 10, W - 10)."""
    import torch
    import torch.nn.functional as F

    taps = torch.arange(WINDOW, dtype=torch.float32) - WINDOW // 2
    taps = torch.exp(-taps.square() / (2 * SIGMA**2))
    moments = torch.cat([x, y, x * x, y * y, x * y], dim=1)
    maps = moments.shape[1]
    # One depthwise pass along each axis: many times faster on a CPU than the maps as a batch.
    taps = (taps / taps.sum()).repeat(maps, 1, 1, 1)
    moments = F.conv2d(F.conv2d(moments, taps.transpose(2, 3), groups=maps), taps, groups=maps)
    mu_x, mu_y, xx, yy, xy = moments.chunk(5, dim=1)
    mu_xx, mu_yy, mu_xy = mu_x * mu_x, mu_y * mu_y, mu_x * mu_y
    luminance = (2 * mu_xy + C1) / (mu_xx + mu_yy + C1)
    contrast = (2 * (xy - mu_xy) + C2) / ((xx - mu_xx) + (yy - mu_yy) + C2)
    return luminance, contrast
