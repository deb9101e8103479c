"""Peak signal-to-noise ratio of 8-bit pictures: of one, and pooled over several."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from .pairs import check_pair

PEAK = 255.0


def _squared_error(a: np.ndarray, b: np.ndarray) -> tuple[int, int]:
    """Two uint8 pictures of one shape -> (sum of squared differences, number of samples), both exact."""
    check_pair(a, b)
    if a.size == 0:
        raise ValueError(f"expected two pictures of at least one pixel, found {a.shape}")
    difference = a.astype(np.int32) - b.astype(np.int32)
    return int(np.square(difference).sum(dtype=np.int64)), a.size


def _decibels(squared_error: int, samples: int) -> float:
    if squared_error == 0:
        return math.inf
    return 10.0 * math.log10(PEAK**2 * samples / squared_error)


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    """PSNR of one picture: 10 log10(255^2 / MSE), the MSE over all samples of all channels.

    a, b: (H, W) or (H, W, C) uint8 in [0, 255], of one shape. Returns decibels, `inf` for equal pictures;
    symmetric in its arguments. For RGB input this is the "RGB PSNR" of the learned-compression literature.
    Raises ValueError if a dtype is not uint8 or the shapes differ.
    """
    return _decibels(*_squared_error(a, b))


def pooled_psnr(pairs: Iterable[tuple[np.ndarray, np.ndarray]]) -> float:
    """PSNR of several pictures as if they were one: the squared errors are averaged, then the logarithm is taken.

    pairs: (original, decoded) pictures as `psnr` takes them; sizes may differ from pair to pair. Returns decibels.
    For pictures of one size this is never above the mean of their own PSNRs (Jensen): never mix the two in a table.
    Raises ValueError if there is no pair, or as `psnr` does.
    """
    total, samples = 0, 0
    for a, b in pairs:
        error, size = _squared_error(a, b)
        total, samples = total + error, samples + size
    if samples == 0:
        raise ValueError("expected at least one pair of pictures, found none")
    return _decibels(total, samples)
