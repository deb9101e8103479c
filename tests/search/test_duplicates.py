"""Groups of near-duplicates are the connected sets of the brute-force definition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aecodec.contracts import IndexFileError, UsageError
from aecodec.index.codes import hamming_distances
from aecodec.index.hash_index import HashIndex
from aecodec.search.duplicates import groups


def linked(codes: np.ndarray, radius: int, sources: np.ndarray | None = None) -> set[frozenset[int]]:
    """Connected sets of rows, by growing each until nothing is added."""
    near = hamming_distances(codes, codes) <= radius
    if sources is not None:
        near &= sources[:, None] != sources[None]
    found = set()
    for start in range(len(codes)):
        group = {start}
        while True:
            grown = group | set(np.flatnonzero(near[sorted(group)].any(axis=0)).tolist())
            if grown == group:
                break
            group = grown
        found.add(frozenset(group))
    return {group for group in found if len(group) > 1}


def index_of(codes: np.ndarray, first: int = 0, backend: str = "numpy") -> HashIndex:
    index = HashIndex(hasher="a", fingerprint=bytes(8), n_bits=16, paths=True, root="/r", backend=backend)
    sizes = np.random.default_rng(len(codes)).integers(0, 5, (len(codes), 2))
    index.add([f"{first + n:03d}" for n in range(len(codes))], codes, stamps=sizes)
    return index


@given(seed=st.integers(0, 9999), count=st.integers(0, 25), radius=st.integers(0, 4), bits=st.integers(1, 255))
def test_groups_are_the_connected_sets(seed, count, radius, bits):
    codes = np.random.default_rng(seed).integers(0, 256, (count, 2), np.uint8) & np.uint8(bits)
    found = groups(index_of(codes), radius)
    assert {frozenset(int(m.id) for m in members) for members in found} == linked(codes, radius)
    assert [members[0].id for members in found] == sorted(members[0].id for members in found)
    for members in found:
        assert members[0].size == max(m.size for m in members)
        order = [(m.distance, m.id) for m in members[1:]]
        assert order == sorted(order)
        for m in members:
            assert m.distance == hamming_distances(codes[[int(members[0].id)]], codes[[int(m.id)]])[0, 0]


@given(seed=st.integers(0, 9999), count=st.integers(0, 25), radius=st.integers(0, 4), bits=st.integers(1, 255))
def test_groups_between_two_indexes_are_linked_across_only(seed, count, radius, bits):
    codes = np.random.default_rng(seed).integers(0, 256, (count, 2), np.uint8) & np.uint8(bits)
    cut = seed % (count + 1)
    found = groups(index_of(codes[:cut]), radius, index_of(codes[cut:], first=cut))
    expected = linked(codes, radius, np.arange(count) >= cut)
    assert {frozenset(int(m.id) for m in members) for members in found} == expected
    assert all({m.source for m in members} == {0, 1} for members in found)


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
