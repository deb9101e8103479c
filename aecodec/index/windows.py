"""Windows of pictures whose codes an index keeps beside those of the whole pictures, and how far apart pictures are by
all of them.

The codes of a picture are a set: the first is that of the whole, the others are those of the windows of a layout, in
its order. Two pictures are as far apart as the nearest two codes of which at least one is of a whole picture: a crop
meets the window of its original that shows the same, from either side. Two windows are not compared: they share
backgrounds, skies and borders, and false hits would be many times as many.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..contracts import Scanner, UsageError
from .codes import check_queries, hamming_distances


@dataclass(frozen=True)
class Window:
    """A part of a picture, in shares of its sides: 0 <= left, 0 < width, left + width <= 1; so for top and height."""

    left: float
    top: float
    width: float
    height: float


WHOLE = Window(0.0, 0.0, 1.0, 1.0)


def grid(share: float, count: int) -> tuple[Window, ...]:
    """count x count windows of a share of each side, evenly from edge to edge, row by row."""
    starts = [(1 - share) * step / (count - 1) for step in range(count)]
    return tuple(Window(left, top, share, share) for top in starts for left in starts)


def corners(share: float) -> tuple[Window, ...]:
    """Four windows of a share of each side in the corners, row by row, and one in the middle."""
    far = 1 - share
    return (*grid(share, 2), Window(far / 2, far / 2, share, share))


#: Number of a layout, as index files have it -> its windows; 0: none. A layout never changes: a better one is another
#: number.
LAYOUTS: dict[int, tuple[Window, ...]] = {0: (), 1: (*corners(0.8), *grid(0.6, 4))}
#: The layout of new indexes with windows, chosen by benchmarks/window_layouts.py.
LAYOUT = 1


def window_of(layout: int, number: int) -> Window:
    """The part of a picture that a code of its set is of. Raises IndexError."""
    return (WHOLE, *LAYOUTS[layout])[number]


@dataclass(frozen=True)
class Apart:
    """How far one picture is from N others. distances: (N,) int32 in bits; own, theirs: (N,) int64, which codes of the
    sets are the nearest two, 0 the whole. Of pairs that are as near, the first: the wholes, then a whole and a window
    of the other, then a window and the other's whole, each by number."""

    distances: np.ndarray
    own: np.ndarray
    theirs: np.ndarray


def apart(codes: np.ndarray, wholes: np.ndarray, windows: np.ndarray, wholes_within: int | None = None) -> Apart:
    """How far a picture is from others.

    codes: (1 + W, B) uint8, its set; W may be 0. wholes: (N, B) uint8 and windows: (N, V, B) uint8, the others' sets.
    wholes_within: two wholes count only if they are at most so far apart; where nothing counts, the distance is one
    that no codes have.
    """
    count, shown = windows.shape[:2]
    theirs = np.concatenate([wholes[:, None], windows], axis=1).reshape(-1, wholes.shape[1])
    to_all = hamming_distances(codes[:1], np.ascontiguousarray(theirs)).reshape(count, 1 + shown)
    if wholes_within is not None:
        to_all[to_all[:, 0] > wholes_within, 0] = 8 * wholes.shape[1] + 1
    to_wholes = hamming_distances(codes[1:], wholes).T if len(codes) > 1 else np.empty((count, 0), to_all.dtype)
    every = np.concatenate([to_all, to_wholes], axis=1)
    first = every.argmin(axis=1)
    by_own = np.where(first > shown, first - shown, 0)
    found = every[np.arange(count), first].astype(np.int32)
    return Apart(found, by_own, np.where(first > shown, 0, first))


def check_set(codes: np.ndarray, layout: int, width: int) -> np.ndarray:
    """A query's set of an index's layout and width in bytes: (1 + W, B) uint8. Raises UsageError."""
    codes = check_queries(codes, width)
    if len(codes) != 1 + len(LAYOUTS[layout]):
        raise UsageError(f"a picture has {1 + len(LAYOUTS[layout])} codes in this index, got {len(codes)}")
    return codes


def nearest_rows(codes: np.ndarray, wholes: Scanner, windows: Scanner | None, shown: int, k: int) -> np.ndarray:
    """Rows that hold the k nearest pictures to a set by (distance, row), and some others: ascending int64.

    shown: windows of each row. A row among the k nearest has at most k - 1 others before it, by any of its codes; so
    it has at most (k - 1) x shown codes of windows before its own nearest one.
    """
    found = [wholes.search(codes, k)[0].ravel()]
    if windows is not None:
        found.append(windows.search(codes[:1], (k - 1) * shown + 1)[0].ravel() // shown)
    return np.unique(np.concatenate(found))


def rows_within(codes: np.ndarray, wholes: Scanner, windows: Scanner | None, shown: int, radius: int) -> np.ndarray:
    """Rows of all pictures at most a radius from a set: ascending int64."""
    found = [wholes.range_search(codes, radius)[1]]
    if windows is not None:
        found.append(windows.range_search(codes[:1], radius)[1] // shown)
    return np.unique(np.concatenate(found))
