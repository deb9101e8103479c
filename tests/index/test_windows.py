"""Indexes with windows: a picture is found by the nearest two codes, once, whatever the backend; files hold it all."""

from __future__ import annotations

import numpy as np
import pytest
from extras import is_here
from hypothesis import given, settings
from hypothesis import strategies as st
from index_examples import make, state

from aecodec.contracts import UnsupportedIndexError, UsageError
from aecodec.index import storage
from aecodec.index.hash_index import HashIndex
from aecodec.index.hits import WindowHits
from aecodec.index.windows import LAYOUT, LAYOUTS, WHOLE, apart, window_of

COUNT = len(LAYOUTS[LAYOUT])
BACKENDS = ["numpy", "native", "multi-index", "auto", *(["faiss"] if is_here("faiss") else [])]


def sets_of(count: int, seed: int, bits: int = 3) -> np.ndarray:
    """(count, 1 + W, 2) uint8 of few bits, so that most distances are tied."""
    return np.random.default_rng(seed).integers(0, bits + 1, (count, 1 + COUNT, 2), np.uint8)


def index_of(sets: np.ndarray, paths: bool = True, backend: str = "numpy") -> HashIndex:
    index = make(paths, 16, layout=LAYOUT, backend=backend)
    index.add([f"{n:03d}" for n in range(len(sets))] if paths else None, sets[:, 0], windows=sets[:, 1:])
    return index


def bits_apart(a: np.ndarray, b: np.ndarray) -> int:
    return sum((int(x) ^ int(y)).bit_count() for x, y in zip(a, b, strict=True))


def nearest_pair(query: np.ndarray, one: np.ndarray) -> tuple[int, int, int]:
    """By the rule, pair by pair: distance, the query's code, the picture's code."""
    pairs = [(0, theirs) for theirs in range(len(one))] + [(own, 0) for own in range(1, len(query))]
    return min(((bits_apart(query[own], one[theirs]), own, theirs) for own, theirs in pairs), key=lambda pair: pair[0])


def oracle(query: np.ndarray, sets: np.ndarray, k: int | None, radius: int | None) -> list[tuple[str, int, int, int]]:
    found = sorted((*nearest_pair(query, one)[:1], row, *nearest_pair(query, one)[1:]) for row, one in enumerate(sets))
    return [(f"{row:03d}", d, own, theirs) for d, row, own, theirs in found if radius is None or d <= radius][:k]


def listed(hits: WindowHits) -> list[tuple[str, int, int, int]]:
    columns = (hits.ids, hits.distances, hits.own, hits.theirs)
    return list(zip(*(column.tolist() for column in columns), strict=True))


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 9999),
    count=st.integers(0, 14),
    k=st.none() | st.integers(1, 16),
    radius=st.none() | st.integers(0, 5),
    bits=st.sampled_from([1, 3, 255]),
)
def test_every_backend_finds_each_picture_once_by_its_nearest_codes(seed, count, k, radius, bits):
    sets, query = sets_of(count, seed, bits), sets_of(1, seed + 1, bits)[0]
    expected = oracle(query, sets, k, radius)
    for backend in BACKENDS:
        assert listed(index_of(sets, backend=backend).search_windows(query, k, radius)) == expected, backend


def test_the_rule_compares_no_two_windows():
    zeros, ones = np.zeros((1 + COUNT, 2), np.uint8), np.full((1 + COUNT, 2), 255, np.uint8)
    query, other = zeros.copy(), ones.copy()
    query[5] = other[7] = 15
    assert apart(query, other[None, 0], other[None, 1:]).distances.tolist() == [8]
    other[7] = 0
    found = apart(query, other[None, 0], other[None, 1:])
    assert (found.distances[0], found.own[0], found.theirs[0]) == (0, 0, 7)
    query[0], query[5] = 85, 255
    found = apart(query, other[None, 0], other[None, 1:])
    assert (found.distances[0], found.own[0], found.theirs[0]) == (0, 5, 0)
    assert window_of(LAYOUT, 0) == WHOLE


