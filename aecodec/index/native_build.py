"""The C kernels: compiled once for this very processor, kept in the cache, checked, and called through ctypes."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from ..contracts import MissingDependencyError
from ..zoo.registry import cache_folder
from .keys import NO_KEY

_HERE = Path(__file__).parent
SOURCES = tuple(
    _HERE / name for name in ("hamming.c", "hamming.h", "hamming_popcount.h", "hamming_sliced.h", "hamming_tables.h")
)
_FLAGS = ("-O3", "-std=gnu11", "-shared", "-fPIC", "-w")
_TIMEOUT = 120
_TOO_DEAR = 2
#: Queries from which the sliced kernel wins, for codes of one word and of more.
_SLICED_FROM = (8, 16)


def processor_flags() -> str | None:
    """What the processor can do, as Linux tells it; None where it does not."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith(("flags", "Features")):
                return " ".join(sorted(line.split(":", 1)[1].split()))
    except OSError:
        pass  # another system: the compiler's default instructions are all that is sure to run
    return None


def compiler() -> list[str] | None:
    """The C compiler and its own flags: CC, else cc, gcc or clang; None if there is none."""
    given = shlex.split(os.environ.get("CC", ""))
    for words in [given] if given else [["cc"], ["gcc"], ["clang"]]:
        found = shutil.which(words[0])
        if found:
            return [found, *words[1:]]
    return None


def build(folder: Path) -> Path:
    """The shared library for this processor in a folder, compiled if it is not there yet.

    Its name holds a hash of the sources, the command and the processor's flags: a folder that several machines share
    never hands one of them another's instructions. Raises MissingDependencyError (no compiler, or it failed), OSError.
    """
    flags, command = processor_flags(), compiler()
    if command is None:
        raise MissingDependencyError("no C compiler (cc, gcc or clang) to build the Hamming kernels with")
    native = ["-march=native"] if flags and platform.machine() in ("x86_64", "AMD64") else []
    command = [*command, *_FLAGS, *native]
    stamp = hashlib.sha256()
    for text in (
        *(path.read_bytes() for path in SOURCES),
        repr(command).encode(),
        f"{flags} {platform.machine()}".encode(),
    ):
        stamp.update(len(text).to_bytes(8, "little") + text)
    target = folder / f"hamming-{stamp.hexdigest()[:24]}.so"
    if target.exists():
        return target
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".build-") as workplace:
        built = Path(workplace) / target.name
        _compile([*command, "-o", str(built), str(SOURCES[0])])
        os.replace(built, target)  # whole or not at all, however many processes build at once
    return target


def _compile(command: list[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT, check=False)
    except (OSError, subprocess.SubprocessError) as error:
        raise MissingDependencyError(f"the Hamming kernels do not compile ({error})") from error
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[0]
        raise MissingDependencyError(f"the Hamming kernels do not compile ({reason})")


@functools.cache
def library() -> ctypes.CDLL:
    """The kernels, loaded. Where the cache cannot be written, they are built for this process alone.

    Raises MissingDependencyError if they cannot be had or do not count right.
    """
    if sys.byteorder != "little" or ctypes.sizeof(ctypes.c_void_p) != 8:
        raise MissingDependencyError("the Hamming kernels need a little-endian 64-bit system")
    with contextlib.ExitStack() as stack:
        try:
            path = build(cache_folder() / "native")
        except OSError:
            path = build(Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="aecodec-"))))
        try:
            loaded = ctypes.CDLL(str(path))
        except OSError as error:
            raise MissingDependencyError(f"the Hamming kernels do not load ({error})") from error
    pointer, number = ctypes.c_void_p, ctypes.c_int64
    scan: list[Any] = [pointer, number, number, pointer, number, number, ctypes.c_int, pointer, number]
    loaded.hamming_nearest.argtypes = [*scan, pointer, pointer]
    loaded.hamming_within.argtypes = [*scan, pointer, pointer, pointer]
    loaded.hamming_look_up.argtypes = [*scan[:6], pointer, number, number, pointer, number, pointer, pointer, pointer]
    loaded.hamming_free.argtypes, loaded.hamming_free.restype = [pointer], None
    loaded.hamming_read.argtypes, loaded.hamming_read.restype = [pointer, number, pointer, number], ctypes.c_uint64
    _check(CEngine(loaded))
    return loaded


def _check(engine: CEngine) -> None:
    """Counts 600 known codes in both kernels: a library that miscounts is not used."""
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
