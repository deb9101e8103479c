"""How far eyes see two pictures apart, as a distortion to train on: the error of SSIMULACRA2, and 1 - MS-SSIM.

They are the definitions of metrics/ for batches of pictures in [0, 1], in units of the squared error: what one does
not see the other does. Blurs are products with banded matrices, which take half the time of depthwise
convolutions on a CPU at sides of 256.
"""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F

from ..metrics.filters import filter_matrix
from ..metrics.ms_ssim import C1, C2
from ..metrics.ms_ssim import SMALLEST_SIDE as DISSIMILARITY_SIDE
from ..metrics.ms_ssim import WEIGHTS as EXPONENTS
from ..metrics.ms_ssim import taps as window_taps
from ..metrics.ssimulacra2 import SCALES, error_maps, halved, xyb
from ..metrics.ssimulacra2 import SMALLEST_SIDE as ERROR_SIDE
from ..metrics.ssimulacra2 import taps as blur_taps
from ..metrics.visual import LEAST_SIMILARITY, MSE_OF_DISSIMILARITY, MSE_OF_ERROR, TINY, norm_weights


def seen(x: torch.Tensor, x_hat: torch.Tensor) -> torch.Tensor:
    """x, x_hat (B, 1 or 3, H, W) float32 sRGB, the original in [0, 1] and the decoded -> (B,) float32, at least 0.

    The mean of both measures, or that which exists for so small a picture; the squared error where neither does.
    """
    x, x_hat = (planes.expand(-1, 3, -1, -1) for planes in (x, x_hat))
    side = min(x.shape[2:])
    if side < ERROR_SIDE:
        return (x_hat - x).square().mean(dim=(1, 2, 3))
    found = MSE_OF_ERROR * ssimulacra2_error(x, x_hat)
    if side >= DISSIMILARITY_SIDE:
        found = (found + MSE_OF_DISSIMILARITY * ms_ssim_loss(x, x_hat)) / 2
    return found


def seen_in_turn(x: torch.Tensor, x_hat: torch.Tensor) -> torch.Tensor:
    """As `seen`, by one measure for the first half of the batch and by the other for the rest, for half the time.

    Sides of at least DISSIMILARITY_SIDE.
    """
    half = (len(x) + 1) // 2
    error = MSE_OF_ERROR * ssimulacra2_error(x[:half], x_hat[:half])
    return torch.cat([error, MSE_OF_DISSIMILARITY * ms_ssim_loss(x[half:], x_hat[half:])])


def ssimulacra2_error(x: torch.Tensor, x_hat: torch.Tensor) -> torch.Tensor:
    """x, x_hat (B, 3, H, W) float32 sRGB, the original in [0, 1], the other clipped to it -> (B,) float32, at least 0.

    The weighted sum of norms that SSIMULACRA2 turns into its score: about proportional to the amplitude of errors.
    """
    a, b = linear_light(x), linear_light(x_hat.clamp(0.0, 1.0))
    total = torch.zeros(len(x), device=x.device)
    for scale in range(SCALES):
        if scale:
            if min(a.shape[2:]) < ERROR_SIDE:
                break
            a, b = halved(a), halved(b)
        heavy, weights = _heavy(scale, x.device)
        if len(heavy):
            maps = _error_maps(*(xyb(planes).index_select(1, heavy) for planes in (a, b)))
            total = total + _weighted_norms(maps, weights)
    return total


def linear_light(x: torch.Tensor) -> torch.Tensor:
    """sRGB in [0, 1] -> linear light, the same shape (IEC 61966-2-1)."""
    return torch.where(x <= 0.04045, x / 12.92, ((x.clamp_min(0.04045) + 0.055) / 1.055).pow(2.4))


def _error_maps(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """(B, C, H, W) each -> maps of structure, ringing and blur, (3, B, C, H, W)."""
    taps = tuple(float(tap) for tap in blur_taps())
    moments = torch.stack([x, y, x * x, y * y, x * y])
    rows, columns = (_band(side, taps, len(taps) // 2, x.device) for side in x.shape[2:])
    return error_maps(x, y, *(rows @ moments @ columns.mT).unbind())


@lru_cache(maxsize=32)
def _heavy(scale: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """The channels that count at a scale, (C,) int64, and the weights of their norms, (C, 2, 3), on a device."""
    with torch.inference_mode(False):  # they are kept for those that need slopes
        weights = torch.from_numpy(norm_weights()[:, scale])
        heavy = weights.flatten(1).any(dim=1).nonzero()[:, 0]
        return heavy.to(device), weights[heavy].to(device)


def _weighted_norms(maps: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    """maps (3, B, C, H, W), w (C, 2, 3) -> (B,)."""
    means = (maps.mean(dim=(3, 4)) * w[:, 0].mT[:, None]).sum(dim=(0, 2))
    fourth = (maps.square().square().mean(dim=(3, 4)) + TINY).sqrt().sqrt()
    return means + (fourth * w[:, 1].mT[:, None]).sum(dim=(0, 2))


def ms_ssim_loss(x: torch.Tensor, x_hat: torch.Tensor) -> torch.Tensor:
    """x, x_hat (B, 3, H, W) float32 sRGB around [0, 1], sides of at least 161 -> 1 - MS-SSIM, (B,) float32."""
    product = torch.ones(x.shape[:2], device=x.device)
    for scale, weight in enumerate(EXPONENTS):
        last = scale == len(EXPONENTS) - 1
        product = product * _mean_similarity(x, x_hat, with_luminance=last).clamp_min(LEAST_SIMILARITY) ** weight
        if not last:
            x, x_hat = (
                F.avg_pool2d(planes, 2, padding=(planes.shape[2] % 2, planes.shape[3] % 2)) for planes in (x, x_hat)
            )
    return 1.0 - product.mean(dim=1)


def _mean_similarity(x: torch.Tensor, y: torch.Tensor, with_luminance: bool) -> torch.Tensor:
    """Mean over all positions of the contrast (times luminance) map, (B, C)."""
    taps = tuple(float(tap) for tap in window_taps())
    moments = torch.stack([x, y, x * x, y * y, x * y])
    rows, columns = (_band(side, taps, 0, x.device) for side in x.shape[2:])
    mu_x, mu_y, xx, yy, xy = (rows @ moments @ columns.mT).unbind()
    mu_xx, mu_yy, mu_xy = mu_x * mu_x, mu_y * mu_y, mu_x * mu_y
    c1, c2 = C1 / 255.0**2, C2 / 255.0**2
    similarity = (2 * (xy - mu_xy) + c2) / ((xx - mu_xx) + (yy - mu_yy) + c2)
    if with_luminance:
        similarity = similarity * ((2 * mu_xy + c1) / (mu_xx + mu_yy + c1))
    return similarity.mean(dim=(2, 3))


@lru_cache(maxsize=32)
def _band(side: int, taps: tuple[float, ...], padding: int, device: torch.device) -> torch.Tensor:
    """`filter_matrix` on a device."""
    with torch.inference_mode(False):  # it is kept for those that need slopes
        return torch.from_numpy(filter_matrix(side, taps, padding)).to(device)
