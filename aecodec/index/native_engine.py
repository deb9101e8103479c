"""The C engine: the compiled kernels called through ctypes."""

from __future__ import annotations

import ctypes
import functools
import sys
from pathlib import Path
from typing import Any

import numpy as np

from ..contracts import MissingDependencyError
from ..native_build import Kernels, load
from ..zoo.registry import cache_folder
from .keys import NO_KEY

KERNELS = Kernels(
    "hamming",
    "the Hamming kernels",
    tuple(
        Path(__file__).parent / name
        for name in ("hamming.c", "hamming.h", "hamming_popcount.h", "hamming_sliced.h", "hamming_tables.h")
    ),
)
_TOO_DEAR = 2
#: Queries from which the sliced kernel wins, for codes of one word and of more.
_SLICED_FROM = (8, 16)


@functools.cache
def library() -> ctypes.CDLL:
    """The kernels, loaded.

    Raises MissingDependencyError if they cannot be had or do not count right.
    """
    if sys.byteorder != "little" or ctypes.sizeof(ctypes.c_void_p) != 8:
        raise MissingDependencyError("the Hamming kernels need a little-endian 64-bit system")
    return load(KERNELS, cache_folder(), _check)


def _declare(loaded: ctypes.CDLL) -> None:
    """What the library's functions take and give."""
    pointer, number = ctypes.c_void_p, ctypes.c_int64
    scan: list[Any] = [pointer, number, number, pointer, number, number, ctypes.c_int, pointer, number]
    loaded.hamming_nearest.argtypes = [*scan, pointer, pointer]
    loaded.hamming_within.argtypes = [*scan, pointer, pointer, pointer]
    loaded.hamming_look_up.argtypes = [*scan[:6], pointer, number, number, pointer, number, pointer, pointer, pointer]
    loaded.hamming_free.argtypes, loaded.hamming_free.restype = [pointer], None
    loaded.hamming_read.argtypes, loaded.hamming_read.restype = [pointer, number, pointer, number], ctypes.c_uint64


def _check(loaded: ctypes.CDLL) -> None:
    """Counts 600 known codes in both kernels. Raises MissingDependencyError for a library that miscounts."""
    try:
        _declare(loaded)
    except AttributeError as error:
        raise MissingDependencyError(f"the Hamming kernels lack a function ({error})") from error
    engine = CEngine(loaded)
    for width in (8, 11):
        codes = (np.arange(600 * width, dtype=np.uint32) * 2654435761 >> 13).astype(np.uint8).reshape(600, width)
        expected = np.unpackbits(codes[:40, None] ^ codes[None], axis=2).sum(axis=2) <= 4 * width
        for queries in (codes[:3], codes[:40]):
            found = engine.count(codes, queries, 4 * width, engine.ticket(600, 512), 512)
            if not np.array_equal(found, expected[: len(queries)].sum(axis=1)):
                raise MissingDependencyError("the Hamming kernels miscount on this machine")


class Part(ctypes.Structure):
    """A part of the codes and its table; see hamming_tables.h. The arrays must outlive it."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("start", "stop", "most", "n_masks")),
        *((name, ctypes.c_void_p) for name in ("order", "begins", "masks")),
    )


class _Found:
    """Where a call puts the hits that it allocates."""

    def __init__(self, queries: int) -> None:
        self._counts, self._hits = np.zeros(queries, np.int64), ctypes.c_void_p()
        self._length = ctypes.c_int64(0)
        self.places = (self._counts.ctypes.data, ctypes.addressof(self._hits), ctypes.addressof(self._length))

    def take(self, loaded: ctypes.CDLL) -> np.ndarray:
        """-> (M, 2) uint64 of query and key; the library's own memory is freed."""
        if not self._length.value:
            return np.empty((0, 2), np.uint64)
        try:
            found = ctypes.cast(self._hits, ctypes.POINTER(ctypes.c_uint64))
            return np.ctypeslib.as_array(found, (self._length.value, 2)).copy()
        finally:
            loaded.hamming_free(self._hits)


