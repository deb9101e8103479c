"""The table of picture metrics, how far a decoded picture is from its original, and metrics of retrieval."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

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
from .cvvdp import SMALLEST_SIDE as CVVDP_SIDE
from .cvvdp import cvvdp
from .ms_ssim import SMALLEST_SIDE as MS_SSIM_SIDE
from .ms_ssim import ms_ssim, ratio_decibels
from .psnr import pooled_psnr, psnr
from .retrieval import average_precision, mean_average_precision, precision_within, recall_at
from .ssimulacra2 import SMALLEST_SIDE as SSIMULACRA2_SIDE
from .ssimulacra2 import ssimulacra2


@dataclass(frozen=True)
class Metric:
    """A figure of how near a decoded picture is to its original; larger is better.

    score: takes two uint8 pictures (H, W) or (H, W, C) of one shape, the original first. label: the name for people;
    unit: of the score, "" for none; digits: behind the point in tables. smallest_side: the short side in pixels from
    which the metric exists, NaN below. decibels: the score is a ratio up to 1, drawn as -10 log10(1 - x).
    module: what must be importable, which is in the extra `extra`; "" for a metric that needs nothing more.
    """

    score: Callable[[np.ndarray, np.ndarray], float]
    label: str
    summary: str
    unit: str = ""
    digits: int = 2
    smallest_side: int = 0
    decibels: bool = False
    module: str = ""
    extra: str = ""

    @property
    def drawn_unit(self) -> str:
        """The unit of what `drawn` gives, "" for none."""
        return "dB" if self.decibels else self.unit

    def drawn(self, score: float) -> float:
        """A score as curves show it."""
        return ratio_decibels(score) if self.decibels else score


#: Column of a result file -> metric, in the order of tables. A newcomer is a file and a row.
METRICS: dict[str, Metric] = {
    "psnr": Metric(psnr, "RGB PSNR", "peak signal-to-noise ratio over all samples", unit="dB"),
    "ms_ssim": Metric(
        ms_ssim,
        "MS-SSIM",
        "multi-scale structural similarity, 1 for equal pictures",
        digits=5,
        smallest_side=MS_SSIM_SIDE,
        decibels=True,
    ),
    "ssimulacra2": Metric(
        ssimulacra2,
        "SSIMULACRA2",
        "perceptual score, 100 for equal pictures",
        smallest_side=SSIMULACRA2_SIDE,
        module="torch",
        extra="torch",
    ),
    "cvvdp": Metric(
        cvvdp,
        "ColorVideoVDP",
        "visible difference by a model of vision, 10 for equal pictures",
        unit="JOD",
        digits=3,
        smallest_side=CVVDP_SIDE,
        module="pycvvdp",
        extra="cvvdp",
    ),
}

__all__ = [
    "METRICS",
    "BdRateError",
    "BjontegaardMissingError",
    "Curve",
    "DisjointCurvesError",
    "Metric",
    "NotMonotonicError",
    "TooFewPointsError",
    "average_precision",
    "bd_rate",
    "common_range",
    "cvvdp",
    "mean_average_precision",
    "ms_ssim",
    "pooled_psnr",
    "precision_within",
    "psnr",
    "ratio_decibels",
    "recall_at",
    "ssimulacra2",
]
