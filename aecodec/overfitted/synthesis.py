"""Decoded latents to colours in NumPy, float32: the same as synthesis.h to the last digits."""

from __future__ import annotations

import numpy as np

from .layout import COLOURS, HIDDEN, split_grids, tensors

#: Pixels that the dense layers see at once.
_AT_ONCE = 1 << 15


def synthesise(latents: np.ndarray, weights: np.ndarray, height: int, width: int) -> np.ndarray:
    """Latents of all grids and (WEIGHTS,) float32 -> (height, width, COLOURS) float32, 1 being white, not clipped."""
    parts = tensors(weights)
    grids = [grid.astype(np.float32) for grid in split_grids(latents, height, width)]
    planes = grids[-1][None]
    for level in range(len(grids) - 2, -1, -1):
        planes = np.concatenate([grids[level][None], _upsampled(planes, parts["taps"][level], grids[level].shape)])
    flat = planes.reshape(len(planes), -1)
    mixed = np.empty((COLOURS, height * width), np.float32)
    for start in range(0, height * width, _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        hidden = np.maximum(parts["v1"] @ flat[:, part] + parts["c1"].reshape(HIDDEN, 1), 0)
        mixed[:, part] = parts["v2"] @ hidden + parts["c2"].reshape(COLOURS, 1)
    image = mixed.reshape(COLOURS, height, width)
    image = np.maximum(_convolved(image, parts["k1"], parts["d1"]), 0)
    return np.ascontiguousarray(_convolved(image, parts["k2"], parts["d2"]).transpose(1, 2, 0))


def _upsampled(planes: np.ndarray, taps: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """(C, h, w) -> (C, *size), each axis about doubled."""
    for axis in (1, 2):
        planes = _doubled(planes, taps, axis, size[axis - 1])
    return planes


def _doubled(planes: np.ndarray, taps: np.ndarray, axis: int, size: int) -> np.ndarray:
    around = [(0, 0)] * 3
    around[axis] = (2, 2)
    padded = np.moveaxis(np.pad(planes, around, mode="edge"), axis, 0)
    count = planes.shape[axis]
    near = [padded[start : start + count] for start in range(5)]
    out = np.empty((2 * count, *padded.shape[1:]), np.float32)
    out[0::2] = sum(tap * part for tap, part in zip(taps, near[:4], strict=True))
    out[1::2] = sum(tap * part for tap, part in zip(taps[::-1], near[1:], strict=True))
    return np.moveaxis(out[:size], 0, axis)


def _convolved(image: np.ndarray, kernel: np.ndarray, added: np.ndarray) -> np.ndarray:
    """image + kernel * image + added, (COLOURS, H, W); what lies outside is as the edge."""
    height, width = image.shape[1:]
    padded = np.pad(image, ((0, 0), (1, 1), (1, 1)), mode="edge")
    out = image + added.reshape(COLOURS, 1, 1)
    for row in range(3):
        for column in range(3):
            out += np.tensordot(kernel[:, :, row, column], padded[:, row : row + height, column : column + width], 1)
    return out
