"""Any picture as a small square: what a hasher of pictures looks at."""

from __future__ import annotations

import numpy as np
from PIL import Image

from ..contracts import ImageReadError


def to_square(pixels: np.ndarray, side: int, channels: int = 3) -> np.ndarray:
    """(H, W) or (H, W, 3) uint8 -> (channels, side, side) uint8; channels is 3 or 1, grey becomes three alike.

    The aspect ratio is given up. Large pictures are first averaged over whole blocks, to no less than three times the
    square, and then resampled with a triangle filter as wide as the shrinking asks for: Pillow's integer arithmetic
    throughout, the same on every machine. Raises ImageReadError for other shapes or types.
    """
    if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3) or pixels.shape[2:] not in ((), (3,)) or not pixels.size:
        raise ImageReadError(f"expected a picture (H, W) or (H, W, 3) uint8, found {pixels.dtype} {pixels.shape}")
    image = Image.fromarray(np.ascontiguousarray(pixels))
    small = image.resize((side, side), Image.Resampling.BILINEAR, reducing_gap=3.0)
    square = np.asarray(small.convert("L" if channels == 1 else "RGB"))
    return np.array(square.reshape(side, side, channels).transpose(2, 0, 1), order="C")
