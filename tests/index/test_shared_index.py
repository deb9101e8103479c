"""An index that several threads use, and one whose file changes below it: right answers or a named error."""

from __future__ import annotations

import copy
import os
import pickle
import threading
from pathlib import Path

import numpy as np
import pytest
from extras import is_here
from index_examples import make, small, state

from aecodec.contracts import IndexFileError
from aecodec.index.hash_index import HashIndex
from aecodec.search.duplicates import groups

BACKENDS = ["numpy", "native", "multi-index", "auto", *(["faiss"] if is_here("faiss") else [])]


def codes_of(ids: np.ndarray) -> np.ndarray:
    """Each id's own code: (N,) int64 -> (N, 8) uint8, all different."""
    return (ids.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)).view(np.uint8).reshape(-1, 8)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_search_answers_from_one_state_while_threads_add_and_remove(backend):
    index = make(backend=backend)
    low, kept = np.arange(40), np.arange(40, 400)
    index.add(np.concatenate([low, kept]), codes_of(np.concatenate([low, kept])))
    ended = threading.Event()
    right: list[bool] = []

    def change() -> None:
        while not ended.is_set():
            index.remove(low)  # every row after these moves
            index.add(low, codes_of(low))

    def ask(seed: int) -> None:
        rng = np.random.default_rng(seed)
        for wanted in rng.choice(kept, 150).tolist():
            query = codes_of(np.array([wanted]))
            ((found, distance),) = index.search(query, 1).of(0)
            near = index.range_search(query, 0).of(0)
            right.append((found, distance) == (wanted, 0) and near == [(wanted, 0)])

    changing = threading.Thread(target=change)
    asking = [threading.Thread(target=ask, args=(seed,)) for seed in range(3)]
    changing.start()
    for thread in asking:
        thread.start()
    for thread in asking:
        thread.join()
    ended.set()
    changing.join()
    assert right == [True] * 450
    assert len(index) == 400


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("radius", [65, 10**7, 2**31, 2**40, 2**62, 10**30, np.uint64(2**64 - 1)])
def test_a_radius_beyond_the_width_finds_all_as_the_width_does(backend, radius):
    """Without looking at more places than there are."""
    index = make(backend=backend)
    index.add(None, codes_of(np.arange(300)))
    queries = codes_of(np.array([3, 1000]))
    found, expected = index.range_search(queries, radius), index.range_search(queries, 64)
    assert found.limits.tolist() == [0, 300, 600]
    assert [found.of(n) for n in range(2)] == [expected.of(n) for n in range(2)]


def test_threads_that_add_at_once_lose_nothing():
    index = make()

    def add(first: int) -> None:
        for number in range(first, first + 30):
            index.add([number], codes_of(np.array([number])))

    threads = [threading.Thread(target=add, args=(100 * n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert index.ids.tolist() == [100 * n + i for n in range(4) for i in range(30)]
    assert np.array_equal(index.codes, codes_of(index.ids))


def test_rows_that_move_during_a_search_keep_their_ids(monkeypatch):
    """What a thread could do at the worst moment, done at that moment."""
    index = make(backend="numpy")
    index.add(np.arange(10), codes_of(np.arange(10)))
    scanner = index.scanner

    def moved(method):
        def call(*arguments):
            answer = method(*arguments)
            index.remove(index.ids[:1])
            return answer

        return call

    monkeypatch.setattr(scanner, "search", moved(scanner.search))
    assert index.search(codes_of(np.array([5])), 1).of(0) == [(5, 0)]
    monkeypatch.setattr(index.scanner, "range_search", moved(index.scanner.range_search))
    assert index.range_search(codes_of(np.array([7])), 0).of(0) == [(7, 0)]
    assert index.ids.tolist() == list(range(2, 10))


def test_a_snapshot_stays_as_it_was():
    index = small()
    before, kept = state(index), index.snapshot()
    index.remove(index.ids[:3])
    assert state(kept) == before
    kept.remove(kept.ids[:1])
    assert len(index) == 4


def test_groups_are_of_one_state(monkeypatch):
    index = make(paths=True)
    index.add(["a", "b", "c", "d"], np.repeat(codes_of(np.array([1, 2])), 2, axis=0))
    held = HashIndex.scanner_of

    def moved(self, codes):
        if len(index) == 4:
            index.remove(["a"])
        return held(self, codes)

    monkeypatch.setattr(HashIndex, "scanner_of", moved)
    assert [[member.id for member in group] for group in groups(index, 0)] == [["a", "b"], ["c", "d"]]


def mapped(tmp_path: Path, count: int = 5000) -> tuple[HashIndex, Path]:
    """An index whose file is larger than a page, mapped into memory."""
    path, index = tmp_path / "a.hix", make(True, root="/photos")
    index.add([f"picture{number:05}" for number in range(count)], codes_of(np.arange(count)))
    index.save(path)
    return HashIndex.view(path), path


ASKED = {
    "search": lambda index: index.search(np.zeros((1, 8), np.uint8), 3),
    "range_search": lambda index: index.range_search(np.zeros((1, 8), np.uint8), 3),
    "ids": lambda index: index.ids,
    "codes": lambda index: index.codes,
    "stamps": lambda index: index.stamps,
    "add": lambda index: index.add(["new"], np.zeros((1, 8), np.uint8)),
    "remove": lambda index: index.remove(["picture00007"]),
    "snapshot": lambda index: index.snapshot().ids,
    "copy": lambda index: copy.copy(index).ids,
}


@pytest.mark.parametrize("asked", ASKED)
def test_an_index_cut_while_it_is_mapped_is_a_named_error(tmp_path, asked):
    index, path = mapped(tmp_path)
    os.truncate(path, 4096)
    with pytest.raises(IndexFileError, match=r"a\.hix: was changed while it was mapped"):
        ASKED[asked](index)


def test_an_index_written_over_in_place_is_a_named_error(tmp_path):
    index, path = mapped(tmp_path)
    data = bytearray(path.read_bytes())
    data[200] ^= 1
    path.write_bytes(data)
    with pytest.raises(IndexFileError, match="was changed while it was mapped"):
        index.search(np.zeros((1, 8), np.uint8), 3)


def test_an_index_replaced_or_removed_while_it_is_mapped_is_searched_as_it_was(tmp_path):
    index, path = mapped(tmp_path)
    small().save(path, overwrite=True)
    assert index.search(codes_of(np.array([4321])), 1).of(0) == [("picture04321", 0)]
    path.unlink()
    assert index.search(codes_of(np.array([7])), 1).of(0) == [("picture00007", 0)]


@pytest.mark.parametrize("of_a_file", [False, True])
def test_an_index_can_be_sent_to_another_process(tmp_path, of_a_file):
    index = mapped(tmp_path, 100)[0] if of_a_file else small()
    index.search(np.zeros((1, 8), np.uint8), 3)
    before = state(index)
    again = pickle.loads(pickle.dumps(index))
    if of_a_file:
        os.truncate(tmp_path / "a.hix", 128)
    assert state(again) == before
    again.remove(again.ids[:1])
    assert len(again.search(np.zeros((1, 8), np.uint8), 3).of(0)) == 3
