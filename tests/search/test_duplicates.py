"""Groups of near-duplicates are those of the brute-force definition: near the first, and no chains."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aecodec.contracts import IndexFileError, UsageError
from aecodec.index.codes import hamming_distances
from aecodec.index.hash_index import HashIndex
from aecodec.search import duplicates
from aecodec.search.duplicates import groups, near


def gathered(codes: np.ndarray, sizes: list[int], radius: int, sources: np.ndarray) -> list[list[int]]:
    """Groups by their definition: from the largest file down, each free row gathers the free ones behind it."""
    both, free = len(set(sources.tolist())) == 2, set(range(len(codes)))
    found = []
    for first in sorted(free, key=lambda row: (-sizes[row], f"{row:03d}")):
        if first not in free:
            continue
        free.remove(first)
        group = [row for row in sorted(free) if hamming_distances(codes[[first]], codes[[row]])[0, 0] <= radius]
        if group and (not both or len({int(sources[row]) for row in [first, *group]}) == 2):
            found.append([first, *group])
            free -= set(group)
    return found


def index_of(codes: np.ndarray, first: int = 0, backend: str = "numpy") -> HashIndex:
    index = HashIndex(hasher="a", fingerprint=bytes(8), n_bits=16, paths=True, root="/r", backend=backend)
    sizes = np.random.default_rng(len(codes)).integers(0, 5, (len(codes), 2))
    index.add([f"{first + n:03d}" for n in range(len(codes))], codes, stamps=sizes)
    return index


@given(seed=st.integers(0, 9999), count=st.integers(0, 25), radius=st.integers(0, 4), bits=st.integers(1, 255))
def test_groups_are_what_their_definition_says(seed, count, radius, bits):
    codes = np.random.default_rng(seed).integers(0, 256, (count, 2), np.uint8) & np.uint8(bits)
    index = index_of(codes)
    found = groups(index, radius)
    sizes = [] if index.stamps is None else index.stamps[:, 1].tolist()
    expected = gathered(codes, sizes, radius, np.zeros(count, int))
    assert {(int(m[0].id), frozenset(int(x.id) for x in m)) for m in found} == {(m[0], frozenset(m)) for m in expected}
    assert [members[0].id for members in found] == sorted(members[0].id for members in found)
    named = [member.id for members in found for member in members]
    assert len(named) == len(set(named))
    for members in found:
        assert members[0].size == max(m.size for m in members)
        order = [(m.distance, m.id) for m in members[1:]]
        assert order == sorted(order)
        for m in members:
            assert m.distance == hamming_distances(codes[[int(members[0].id)]], codes[[int(m.id)]])[0, 0] <= radius


@given(seed=st.integers(0, 9999), count=st.integers(2, 25), radius=st.integers(0, 4), bits=st.integers(1, 255))
def test_groups_between_two_indexes_have_members_of_both(seed, count, radius, bits):
    codes = np.random.default_rng(seed).integers(0, 256, (count, 2), np.uint8) & np.uint8(bits)
    cut = 1 + seed % (count - 1)
    left, right = index_of(codes[:cut]), index_of(codes[cut:], first=cut)
    found = groups(left, radius, right)
    sizes = [*left.stamps[:, 1].tolist(), *right.stamps[:, 1].tolist()]
    expected = gathered(codes, sizes, radius, (np.arange(count) >= cut).astype(int))
    assert {frozenset(int(m.id) for m in members) for members in found} == set(map(frozenset, expected))
    assert all({m.source for m in members} == {0, 1} for members in found)


def test_there_are_no_chains():
    """Each one bit from the next: whoever follows links finds all of them."""
    codes = np.array([[0], [1], [3], [7], [15], [31], [63], [127]], np.uint8)
    index = HashIndex(hasher="a", fingerprint=bytes(8), n_bits=8, paths=True, root="/r")
    index.add(list("abcdefgh"), codes, stamps=np.ones((8, 2), int))
    assert [[m.id for m in members] for members in groups(index, 1)] == [["a", "b"], ["c", "d"], ["e", "f"], ["g", "h"]]
    assert max(m.distance for members in groups(index, 3) for m in members) == 3


def test_many_groups_are_found_batch_by_batch(monkeypatch):
    codes = np.random.default_rng(0).integers(0, 256, (300, 2), np.uint8)
    whole = groups(index_of(codes), 1)
    monkeypatch.setattr(duplicates, "_BATCH", 3)
    assert groups(index_of(codes), 1) == whole
    assert len(whole) > 3


@pytest.mark.parametrize(
    ("n_bits", "bits"), [(8, 0), (32, 0), (64, 1), (96, 1), (128, 5), (192, 7), (256, 14), (512, 28), (4096, 224)]
)
def test_the_usual_distance_grows_with_the_code(n_bits, bits):
    assert near(n_bits) == bits
    assert near(n_bits, windows=True) >= bits


def test_a_file_in_both_indexes_is_no_duplicate_of_itself():
    codes = np.array([[0, 0], [0, 1], [255, 255]], np.uint8)
    index = index_of(codes)
    found = groups(index, 1, index)
    assert [sorted(member.id for member in members) for members in found] == [["000", "001"]]
    other = index_of(codes[2:], first=2)
    assert groups(index, 1, other) == []


def test_groups_need_two_indexes_of_one_hasher():
    codes = np.zeros((2, 2), np.uint8)
    other = HashIndex(hasher="b", fingerprint=bytes(8), n_bits=16, paths=True)
    with pytest.raises(IndexFileError, match="built with hasher b"):
        groups(index_of(codes), 1, other)
    with pytest.raises(IndexFileError, match="16 and 8 bits"):
        groups(index_of(codes), 1, HashIndex(hasher="a", fingerprint=bytes(8), n_bits=8, paths=True))
    with pytest.raises(UsageError, match="radius"):
        groups(index_of(codes), -1)


def test_many_copies_are_one_group_and_one_query(monkeypatch):
    asked = []
    real = HashIndex.scanner_of

    def counted(index, codes):
        asked.append(len(codes))
        return real(index, codes)

    monkeypatch.setattr(HashIndex, "scanner_of", counted)
    codes = np.zeros((20_000, 2), np.uint8)
    codes[7] = 255
    assert [len(members) for members in groups(index_of(codes), 2)] == [19_999]
    assert asked == [2]


def ranked(members):
    """Odd ids first, from the last; every seventh is in no group."""
    return [None if int(m.id) % 7 == 0 else (int(m.id) % 2 == 0, -int(m.id)) for m in members]


@given(seed=st.integers(0, 9999), count=st.integers(0, 25), radius=st.integers(0, 4), bits=st.integers(1, 255))
def test_ranked_groups_are_gathered_in_that_order(seed, count, radius, bits):
    codes = np.random.default_rng(seed).integers(0, 256, (count, 2), np.uint8) & np.uint8(bits)
    free, expected = {row for row in range(count) if row % 7}, []
    for first in sorted(free, key=lambda row: (row % 2 == 0, -row)):
        if first not in free:
            continue
        free.remove(first)
        if group := {row for row in free if hamming_distances(codes[[first]], codes[[row]])[0, 0] <= radius}:
            expected.append((first, frozenset({first, *group})))
            free -= group
    found = groups(index_of(codes), radius, rank=ranked)
    assert {(int(m[0].id), frozenset(int(x.id) for x in m)) for m in found} == set(expected)


def test_only_pictures_that_are_near_others_are_ranked():
    asked = []

    def rank(members):
        asked.extend(int(member.id) for member in members)
        return ranked(members)

    codes = np.array([[0, 0], [255, 0], [255, 1], [255, 255], [15, 240], [15, 240]], np.uint8)
    groups(index_of(codes), 1, rank=rank)
    assert sorted(asked) == [1, 2, 4, 5]


@given(seed=st.integers(0, 9999), count=st.integers(2, 20), radius=st.integers(0, 4))
def test_turned_groups_take_the_nearest_of_the_turns_of_the_first(seed, count, radius):
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 256, (count, 2), np.uint8) & np.uint8(15)
    turns = rng.integers(0, 256, (count, 8, 2), np.uint8) & np.uint8(15)
    turns[:, 0] = codes
    index = index_of(codes)
    free, expected = set(range(count)), {}
    for first in sorted(free, key=lambda row: (-index.stamps[row, 1], row)):
        if first not in free:
            continue
        free.remove(first)
        apart = hamming_distances(turns[first], codes)
        if group := {row: (int(apart[:, row].min()), int(apart[:, row].argmin())) for row in free}:
            group = {row: how for row, how in group.items() if how[0] <= radius}
        if group:
            expected[first] = group
            free -= set(group)
    found = groups(index, radius, turned=[turns])
    assert {int(m[0].id): {int(x.id): (x.distance, x.turn) for x in m[1:]} for m in found} == expected
