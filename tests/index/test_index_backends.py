"""Hamming backends: the oracle is the definition, every backend of the table is the oracle, ties included."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from extras import needs
from hypothesis import given
from hypothesis import strategies as st

from aecodec.contracts import MissingDependencyError, Scanner, UnknownName, UsageError
from aecodec.index import INDEXES, backend
from aecodec.index.codes import BLOCK, TILE, hamming_distances, popcount, select
from aecodec.index.oracle import NumpyScanner
from aecodec.index.ties import range_by_search, settle


def named(device: str) -> list:
    def marks(name: str) -> list:
        return [*([pytest.mark.gpu] if device == "cuda" else []), *([needs("faiss")] if "faiss" in name else [])]

    return [pytest.param(name, marks=marks(name)) for name, entry in sorted(INDEXES.items()) if entry.device == device]


ALL = [*named("cpu"), *named("cuda")]


def random_codes(count: int, width: int, seed: int, distinct: int | None = None) -> np.ndarray:
    """(count, width) uint8; of few distinct rows where ``distinct`` says so, so that ties abound."""
    rng = np.random.default_rng(seed)
    if distinct is None:
        return rng.integers(0, 256, (count, width), np.uint8)
    return rng.integers(0, 256, (distinct, width), np.uint8)[rng.integers(0, distinct, count)]


def brute_force(codes: np.ndarray, query: np.ndarray) -> list[tuple[int, int]]:
    """All (distance, row) in order, by unpacking every bit."""
    found = np.unpackbits(codes ^ query, axis=1).sum(axis=1)
    return sorted(zip(found.tolist(), range(len(codes)), strict=True))


def as_pairs(rows: np.ndarray, found: np.ndarray) -> list[tuple[int, int]]:
    return list(zip(found.tolist(), rows.tolist(), strict=True))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32, np.uint64])
def test_popcount_counts_ones(dtype):
    size = np.dtype(dtype).itemsize
    words = np.concatenate(
        [random_codes(500, size, 0), np.zeros((1, size), np.uint8), np.full((1, size), 255, np.uint8)]
    )
    expected = np.unpackbits(words, axis=1).sum(axis=1)
    assert np.array_equal(popcount(words.view(dtype).ravel().copy()), expected)


@given(count=st.integers(0, 9), width=st.integers(1, 9), dtype=st.sampled_from([np.uint8, np.int64]), data=st.data())
def test_rows_are_selected_by_masks_and_numbers(count, width, dtype, data):
    table = np.arange(count * width, dtype=dtype).reshape(count, width)
    mask = np.array(data.draw(st.lists(st.booleans(), min_size=count, max_size=count)), bool)
    assert np.array_equal(select(table, mask), table[mask])
    numbers = np.flatnonzero(mask)[::-1]
    assert np.array_equal(select(table, numbers), table[numbers])


@given(width=st.integers(1, 33), seed=st.integers(0, 99))
def test_distances_are_those_of_unpacked_bits(width, seed):
    queries, codes = random_codes(3, width, seed), random_codes(7, width, seed + 1)
    expected = np.unpackbits(queries[:, None] ^ codes[None], axis=2).sum(axis=2)
    found = hamming_distances(queries, codes)
    assert found.dtype == np.uint16
    assert np.array_equal(found, expected)


def test_distances_of_many_rows_and_of_the_widest_codes():
    queries, codes = random_codes(2 * TILE + 1, 8, 0), random_codes(BLOCK + 5, 8, 1)
    expected = np.unpackbits(queries[-1:] ^ codes, axis=1).sum(axis=1)
    assert np.array_equal(hamming_distances(queries, codes)[-1], expected)
    zeros = np.zeros((1, 1 << 13), np.uint8)
    assert hamming_distances(zeros, zeros ^ 255)[0, 0] == 1 << 16


def test_distances_are_between_packed_codes_of_one_width():
    with pytest.raises(UsageError, match="queries have 16 bits, the index has 24"):
        hamming_distances(np.zeros((1, 2), np.uint8), np.zeros((1, 3), np.uint8))
    with pytest.raises(UsageError, match="queries are a"):
        hamming_distances(np.zeros((1, 2)), np.zeros((1, 2), np.uint8))


@given(
    count=st.integers(0, 40),
    width=st.sampled_from([1, 2, 3, 4, 8, 12, 16, 32]),
    k=st.integers(1, 50),
    radius=st.integers(0, 300),
    distinct=st.sampled_from([None, 1, 4]),
    seed=st.integers(0, 999),
)
def test_the_oracle_is_the_definition(count, width, k, radius, distinct, seed):
    codes = random_codes(count, width, seed, distinct)
    queries = np.concatenate([random_codes(2, width, seed + 1), codes[:1]])
    scanner = NumpyScanner(codes)
    rows, found = scanner.search(queries, k)
    limits, near, near_found = scanner.range_search(queries, radius)
    assert rows.shape == found.shape == (len(queries), min(k, count))
    assert (rows.dtype, found.dtype, limits.dtype, near.dtype, near_found.dtype) == (
        np.int64,
        np.int32,
        np.int64,
        np.int64,
        np.int32,
    )
    for number, query in enumerate(queries):
        expected = brute_force(codes, query)
        assert as_pairs(rows[number], found[number]) == expected[:k]
        part = slice(limits[number], limits[number + 1])
        assert as_pairs(near[part], near_found[part]) == [hit for hit in expected if hit[0] <= radius]


def test_the_oracle_agrees_across_its_blocks():
    codes = random_codes(40_000, 2, 3)  # three blocks; 65,536 possible codes, so every distance is tied
    queries = random_codes(19, 2, 4)  # two tiles
    rows, found = NumpyScanner(codes).search(queries, 50)
    for number, query in enumerate(queries):
        assert as_pairs(rows[number], found[number]) == brute_force(codes, query)[:50]


@pytest.mark.parametrize("name", ALL)
class TestEveryBackend:
    """A new line in INDEXES is held to these unaided."""

    def build(self, name: str, codes: np.ndarray) -> Scanner:
        return INDEXES[name].load()(codes)

    @pytest.mark.parametrize("width", [4, 8, 16, 32])
    @pytest.mark.parametrize(("count", "distinct"), [(1, None), (300, None), (300, 1), (3000, 7), (40_000, 3000)])
    def test_equals_the_oracle(self, name, width, count, distinct):
        codes = random_codes(count, width, count, distinct)
        queries = np.concatenate([random_codes(3, width, 9), codes[:2], codes[-1:] ^ 1])
        ours, oracle = self.build(name, codes), NumpyScanner(codes)
        assert isinstance(ours, Scanner)
        for k in (1, 10, 100, count + 5):
            rows, found = ours.search(queries, k)
            expected_rows, expected = oracle.search(queries, k)
            assert (rows.shape, rows.dtype, found.dtype) == (expected_rows.shape, np.int64, np.int32)
            assert np.array_equal(found, expected)
            assert np.array_equal(rows, expected_rows)
        for radius in (0, 1, 2 * width):
            limits, rows, found = ours.range_search(queries, radius)
            expected_limits, expected_rows, expected = oracle.range_search(queries, radius)
            assert (limits.dtype, rows.dtype, found.dtype) == (np.int64, np.int64, np.int32)
            assert np.array_equal(limits, expected_limits)
            assert np.array_equal(rows, expected_rows)
            assert np.array_equal(found, expected)

    def test_no_codes_and_no_queries(self, name):
        empty = self.build(name, np.empty((0, 8), np.uint8))
        rows, found = empty.search(random_codes(2, 8, 0), 3)
        assert rows.shape == found.shape == (2, 0)
        limits, rows, found = empty.range_search(random_codes(2, 8, 0), 3)
        assert (limits.tolist(), len(rows), len(found)) == ([0, 0, 0], 0, 0)
        rows, found = self.build(name, random_codes(5, 8, 0)).search(np.empty((0, 8), np.uint8), 3)
        assert rows.shape == found.shape == (0, 3)

    def test_bad_arguments_are_named(self, name):
        scanner = self.build(name, random_codes(5, 8, 0))
        query = random_codes(1, 8, 0)
        for call in (
            lambda: self.build(name, np.zeros((3, 8))),
            lambda: self.build(name, np.zeros(8, np.uint8)),
            lambda: scanner.search(query, 0),
            lambda: scanner.search(query, 1.5),
            lambda: scanner.search(query[:, :4], 1),
            lambda: scanner.search(query[0], 1),
            lambda: scanner.range_search(query, -1),
            lambda: scanner.range_search(query[:, :4].copy(), 1),
        ):
            with pytest.raises(UsageError):
                call()

    def test_a_memory_map_is_searched_as_it_is(self, name, tmp_path):
        codes = random_codes(1000, 8, 0)
        codes.tofile(tmp_path / "codes")
        mapped = np.memmap(tmp_path / "codes", np.uint8, "r", shape=codes.shape)
        ours = self.build(name, mapped).search(codes[:3], 1)
        assert ours[0].ravel().tolist() == [0, 1, 2]


@given(count=st.integers(1, 60), k=st.integers(1, 20), more=st.integers(0, 10), seed=st.integers(0, 999))
def test_arbitrary_ties_are_settled(count, k, more, seed):
    """An engine may choose and order hits of one distance as it likes; what comes out is the oracle's."""
    codes, rng = random_codes(count, 1, seed, 5), np.random.default_rng(seed)
    queries = random_codes(4, 1, seed + 1)
    k = min(k, count)
    m = min(k + more, count)
    true = hamming_distances(queries, codes)
    shuffled = np.lexsort((rng.random(true.shape), true), axis=-1)[:, :m]
    rows, found = settle(codes, queries, shuffled, np.take_along_axis(true, shuffled, 1), k)
    expected_rows, expected = NumpyScanner(codes).search(queries, k)
    assert np.array_equal(rows, expected_rows)
    assert np.array_equal(found, expected)


