"""HashIndex: behaves as a sorted dictionary of codes; its file is read back, or refused by name."""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aecodec.contracts import IndexFileError, OutputExistsError, UnknownName, UsageError
from aecodec.index import storage
from aecodec.index.hash_index import HashIndex
from aecodec.index.ids import Numbers

PRINT = bytes(range(8))


def make(paths: bool = False, n_bits: int = 64, **options) -> HashIndex:
    return HashIndex(hasher="photo-hash", fingerprint=PRINT, n_bits=n_bits, paths=paths, **options)


def random_codes(count: int, seed: int = 0, width: int = 8) -> np.ndarray:
    """Of few bits, so that distances are often tied."""
    return np.random.default_rng(seed).integers(0, 4, (count, width), np.uint8)


def small(paths: bool = True, count: int = 7) -> HashIndex:
    index = make(paths, root="/photos" if paths else "")
    names = [f"{n % 3}/picture{n}.jpg" for n in range(count)] if paths else [3, 5, 8, 1000, 2**40, 2**62, 9][:count]
    stamps = np.arange(2 * count).reshape(count, 2) if paths else None
    index.add(names, random_codes(count), stamps=stamps)
    return index


def state(index: HashIndex) -> tuple:
    stamps = None if index.stamps is None else index.stamps.tolist()
    return index.hasher, index.fingerprint, index.n_bits, index.root, index.ids.tolist(), index.codes.tolist(), stamps


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


@settings(deadline=None, max_examples=60)
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
    assert index._ids.values is None
    assert index.ids.tolist() == list(range(10))
    index.remove([9])
    assert index._ids.values is None
    index.remove([3])
    assert index.ids.tolist() == [0, 1, 2, 4, 5, 6, 7, 8]
    index.add([3], random_codes(1))
    assert index._ids.values is None
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
    assert index.codes_of(["1/picture4.jpg"]).tolist() == code.tolist()


def test_paths_that_are_no_text_come_back(tmp_path):
    name = os.fsdecode(b"a\xff\xfe.jpg")
    index = make(True)
    index.add([name, Path("b/c.jpg")], random_codes(2))
    index.save(tmp_path / "a.hix")
    assert HashIndex.load(tmp_path / "a.hix").ids.tolist() == [name, "b/c.jpg"]


def test_backends_agree_and_missing_places_are_left_out(tmp_path):
    index = small(False)
    query = random_codes(3, 4)
    oracle = index.search(query, 5)
    index.save(tmp_path / "a.hix")
    exact = HashIndex.view(tmp_path / "a.hix", backend="faiss", threads=1)
    assert np.array_equal(exact.search(query, 5).ids, oracle.ids)
    exact.use("faiss-ivf", lists=5, probes=1)
    hits = exact.search(query, 7)
    assert hits.ids.shape == (3, 7)
    assert (hits.ids == -1).any()
    assert all(0 < len(hits.of(n)) < 7 for n in range(3))
    assert ((hits.ids == -1) == (hits.distances == 65)).all()


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


# -- the file ----------------------------------------------------------------------------------------


def saved(path: Path, paths: bool = True) -> bytes:
    small(paths).save(path, overwrite=True)
    return path.read_bytes()


def refused(path: Path, data: bytes, match: str | None = None) -> None:
    path.unlink(missing_ok=True)  # overwriting in place is slow on some file systems
    path.write_bytes(data)
    with pytest.raises(IndexFileError, match=match):
        HashIndex.view(path, check=True)


