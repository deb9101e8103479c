"""Exact Hamming search by faiss: a linear scan on the processor, or on a CUDA device.

faiss shares one query out over OpenMP threads, which wait for each other at barriers: on two busy cores a scan of ten
million codes was measured at 60 to 3,900 ms instead of 13 ms. Here each query is answered by one thread and several
queries by several Python threads, which wait for nobody. OpenMP's thread count belongs to the thread that sets it, so
setting it in threads of our own changes nothing for the rest of the process.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..contracts import MissingDependencyError, UsageError
from ..parallel import Pool
from .codes import check_codes, check_k, check_queries, check_radius
from .oracle import NumpyScanner
from .threads import cores
from .ties import ordered_ranges, range_by_search, settle, surplus

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
        self._pool = Pool(count, "faiss", lambda: _faiss().omp_set_num_threads(1))
        self._count = count

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """One call in one thread."""
        return self._pool.executor().submit(function, *arguments).result()

    def share(self, function: Callable[[np.ndarray], Any], queries: np.ndarray) -> list[Any]:
        """The results of contiguous shares of the queries, in order; at least one share."""
        parts = min(self._count, max(len(queries) // _SHARE, 1))
        return list(self._pool.executor().map(function, np.array_split(queries, parts)))


class _Engine:
    """What both have in common. `_index` answers ``search(queries, k)`` as (distances, labels)."""

    _most = 1 << 31  # largest k that the engine takes
    _index: Any

    def __init__(self, codes: np.ndarray, threads: int | None = None) -> None:
        self._codes = check_codes(codes)
        self._workers = _Workers(threads)

    def _ask(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows and distances (Q, k) as the engine gives them, k at most the number of codes."""
        if not (len(queries) and k):
            return np.empty((len(queries), k), np.int64), np.empty((len(queries), k), np.int32)
        answers = self._workers.share(lambda part: self._index.search(part, k), queries)
        found, rows = (np.concatenate([answer[i] for answer in answers]) for i in range(2))
        return rows, found

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """See `contracts.Scanner.search`."""
        queries, k = check_queries(queries, self._codes.shape[1]), min(check_k(k), len(self._codes))
        if k > self._most:
            return NumpyScanner(self._codes).search(queries, k)
        rows, found = self._ask(queries, min(surplus(k, len(self._codes)), self._most))
        return settle(self._codes, queries, rows, found, k)


class FaissScanner(_Engine):
    """IndexBinaryFlat: a linear scan. Holds a copy of the codes."""

    def __init__(self, codes: np.ndarray, threads: int | None = None) -> None:
        """codes: (N, B) uint8. threads: that share several queries; all cores unless given."""
        super().__init__(codes, threads)
        self._index = _faiss().IndexBinaryFlat(8 * self._codes.shape[1])
        self._workers.call(self._index.add, self._codes)

    def range_search(self, queries: np.ndarray, radius: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """See `contracts.Scanner.range_search`."""
        queries, radius = check_queries(queries, self._codes.shape[1]), check_radius(radius, self._codes.shape[1])
        if not (len(self._codes) and len(queries)):
            return NumpyScanner(self._codes).range_search(queries, radius)
        beyond = radius + 1  # a radius of faiss is exclusive
        answers = self._workers.share(lambda part: self._index.range_search(part, beyond), queries)
        counts = [np.diff(limits.astype(np.int64)) for limits, _, _ in answers]
        limits = np.concatenate([[0], np.cumsum(np.concatenate(counts))])
        return ordered_ranges(limits, *(np.concatenate([answer[i] for answer in answers]) for i in (2, 1)))


class FaissGpuScanner(_Engine):
    """GpuIndexBinaryFlat on one CUDA device. What its kernels cannot do (k above 2,048) the oracle does."""

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

    def range_search(self, queries: np.ndarray, radius: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """See `contracts.Scanner.range_search`."""
        queries, radius = check_queries(queries, self._codes.shape[1]), check_radius(radius, self._codes.shape[1])
        hits = None
        if len(self._codes) and len(queries):
            hits = range_by_search(self._ask, queries, radius, len(self._codes), self._most)
        return hits if hits is not None else NumpyScanner(self._codes).range_search(queries, radius)
