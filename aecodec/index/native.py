"""Exact Hamming search at the speed of memory on a CPU: threads share a scan of the codes and merge their hits once."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from ..contracts import MissingDependencyError, UsageError
from ..parallel import Pool
from .codes import check_codes, check_k, check_queries, check_radius
from .keys import merge_nearest, merge_within, unpack
from .oracle import NumpyScanner
from .threads import cores

#: Fastest first. The last needs nothing.
ENGINES = ("c", "numba", "numpy")
#: Rows that a thread takes at a time, at most; always a multiple of the kernels' block.
_CHUNK = 1 << 17
_BLOCK = 512
#: Work, in bytes of codes compared, that is worth waking a further thread for.
_WORTH = 2 << 20
#: Bytes of hits that one call holds per thread, at most.
_HITS = 8 << 20


@functools.cache
def engine(name: str | None = None) -> tuple[Any, str]:
    """The engine of that name, or the fastest that can be had -> it, and why no faster one.

    An engine of None stands for NumPy. Raises UsageError for an unknown name, MissingDependencyError for one that
    cannot be had.
    """
    if name is not None and name not in ENGINES:
        raise UsageError(f"no engine {name!r}; there are: {', '.join(ENGINES)}")
    missing: list[str] = []
    for candidate in ENGINES if name is None else (name,):
        try:
            return _open(candidate), "; ".join(missing)
        except MissingDependencyError as error:
            if name is not None:
                raise
            missing.append(str(error))
    raise MissingDependencyError("; ".join(missing))


def _open(name: str) -> Any:
    if name == "c":
        from .native_engine import CEngine

        return CEngine()
    if name == "numba":
        try:
            from .native_numba import NumbaEngine
        except ImportError as error:
            raise MissingDependencyError(f"no Numba ({error}): pip install 'aecodec[search]'") from error
        return NumbaEngine()
    return None


class NativeScanner:
    """A linear scan by compiled kernels; every core takes the next chunk of rows until none is left.

    A few queries are answered at the speed at which memory can be read; a batch reads the codes once.
    """

    def __init__(self, codes: np.ndarray, *, threads: int | None = None, engine_name: str | None = None) -> None:
        """codes: (N, B) uint8, perhaps a memory map; kept, not copied. threads: None for every core at hand.

        Raises UsageError, or MissingDependencyError if the engine named cannot be had.
        """
        if threads is not None and threads < 1:
            raise UsageError(f"threads are at least 1, got {threads}")
        self._codes = check_codes(codes)
        self.threads = threads or cores()
        self._engine, self.reason = engine(engine_name)
        self.engine: str = self._engine.name if self._engine else "numpy"
        self._pool = Pool(self.threads, "hamming")

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """See `contracts.Scanner.search`."""
        queries, k = check_queries(queries, self._codes.shape[1]), min(check_k(k), len(self._codes))
        if self._engine is None or not k or not len(queries):
            return NumpyScanner(self._codes).search(queries, max(k, 1))
        tile = max(1, _HITS // (8 * k))
        parts = [
            merge_nearest(self._share("nearest", queries[start : start + tile], k), k)
            for start in range(0, len(queries), tile)
        ]
        return unpack(parts[0] if len(parts) == 1 else np.concatenate(parts))

    def range_search(self, queries: np.ndarray, radius: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """See `contracts.Scanner.range_search`."""
        queries, radius = check_queries(queries, self._codes.shape[1]), check_radius(radius, self._codes.shape[1])
        if self._engine is None or not len(queries):
            return NumpyScanner(self._codes).range_search(queries, radius)
        return merge_within(self._share("within", queries, radius), len(queries))

    def read(self) -> None:
        """Reads all codes with every thread and does nothing else: the floor under a search. The C engine only."""
        words = self._codes.nbytes // 8
        ticket, chunk = self._engine.ticket(words, 0), min(_CHUNK, max(1, words // (8 * self.threads) // 32) * 32)
        self.together(lambda: self._engine.read(self._codes, ticket, chunk), self.threads)

    def _share(self, method: str, queries: np.ndarray, number: int) -> list[Any]:
        """One engine call in each of as many threads as the work is worth -> what each found."""
        count, width = self._codes.shape
        work = count * width * (1 + len(queries) // 4)
        threads = int(min(self.threads, 1 + work // _WORTH, max(1, count // _BLOCK)))
        chunk = min(_CHUNK, max(1, count // (8 * threads) // _BLOCK) * _BLOCK)
        ticket = self._engine.ticket(count, chunk)
        call = getattr(self._engine, method)
        asked = np.ascontiguousarray(queries)
        return self.together(lambda: call(self._codes, asked, min(number, 1 << 40), ticket, chunk), threads)

    def together(self, call: Callable[[], Any], threads: int) -> list[Any]:
        """The results of a call that as many threads make at once."""
        if threads == 1:
            return [call()]
        executor = self._pool.executor()
        others = [executor.submit(call) for _ in range(threads - 1)]
        return [call(), *(other.result() for other in others)]
