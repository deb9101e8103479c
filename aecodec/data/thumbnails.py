"""Any picture as a small square thumbnail: what a hasher of pictures looks at."""

from __future__ import annotations

import numpy as np
from PIL import Image

from ..contracts import ImageReadError
from .pixels import WindowedPixels

#: Whole blocks are averaged first, as long as that leaves so many times the square's side.
_GAP = 3
#: Pixels that are averaged at a time, so that a picture read in windows is never held whole.
_BAND = 1 << 24


def square_thumbnail(pixels: np.ndarray | WindowedPixels, side: int, channels: int = 3) -> np.ndarray:
    """(H, W) or (H, W, 3) uint8 -> (channels, side, side) uint8; channels is 3 or 1, grey becomes three alike.

    The aspect ratio is given up. Large pictures are first averaged over whole blocks, to no less than three times the
    square, and then resampled with a triangle filter as wide as the shrinking asks for: Pillow's integer arithmetic
    throughout, the same on every machine. Raises ImageReadError for other shapes or types.
    """
    shape = tuple(pixels.shape)
    if pixels.dtype != np.uint8 or len(shape) not in (2, 3) or shape[2:] not in ((), (3,)) or not min(shape):
        raise ImageReadError(f"expected a picture (H, W) or (H, W, 3) uint8, found {pixels.dtype} {shape}")
    height, width = shape[:2]
    down, across = max(1, height // (_GAP * side)), max(1, width // (_GAP * side))
    rows = max(1, _BAND // (width * down)) * down
    bands = (_image(pixels[top : min(top + rows, height), 0:width]) for top in range(0, height, rows))
    reduced = [band if across == down == 1 else band.reduce((across, down)) for band in bands]
    # Pixels go back and forth between NumPy and Pillow only where they must: that takes as long as the resampling.
    whole = reduced[0] if len(reduced) == 1 else _image(np.concatenate([np.asarray(band) for band in reduced]))
    small = whole.resize((side, side), Image.Resampling.BILINEAR, (0, 0, width / across, height / down))
    square = np.asarray(small.convert("L" if channels == 1 else "RGB"))
    return np.array(square.reshape(side, side, channels).transpose(2, 0, 1), order="C")


def _image(pixels: np.ndarray) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(pixels))
