"""The native backend: every engine equals the oracle, whatever width, k, ties and threads; building, falling back."""

from __future__ import annotations

import threading
import tracemalloc

import numpy as np
import pytest
from extras import is_here, needs
from hypothesis import given, settings
from hypothesis import strategies as st

from aecodec.contracts import MissingDependencyError, UsageError
from aecodec.index import native
from aecodec.index.choice import AutoScanner, choose
from aecodec.index.keys import ROW_BITS, merge_nearest, merge_within, unpack
from aecodec.index.multi_index import MultiIndexScanner
from aecodec.index.native import NativeScanner, engine
from aecodec.index.oracle import NumpyScanner, _hits

WIDTHS = [1, 2, 3, 4, 5, 8, 11, 16, 24, 32, 40, 64, 65, 120, 129]


def make_codes(count: int, width: int, seed: int, kind: str) -> np.ndarray:
    """(count, width) uint8: random, clustered, constant, or of two values a bit apart (all ties)."""
    rng = np.random.default_rng(seed)
    if kind == "random":
        return rng.integers(0, 256, (count, width), np.uint8)
    if kind == "clustered":
        near = rng.integers(0, 256, (5, width), np.uint8)[rng.integers(0, 5, count)]
        return near ^ np.where(rng.random((count, width)) < 0.2, 1 << rng.integers(0, 8, (count, width)), 0).astype(
            np.uint8
        )
    codes = np.full((count, width), 173, np.uint8)
    if kind == "ties":
        codes[rng.random(count) < 0.5, 0] ^= 1
    return codes


def assert_same(ours: tuple, expected: tuple) -> None:
    for mine, oracle in zip(ours, expected, strict=True):
        assert (mine.dtype, mine.shape) == (oracle.dtype, oracle.shape)
        assert np.array_equal(mine, oracle)


@pytest.mark.parametrize("name", ["c", pytest.param("numba", marks=needs("numba"))])
class TestEngines:
    @settings(max_examples=60)
    @given(
        count=st.sampled_from([1, 2, 63, 64, 65, 511, 512, 513, 1024, 2049, 5000]),
        width=st.sampled_from(WIDTHS),
        queries=st.integers(1, 40),
        k=st.integers(1, 90),
        radius=st.floats(0, 1),
        kind=st.sampled_from(["random", "clustered", "constant", "ties"]),
        threads=st.integers(1, 3),
        seed=st.integers(0, 999),
    )
    def test_equals_the_oracle(self, name, count, width, queries, k, radius, kind, threads, seed):
        codes = make_codes(count, width, seed, kind)
        asked = np.concatenate([make_codes(queries, width, seed + 1, "random"), codes[:1], codes[-1:]])
        ours, oracle = NativeScanner(codes, threads=threads, engine_name=name), NumpyScanner(codes)
        assert_same(ours.search(asked, k), oracle.search(asked, k))
        radius = int(radius * 8 * width) + 1
        assert_same(ours.range_search(asked, radius), oracle.range_search(asked, radius))

    def test_many_chunks_and_threads(self, name):
        codes = make_codes(400_000, 8, 0, "clustered")
        asked = np.concatenate([codes[::40_000], make_codes(3, 8, 1, "random")])
        ours, oracle = NativeScanner(codes, threads=4, engine_name=name), NumpyScanner(codes)
        for part in (asked[:1], asked):
            assert_same(ours.search(part, 500), oracle.search(part, 500))
            assert_same(ours.range_search(part, 20), oracle.range_search(part, 20))

    def test_rows_that_come_ever_nearer(self, name):
        """Every row displaces another: the heap is touched by all of them."""
        ones = np.arange(64, -1, -1).repeat(40)
        codes = np.packbits(np.arange(64)[None] < ones[:, None], axis=1)
        asked = np.zeros((20, 8), np.uint8)
        assert_same(NativeScanner(codes, engine_name=name).search(asked, 300), NumpyScanner(codes).search(asked, 300))

    def test_codes_are_not_copied(self, name, tmp_path):
        make_codes(1_000_000, 8, 0, "random").tofile(tmp_path / "codes")
        mapped = np.memmap(tmp_path / "codes", np.uint8, "r", shape=(1_000_000, 8))
        scanner, asked = NativeScanner(mapped, engine_name=name), make_codes(100, 8, 1, "random")
        scanner.search(asked, 10)
        tracemalloc.start()
        scanner.search(asked, 10)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < mapped.nbytes / 10

    def test_several_threads_may_ask_at_once(self, name):
        codes = make_codes(60_000, 16, 0, "clustered")
        scanner = NativeScanner(codes, threads=2, engine_name=name)
        expected = NumpyScanner(codes).search(codes[:20], 50)
        results: list[tuple] = []
        askers = [threading.Thread(target=lambda: results.append(scanner.search(codes[:20], 50))) for _ in range(6)]
        for asker in askers:
            asker.start()
        for asker in askers:
            asker.join()
        assert len(results) == 6
        for found in results:
            assert_same(found, expected)


def test_unknown_engines_and_threads_are_named():
    with pytest.raises(UsageError, match="c, numba, numpy"):
        NativeScanner(np.zeros((1, 8), np.uint8), engine_name="fortran")
    with pytest.raises(UsageError, match="threads"):
        NativeScanner(np.zeros((1, 8), np.uint8), threads=0)


