"""HashIndex: behaves as a sorted dictionary of codes; its file is read back, or refused by name."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from extras import needs
from hypothesis import given, settings
from hypothesis import strategies as st
from index_examples import PRINT, make, random_codes, small, state

from aecodec.contracts import IndexFileError, UnknownName, UsageError
from aecodec.index.hash_index import HashIndex


def expected_hits(held: dict, query: np.ndarray) -> list[tuple]:
    """(id, distance) of all, by distance, then by id."""
    ranked = sorted(
        (
            int(np.unpackbits(np.frombuffer(code, np.uint8) ^ query).sum()),
            os.fsencode(name) if isinstance(name, str) else name,
        )
        for name, code in held.items()
    )
    return [(os.fsdecode(name) if isinstance(name, bytes) else name, distance) for distance, name in ranked]


numbers = st.integers(0, 30) | st.integers(0, 2**63 - 1)
names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=6)


@settings(max_examples=60)
@given(data=st.data(), paths=st.booleans())
def test_it_is_a_sorted_dictionary_of_codes(data, paths, tmp_path_factory):
    index, held = make(paths), {}
    kind = names if paths else numbers
    for step in range(data.draw(st.integers(1, 6))):
        if held and data.draw(st.booleans()):
            gone = data.draw(st.lists(st.sampled_from(sorted(held)), unique=True))
            index.remove(gone)
            for name in gone:
                del held[name]
        else:
            new = data.draw(st.lists(kind, unique=True, max_size=8))
            codes = random_codes(len(new), step)
            index.add(new, codes, replace=True)
            held.update({name: code.tobytes() for name, code in zip(new, codes, strict=True)})
        key = os.fsencode if paths else int
        assert index.ids.tolist() == sorted(held, key=key)
        assert [code.tobytes() for code in index.codes] == [held[name] for name in sorted(held, key=key)]
    query = random_codes(2, 99)
    expected = [expected_hits(held, row) for row in query]
    assert [index.search(query, 4).of(n) for n in range(2)] == [hits[:4] for hits in expected]
    near = index.range_search(query, 6)
    assert [near.of(n) for n in range(2)] == [[hit for hit in hits if hit[1] <= 6] for hits in expected]
    path = tmp_path_factory.mktemp("index") / "a.hix"
    index.save(path)
    for again in (HashIndex.load(path), HashIndex.view(path), HashIndex.view(path, check=True)):
        assert state(again) == state(index)
        assert again.search(query, 4).of(1) == expected[1][:4]


def test_numbers_from_zero_on_take_no_memory():
    index = make()
    index.add(None, random_codes(5))
    index.add(range(5, 8), random_codes(3))
    index.add(None, random_codes(2))
    assert index._held.rows.ids.values is None
    assert index.ids.tolist() == list(range(10))
    index.remove([9])
    assert index._held.rows.ids.values is None
    index.remove([3])
    assert index.ids.tolist() == [0, 1, 2, 4, 5, 6, 7, 8]
    index.add([3], random_codes(1))
    assert index._held.rows.ids.values is None
    index.add([100], random_codes(1))
    index.add(None, random_codes(1))
    assert index.ids.tolist()[-2:] == [100, 101]


def test_replacing_keeps_one_row_and_its_new_stamp():
    index = small()
    code = random_codes(1, 5)
    index.add(["1/picture4.jpg"], code, stamps=np.array([[70, 71]]), replace=True)
    assert len(index) == 7
    row = index.ids.tolist().index("1/picture4.jpg")
    assert index.stamps[row].tolist() == [70, 71]
    assert index.codes[row].tolist() == code[0].tolist()


def test_paths_that_are_no_text_come_back(tmp_path):
    name = os.fsdecode(b"a\xff\xfe.jpg")
    index = make(True)
    index.add([name, Path("b/c.jpg")], random_codes(2))
    index.save(tmp_path / "a.hix")
    assert HashIndex.load(tmp_path / "a.hix").ids.tolist() == [name, "b/c.jpg"]


@needs("faiss")
def test_backends_agree(tmp_path):
    index = small(False)
    query = random_codes(3, 4)
    oracle = index.search(query, 5)
    index.save(tmp_path / "a.hix")
    other = HashIndex.view(tmp_path / "a.hix", backend="faiss", threads=1)
    assert np.array_equal(other.search(query, 5).ids, oracle.ids)
    other.use("multi-index", parts=3)
    assert [other.search(query, 5).of(n) for n in range(3)] == [oracle.of(n) for n in range(3)]


def bad_calls(index: HashIndex) -> list:
    query = random_codes(1)
    return [
        (lambda: make(n_bits=12), "multiple of 8"),
        (lambda: make(root="/photos"), "only paths"),
        (lambda: HashIndex(hasher="a b", fingerprint=PRINT, n_bits=8), "hasher's name"),
        (lambda: HashIndex(hasher="a", fingerprint=b"abc", n_bits=8), "8 bytes"),
        (lambda: index.search(query, 0), "k is"),
        (lambda: index.search(query[:, :7], 1), "56 bits, the index has 64"),
        (lambda: index.range_search(query, -1), "radius"),
        (lambda: index.add([3], query), "already"),
        (lambda: index.add([4, 4], random_codes(2)), "twice"),
        (lambda: index.add([4], random_codes(2)), "1 ids for 2"),
        (lambda: index.add([-1], query), "at least 0"),
        (lambda: index.add([1 << 63], query), r"integer"),
        (lambda: index.add(["a.jpg"], query), "integer ids"),
        (lambda: index.add([4], query.astype(np.int64)), "uint8"),
        (lambda: index.add([4], query, stamps=np.zeros((1, 2))), "stamps"),
        (lambda: index.remove([3, 77]), "id 77 is not in the index"),
        (lambda: small().remove(["none.jpg"]), r"id none.jpg is not"),
        (lambda: small().add([1], query), "paths as ids"),
        (lambda: small().add(None, query), "paths as ids"),
        (lambda: small().add([""], query), "non-empty"),
        (lambda: small().add(["a", "a"], random_codes(2)), "path a is given twice"),
    ]


def test_bad_calls_are_named_and_change_nothing():
    index = small(False)
    before = state(index)
    for call, message in bad_calls(index):
        with pytest.raises(UsageError, match=message):
            call()
    with pytest.raises(UnknownName):
        index.use("none")
    assert state(index) == before
    with pytest.raises(IndexFileError, match="photo-hash 0001020304050607; this is other ff"):
        index.check_hasher("other", b"\xff" * 8)
    with pytest.raises(IndexFileError, match="built with"):
        index.check_hasher("photo-hash", b"\xff" * 8)
    index.check_hasher("photo-hash", PRINT)


def test_an_empty_index_answers(tmp_path):
    for paths in (False, True):
        make(paths).save(tmp_path / "empty.hix", overwrite=True)
        index = HashIndex.view(tmp_path / "empty.hix")
        assert index.search(random_codes(2), 3).of(1) == []
        assert index.range_search(random_codes(2), 64).of(0) == []
        assert len(index.ids) == 0
