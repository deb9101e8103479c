"""A seeded picture for laws of the file codec, and a codec under which it has several tiles."""

from __future__ import annotations

import numpy as np

from aecodec.codec.codec import Codec


def scene(height: int, width: int, grey: bool = False) -> np.ndarray:
    """A smooth picture with an edge and some texture, uint8."""
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float64)
    base = 110 + 60 * np.sin(columns / 37.0) + 40 * np.cos(rows / 23.0) + 12 * np.sin(columns * rows / 900.0)
    base += 30 * (columns > rows)
    planes = [base, 0.8 * base + 20, 255 - base]
    pixels = np.clip(np.stack(planes[:1] if grey else planes, axis=2), 0, 255).astype(np.uint8)
    return pixels[..., 0] if grey else pixels


def small_tiles(codec: Codec, jobs: int = 1) -> Codec:
    """The same codec with tiles of 256 pixels, so that small pictures have several."""
    return Codec(codec.engine, tile=256, jobs=jobs)