class CEngine:
    """One thread's share of a scan; a ticket hands the threads their chunks of rows.

    Codes and queries are (N, B) and (Q, B) uint8, C-contiguous; a chunk is a multiple of 512 rows.
    """

    name = "c"

    def __init__(self, loaded: ctypes.CDLL | None = None) -> None:
        """Raises MissingDependencyError if the kernels cannot be built."""
        self._library = loaded or library()

    def ticket(self, count: int, chunk: int) -> ctypes.c_int64:
        """The first row that no thread has taken yet."""
        return ctypes.c_int64(0)

    def nearest(self, codes: np.ndarray, queries: np.ndarray, k: int, ticket: ctypes.c_int64, chunk: int) -> np.ndarray:
        """-> (Q, k) uint64 keys in no order, NO_KEY where there are fewer. Raises MemoryError."""
        keys, counts = np.full((len(queries), k), NO_KEY, np.uint64), np.zeros(len(queries), np.int64)
        self._call("hamming_nearest", codes, queries, k, ticket, chunk, keys.ctypes.data, counts.ctypes.data)
        return keys

    def within(
        self, codes: np.ndarray, queries: np.ndarray, radius: int, ticket: ctypes.c_int64, chunk: int
    ) -> np.ndarray:
        """-> (M, 2) uint64 of query and key, in no order. Raises MemoryError."""
        found = _Found(len(queries))
        self._call("hamming_within", codes, queries, radius, ticket, chunk, *found.places)
        return found.take(self._library)

    def look_up(
        self,
        codes: np.ndarray,
        queries: np.ndarray,
        radius: int,
        parts: ctypes.Array[Part],
        budget: int,
        ticket: ctypes.c_int64,
        chunk: int,
    ) -> np.ndarray | None:
        """As within, through tables; a chunk is of queries. Raises MemoryError.

        None if more candidates than the budget would have to be compared.
        """
        found = _Found(len(queries))
        result = self._library.hamming_look_up(
            codes.ctypes.data,
            *codes.shape,
            queries.ctypes.data,
            len(queries),
            radius,
            ctypes.addressof(parts),
            len(parts),
            budget,
            ctypes.addressof(ticket),
            chunk,
            *found.places,
        )
        if result == _TOO_DEAR:
            return None
        if result:
            raise MemoryError(f"no memory left for the hits of {len(queries)} queries")
        return found.take(self._library)

    def count(
        self, codes: np.ndarray, queries: np.ndarray, radius: int, ticket: ctypes.c_int64, chunk: int
    ) -> np.ndarray:
        """-> (Q,) int64. Raises MemoryError."""
        counts = np.zeros(len(queries), np.int64)
        self._call("hamming_within", codes, queries, radius, ticket, chunk, counts.ctypes.data, None, None)
        return counts

    def read(self, data: np.ndarray, ticket: ctypes.c_int64, chunk: int) -> None:
        """Reads an array of bytes (all but its last few) and does nothing else: the floor of any scan.

        chunk: 8-byte words, a multiple of 32.
        """
        self._library.hamming_read(data.ctypes.data, data.nbytes // 256 * 32, ctypes.addressof(ticket), chunk)

    def _call(
        self, name: str, codes: np.ndarray, queries: np.ndarray, number: int, ticket: ctypes.c_int64, chunk: int, *out
    ) -> None:
        sliced = len(queries) >= _SLICED_FROM[codes.shape[1] > 8]
        result = getattr(self._library, name)(
            codes.ctypes.data,
            *codes.shape,
            queries.ctypes.data,
            len(queries),
            number,
            int(sliced),
            ctypes.addressof(ticket),
            chunk,
            *out,
        )
        if result:
            raise MemoryError(f"no memory left for the hits of {len(queries)} queries")