@pytest.mark.parametrize("paths", [False, True])
def test_every_truncation_and_every_bit_flip_is_named(tmp_path, paths):
    path = tmp_path / "a.hix"
    small(paths, 2).save(path)
    data = path.read_bytes()
    for length in range(len(data)):
        refused(path, data[:length])
    for position in range(8 * len(data)):
        damaged = bytearray(data)
        damaged[position // 8] ^= 1 << (position % 8)
        refused(path, bytes(damaged))
    refused(path, data + b"\0", "too many")


def test_a_view_without_check_still_sees_wrong_lengths(tmp_path):
    path = tmp_path / "a.hix"
    data = saved(path)
    for length in range(len(data)):
        path.write_bytes(data[:length])
        with pytest.raises(IndexFileError):
            HashIndex.view(path)


def test_random_mutations_end_in_a_named_error_or_the_same_content(tmp_path):
    path, rng = tmp_path / "a.hix", random.Random(7)
    data, before = saved(path), state(HashIndex.load(path))
    for _ in range(1000):
        damaged = bytearray(data)
        for _ in range(rng.randint(1, 6)):
            kind, place = rng.randrange(3), rng.randrange(max(len(damaged), 1))
            if kind == 0:
                damaged[place : place + 1] = rng.randbytes(1)
            elif kind == 1:
                del damaged[place : place + rng.randint(1, 9)]
            else:
                damaged[place:place] = rng.randbytes(rng.randint(1, 9))
        path.write_bytes(bytes(damaged))
        try:
            assert state(HashIndex.load(path)) == before
        except IndexFileError:
            continue


@settings(max_examples=200, deadline=None)
@given(data=st.binary(max_size=300))
def test_arbitrary_bytes_never_crash(data, tmp_path_factory):
    path = tmp_path_factory.mktemp("index") / "a.hix"
    refused(path, data)
    refused(path, storage.MAGIC + data)


def forged(**changes) -> bytes:
    """A header with a right checksum and fields that `write` never writes."""
    fields = {"version": 1, "kind": 0, "bits": 64, "count": 0, "paths": 0, "root": 0, "n": 1, "zero": 0, "name": b"a"}
    fields.update(changes)
    head = storage._HEADER.pack(
        storage.MAGIC, fields["version"], fields["kind"], fields["bits"], fields["count"], PRINT, fields["paths"],
        fields["root"], fields["n"], fields["zero"], bytes(24), fields["name"],
    )  # fmt: skip
    return head + struct.pack("<I", zlib.crc32(head))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": 2}, "version 2"),
        ({"kind": 3}, "kind"),
        ({"bits": 0}, "bits"),
        ({"bits": 12}, "bits"),
        ({"bits": 8000}, "bits"),
        ({"count": 2**63}, "count"),
        ({"count": 2**40}, "truncated"),
        ({"paths": 1}, "path bytes"),
        ({"kind": 2, "paths": 2**60}, "path bytes"),
        ({"kind": 2, "paths": 2**40}, "truncated"),
        ({"root": 9}, "root"),
        ({"zero": 1}, "byte 35"),
        ({"n": 0}, "name"),
        ({"n": 200}, "name"),
        ({"n": 2, "name": b"a b"}, "name"),
        ({"n": 1, "name": b"ab"}, "name"),
    ],
)
def test_forged_headers_are_refused_before_anything_is_allocated(tmp_path, changes, message):
    refused(tmp_path / "a.hix", forged(**changes), message)


@pytest.mark.parametrize("values", [[3, 2], [2, 2], [-1, 5]])
def test_numbers_out_of_order_are_refused(tmp_path, values):
    index = make()
    index.add([1, 2], random_codes(2))
    index._ids = Numbers(2, np.array(values))
    index.save(tmp_path / "a.hix")
    with pytest.raises(IndexFileError, match="out of order"):
        HashIndex.load(tmp_path / "a.hix")


@pytest.mark.parametrize("offsets", [[0, 1, 3], [1, 2, 2], [0, 0, 2], [0, 3, 2], [0, -1, 2], [0, 2**62, 2]])
def test_paths_out_of_order_are_refused(tmp_path, offsets):
    index = make(True)
    index.add(["a", "b"], random_codes(2))
    index._ids.offsets = np.array(offsets)
    index.save(tmp_path / "a.hix")
    with pytest.raises(IndexFileError, match="out of order"):
        HashIndex.load(tmp_path / "a.hix")


