"""Pictures of 8-bit levels, and the planes of floats in [0, 1] that networks see and give."""

from __future__ import annotations

import numpy as np


def planes_of(pixels: np.ndarray) -> np.ndarray:
    """(h, w[, 3]) uint8 -> (1 or 3, h, w) float32 in [0, 1]."""
    return np.moveaxis(np.atleast_3d(pixels), -1, 0).astype(np.float32) / np.float32(255.0)


def levels_of(planes: np.ndarray) -> np.ndarray:
    """(1 or 3, h, w) float32, not clipped -> (h, w) or (h, w, 3) uint8: rounded half up and clipped."""
    levels = planes * np.float32(255.0)
    levels += np.float32(0.5)
    pixels = np.floor(levels, out=levels).clip(0, 255, out=levels).astype(np.uint8)
    return pixels[0] if len(pixels) == 1 else np.ascontiguousarray(pixels.transpose(1, 2, 0))
