"""What a code does not see of a picture: its transparency, and whether it moves. And which file a path leads to."""

from __future__ import annotations

import os
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image

from ..coding import container
from ..contracts import AecodecError
from ..data.files import open_input, read_bytes
from ..data.images import read_opened, unpack_alpha
from ..data.metadata import orientation_of
from ..data.opening import open_image
from ..data.pixels import turned
from .turning import turned_way

#: Transparency is compared on a square of so many cells a side, each a weighted mean of its part of the picture.
SIDE = 16
#: Differences of 255, of any cell and of all on average, up to which two pictures are alike. Of 80 glyphs of a
#: typeface, one of 16 pixels differs from the same of 128 by 59 and 8, any two by 76 or more in some cell.
CELL_APART, MEAN_APART = 64, 10
_OPAQUE = np.full((SIDE, SIDE), 255, np.uint8)
#: Pictures whose looks are remembered.
_REMEMBERED = 100_000
#: Files that hold previews or gain maps beside the picture, which are no frames of it.
_ONE_FRAME = {"MPO", "JPEG", "AEC"}


@dataclass(frozen=True)
class Look:
    """frames: of an animation, or pages; alpha: (SIDE, SIDE) uint8, 0 transparent."""

    frames: int
    alpha: np.ndarray


class Looks:
    """Compares files by what a code does not see. What cannot be read is like anything: its code has to do."""

    def __init__(self) -> None:
        self._look = lru_cache(_REMEMBERED)(look_of)
        self.identity = lru_cache(_REMEMBERED)(identity)

    def alike(self, first: Path, others: Sequence[Path], turns: Sequence[int] | None = None) -> np.ndarray:
        """(N,) bool: which of N files have as many frames as the first, and nearly the same transparency.

        turns: how the first is turned to look like each of them, as `turning.turned_way` counts; not unless given.
        """
        look, looks = self._look(first), [self._look(path) for path in others]
        if look is None or not looks:
            return np.ones(len(looks), bool)
        known = [look if other is None else other for other in looks]
        ways = [look.alpha if not turn else turned_way(look.alpha, turn) for turn in turns or [0] * len(known)]
        apart = np.abs(np.stack([other.alpha for other in known]).astype(np.int16) - np.stack(ways))
        frames = np.array([other.frames for other in known]) == look.frames
        near = (apart.max((1, 2)) <= CELL_APART) & (apart.mean((1, 2)) <= MEAN_APART)
        return np.asarray(frames & near)


def identity(path: Path) -> Hashable:
    """The same for all names of a file: its device and inode, or the path itself where there are none."""
    try:
        status = os.stat(path)
    except OSError:
        return path
    return (status.st_dev, status.st_ino) if status.st_ino else path


def look_of(path: Path) -> Look | None:
    """A picture or .aec file as a `Look`; None if it cannot be read. Pixels are decoded only if they may be
    transparent, those of .aec files never."""
    try:
        if path.suffix.lower() == container.SUFFIX:
            return Look(1, _square(_alpha_of_aec(read_bytes(path))))
        with open_input(path) as file, open_image(file, str(path)) as opened:
            frames = 1 if opened.image.format in _ONE_FRAME else opened.frames
            transparent = opened.image.has_transparency_data
            alpha = read_opened(opened, str(path), windowed=True).alpha if transparent else None
            return Look(frames, _square(alpha))
    except AecodecError:
        return None


def _alpha_of_aec(data: bytes) -> np.ndarray | None:
    """The alpha plane, upright."""
    parsed = container.parse(data)
    if parsed.alpha is None:
        return None
    alpha = unpack_alpha(parsed.alpha, parsed.header.height, parsed.header.width)
    return turned(alpha, orientation_of(parsed.metadata))


def _square(alpha: np.ndarray | None) -> np.ndarray:
    if alpha is None:
        return _OPAQUE
    return np.asarray(Image.fromarray(np.ascontiguousarray(alpha)).resize((SIDE, SIDE), Image.Resampling.BILINEAR))