def test_the_codes_begin_at_a_multiple_of_64_bytes_and_are_mapped(tmp_path):
    data = saved(tmp_path / "a.hix")
    index = HashIndex.view(tmp_path / "a.hix")
    assert data[128:184] == index.codes.tobytes()
    base = index.codes
    while not isinstance(base, np.memmap):
        base = base.base
    assert np.shares_memory(base, index.scanner._codes)
    with pytest.raises(ValueError, match="read-only"):
        index.codes[0, 0] = 1


def test_a_view_can_be_changed_and_saved_over_its_own_file(tmp_path):
    path = tmp_path / "a.hix"
    saved(path)
    index = HashIndex.view(path)
    index.remove(["0/picture0.jpg"])
    with pytest.raises(OutputExistsError):
        index.save(path)
    index.save(path, overwrite=True)
    assert state(HashIndex.load(path)) == state(index)
    assert os.listdir(tmp_path) == ["a.hix"]


def test_missing_files_folders_and_other_files_are_named(tmp_path):
    for path, message in ((tmp_path / "none.hix", "no such index"), (tmp_path, "cannot be read")):
        for read in (HashIndex.load, HashIndex.view, storage.read_header):
            with pytest.raises(IndexFileError, match=message):
                read(path)
    refused(tmp_path / "a.hix", b"\x89PNG and so on", "not an index")


def test_a_killed_writer_leaves_the_old_index_or_the_new_one(tmp_path):
    path = tmp_path / "a.hix"
    code = (
        "import sys, itertools, numpy as np; from aecodec.index.hash_index import HashIndex\n"
        "for n in itertools.count(1):\n"
        "    index = HashIndex(hasher='a', fingerprint=bytes(8), n_bits=64)\n"
        "    index.add(None, np.full((200_000, 8), n % 256, np.uint8)); index.save(sys.argv[1], overwrite=True)\n"
        "    print(n, flush=True)"
    )
    for delay in itertools.accumulate([0.004] * 6):
        writer = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE)
        first = writer.stdout.readline()
        time.sleep(delay)
        writer.send_signal(signal.SIGKILL)
        done = [int(line) for line in [first, *writer.stdout.read().splitlines()]]
        writer.wait()
        index = HashIndex.load(path)
        assert len(index) == 200_000
        assert len(np.unique(index.codes)) == 1
        assert int(index.codes[0, 0]) % 256 in {done[-1] % 256, (done[-1] + 1) % 256}


# -- golden files ------------------------------------------------------------------------------------

GOLDEN = Path(__file__).parent / "golden"


CASES = [
    (path.parent, name) for path in sorted(GOLDEN.glob("v*/indexes.json")) for name in json.loads(path.read_text())
]


@pytest.mark.parametrize(("folder", "name"), CASES, ids=[f"{f.name}-{n}" for f, n in CASES])
def test_index_files_of_every_version_hold_what_was_recorded(folder, name):
    recorded = json.loads((folder / "indexes.json").read_text())[name]
    index = HashIndex.load(folder / f"{name}.hix")
    assert (index.hasher, index.fingerprint.hex(), index.n_bits, index.root) == (
        recorded["hasher"], recorded["fingerprint"], recorded["n_bits"], recorded["root"],
    )  # fmt: skip
    assert index.ids.tolist() == recorded["ids"]
    assert [code.tobytes().hex() for code in index.codes] == recorded["codes"]
    assert (None if index.stamps is None else index.stamps.tolist()) == recorded["stamps"]


def test_the_golden_files_cover_every_kind_of_ids_and_are_still_written_so(tmp_path):
    newest = max(GOLDEN.glob("v*/indexes.json")).parent
    assert {storage.read_header(path).kind for path in newest.glob("*.hix")} == {0, 1, 2}
    for path in newest.glob("*.hix"):
        HashIndex.load(path).save(tmp_path / path.name)
        assert (tmp_path / path.name).read_bytes() == path.read_bytes()
