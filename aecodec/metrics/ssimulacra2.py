"""SSIMULACRA2 of 8-bit pictures: a perceptual score from structure and edges in an opponent colour space.

Sneyers, "SSIMULACRA 2", version 2.1 (April 2023), as its reference program defines it: no paper. The weights and the
constants below are that program's.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from .pairs import check_pair

if TYPE_CHECKING:
    import torch

SCALES = 6
SIGMA = 1.5
C2 = 0.0009
#: Below this no further scale is made.
SMALLEST_SIDE = 8
#: Linear RGB to cone responses, and what is added before the cube root (XYB of JPEG XL, ISO/IEC 18181-1, annex L.2).
ABSORBANCE = (
    (0.30, 0.622, 0.078),
    (0.23, 0.692, 0.078),
    (0.24342268924547819, 0.20476744424496821, 0.5518098663095535),
)
BIAS = 0.0037930732552754493
#: Ranges of X, Y and B - Y are brought into [0, 1] by a factor and an offset each.
FACTORS = (14.0, 1.0, 1.0)
OFFSETS = (0.42, 0.01, 0.55)
#: A row for each channel and scale, finest first: structure, ringing, blur by mean, then by 4-norm.
# fmt: off
WEIGHTS = (
    0.0, 0.0007376606707406586, 0.0, 0.0, 0.0007793481682867309, 0.0,
    0.0, 0.0004371155730107379, 0.0, 1.1041726426657346, 0.00066284834129271, 0.00015231632783718752,
    0.0, 0.0016406437456599754, 0.0, 1.8422455520539298, 11.441172603757666, 0.0,
    0.0007989109436015163, 0.000176816438078653, 0.0, 1.8787594979546387, 10.94906990605142, 0.0,
    0.0007289346991508072, 0.9677937080626833, 0.0, 0.00014003424285435884, 0.9981766977854967, 0.00031949755934435053,
    0.0004550992113792063, 0.0, 0.0, 0.0013648766163243398, 0.0, 0.0,
    0.0, 0.0, 0.0, 7.466890328078848, 0.0, 17.445833984131262,
    0.0006235601634041466, 0.0, 0.0, 6.683678146179332, 0.00037724407979611296, 1.027889937768264,
    225.20515300849274, 0.0, 0.0, 19.213238186143016, 0.0011401524586618361, 0.001237755635509985,
    176.39317598450694, 0.0, 0.0, 24.43300999870476, 0.28520802612117757, 0.0004485436923833408,
    0.0, 0.0, 0.0, 34.77906344483772, 44.835625328877896, 0.0,
    0.0, 0.0, 0.0, 0.0, 0.0, 0.0,
    0.0, 0.0008680556573291698, 0.0, 0.0, 0.0, 0.0,
    0.0, 0.0005313191874358747, 0.0, 0.00016533814161379112, 0.0, 0.0,
    0.0, 0.0, 0.0, 0.0004179171803251336, 0.0017290828234722833, 0.0,
    0.0020827005846636437, 0.0, 0.0, 8.826982764996862, 23.19243343998926, 0.0,
    95.1080498811086,
    0.9863978034400682, 0.9834382792465353, 0.0012286405048278493, 171.2667255897307, 0.9807858872435379,
    0.0, 0.0, 0.0, 0.0005130064588990679, 0.0, 0.00010854057858411537,
)
# fmt: on


def ssimulacra2(a: np.ndarray, b: np.ndarray) -> float:
    """Score of a decoded picture against its original: 100 for equal pictures, 90 not to be told apart, 70 good,
    50 medium, 30 low quality, negative for strong distortion. **Not symmetric**: a is the original.

    a, b: (H, W) or (H, W, C) uint8 sRGB in [0, 255], of one shape; grey counts as RGB of equal channels. NaN if a side
    is below 8 pixels. Raises ValueError if a dtype is not uint8 or the shapes differ.
    """
    check_pair(a, b)
    if a.ndim == 3 and a.shape[2] not in (1, 3):
        raise ValueError(f"expected two pictures of 1 or 3 channels, found {a.shape}")
    if min(a.shape[:2]) < SMALLEST_SIDE:
        return float("nan")
    import torch  # here, so that importing the metrics does not load torch

    from ..shield import shielded

    with shielded(), torch.inference_mode():
        return _score(_norms_of_scales(_linear(a)[None], _linear(b)[None]))


@lru_cache(maxsize=1)
def _curve() -> np.ndarray:
    """sRGB level -> linear light, (256,) float32 (IEC 61966-2-1)."""
    level = np.arange(256) / 255.0
    return np.where(level <= 0.04045, level / 12.92, ((level + 0.055) / 1.055) ** 2.4).astype(np.float32)


def _linear(picture: np.ndarray) -> torch.Tensor:
    """(H, W[, C]) uint8 -> (3, H, W) float32, linear light."""
    import torch

    planes = np.moveaxis(_curve()[np.atleast_3d(picture)], -1, 0)
    return torch.from_numpy(np.ascontiguousarray(planes)).expand(3, -1, -1)


@lru_cache(maxsize=1)
def taps() -> np.ndarray:
    """The blur's impulse response, (9,) float64: three cosines that approximate a Gaussian of SIGMA.

    Charalampidis 2016, "Recursive implementation of the Gaussian filter using truncated cosine functions", eqs. 37 to
    57: taps(n) = sum over k = 1, 3, 5 of beta_k cos(omega_k n), zero from |n| = N on.
    """
    radius = round(3.2795 * SIGMA + 0.2546)
    omega = np.array([1, 3, 5]) * np.pi / (2 * radius)
    signs = np.array([1.0, -1.0, 1.0])
    p = signs / np.tan(omega / 2)
    r = signs * p * p / np.sin(omega)
    rho = np.exp(-0.5 * (SIGMA * omega) ** 2) / radius
    cross = np.cross(p, r)
    zeta = cross / cross[2]
    beta = np.linalg.solve(np.stack([p, r, zeta]), [1.0, radius**2 - SIGMA**2, zeta @ rho])
    n = np.arange(1 - radius, radius)
    taps: np.ndarray = beta @ np.cos(omega[:, None] * n)
    return taps


def _blur(planes: torch.Tensor) -> torch.Tensor:
    """(M, H, W) -> the same, zeros beyond the borders."""
    import torch
    import torch.nn.functional as F

    maps, reach = len(planes), len(taps()) // 2
    filters = torch.from_numpy(taps()).float().repeat(maps, 1, 1, 1)
    rows = F.conv2d(planes[None], filters.transpose(2, 3), groups=maps, padding=(reach, 0))
    return F.conv2d(rows, filters, groups=maps, padding=(0, reach))[0]


@lru_cache(maxsize=8)
def _opponents(device: torch.device) -> tuple[torch.Tensor, ...]:
    """ABSORBANCE, (3, 3), and FACTORS and OFFSETS, (3, 1, 1), on a device."""
    import torch

    with torch.inference_mode(False):  # they are kept for those that need slopes
        mixing, *ranges = (torch.tensor(values, device=device) for values in (ABSORBANCE, FACTORS, OFFSETS))
        return mixing, *(values[:, None, None] for values in ranges)


def xyb(linear: torch.Tensor) -> torch.Tensor:
    """(B, 3, H, W) linear RGB -> X, Y, B - Y, each within [0, 1]."""
    import torch

    absorbance, factors, offsets = _opponents(linear.device)
    mixed = torch.einsum("oc,bchw->bohw", absorbance, linear) + BIAS
    long, middle, short = (mixed.clamp_min(0.0).pow(1 / 3) - BIAS ** (1 / 3)).unbind(1)
    y = (long + middle) / 2
    planes = torch.stack([(long - middle) / 2, y, short - y], dim=1)
    return planes * factors + offsets


def halved(linear: torch.Tensor) -> torch.Tensor:
    """(B, 3, H, W) -> means of 2 x 2 pixels; an odd last row or column counts twice."""
    import torch.nn.functional as F

    odd = linear.shape[3] % 2, linear.shape[2] % 2
    return F.avg_pool2d(F.pad(linear, (0, odd[0], 0, odd[1]), mode="replicate"), 2)


def _norms_of_scales(a: torch.Tensor, b: torch.Tensor) -> list[torch.Tensor]:
    """Linear pictures, (1, 3, H, W) -> for each scale, (3 channels, 2 norms, 3 maps) float64."""
    found = [_norms(xyb(a)[0], xyb(b)[0])]
    while len(found) < SCALES and min(a.shape[2:]) >= SMALLEST_SIDE:
        a, b = halved(a), halved(b)
        found.append(_norms(xyb(a)[0], xyb(b)[0]))
    return found


def _norms(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Two pictures (3, H, W) -> mean and 4-norm of the maps of structure, ringing and blur, (3, 2, 3) float64."""
    import torch

    maps = error_maps(x, y, *_blur(torch.cat([x, y, x * x, y * y, x * y])).chunk(5))
    fourth = maps.square().square().mean(dim=(2, 3), dtype=torch.float64).pow(0.25)
    return torch.stack([maps.mean(dim=(2, 3), dtype=torch.float64), fourth]).permute(2, 0, 1)


