"""Bjøntegaard-delta rate: how many per cent more bits one codec needs than another for the same quality."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

#: Bjøntegaard's own number of points; fewer do not carry a cubic.
FEWEST_POINTS = 4


class BdRateError(ValueError):
    """Base of what keeps a BD-rate from existing."""


class TooFewPointsError(BdRateError):
    """A curve has fewer than four points."""


class NotMonotonicError(BdRateError):
    """A curve's quality does not strictly rise with its rate, or a value is not positive and finite."""


class DisjointCurvesError(BdRateError):
    """The two curves have no quality in common."""


class BjontegaardMissingError(ImportError):
    """The optional package `bjontegaard` is not installed."""


@dataclass(frozen=True)
class Curve:
    """A rate-distortion curve. rates: bits per pixel (or any unit of rate), qualities: decibels; any order."""

    rates: Sequence[float]
    qualities: Sequence[float]

    def ordered(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """(rates, qualities) as float64, by rising rate. Raises TooFewPointsError or NotMonotonicError."""
        rates = np.asarray(self.rates, np.float64)
        qualities = np.asarray(self.qualities, np.float64)
        if rates.shape != qualities.shape or rates.ndim != 1:
            raise BdRateError(f"{name}: expected as many rates as qualities, found {rates.shape} and {qualities.shape}")
        if len(rates) < FEWEST_POINTS:
            raise TooFewPointsError(f"{name}: expected at least {FEWEST_POINTS} points, found {len(rates)}")
        if not (np.isfinite(rates).all() and np.isfinite(qualities).all() and (rates > 0).all()):
            raise NotMonotonicError(f"{name}: expected finite values and positive rates")
        order = np.argsort(rates, kind="stable")
        rates, qualities = rates[order], qualities[order]
        if (np.diff(rates) <= 0).any() or (np.diff(qualities) <= 0).any():
            raise NotMonotonicError(f"{name}: its quality does not rise strictly with its rate")
        return rates, qualities


def common_range(reference: Curve, tested: Curve) -> tuple[float, float]:
    """The interval of qualities (decibels) that both curves reach, over which the BD-rate is the mean.

    Raises DisjointCurvesError if there is none.
    """
    low = max(min(reference.qualities), min(tested.qualities))
    high = min(max(reference.qualities), max(tested.qualities))
    if not low < high:
        raise DisjointCurvesError(
            f"the curves share no quality: {min(reference.qualities):.2f} to {max(reference.qualities):.2f} "
            f"and {min(tested.qualities):.2f} to {max(tested.qualities):.2f}"
        )
    return low, high


def bd_rate(reference: Curve, tested: Curve) -> float:
    """Mean difference of log rate at equal quality, as per cent of the reference's rate; negative means fewer bits.

    G. Bjøntegaard, "Calculation of average PSNR differences between RD-curves", VCEG-M33, 2001, with the piecewise
    cubic (PCHIP) interpolation of JCTVC-K0279, which unlike one cubic through all points never overshoots. The
    sums are those of the `bjontegaard` package. Quality may be any scale on which the curves rise (PSNR; MS-SSIM in
    decibels). Raises a BdRateError (too few points, not monotonic, disjoint) or BjontegaardMissingError.
    """
    reference_rates, reference_qualities = reference.ordered("reference")
    tested_rates, tested_qualities = tested.ordered("tested")
    common_range(reference, tested)
    try:
        import bjontegaard
    except ImportError as error:
        raise BjontegaardMissingError(
            "a BD-rate needs the package bjontegaard: pip install 'aecodec[bench]'"
        ) from error
    # min_overlap=0: the caller reports the common range; a warning of the package would say it twice.
    percent = bjontegaard.bd_rate(
        reference_rates,
        reference_qualities,
        tested_rates,
        tested_qualities,
        method="pchip",
        require_matching_points=False,
        min_overlap=0,
    )
    return float(percent)
