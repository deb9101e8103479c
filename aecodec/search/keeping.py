"""Which picture of a group is the one to keep, by what is measured of the files; and which are too flat to tell."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..data.thumbnails import square_thumbnail
from .duplicates import Member
from .pictures import Decode, read_any

#: Side of the square on which it is measured whether a picture is flat, and the pixels that are read for that.
SIDE, _LEAST = 32, 96
#: Standard deviation in levels, of the colour channel that varies most on that square, below which a picture is flat.
#: One colour with noise or JPEG's artifacts has less than 1; of 568 photographs and drawings the flattest has 7.7.
FLAT = 3.0
#: Rows whose differences are taken at a time.
_BAND = 256
#: The whole picture, whatever its size.
_WHOLE = 1 << 30


@dataclass(frozen=True)
class Measured:
    """A picture as its file gives it. width, height: in pixels; deviation: see `FLAT`; detail: see `detail_of`, 0 where
    nobody asked for it."""

    width: int
    height: int
    deviation: float
    detail: float = 0.0

    @property
    def pixels(self) -> int:
        """How many there are."""
        return self.width * self.height


def detail_of(pixels: np.ndarray) -> float:
    """The Dirichlet energy of a picture's luma: the sum of squared differences of neighbours, over the whole picture.

    pixels: (H, W) or (H, W, 3) uint8. In two dimensions it does not depend on the scale: a picture that is enlarged has
    as much as before, one that is made smaller or blurred has lost what it cannot show any more.
    """
    total = 0.0
    for top in range(0, len(pixels), _BAND):
        band = pixels[top : top + _BAND + 1].astype(np.float32)
        luma = band if band.ndim == 2 else band @ np.array([0.299, 0.587, 0.114], np.float32)
        total += float(np.square(np.diff(luma, axis=0)).sum(dtype=np.float64))
        total += float(np.square(np.diff(luma[:_BAND], axis=1)).sum(dtype=np.float64))
    return total


def measure(path: Path, decode: Decode | None = None, *, detail: bool = False) -> Measured | None:
    """A picture or .aec file; None if it cannot be read. Its detail needs the whole picture to be decoded."""
    try:
        read = read_any(path, _WHOLE if detail else _LEAST, decode)
        flatness = square_thumbnail(read.pixels, SIDE).reshape(3, -1).std(axis=1).max()
    except Exception:  # whatever it is, this file is not the one to keep, and nothing is done to it
        return None
    return Measured(read.width, read.height, float(flatness), detail_of(read.pixels) if detail else 0.0)


#: A rule's key of a picture: the lowest is the one to keep. A path decides between those that are equal. Among copies
#: of as many pixels, bytes tell better than detail which one was recompressed: JPEG's artifacts are detail as well.
_Key = Callable[[Member, Measured], tuple[float, ...]]
KEEP: dict[str, _Key] = {
    "best": lambda one, seen: (-seen.pixels, -one.size, one.modified),
    "largest": lambda one, seen: (-one.size, -seen.pixels, one.modified),
    "oldest": lambda one, seen: (one.modified, -seen.pixels, -one.size),
    "newest": lambda one, seen: (-one.modified, -seen.pixels, -one.size),
    "sharpest": lambda one, seen: (-seen.detail, -seen.pixels, -one.size),
}


class Keeping:
    """Orders the pictures that are near others by a rule of `KEEP`, as `duplicates.groups` asks for it.

    measured: of every picture that it was asked about, None for what cannot be read, which comes last. flat: the
    pictures that are too flat to tell, by path, which are in no group.
    """

    def __init__(self, rule: str, decode: Decode | None = None, *, jobs: int = 1) -> None:
        """rule: a name of `KEEP`. decode: of .aec files. jobs: threads."""
        self.rule, self._key, self._decode, self._jobs = rule, KEEP[rule], decode, jobs
        self.measured: dict[Path, Measured | None] = {}
        self.flat: list[Member] = []

    def rank(self, members: Sequence[Member]) -> list[tuple[int, tuple[float, ...], str] | None]:
        """Reads the files; the key of each, None for a flat one."""
        self._measure({one.path for one in members})
        keys: list[tuple[int, tuple[float, ...], str] | None] = []
        for one in members:
            seen = self.measured[one.path]
            if seen is None:
                keys.append((1, (-one.size,), one.id))
            elif seen.deviation < FLAT:
                self.flat.append(one)
                keys.append(None)
            else:
                keys.append((0, self._key(one, seen), one.id))
        self.flat.sort(key=lambda one: (one.id, one.source))
        return keys

    def _measure(self, paths: Iterable[Path]) -> None:
        ordered, detail = sorted(paths), self.rule == "sharpest"
        with ThreadPoolExecutor(self._jobs, "measure") as pool:
            found = pool.map(lambda path: measure(path, self._decode, detail=detail), ordered)
            self.measured.update(zip(ordered, found, strict=True))
