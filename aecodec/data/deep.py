"""Samples of more than 8 bits: which of them stands for white, and colours of fewer bits than their file holds."""

from __future__ import annotations

import sys
from typing import BinaryIO

import numpy as np
from PIL import Image

#: Formats whose readers give 16 bits that use the whole range.
_KNOWN_RANGE = ("PNG", "PPM", "JPEG2000")
_TOPS = tuple(2**bits - 1 for bits in (8, 10, 12, 16, 24, 32))
#: Floats that are looked at for their range.
_SOME = 1 << 20
_NEARLY_ONE = 1.5
#: Pillow's names of 16-bit samples by byte order; in the other order they give the bytes that it drops.
_OTHER_ORDER = {"L": "B", "B": "L", "N": "B" if sys.byteorder == "little" else "L"}
#: The largest high byte of samples of 12 bits.
_HIGH_OF_12 = 15


def top_level(image: Image.Image) -> float:
    """The sample that stands for white, chosen by the samples themselves where the format does not say.

    PNG, PPM and JPEG 2000 hold 16 bits of known range. Elsewhere integers are of the fewest bits of 8, 10, 12, 16, 24
    or 32 that hold the largest, so that what a scanner or microscope wrote with 10 or 12 bits does not come out black.
    Floats are of the range 0 to 1 if nearly all of them are, whatever a few highlights are; else like integers.
    """
    if image.format in _KNOWN_RANGE and image.mode != "F":
        return 65535.0
    samples = np.asarray(image)
    if image.mode == "F":
        some = samples.ravel()[:: max(1, samples.size // _SOME)]
        some = some[np.isfinite(some)]
        if not some.size or np.percentile(some, 99) <= _NEARLY_ONE:
            return 1.0
        samples = np.where(np.isfinite(samples), samples, 0)
    return _top_of(float(samples.max(initial=0)))


def _top_of(largest: float) -> float:
    return next((float(top) for top in _TOPS if largest <= top), largest)


def deep_colour(image: Image.Image, stream: BinaryIO) -> tuple[Image.Image, int] | None:
    """A loaded TIFF of 16-bit colours that Pillow reduced to 8 -> one of the tones that were meant, and their bits.

    Pillow keeps the upper byte of each sample, and nothing of samples of 10 or 12 bits. None where more bits than 12
    are used, or where the lower bytes cannot be had.
    """
    high = np.asarray(image)
    if image.format != "TIFF" or image.mode not in ("RGB", "RGBA") or high[..., :3].max(initial=0) > _HIGH_OF_12:
        return None
    with Image.open(stream, formats=["TIFF"]) as again:
        tiles = []
        for tile in again.tile:
            name, _, order = str(tile[3][0]).partition(";16")
            if order not in _OTHER_ORDER or "a" in name:
                return None
            tiles.append(tile._replace(args=(f"{name};16{_OTHER_ORDER[order]}", *tile[3][1:])))
        again.tile = tiles
        samples = high.astype(np.uint16) << 8 | np.asarray(again)
    top = _top_of(float(samples[..., :3].max(initial=0)))
    levels = np.minimum(np.rint(samples * (255.0 / top)), 255).astype(np.uint8)
    return Image.fromarray(levels), int(top).bit_length()