@pytest.mark.parametrize("layout", LAYOUTS)
def test_windows_lie_inside_the_picture_and_none_is_there_twice(layout):
    windows = LAYOUTS[layout]
    assert len(set(windows)) == len(windows)
    for one in windows:
        assert min(one.left, one.top) >= 0
        assert min(one.width, one.height) > 0
        assert max(one.left + one.width, one.top + one.height) <= 1 + 1e-12
    assert layout < 256


@pytest.mark.parametrize("paths", [True, False])
def test_a_file_holds_windows_and_a_view_maps_them(tmp_path, paths):
    sets = sets_of(5, 3)
    index = index_of(sets, paths)
    index.save(tmp_path / "a.hix")
    assert (tmp_path / "a.hix").read_bytes()[4] == storage.WINDOWED
    for read in (HashIndex.load, HashIndex.view):
        back = read(tmp_path / "a.hix")
        assert state(back) == state(index)
        assert (back.layout, back.windows.tolist()) == (LAYOUT, sets[:, 1:].tolist())
        assert listed(back.search_windows(sets[2], 3)) == listed(index.search_windows(sets[2], 3))


def test_an_index_without_windows_is_written_as_ever_and_takes_sets_of_one(tmp_path):
    index = make(True, 16)
    index.add(["a", "b"], np.array([[1, 0], [3, 0]], np.uint8))
    index.save(tmp_path / "a.hix")
    assert (tmp_path / "a.hix").read_bytes()[4] == storage.PLAIN
    assert listed(index.search_windows(np.array([[3, 0]], np.uint8), 2)) == [("b", 0, 0, 0), ("a", 1, 0, 0)]


def test_rows_keep_their_windows_when_others_come_and_go():
    sets = sets_of(9, 4)
    index = make(True, 16, layout=LAYOUT)
    order = np.random.default_rng(0).permutation(9)
    for part in np.array_split(order, 3):
        index.add([f"{n:03d}" for n in part], sets[part, 0], windows=sets[part, 1:])
    index.add(["004"], sets[:1, 0], windows=sets[:1, 1:], replace=True)
    index.remove(["001", "007"])
    kept = [0, 2, 3, 0, 5, 6, 8]
    assert index.windows.tolist() == sets[kept, 1:].tolist()
    assert index.codes.tolist() == sets[kept, 0].tolist()


def test_windows_that_lack_or_do_not_belong_are_named(tmp_path):
    sets = sets_of(2, 5)
    with pytest.raises(
        UsageError, match=rf"codes of windows are \(2, {COUNT}, 2\) uint8 in this index, got \(2, 0, 2\)"
    ):
        make(True, 16, layout=LAYOUT).add(["a", "b"], sets[:, 0])
    with pytest.raises(UsageError, match=r"\(2, 0, 2\) uint8 in this index"):
        make(True, 16).add(["a", "b"], sets[:, 0], windows=sets[:, 1:])
    with pytest.raises(UsageError, match="layouts of windows are 0, 1, got 9"):
        make(True, 16, layout=9)
    with pytest.raises(UsageError, match=f"a picture has {1 + COUNT} codes in this index, got 1"):
        index_of(sets).search_windows(sets[0, :1], 1)
    with pytest.raises(UsageError, match="k is an integer"):
        index_of(sets).search_windows(sets[0], 0)
    with pytest.raises(UsageError, match="radius"):
        index_of(sets).search_windows(sets[0], None, -1)


def test_a_layout_of_a_later_program_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(LAYOUTS, 77, (WHOLE,))
    later = make(True, 16, layout=77)
    later.save(tmp_path / "a.hix")
    monkeypatch.delitem(LAYOUTS, 77)
    with pytest.raises(UnsupportedIndexError, match="layout of windows 77; this program knows 1"):
        HashIndex.load(tmp_path / "a.hix")
