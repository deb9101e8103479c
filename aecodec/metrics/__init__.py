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
from .ms_ssim import ms_ssim
from .psnr import pooled_psnr, psnr
from .retrieval import average_precision, hamming_distances, mean_average_precision, precision_within, recall_at

#: Each takes two uint8 pictures (H, W) or (H, W, C) of one shape; larger is better, and it is symmetric.
METRICS: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "psnr": psnr,
    "ms_ssim": ms_ssim,
}

__all__ = [
    "METRICS",
    "BdRateError",
    "BjontegaardMissingError",
    "Curve",
    "DisjointCurvesError",
    "NotMonotonicError",
    "TooFewPointsError",
    "average_precision",
    "bd_rate",
    "common_range",
    "hamming_distances",
    "mean_average_precision",
    "ms_ssim",
    "pooled_psnr",
    "precision_within",
    "psnr",
    "recall_at",
]
