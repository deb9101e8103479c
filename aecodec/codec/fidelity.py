"""Pictures that the networks are poor at: found by their pixels, and told in one line.

Networks trained on photographs do not follow colours that change from pixel to pixel, as in icons, stripes and coloured
text: more bits hardly help. And they spend bits on sharp edges between areas of one colour, so that of text, screens
and drawings PNG or WebP keeps more in a file of the same size. Photographs have little of either, so nearly all of them
cost a look at every fourth row; only pictures with many changing colours have a square of theirs decoded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..coding import container
from ..data.images import Picture
from ..data.tiling import Window
from ..metrics.psnr import psnr

if TYPE_CHECKING:
    from .pictures import PictureCodec

#: Side in pixels of the squares that are looked at, and of which rows.
SQUARE, EVERY = 128, 4
#: Mean change of colour between neighbours, in levels, from which on a square is decoded: 149 of 150 photographs of
#: many sources stay below, icons of 32 pixels are at 22, coloured text is at 80.
SUSPICIOUS = 20.0
#: PSNR in dB of that square below which the user is told.
POOR = 22.0
#: Neighbours that differ by so many levels are an edge; those of photographs are mostly softer.
EDGE = 48
#: A picture is drawn if at least such a share of its neighbours are equal, and of those that are not such a share are
#: edges: chosen by benchmarks/unlike_photographs.py, whose page tells how many photographs that takes for drawn.
EQUAL, EDGES = 0.6, 0.25


@dataclass(frozen=True)
class Survey:
    """What every fourth row shows. place: the square where colour changes most between neighbours, change: how much,
    a mean in levels, 0 for grey. equal: share of the horizontal neighbours that are equal in all channels; edges: share
    of the others that differ by `EDGE` levels or more in one."""

    change: float
    place: Window
    equal: float
    edges: float

    @property
    def drawn(self) -> bool:
        """Whether the picture looks drawn, written or taken off a screen, and not photographed."""
        return self.equal >= EQUAL and self.edges >= EDGES


def doubt(codec: PictureCodec, picture: Picture, data: bytes) -> str | None:
    """What is to be said of the file of a picture that the codec was not made for; None of any other."""
    found = survey(picture.pixels)
    lost = lost_detail(codec, picture, data, found)
    if lost is None and found.drawn:
        return (
            f"looks drawn, not photographed ({found.equal:.0%} of neighbouring pixels are equal); PNG or WebP is "
            "likely to keep more of it in a file of this size"
        )
    return lost


def lost_detail(codec: PictureCodec, picture: Picture, data: bytes, found: Survey) -> str | None:
    """What is to be said of a file of a picture in which fine coloured detail is lost; None of any other."""
    if found.change < SUSPICIOUS:
        return None
    decoded = codec.decode_container(container.parse(data), found.place, limited=False)
    original, shown = picture.pixels[found.place.slices], decoded.pixels
    if decoded.alpha is not None:
        seen = decoded.alpha[..., None] > 0
        original, shown = original * seen, shown * seen
    quality = psnr(original, shown)
    if quality >= POOR:
        return None
    return (
        f"fine coloured detail is lost ({quality:.0f} dB where there is most of it); a lossless format suits it better"
    )


def survey(pixels: np.ndarray) -> Survey:
    """(H, W[, 3]) uint8 -> what is to be seen in every fourth row of it, in strips, so that little memory is taken."""
    height, width = pixels.shape[:2]
    change, place = 0.0, Window(0, 0, min(SQUARE, height), min(SQUARE, width))
    pairs = equal = edges = 0
    if width < 2:
        return Survey(change, place, 0.0, 0.0)
    for top in range(0, height, SQUARE):
        bottom = min(top + SQUARE, height)
        rows = np.asarray(pixels[top:bottom, :])[::EVERY].astype(np.int16)
        steps = _steps(rows)
        pairs += steps.size
        equal += steps.size - int(np.count_nonzero(steps))
        edges += int(np.count_nonzero(steps >= EDGE))
        if rows.ndim == 3:
            most, left = _busiest(rows)
            if most > change:
                change, place = most, Window(top, left, bottom, min(left + SQUARE, width))
    return Survey(change, place, equal / pairs, edges / max(pairs - equal, 1))


def _steps(rows: np.ndarray) -> np.ndarray:
    """(R, W[, 3]) int16 -> (R, W - 1), by how many levels neighbours differ in the channel in which they do most."""
    steps = np.abs(np.diff(rows, axis=1))
    return steps if steps.ndim == 2 else np.maximum(np.maximum(steps[..., 0], steps[..., 1]), steps[..., 2])


def _busiest(rows: np.ndarray) -> tuple[float, int]:
    """(R, W, 3) int16 -> how much colour changes between neighbours of the square where it does most, and its left."""
    width = rows.shape[1]
    starts = np.arange(0, width - 1, SQUARE)
    counts = np.minimum(starts + SQUARE, width - 1) - starts
    colours = rows[..., 0::2] - rows[..., 1:2]
    change = np.abs(np.diff(colours, axis=1)).sum(axis=(0, 2), dtype=np.int64)
    means = np.add.reduceat(change, starts) / (counts * len(rows))
    most = int(means.argmax())
    return float(means[most]), most * SQUARE
