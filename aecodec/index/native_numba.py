"""Hamming scans compiled by Numba: what the native backend runs on where no C compiler is at hand."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import numba
import numpy as np
from numba import types
from numba.extending import intrinsic

from ..data.private import PrivateFolder
from ..zoo.registry import cache_folder
from .codes import as_words
from .keys import NO_KEY, ROW_BITS

#: Rows whose distances to one query are computed before any of them is looked at.
_BLOCK = 2048


def _own_folder() -> PrivateFolder | None:
    """Where Numba keeps what it compiled, a folder of the cache; None if there can be none."""
    with contextlib.suppress(OSError):
        folder = PrivateFolder(cache_folder() / f"numba-{os.geteuid() if hasattr(os, 'geteuid') else 0}")
        if folder.exposed:
            _empty(folder)
        return folder
    return None


def _empty(folder: PrivateFolder) -> None:
    """Forget what Numba has kept there, and nothing that it has not: the folder is its own."""
    for name in folder.names():
        shutil.rmtree(folder.opened_path() / name, ignore_errors=True)
        folder.remove(name)


_FOLDER = _own_folder()


def _kernel(function: Callable[..., Any]) -> Any:
    """Compiled when it is first called, and kept, where that can be where nobody else writes: Numba unpickles what it
    finds."""
    settings: Any = numba.config
    before = settings.CACHE_DIR
    try:
        if _FOLDER is not None:
            settings.CACHE_DIR = str(_FOLDER.opened_path())
        return numba.njit(nogil=True, cache=_FOLDER is not None)(function)
    finally:
        settings.CACHE_DIR = before


@intrinsic
def _popcount(typing_context: Any, word: Any) -> Any:
    """Ones in an unsigned integer: the machine's instruction, also on vectors where it has one."""
    if not isinstance(word, types.Integer):
        return None
    return word(word), lambda context, builder, signature, arguments: builder.ctpop(arguments[0])


@_kernel
def _measure(words, query, start, stop, out):  # pragma: no cover - compiled
    """Distances of rows [start, stop) into out; returns the least."""
    least = np.int32(1 << 30)
    if words.shape[1] == 1:
        only = query[0]
        for i in range(stop - start):
            out[i] = _popcount(words[start + i, 0] ^ only)
    elif words.shape[1] == 4:
        q0, q1, q2, q3 = query[0], query[1], query[2], query[3]
        for i in range(stop - start):
            row = start + i
            near = _popcount(words[row, 0] ^ q0) + _popcount(words[row, 1] ^ q1)
            out[i] = near + _popcount(words[row, 2] ^ q2) + _popcount(words[row, 3] ^ q3)
    else:
        for i in range(stop - start):
            total = np.int32(0)
            for w in range(words.shape[1]):
                total += np.int32(_popcount(words[start + i, w] ^ query[w]))
            out[i] = total
    for i in range(stop - start):
        least = min(least, out[i])
    return least


@_kernel
def _push(heap, filled, key):  # pragma: no cover - compiled
    """A key into a max-heap of at most len(heap) least keys; returns how many it holds now."""
    size = len(heap)
    if filled < size:
        at = filled
        while at > 0 and heap[(at - 1) // 2] < key:
            heap[at] = heap[(at - 1) // 2]
            at = (at - 1) // 2
        heap[at] = key
        return filled + 1
    if key < heap[0]:
        at = 0
        while 2 * at + 1 < size:
            child = 2 * at + 1
            if child + 1 < size and heap[child + 1] > heap[child]:
                child += 1
            if heap[child] <= key:
                break
            heap[at] = heap[child]
            at = child
        heap[at] = key
    return filled


@_kernel
def _nearest(words, queries, start, stop, heaps, filled):  # pragma: no cover - compiled
    out = np.empty(_BLOCK, np.int32)
    k = heaps.shape[1]
    for begin in range(start, stop, _BLOCK):
        end = min(begin + _BLOCK, stop)
        for q in range(len(queries)):
            limit = np.int64(1 << 30)
            if filled[q] == k:
                limit = np.int64(heaps[q, 0] >> np.uint64(ROW_BITS)) - 1
            if limit < 0 or _measure(words, queries[q], begin, end, out) > limit:
                continue
            for i in range(end - begin):
                if out[i] <= limit:
                    key = (np.uint64(out[i]) << np.uint64(ROW_BITS)) | np.uint64(begin + i)
                    filled[q] = _push(heaps[q], filled[q], key)


@_kernel
def _count(words, queries, start, stop, radius, counts):  # pragma: no cover - compiled
    out = np.empty(_BLOCK, np.int32)
    for begin in range(start, stop, _BLOCK):
        end = min(begin + _BLOCK, stop)
        for q in range(len(queries)):
            if _measure(words, queries[q], begin, end, out) <= radius:
                for i in range(end - begin):
                    counts[q] += out[i] <= radius


@_kernel
def _collect(words, queries, start, stop, radius, found):  # pragma: no cover - compiled
    """Fills found (M, 2) with (query, key); M is what _count gave for the same rows."""
    out = np.empty(_BLOCK, np.int32)
    at = 0
    for begin in range(start, stop, _BLOCK):
        end = min(begin + _BLOCK, stop)
        for q in range(len(queries)):
            if _measure(words, queries[q], begin, end, out) <= radius:
                for i in range(end - begin):
                    if out[i] <= radius:
                        found[at, 0] = np.uint64(q)
                        found[at, 1] = (np.uint64(out[i]) << np.uint64(ROW_BITS)) | np.uint64(begin + i)
                        at += 1


def _call(kernel: Any, *arguments: Any) -> None:
    """Call a kernel. What is kept of it, if that was cut or damaged, is made anew."""
    try:
        kernel(*arguments)
    except Exception:  # whatever unpickling or linking raises, before the kernel runs; itself it raises nothing
        if _FOLDER is None:
            raise
        _empty(_FOLDER)
        kernel(*arguments)


class NumbaEngine:
    """One thread's share of a scan; a ticket hands the threads their chunks of rows."""

    name = "numba"

    def ticket(self, count: int, chunk: int) -> Iterator[int]:
        """First rows of chunks. ``next`` on it is atomic, as a single step of the interpreter."""
        return iter(itertools.count(0, chunk))

    def nearest(self, codes, queries, k, ticket, chunk) -> np.ndarray:
        """-> (Q, k) uint64 keys in no order, NO_KEY where there are fewer."""
        words, asked = as_words(codes), as_words(queries)
        heaps = np.full((len(queries), k), NO_KEY, np.uint64)
        filled = np.zeros(len(queries), np.int64)
        while (start := next(ticket)) < len(codes):
            _call(_nearest, words, asked, start, min(start + chunk, len(codes)), heaps, filled)
        return heaps

    def within(self, codes, queries, radius, ticket, chunk) -> np.ndarray:
        """-> (M, 2) uint64 of query and key, in no order."""
        words, asked = as_words(codes), as_words(queries)
        parts = [np.empty((0, 2), np.uint64)]
        while (start := next(ticket)) < len(codes):
            stop, counts = min(start + chunk, len(codes)), np.zeros(len(queries), np.int64)
            _call(_count, words, asked, start, stop, radius, counts)
            parts.append(np.empty((int(counts.sum()), 2), np.uint64))
            if len(parts[-1]):
                _call(_collect, words, asked, start, stop, radius, parts[-1])
        return np.concatenate(parts)
