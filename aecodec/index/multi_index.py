"""Exact multi-index hashing (Norouzi, Punjani and Fleet, CVPR 2012): radius search through tables of parts of codes."""

from __future__ import annotations

import functools
import itertools
import math

import numpy as np

from ..contracts import UsageError
from .codes import as_words, check_codes, check_k, check_queries, check_radius, popcount
from .keys import merge_within
from .native import NativeScanner

#: Bits of a part, at most: a table has an entry for each of its values.
_MOST_BITS = 24
#: Candidates looked at together.
_TOGETHER = 1 << 21
#: A lookup or a candidate costs as much as so many codes of a scan, of a few queries and of a batch (measured): by
#: NumPy, compiled.
_DEAR = ((800, 8000), (100, 1000))
#: Queries that a thread takes at a time.
_SHARE = 16
Hits = tuple[np.ndarray, np.ndarray, np.ndarray]


class MultiIndexScanner:
    """Codes within a radius r agree with the query, up to r // m bits, in one of m disjoint parts at least (section 3).

    With r = m s + a, one of the first a + 1 parts differs in s bits at most, or one of the others in s - 1 at most: so
    many values of the parts are looked up, and the codes found there are compared in full. Where that is dearer than a
    linear scan (a large radius, or many codes alike), and for the k nearest, the native backend scans. Holds, besides
    the codes, 4 m bytes per code and 4 bytes per value of a part.
    """

    def __init__(self, codes: np.ndarray, *, parts: int | None = None, threads: int | None = None) -> None:
        """codes: (N, B) uint8. parts: m, bits / log2 N unless given (the paper's section 4, uniform codes)."""
        self._codes = check_codes(codes)
        if len(self._codes) >= 1 << 32:
            raise UsageError(f"multi-index hashing takes fewer than 2^32 codes, got {len(self._codes)}")
        count, bits = len(self._codes), 8 * self._codes.shape[1]
        self._scan = NativeScanner(self._codes, threads=threads)
        wanted = check_k(parts) if parts is not None else round(bits / max(math.log2(count or 1), 1))
        self.parts = min(bits, max(wanted, -(-bits // _MOST_BITS), 1))
        edges = [bits * part // self.parts for part in range(self.parts + 1)]
        self._spans = list(itertools.pairwise(edges))
        self._tables = [self._table(*span) for span in self._spans]

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """See `contracts.Scanner.search`; a linear scan."""
        return self._scan.search(queries, k)

    def range_search(self, queries: np.ndarray, radius: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """See `contracts.Scanner.range_search`."""
        queries, radius = check_queries(queries, self._codes.shape[1]), check_radius(radius, self._codes.shape[1])
        each, more = divmod(radius, self.parts)
        flips = [each if part <= more else each - 1 for part in range(self.parts)]
        lookups = sum(
            math.comb(stop - start, ones)
            for (start, stop), most in zip(self._spans, flips, strict=True)
            for ones in range(most + 1)
        )
        compiled = self._scan.engine == "c"
        budget = min(int(len(self._codes) * len(queries) / _DEAR[compiled][len(queries) >= 8]), 1 << 62)
        if lookups * len(queries) <= budget:
            hits = (self._compiled if compiled else self._plain)(queries, radius, flips, budget)
            if hits is not None:
                return hits
        return self._scan.range_search(queries, radius)

    def _compiled(self, queries: np.ndarray, radius: int, flips: list[int], budget: int) -> Hits | None:
        """By the C kernel, threads sharing the queries; None if there are too many candidates."""
        from .native_engine import CEngine, Part

        engine = CEngine()
        masks = [
            _masks(stop - start, most).astype(np.uint32) for (start, stop), most in zip(self._spans, flips, strict=True)
        ]
        parts = (Part * self.parts)(
            *(
                Part(start, stop, most, len(mask), order.ctypes.data, begins.ctypes.data, mask.ctypes.data)
                for (start, stop), most, mask, (order, begins) in zip(
                    self._spans, flips, masks, self._tables, strict=True
                )
            )
        )
        threads = min(self._scan.threads, 1 + len(queries) // _SHARE)
        ticket, asked = engine.ticket(len(queries), _SHARE), np.ascontiguousarray(queries)
        found = self._scan.together(
            lambda: engine.look_up(self._codes, asked, radius, parts, budget // threads, ticket, _SHARE), threads
        )
        whole = [part for part in found if part is not None]
        return merge_within(whole, len(queries)) if len(whole) == len(found) else None

    def _plain(self, queries: np.ndarray, radius: int, flips: list[int], budget: int) -> Hits | None:
        """By NumPy; None if there are too many candidates."""
        numbers, starts, lengths = self._lookups(queries, flips)
        if lengths.sum() > budget:
            return None
        count = max(len(self._codes), 1)
        hits = [np.empty(0, np.int64)]
        ends = np.cumsum(lengths)
        cuts = np.searchsorted(ends, np.arange(_TOGETHER, int(ends[-1]) if len(ends) else 0, _TOGETHER))
        for some in np.split(np.arange(len(lengths)), cuts):
            hits.append(self._compare(queries, radius, numbers[some], starts[some], lengths[some]))
        # query, distance and row as one integer, whose order is the order of hits; a code found twice counts once
        found = np.unique(np.concatenate(hits))
        numbers, found = np.divmod(found, count * (radius + 1))
        distances, rows = np.divmod(found, count)
        limits = np.concatenate([[0], np.cumsum(np.bincount(numbers, minlength=len(queries)))]).astype(np.int64)
        return limits, rows, distances.astype(np.int32)

    def _table(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows in the order of bits [start, stop) of their codes, and where each value's rows begin."""
        values = _bits(self._codes, start, stop)
        begins = np.zeros((1 << (stop - start)) + 1, np.int64)
        np.cumsum(np.bincount(values, minlength=len(begins) - 1), out=begins[1:])
        return np.argsort(values, kind="stable").astype(np.uint32), begins.astype(np.uint32)

    def _lookups(self, queries: np.ndarray, flips: list[int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Which query, where in the concatenated orders, how many rows."""
        found: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        for part, ((start, stop), most) in enumerate(zip(self._spans, flips, strict=True)):
            values = (_bits(queries, start, stop)[:, None] ^ _masks(stop - start, most)[None]).ravel()
            begins = self._tables[part][1]
            first = begins[values].astype(np.int64)
            lengths = begins[values + 1].astype(np.int64) - first
            some = np.flatnonzero(lengths)
            numbers = some // max(len(values) // max(len(queries), 1), 1)
            found.append((numbers, first[some] + part * len(self._codes), lengths[some]))
        numbers, starts, lengths = (np.concatenate([part[i] for part in found]) for i in range(3))
        return numbers, starts, lengths

    def _compare(
        self, queries: np.ndarray, radius: int, numbers: np.ndarray, starts: np.ndarray, lengths: np.ndarray
    ) -> np.ndarray:
        """Candidates in full -> hits as integers, (query * (radius + 1) + distance) * N + row."""
        count = len(self._codes)
        within = np.arange(int(lengths.sum())) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        places = np.repeat(starts, lengths) + within
        numbers = np.repeat(numbers, lengths)
        rows = np.empty(len(places), np.int64)
        for part, (order, _) in enumerate(self._tables):
            mine = places // max(count, 1) == part
            rows[mine] = order[places[mine] - part * count]
        found = _pair_distances(queries[numbers], self._codes[rows])
        near = found <= radius
        return (numbers[near] * (radius + 1) + found[near]) * count + rows[near]


def _bits(codes: np.ndarray, start: int, stop: int) -> np.ndarray:
    """(N, B) uint8 -> bits [start, stop) of each code, lowest of the first byte first: (N,) int64."""
    value = np.zeros(len(codes), np.int64)
    for shift, byte in enumerate(range(start // 8, -(-stop // 8))):
        value |= codes[:, byte].astype(np.int64) << (8 * shift)
    value >>= start % 8
    value &= (1 << (stop - start)) - 1
    return value


@functools.cache
def _masks(bits: int, most: int) -> np.ndarray:
    """Every integer of ``bits`` bits with at most so many ones: int64."""
    masks = [
        sum(1 << bit for bit in chosen) for n in range(most + 1) for chosen in itertools.combinations(range(bits), n)
    ]
    return np.array(masks, np.int64)


def _pair_distances(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Two (n, B) uint8 -> (n,) int64, the distance of each pair of rows."""
    return popcount(as_words(left ^ right)).sum(axis=1, dtype=np.int64)
