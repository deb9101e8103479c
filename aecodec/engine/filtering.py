"""The filter of a decoded picture (coding/post_filter.py) at work, in NumPy."""

from __future__ import annotations

import numpy as np

from ..coding.post_filter import REACH, SIDE, PostFilter
from ..data.tiling import Window

#: Pixels that are worked on at once: what the filter gathers of them stays in a processor's cache.
BAND = 8192


def surroundings(planes: np.ndarray, place: Window) -> np.ndarray:
    """(C, H, W) -> (C, h + 4, w + 4), the pixels of a place and those that the filter looks at around it; the outermost
    are repeated where there are none."""
    height, width = planes.shape[1:]
    seen = place.grown(REACH, height, width)
    rows, columns = seen.slices
    missing = (
        (REACH - (place.top - seen.top), REACH - (seen.bottom - place.bottom)),
        (REACH - (place.left - seen.left), REACH - (seen.right - place.right)),
    )
    return np.pad(planes[:, rows, columns], ((0, 0), *missing), mode="edge")


def filtered(planes: np.ndarray, post_filter: PostFilter) -> np.ndarray:
    """(C, h + 4, w + 4) float32 as `surroundings` gives them -> (C, h, w) float32, not clipped."""
    weights, biases = post_filter.kernel()
    count, height, width = len(planes), planes.shape[1] - 2 * REACH, planes.shape[2] - 2 * REACH
    matrix = weights.reshape(count, -1)
    found = np.empty((count, height, width), np.float32)
    rows = max(BAND // width, 1)
    gathered = np.empty((count, SIDE, SIDE, rows, width), np.float32)
    for top in range(0, height, rows):
        band = found[:, top : top + rows]
        parts = gathered[:, :, :, : band.shape[1]]
        for down in range(SIDE):
            for across in range(SIDE):
                there = planes[:, top + down : top + down + band.shape[1], across : across + width]
                parts[:, down, across] = there
        flat = np.ascontiguousarray(parts).reshape(matrix.shape[1], -1)
        band[...] = (matrix @ flat + biases[:, None]).reshape(band.shape)
    return found