class TestFallingBack:
    def missing(self, monkeypatch, *names: str) -> None:
        original = native._open

        def refuse(name: str):
            if name in names:
                raise MissingDependencyError(f"no {name}")
            return original(name)

        monkeypatch.setattr(native, "_open", refuse)
        monkeypatch.setattr(native, "engine", engine.__wrapped__)

    @needs("numba")
    def test_to_numba_then_to_numpy(self, monkeypatch):
        codes = make_codes(1000, 8, 0, "clustered")
        expected = NumpyScanner(codes).search(codes[:3], 5)
        self.missing(monkeypatch, "c")
        scanner = NativeScanner(codes)
        assert (scanner.engine, scanner.reason) == ("numba", "no c")
        assert_same(scanner.search(codes[:3], 5), expected)
        self.missing(monkeypatch, "c", "numba")
        scanner = NativeScanner(codes)
        assert (scanner.engine, scanner.reason) == ("numpy", "no c; no numba")
        assert_same(scanner.search(codes[:3], 5), expected)
        assert_same(scanner.range_search(codes[:3], 20), NumpyScanner(codes).range_search(codes[:3], 20))

    def test_an_engine_asked_for_by_name_is_missed(self, monkeypatch):
        self.missing(monkeypatch, "c")
        with pytest.raises(MissingDependencyError, match="no c"):
            NativeScanner(make_codes(1, 8, 0, "random"), engine_name="c")


def test_the_oracles_hits_do_not_overflow():
    assert _hits(np.array([64], np.int32), np.array([5]), 100_000_000).tolist() == [6_400_000_005]


class TestKeys:
    @given(
        st.lists(st.tuples(st.integers(0, 512), st.integers(0, 1 << 40)), min_size=1, max_size=20), st.integers(1, 20)
    )
    def test_their_order_is_that_of_hits(self, hits, k):
        keys = np.array([[d << ROW_BITS | row for d, row in hits]], np.uint64)
        k = min(k, len(hits))
        rows, distances = unpack(merge_nearest([keys[:, ::2], keys[:, 1::2]], k))
        assert list(zip(distances[0].tolist(), rows[0].tolist(), strict=True)) == sorted(hits)[:k]

    @given(
        st.lists(st.tuples(st.integers(0, 6), st.integers(0, 512), st.integers(0, 1 << 40)), max_size=20),
        st.sampled_from([7, 1 << 15]),
    )
    def test_hits_of_several_queries_are_put_in_order(self, hits, queries):
        """Also where query, distance and row do not fit in one integer."""
        found = np.array([[q, d << ROW_BITS | row] for q, d, row in hits], np.uint64).reshape(-1, 2)
        limits, rows, distances = merge_within([found[::2], found[1::2]], queries)
        numbers = np.repeat(np.arange(queries), np.diff(limits))
        assert list(zip(numbers.tolist(), distances.tolist(), rows.tolist(), strict=True)) == sorted(hits)

    def test_hits_of_no_query(self):
        limits, rows, distances = merge_within([np.empty((0, 2), np.uint64)], 3)
        assert (limits.tolist(), len(rows), len(distances)) == ([0, 0, 0, 0], 0, 0)


class TestMultiIndex:
    @settings(max_examples=50)
    @given(
        count=st.integers(0, 600),
        width=st.sampled_from([1, 2, 3, 4, 8, 9, 16]),
        queries=st.integers(0, 9),
        radius=st.integers(0, 9),
        parts=st.sampled_from([None, 1, 2, 3, 5]),
        dear=st.sampled_from([((1e-9,) * 2,) * 2, ((800, 8000), (100, 1000))]),
        engine_name=st.sampled_from([name for name in ("c", "numba") if name == "c" or is_here(name)]),
        together=st.sampled_from([5, 1000]),
        kind=st.sampled_from(["random", "clustered", "constant", "ties"]),
        seed=st.integers(0, 999),
    )
    def test_equals_the_oracle(self, count, width, queries, radius, parts, dear, engine_name, together, kind, seed):
        codes = make_codes(count, width, seed, kind)
        asked = np.concatenate([make_codes(queries, width, seed + 1, "random"), codes[:2]])
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("aecodec.index.multi_index._DEAR", dear)
            patch.setattr("aecodec.index.multi_index._TOGETHER", together)
            patch.setattr("aecodec.index.multi_index._MOST_BITS", 12)
            patch.setattr("aecodec.index.multi_index._SHARE", 2)
            ours = MultiIndexScanner(codes, parts=parts, threads=2)
            ours._scan = NativeScanner(codes, threads=2, engine_name=engine_name)
            assert_same(ours.range_search(asked, radius), NumpyScanner(codes).range_search(asked, radius))


class TestChoice:
    def test_few_codes_need_no_compiled_kernel(self):
        assert choose(1000, 64, 1, "cpu")[0] == "numpy"

    def test_many_codes_do(self):
        name, reason = choose(10_000_000, 64, 1, "cpu")
        assert name == "native"
        assert "10,000,000" in reason

    def test_without_compiled_kernels_faiss_is_next(self, monkeypatch):
        monkeypatch.setattr("aecodec.index.choice._native_engine", lambda: "numpy")
        assert choose(10_000_000, 64, 1, "cpu")[0] in ("faiss", "numpy")

    @needs("torch")
    def test_a_device_without_triton_leaves_the_processor(self, monkeypatch):
        def missing(codes: np.ndarray) -> None:
            raise MissingDependencyError("no Triton")

        monkeypatch.setattr("aecodec.index.cuda.CudaScanner", missing)
        monkeypatch.setattr("aecodec.index.choice._DEVICE", 100)
        codes = make_codes(1000, 8, 0, "random")
        scanner = AutoScanner(codes, device="cuda")
        assert scanner.choice()[0] == "cuda"
        assert_same(scanner.search(codes[:2], 3), NumpyScanner(codes).search(codes[:2], 3))

    def test_a_device_gets_what_is_worth_the_way(self):
        assert choose(100_000_000, 64, 1, "cuda")[0] == "cuda"
        assert choose(1_000_000, 64, 4096, "cuda")[0] == "cuda"
        assert choose(1000, 64, 1, "cuda")[0] != "cuda"
