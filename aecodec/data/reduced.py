"""Pictures read small and fast, for hashing and for thumbnails."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from .images import read_bytes, read_opened
from .opening import open_image
from .pixels import turned

#: Exif orientations that exchange width and height.
_SIDEWAYS = {5, 6, 7, 8}


@dataclass(frozen=True)
class Reduced:
    """pixels: (h, w) grey or (h, w, 3) RGB uint8. width, height: of the whole picture, upright, in pixels."""

    pixels: np.ndarray
    width: int
    height: int


def read_reduced(source: Path | bytes, least: int, name: str = "image") -> Reduced:
    """A picture made smaller by a whole factor, so that both sides keep ``least`` pixels.

    A picture with a shorter side keeps its size. Each pixel is the mean of a square of the original's; JPEG is decoded
    at a half, a quarter or an eighth of its size to begin with, which is nearly the same and saves most of the
    work. Turned upright; alpha is dropped. Raises ImageReadError.
    """
    if isinstance(source, Path):
        name, source = str(source), read_bytes(source)
    with open_image(io.BytesIO(source), name) as opened:
        image, size = opened.image, opened.image.size
        # Other formats have thumbnails of their own, which may show anything.
        if image.format not in ("JPEG", "MPO") or image.draft(None, (least, least)) is None:
            image.load()
            size = image.size
        image.load()
        if image.mode in ("RGB", "L") and opened.bits == 8:
            pixels = np.ascontiguousarray(turned(np.asarray(reduce_image(image, least)), opened.orientation))
        else:
            pixels = reduce_pixels(read_opened(opened, name).pixels, least)
        width, height = size[::-1] if opened.orientation in _SIDEWAYS else size
    return Reduced(pixels, width, height)


def reduce_image(image: Image.Image, least: int) -> Image.Image:
    """A Pillow image of mode L or RGB by the largest whole factor that leaves both sides at least ``least`` pixels."""
    factor = min(image.size) // least
    return image.reduce(factor) if factor > 1 else image


def reduce_pixels(pixels: np.ndarray, least: int) -> np.ndarray:
    """`reduce_image` for (H, W) or (H, W, 3) uint8."""
    if min(pixels.shape[:2]) < 2 * least:
        return pixels
    return np.asarray(reduce_image(Image.fromarray(pixels), least))