@given(
    count=st.integers(1, 300), radius=st.integers(0, 20), distinct=st.sampled_from([None, 3]), seed=st.integers(0, 99)
)
def test_a_range_is_found_by_asking_for_more_and_more(count, radius, distinct, seed):
    codes, queries = random_codes(count, 2, seed, distinct), random_codes(3, 2, seed + 1)
    oracle = NumpyScanner(codes)
    hits = range_by_search(oracle.search, queries, radius, count, most=count)
    assert hits is not None
    for ours, expected in zip(hits, oracle.range_search(queries, radius), strict=True):
        assert ours.dtype == expected.dtype
        assert np.array_equal(ours, expected)
    few = range_by_search(oracle.search, codes[:1], 16, count, most=64)
    assert (few is None) == (count > 64)


@needs("faiss")
def test_faiss_leaves_the_thread_count_of_the_process_alone():
    import faiss

    before = faiss.omp_get_max_threads()
    try:
        faiss.omp_set_num_threads(3)
        scanner = INDEXES["faiss"].load()(random_codes(2000, 8, 0))
        scanner.search(random_codes(40, 8, 1), 3)
        scanner.range_search(random_codes(40, 8, 1), 20)
        assert faiss.omp_get_max_threads() == 3
    finally:
        faiss.omp_set_num_threads(before)


@needs("faiss")
def test_a_device_that_is_not_there_is_an_error_and_no_abort():
    code = (
        "import numpy as np; from aecodec.contracts import UsageError; from aecodec.index import INDEXES\n"
        "try: INDEXES['faiss-gpu'].load()(np.zeros((3, 8), np.uint8), device=63)\n"
        "except UsageError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "CUDA device 63 was asked for" in done.stdout


def test_without_faiss_its_backends_say_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(MissingDependencyError, match=r"aecodec\[search\]"):
        INDEXES["faiss"].load()(random_codes(3, 8, 0))


def test_an_unknown_backend_is_named():
    with pytest.raises(UnknownName, match="numpy"):
        backend("usearch")
