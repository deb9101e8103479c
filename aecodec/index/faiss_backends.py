"""Hamming search by faiss: flat (exact), inverted lists and HNSW (not exact), and flat on a CUDA device.

faiss shares one query out over OpenMP threads, which wait for each other at barriers: on two busy cores a scan of ten
million codes was measured at 60 to 3,900 ms instead of 13 ms. Here each query is answered by one thread and several
queries by several Python threads, which wait for nobody. OpenMP's thread count belongs to the thread that sets it, so
setting it in threads of our own changes nothing for the rest of the process.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from ..contracts import MissingDependencyError, UsageError
from .codes import check_codes, check_k, check_queries, check_radius
from .oracle import NumpyScanner
from .threads import cores
from .ties import in_order, ordered_ranges, range_by_search, settle, surplus

#: Queries that a thread gets at least; fewer are not worth waking one.
_SHARE = 8


def _faiss() -> Any:
    """The module. Raises MissingDependencyError."""
    try:
        import faiss
    except ImportError as error:
        raise MissingDependencyError(
            f"this index backend needs faiss; install it with: pip install 'aecodec[search]' ({error})"
        ) from error
    return faiss


class _Workers:
    """Threads in which faiss computes with one OpenMP thread each."""

    def __init__(self, threads: int | None) -> None:
        count = cores() if threads is None else check_k(threads)
        self._pool = ThreadPoolExecutor(count, "faiss", initializer=lambda: _faiss().omp_set_num_threads(1))
        self._count = count

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """One call in one thread."""
        return self._pool.submit(function, *arguments).result()

    def share(self, function: Callable[[np.ndarray], Any], queries: np.ndarray) -> list[Any]:
        """The results of contiguous shares of the queries, in order; at least one share."""
        parts = min(self._count, max(len(queries) // _SHARE, 1))
        return list(self._pool.map(function, np.array_split(queries, parts)))


class _Engine:
    """What the four have in common. `_index` answers ``search(queries, k)`` as (distances, labels)."""

    exact = False
    _ranges = True  # whether the engine has a range search
    _most = 1 << 31  # largest k that the engine takes
    _index: Any

    def __init__(self, codes: np.ndarray, threads: int | None = None) -> None:
        self._codes = check_codes(codes)
        self._workers = _Workers(threads)

    def _ask(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows and distances (Q, k) as the engine gives them; rows of -1 get a distance beyond all others."""
        if not (len(queries) and k):
            return np.empty((len(queries), k), np.int64), np.empty((len(queries), k), np.int32)
        answers = self._workers.share(lambda part: self._index.search(part, k), queries)
        found, rows = (np.concatenate([answer[i] for answer in answers]) for i in range(2))
        found[rows < 0] = 8 * self._codes.shape[1] + 1
        return rows, found

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """See `contracts.Scanner.search`."""
        queries, k = check_queries(queries, self._codes.shape[1]), min(check_k(k), len(self._codes))
        if k > self._most:
            return NumpyScanner(self._codes).search(queries, k)
        rows, found = self._ask(queries, min(surplus(k, len(self._codes)), self._most))
        if self.exact:
            return settle(self._codes, queries, rows, found, k)
        rows, found = in_order(rows, found)
        return rows[:, :k], found[:, :k]

    def range_search(self, queries: np.ndarray, radius: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """See `contracts.Scanner.range_search`."""
        queries, radius = check_queries(queries, self._codes.shape[1]), check_radius(radius)
        if not (len(self._codes) and len(queries)):
            return NumpyScanner(self._codes).range_search(queries, radius)
        if self._ranges:
            return self._own_ranges(queries, radius)
        hits = range_by_search(self._ask, queries, radius, len(self._codes), self._most)
        return hits if hits is not None else NumpyScanner(self._codes).range_search(queries, radius)

    def _own_ranges(self, queries: np.ndarray, radius: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """By the engine's range search, whose radius is exclusive."""
        beyond = min(radius, 8 * self._codes.shape[1]) + 1
        answers = self._workers.share(lambda part: self._index.range_search(part, beyond), queries)
        counts = [np.diff(limits.astype(np.int64)) for limits, _, _ in answers]
        limits = np.concatenate([[0], np.cumsum(np.concatenate(counts))])
        return ordered_ranges(limits, *(np.concatenate([answer[i] for answer in answers]) for i in (2, 1)))


class FaissScanner(_Engine):
    """IndexBinaryFlat: a linear scan. Holds a copy of the codes."""

    exact = True

    def __init__(self, codes: np.ndarray, threads: int | None = None) -> None:
        """codes: (N, B) uint8. threads: that share several queries; all cores unless given."""
        super().__init__(codes, threads)
        self._index = _faiss().IndexBinaryFlat(8 * self._codes.shape[1])
        self._workers.call(self._index.add, self._codes)


class FaissIvfScanner(_Engine):
    """IndexBinaryIVF: only the codes nearest to some of the centroids are looked at, so hits may be missed.

    Places for which nothing was found hold row -1 and distance 8 B + 1.
    """

    def __init__(
        self, codes: np.ndarray, threads: int | None = None, lists: int | None = None, probes: int | None = None
    ) -> None:
        """lists: centroids, 4 sqrt(N) unless given. probes: lists looked at per query, an eighth unless given."""
        super().__init__(codes, threads)
        count, bits = len(self._codes), 8 * self._codes.shape[1]
        lists = min(check_k(lists or max(min(4 * int(count**0.5), count // 39), 1)), max(count, 1))
        faiss = _faiss()
        self._quantiser = faiss.IndexBinaryFlat(bits)
        self._index = faiss.IndexBinaryIVF(self._quantiser, bits, lists)
        self._index.nprobe = min(check_k(probes or max(lists // 8, 1)), lists)
        self._index.cp.min_points_per_centroid = 1  # keeps k-means from complaining about few codes
        if count:
            self._workers.call(self._index.train, self._codes)
            self._workers.call(self._index.add, self._codes)


class FaissHnswScanner(_Engine):
    """IndexBinaryHNSW (Malkov and Yashunin 2018): a walk through a graph of neighbours, so hits may be missed.

    Places for which nothing was found hold row -1 and distance 8 B + 1.
    """

    _ranges = False

    def __init__(
        self, codes: np.ndarray, threads: int | None = None, links: int = 32, breadth: int = 128, effort: int = 80
    ) -> None:
        """links: of a node; breadth: of the search; effort: breadth of the search while building."""
        super().__init__(codes, threads)
        self._index = _faiss().IndexBinaryHNSW(8 * self._codes.shape[1], check_k(links))
        self._index.hnsw.efConstruction = check_k(effort)
        self._index.hnsw.efSearch = check_k(breadth)
        if len(self._codes):
            self._workers.call(self._index.add, self._codes)


class FaissGpuScanner(_Engine):
    """GpuIndexBinaryFlat on one CUDA device. What its kernels cannot do (k above 2,048) the oracle does."""

    exact = True
    _ranges = False
    _most = 2048

    def __init__(self, codes: np.ndarray, device: int = 0) -> None:
        """device: number of the CUDA device. Raises UsageError where faiss sees no such device."""
        super().__init__(codes, threads=1)
        faiss = _faiss()
        # faiss itself would end the process without a driver.
        devices = faiss.get_num_gpus() if hasattr(faiss, "get_num_gpus") else 0
        if not 0 <= device < devices or not hasattr(faiss, "GpuIndexBinaryFlat"):
            raise UsageError(f"index backend faiss-gpu: CUDA device {device} was asked for, faiss sees {devices}")
        self._resources = faiss.StandardGpuResources()
        config = faiss.GpuIndexBinaryFlatConfig()
        config.device = device
        self._index = faiss.GpuIndexBinaryFlat(self._resources, 8 * self._codes.shape[1], config)
        if len(self._codes):
            self._index.add(self._codes)