def error_maps(
    x: torch.Tensor,
    y: torch.Tensor,
    mu_x: torch.Tensor,
    mu_y: torch.Tensor,
    xx: torch.Tensor,
    yy: torch.Tensor,
    xy: torch.Tensor,
) -> torch.Tensor:
    """Original, decoded picture and blurred x, y, x x, y y, x y, of one shape -> maps of structure, ringing and blur,
    (3, ...), at least 0."""
    import torch

    # The luminance term of SSIM without its denominator: the values are gamma-compressed already.
    luminance = 1.0 - (mu_x - mu_y).square()
    structure = (2.0 * (xy - mu_x * mu_y) + C2) / ((xx - mu_x * mu_x) + (yy - mu_y * mu_y) + C2)
    edges = (1.0 + (y - mu_y).abs()) / (1.0 + (x - mu_x).abs()) - 1.0
    return torch.stack([(1.0 - luminance * structure).clamp_min(0.0), edges.clamp_min(0.0), (-edges).clamp_min(0.0)])


def _score(norms: list[torch.Tensor]) -> float:
    """Weighted sum of all norms, then the curve that was fitted to opinions."""
    import torch

    # A small picture has fewer scales; the reference then takes the first weights, whatever they were meant for.
    values = torch.stack(norms, dim=1).flatten().numpy()
    error = 0.9562382616834844 * float(values @ np.array(WEIGHTS[: len(values)]))
    error = 2.326765642916932 * error - 0.020884521182843837 * error**2 + 6.248496625763138e-05 * error**3
    return float(100.0 - 10.0 * error**0.6276336467831387) if error > 0 else 100.0
