"""Multi-scale structural similarity of 8-bit pictures (Wang, Simoncelli & Bovik 2003)."""

from __future__ import annotations

import math

import numpy as np

from .pairs import check_pair

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
    return _over_scales(_planes(a), _planes(b))


def ratio_decibels(ratio: float) -> float:
    """A similarity up to 1 on a scale that spreads good pictures: -10 log10(1 - x), `inf` at 1, NaN for NaN.

    Ballé, Minnen, Singh, Hwang & Johnston, "Variational image compression with a scale hyperprior", 2018, appendix.
    """
    if math.isnan(ratio):
        return math.nan
    return -10 * math.log10(1 - ratio) if ratio < 1 else math.inf


def _planes(picture: np.ndarray) -> np.ndarray:
    """(H, W[, C]) uint8 -> (C, H, W) float32."""
    return np.moveaxis(np.atleast_3d(picture), -1, 0).astype(np.float32, order="C")


def _over_scales(x: np.ndarray, y: np.ndarray) -> float:
    """x, y: (C, H, W) float32 in [0, 255] -> MS-SSIM, mean over C."""
    product = np.ones(len(x))
    for scale, weight in enumerate(WEIGHTS):
        last = scale == len(WEIGHTS) - 1
        product = product * np.maximum(_mean_term(x, y, with_luminance=last), 0.0) ** weight
        if not last:
            x, y = _halved(x), _halved(y)
    return float(product.mean())


def _halved(planes: np.ndarray) -> np.ndarray:
    """(C, H, W) -> means of 2x2 samples; an odd side has a line of zeros before its first and after its last."""
    height, width = planes.shape[1:]
    padded = np.pad(planes, ((0, 0), (height % 2,) * 2, (width % 2,) * 2))
    rows, columns = padded.shape[1] // 2, padded.shape[2] // 2
    cells = padded[:, : 2 * rows, : 2 * columns].reshape(len(planes), rows, 2, columns, 2)
    means: np.ndarray = cells.mean(axis=(2, 4), dtype=np.float32)
    return means


def _mean_term(x: np.ndarray, y: np.ndarray, with_luminance: bool) -> np.ndarray:
    """Mean over all positions of the contrast (times luminance) map, (C,); strip by strip, to bound memory."""
    rows, columns = x.shape[1] - (WINDOW - 1), x.shape[2] - (WINDOW - 1)
    total = np.zeros(len(x))
    for top in range(0, rows, STRIP):
        strip = slice(top, top + STRIP + WINDOW - 1)
        luminance, contrast = _similarity(x[:, strip], y[:, strip])
        term = luminance * contrast if with_luminance else contrast
        total += term.sum(axis=(1, 2), dtype=np.float64)
    return total / (rows * columns)


def _similarity(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(C, H, W) float32 -> maps (luminance, contrast times structure), (C, H - 10, W - 10)."""
    mu_x, mu_y, xx, yy, xy = (_smoothed(moment) for moment in (x, y, x * x, y * y, x * y))
    mu_xx, mu_yy, mu_xy = mu_x * mu_x, mu_y * mu_y, mu_x * mu_y
    luminance = (2 * mu_xy + C1) / (mu_xx + mu_yy + C1)
    contrast = (2 * (xy - mu_xy) + C2) / ((xx - mu_xx) + (yy - mu_yy) + C2)
    return luminance, contrast


def taps() -> np.ndarray:
    """The window along one axis, (WINDOW,) float32, of sum 1."""
    window = np.exp(-np.square(np.arange(WINDOW) - WINDOW // 2) / (2 * SIGMA**2))
    return (window / window.sum()).astype(np.float32)


def _smoothed(planes: np.ndarray) -> np.ndarray:
    """(C, H, W) float32 -> its Gaussian means, (C, H - 10, W - 10), one pass along each axis."""
    for axis in (1, 2):
        length = planes.shape[axis] - (WINDOW - 1)
        views = [
            planes[:, tap : tap + length] if axis == 1 else planes[:, :, tap : tap + length] for tap in range(WINDOW)
        ]
        weights = taps()
        total = weights[0] * views[0]
        for tap, view in zip(weights[1:], views[1:], strict=True):
            total += tap * view
        planes = total
    return planes
