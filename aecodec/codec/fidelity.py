"""Pictures that the networks are poor at: found by their pixels, and told only where a decoded part confirms it.

Networks trained on photographs do not follow colours that change from pixel to pixel, as in icons, stripes and coloured
text: more bits hardly help. Photographs have little of it, so nearly all of them cost a look at every fourth row; only
pictures with much of it have a square of theirs decoded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..coding import container
from ..data.images import Picture
from ..data.tiling import Window
from ..metrics.psnr import psnr

if TYPE_CHECKING:
    from .codec import Codec

#: Side in pixels of the squares that are looked at, and of which rows.
SQUARE, EVERY = 128, 4
#: Mean change of colour between neighbours, in levels, from which on a square is decoded: 149 of 150 photographs of
#: many sources stay below, icons of 32 pixels are at 22, coloured text is at 80.
SUSPICIOUS = 20.0
#: PSNR in dB of that square below which the user is told.
POOR = 22.0


def lost_detail(codec: Codec, picture: Picture, data: bytes) -> str | None:
    """What is to be said of a file of a picture in which fine coloured detail is lost; None of any other."""
    change, place = busiest_square(picture.pixels)
    if change < SUSPICIOUS:
        return None
    decoded = codec.decode_container(container.parse(data), place, limited=False)
    original, found = picture.pixels[place.slices], decoded.pixels
    if decoded.alpha is not None:
        seen = decoded.alpha[..., None] > 0
        original, found = original * seen, found * seen
    quality = psnr(original, found)
    if quality >= POOR:
        return None
    return (
        f"fine coloured detail is lost ({quality:.0f} dB where there is most of it); a lossless format suits it better"
    )


def busiest_square(pixels: np.ndarray) -> tuple[float, Window]:
    """(H, W[, 3]) uint8 -> how much colour changes between neighbours of the square where it does most, a mean in
    levels, and that square. Grey has no colour."""
    height, width = pixels.shape[:2]
    best = 0.0, Window(0, 0, min(SQUARE, height), min(SQUARE, width))
    if len(pixels.shape) == 2 or width < 2:
        return best
    starts = np.arange(0, width - 1, SQUARE)
    counts = np.minimum(starts + SQUARE, width - 1) - starts
    for top in range(0, height, SQUARE):
        bottom = min(top + SQUARE, height)
        rows = np.asarray(pixels[top:bottom, :])[::EVERY].astype(np.int16)
        colours = rows[..., 0::2] - rows[..., 1:2]
        change = np.abs(np.diff(colours, axis=1)).sum(axis=(0, 2), dtype=np.int64)
        means = np.add.reduceat(change, starts) / (counts * len(rows))
        most = int(means.argmax())
        if means[most] > best[0]:
            left = most * SQUARE
            best = float(means[most]), Window(top, left, bottom, min(left + SQUARE, width))
    return best
