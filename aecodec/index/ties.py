"""Order for hits of engines that leave it open: by distance, then by row, ties at the k-th place included."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .codes import hamming_distances

_BLOCK = 1 << 16
Search = Callable[[np.ndarray, int], tuple[np.ndarray, np.ndarray]]


def surplus(k: int, count: int) -> int:
    """How many hits to ask an engine for so that the k-th distance seldom has more ties beyond: at most ``count``."""
    return min(2 * k + 32, count)


def in_order(rows: np.ndarray, found: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows and distances (Q, k) -> the same, each query's sorted by distance, then by row."""
    order = np.lexsort((rows, found), axis=-1)
    return np.take_along_axis(rows, order, 1), np.take_along_axis(found, order, 1)


def settle(
    codes: np.ndarray, queries: np.ndarray, rows: np.ndarray, found: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """The exact k hits out of at least k whose distances are right and whose choice among ties is arbitrary.

    rows, found: (Q, m), m >= k. Where the m-th distance is larger than the k-th, all ties are at hand. Elsewhere the
    lowest rows at the k-th distance are looked up in the codes, which ends as soon as enough were seen.
    """
    rows, found = in_order(rows, found)
    if k > 0 and rows.shape[1] < len(codes):
        for number in np.flatnonzero(found[:, k - 1] == found[:, -1]):
            last = int(found[number, k - 1])
            sure = int(np.searchsorted(found[number], last))
            rows[number, sure:k] = first_rows_at(codes, queries[number : number + 1], last, k - sure)
    return rows[:, :k], found[:, :k]


def first_rows_at(codes: np.ndarray, query: np.ndarray, distance: int, count: int) -> np.ndarray:
    """The lowest ``count`` rows exactly a distance away from a query (1, B)."""
    rows: list[np.ndarray] = []
    for start in range(0, len(codes), _BLOCK):
        rows.append(np.flatnonzero(hamming_distances(query, codes[start : start + _BLOCK])[0] == distance) + start)
        if sum(map(len, rows)) >= count:
            break
    return np.concatenate(rows)[:count]


def ordered_ranges(
    limits: np.ndarray, rows: np.ndarray, found: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The hits of a range search, each query's sorted by distance, then by row."""
    limits = limits.astype(np.int64)
    query = np.repeat(np.arange(len(limits) - 1), np.diff(limits))
    order = np.lexsort((rows, found, query))
    return limits, rows[order].astype(np.int64), found[order].astype(np.int32)


def range_by_search(
    search: Search, queries: np.ndarray, radius: int, count: int, most: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """A range search by an engine that has none: ask for more and more until the last hit lies beyond the radius.

    search: (queries, k) -> rows and distances. count: rows of the codes. most: the largest k that the engine takes;
    None is returned where that is not enough.
    """
    k = min(64, count)
    while k <= most:
        rows, found = search(queries, k)
        if k == count or not len(queries) or bool((found[:, -1] > radius).all()):
            within = found <= radius
            limits = np.concatenate([[0], np.cumsum(within.sum(axis=1))])
            return ordered_ranges(limits, rows[within], found[within])
        k = min(4 * k, count)
    return None
