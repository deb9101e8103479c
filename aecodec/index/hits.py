"""What a search gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Hits:
    """The k nearest of each query, by distance, then by id.

    ids: (Q, k) int64, or an array of str for an index of paths. distances: (Q, k) int32 in [0, n_bits].
    """

    ids: np.ndarray
    distances: np.ndarray

    def of(self, query: int) -> list[tuple[Any, int]]:
        """(id, distance) of one query's hits, nearest first."""
        return list(zip(self.ids[query].tolist(), self.distances[query].tolist(), strict=True))


@dataclass(frozen=True)
class RangeHits:
    """All hits within a radius: those of query i stand at limits[i] ... limits[i + 1] - 1, by distance, then by id.

    limits: (Q + 1,) int64. ids: (M,) int64, or an array of str. distances: (M,) int32.
    """

    limits: np.ndarray
    ids: np.ndarray
    distances: np.ndarray

    def of(self, query: int) -> list[tuple[Any, int]]:
        """(id, distance) of one query's hits, nearest first."""
        part = slice(self.limits[query], self.limits[query + 1])
        return list(zip(self.ids[part].tolist(), self.distances[part].tolist(), strict=True))


@dataclass(frozen=True)
class WindowHits:
    """Pictures by the nearest two of their codes and a query's, by distance, then by id.

    ids: (k,) int64 or str. distances: (k,) int32 in [0, n_bits]. own, theirs: (k,) int64, which code of the query's set
    and of the picture's these are: 0 the whole, others as of `windows.window_of`.
    """

    ids: np.ndarray
    distances: np.ndarray
    own: np.ndarray
    theirs: np.ndarray
