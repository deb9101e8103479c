"""The oracle: exact Hamming search with NumPy alone, which every other backend must equal bit for bit."""

from __future__ import annotations

import numpy as np

from .codes import BLOCK, TILE, check_codes, check_k, check_queries, check_radius, hamming_distances


class NumpyScanner:
    """A blocked linear scan. A hit is one integer, distance * N + row: its order is the order that hits have."""

    def __init__(self, codes: np.ndarray) -> None:
        """codes: (N, B) uint8, perhaps a memory map; kept, not copied."""
        self._codes = check_codes(codes)

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """See `contracts.Scanner.search`."""
        queries = check_queries(queries, self._codes.shape[1])
        k = min(check_k(k), len(self._codes))
        hits = [np.empty((0, k), np.int64)]
        for start in range(0, len(queries), TILE):
            hits.append(self._nearest(queries[start : start + TILE], k))
        return self._unpack(np.concatenate(hits))

    def range_search(self, queries: np.ndarray, radius: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """See `contracts.Scanner.range_search`."""
        queries, radius = check_queries(queries, self._codes.shape[1]), check_radius(radius, self._codes.shape[1])
        hits = [np.empty(0, np.int64)]
        for start in range(0, len(queries), TILE):
            hits.extend(self._within(queries[start : start + TILE], radius))
        limits = np.cumsum([len(found) for found in hits], dtype=np.int64)
        return limits, *self._unpack(np.concatenate(hits))

    def _unpack(self, hits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        found, rows = np.divmod(hits, max(len(self._codes), 1))
        return rows, found.astype(np.int32)

    def _nearest(self, queries: np.ndarray, k: int) -> np.ndarray:
        """The k least hits of each query, ascending: (Q, k) int64."""
        count = len(self._codes)
        best = [np.empty(0, np.int64)] * len(queries)
        # A later row enters only if it is nearer than the last of k hits: at the same distance its row is larger.
        beyond = np.full(len(queries), 8 * self._codes.shape[1] + 1)
        for start in range(0, count, BLOCK):
            found = hamming_distances(queries, self._codes[start : start + BLOCK])
            for number in np.flatnonzero(found.min(axis=1) < beyond):
                rows = np.flatnonzero(found[number] < beyond[number])
                hits = np.concatenate([best[number], _hits(found[number, rows], rows + start, count)])
                if len(hits) >= k:
                    hits = np.sort(np.partition(hits, k - 1)[:k])
                    beyond[number] = hits[-1] // count
                best[number] = hits
        return np.stack(best).reshape(len(queries), k)

    def _within(self, queries: np.ndarray, radius: int) -> list[np.ndarray]:
        """All hits of each query at most a radius away, ascending."""
        count = len(self._codes)
        hits: list[list[np.ndarray]] = [[np.empty(0, np.int64)] for _ in queries]
        for start in range(0, count, BLOCK):
            found = hamming_distances(queries, self._codes[start : start + BLOCK])
            for number in np.flatnonzero(found.min(axis=1) <= radius):
                rows = np.flatnonzero(found[number] <= radius)
                hits[number].append(_hits(found[number, rows], rows + start, count))
        return [np.sort(np.concatenate(parts)) for parts in hits]


def _hits(found: np.ndarray, rows: np.ndarray, count: int) -> np.ndarray:
    """Distances and rows -> hits, int64. NumPy 1 would multiply int32 by an int64 scalar in int32."""
    return found.astype(np.int64) * count + rows
