"""The table of picture metrics, how far a decoded picture is from its original, and metrics of retrieval."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .bd_rate import (
    BdRateError,
    BjontegaardMissingError,
    Curve,
    DisjointCurvesError,
    NotMonotonicError,
    TooFewPointsError,
    bd_rate,
    common_range,
)
from .ms_ssim import SMALLEST_SIDE as MS_SSIM_SIDE
from .ms_ssim import ms_ssim
from .psnr import pooled_psnr, psnr
from .retrieval import average_precision, mean_average_precision, precision_within, recall_at
from .ssimulacra2 import SMALLEST_SIDE as SSIMULACRA2_SIDE
from .ssimulacra2 import ssimulacra2

#: Each takes two uint8 pictures (H, W) or (H, W, C) of one shape, the original first; larger is better.
METRICS: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "psnr": psnr,
    "ms_ssim": ms_ssim,
    "ssimulacra2": ssimulacra2,
}
#: Metrics that do not exist for smaller pictures (NaN): the short side from which they do, in pixels.
SMALLEST_SIDES = {"ms_ssim": MS_SSIM_SIDE, "ssimulacra2": SSIMULACRA2_SIDE}

__all__ = [
    "METRICS",
    "SMALLEST_SIDES",
    "BdRateError",
    "BjontegaardMissingError",
    "Curve",
    "DisjointCurvesError",
    "NotMonotonicError",
    "TooFewPointsError",
    "average_precision",
    "bd_rate",
    "common_range",
    "mean_average_precision",
    "ms_ssim",
    "pooled_psnr",
    "precision_within",
    "psnr",
    "recall_at",
    "ssimulacra2",
]
