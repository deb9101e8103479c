"""Merged indexes: what a dictionary of their rows would hold, whatever folders they are of; or refused by name."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from index_examples import PRINT, make, random_codes, small, state

from aecodec.contracts import BusyError, IndexFileError, OutputExistsError
from aecodec.data.locks import locked
from aecodec.index import merging, streams
from aecodec.index.hash_index import HashIndex
from aecodec.index.ids import Numbers
from aecodec.index.windows import LAYOUTS
from aecodec.search.pictures import path_of

ROOTS = ["", "/", "/a", "/a/b", "/a/b c", "/ab", "/z"]
#: Names that compare unlike their texts, contain each other, or are no text.
PARTS = ["a", "b", "ab", "a b", "é", os.fsdecode(b"\xe9"), "!", "~", "a.b", "..a"]
PIECES = st.lists(st.sampled_from(PARTS), min_size=1, max_size=3).map("/".join)
NAMES = st.one_of(PIECES, PIECES.map("/a/b/{}".format), PIECES.map("/a/{}".format), PIECES.map("/{}".format))
ROWS = st.dictionaries(NAMES, st.tuples(st.integers(0, 255), st.integers(-3, 3)), max_size=12)
#: Rows of no more than so few bytes are held at a time.
FEW = [1, 300, 1 << 20]


def index_of(root: str, rows: dict[str, tuple[int, int]]) -> HashIndex:
    """Name -> byte that its code is made of, and time."""
    index = make(True, root=root)
    codes = np.repeat(np.array([[code] for code, _ in rows.values()], np.uint8).reshape(-1, 1), 8, axis=1)
    stamps = np.array([[time, code] for code, time in rows.values()], np.int64).reshape(-1, 2)
    index.add(list(rows), codes, stamps=stamps)
    return index


def saved(folder: Path, *indexes: HashIndex) -> list[Path]:
    paths = [folder / f"{number}.hix" for number in range(len(indexes))]
    for path, index in zip(paths, indexes, strict=True):
        index.save(path, overwrite=True)
    return paths


@settings(max_examples=60)
@given(
    given_rows=st.lists(st.tuples(st.sampled_from(ROOTS), ROWS), min_size=1, max_size=4), memory=st.sampled_from(FEW)
)
def test_a_merged_index_finds_every_file_and_takes_the_latest_row_of_each(given_rows, memory, tmp_path_factory):
    folder = tmp_path_factory.mktemp("merge")
    first = given_rows[0][0]
    lost = [root == "" and first != "" and any(not os.path.isabs(name) for name in rows) for root, rows in given_rows]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        paths = saved(folder, *(index_of(root, rows) for root, rows in given_rows))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(merging, "_LEAST", 1)
        patch.setattr(os, "fsync", lambda descriptor: None)  # it takes most of the time on some systems
        if any(lost):
            with pytest.raises(IndexFileError, match="does not say below which folder"):
                merging.merge(folder / "all.hix", paths)
            return
        made = merging.merge(folder / "all.hix", paths, memory=memory)
    expected: dict[str, tuple[int, int]] = {}
    for root, rows in given_rows:
        for name, (code, time) in rows.items():
            place = os.path.join(root, name)
            if place not in expected or time > expected[place][1]:
                expected[place] = code, time
    merged = HashIndex.load(folder / "all.hix")
    found = {
        str(path_of(name, merged.root)): (int(code[0]), int(stamp[0]))
        for name, code, stamp in zip(merged.ids.tolist(), merged.codes, merged.stamps, strict=True)
    }
    assert merged.root == first
    assert found == expected
    assert (made.count, made.twins) == (len(found), sum(len(rows) for _, rows in given_rows) - len(found))
    below = os.path.join(first, "")
    assert not first or not [name for name in merged.ids.tolist() if name.startswith(below)]


@pytest.mark.parametrize("memory", FEW)
def test_one_index_merged_is_itself_to_the_byte(tmp_path, monkeypatch, memory):
    monkeypatch.setattr(merging, "_LEAST", 1)
    everything = make(True, root="/photos", layout=1)
    everything.add(
        ["b", "a"], random_codes(2), windows=random_codes(42, 1).reshape(2, 21, 8), stamps=np.eye(2, dtype=int)
    )
    counted = make()
    counted.add(None, random_codes(9))
    for index in (small(), small(False), make(), make(True), everything, counted):
        [path] = saved(tmp_path, index)
        merging.merge(tmp_path / "again.hix", [path], overwrite=True, memory=memory)
        assert (tmp_path / "again.hix").read_bytes() == path.read_bytes()


def test_numbers_and_windows_are_carried_and_a_number_has_one_code(tmp_path):
    sets = random_codes(44, 1).reshape(2, 22, 8)
    one, other = make(layout=1), make(layout=1)
    one.add([4, 0], sets[:, 0], windows=sets[:, 1:])
    other.add([1, 4], sets[[1, 0], 0], windows=sets[[1, 0], 1:])
    made = merging.merge(tmp_path / "all.hix", saved(tmp_path, one, other))
    merged = HashIndex.load(tmp_path / "all.hix")
    assert (merged.ids.tolist(), made.twins) == ([0, 1, 4], 1)
    assert merged.codes.tolist() == sets[[1, 1, 0], 0].tolist()
    assert merged.windows.tolist() == sets[[1, 1, 0], 1:].tolist()
    assert merged.windows.shape[1] == len(LAYOUTS[1])
    other.add([4], sets[1:, 0], windows=sets[1:, 1:], replace=True)
    with pytest.raises(IndexFileError, match="number 4 has two codes"):
        merging.merge(tmp_path / "more.hix", saved(tmp_path, one, other))
    assert not (tmp_path / "more.hix").exists()


def another(**changes) -> HashIndex:
    fields = {"hasher": "photo-hash", "fingerprint": PRINT, "n_bits": 64, "paths": True}
    return HashIndex(**{**fields, **changes})


@pytest.mark.parametrize(
    ("index", "message"),
    [
        (another(hasher="other"), "was built with hasher other 0001020304050607; .*0.hix with photo-hash"),
        (another(fingerprint=bytes(8)), "was built with hasher photo-hash 0000000000000000"),
        (another(n_bits=128), "has codes of 128 bits; .*0.hix has codes of 64 bits"),
        (another(paths=False), "has numbers as ids; .*0.hix has paths as ids"),
        (another(layout=1), "has 21 windows of each picture; .*0.hix has 0 windows of each picture"),
    ],
)
def test_indexes_of_another_kind_are_refused(tmp_path, index, message):
    paths = saved(tmp_path, small(), index)
    with pytest.raises(IndexFileError, match=rf"1\.hix: {message}"):
        merging.merge(tmp_path / "all.hix", paths)
    assert sorted(os.listdir(tmp_path)) == ["0.hix", "1.hix"]


def test_paths_that_lead_upwards_are_refused(tmp_path):
    """Below another root they would be absolute, and no longer be refused where they are used."""
    for name in ("../secret.png", "a/../../secret.png", "/photos/../etc/secret.png"):
        bad = make(True, root="/scans")
        bad.add([name], random_codes(1))
        with pytest.raises(IndexFileError, match="leads upwards"):
            merging.merge(tmp_path / "all.hix", saved(tmp_path, small(), bad))


@pytest.mark.parametrize("paths", [False, True])
def test_every_truncation_and_many_bit_flips_are_named(tmp_path, paths):
    [path] = saved(tmp_path, small(paths))
    data, out = path.read_bytes(), tmp_path / "all.hix"
    for length in range(0, len(data), 11):
        path.write_bytes(data[:length])
        with pytest.raises(IndexFileError):
            merging.merge(out, [path])
    for position in range(0, 8 * len(data), 61):
        damaged = bytearray(data)
        damaged[position // 8] ^= 1 << (position % 8)
        path.write_bytes(bytes(damaged))
        with pytest.raises(IndexFileError):
            merging.merge(out, [path])
    assert os.listdir(tmp_path) == ["0.hix"]


@pytest.mark.parametrize("offsets", [[0, 1, 3], [1, 2, 2], [0, 0, 2], [0, 3, 2], [0, -1, 2], [0, 2**62, 2], [0, 1, 1]])
def test_forged_paths_are_refused(tmp_path, offsets):
    index = make(True)
    index.add(["a", "b"], random_codes(2))
    index._held.rows.ids.offsets = np.array(offsets)
    with pytest.raises(IndexFileError, match="out of order"):
        merging.merge(tmp_path / "all.hix", saved(tmp_path, index))


@pytest.mark.parametrize("values", [[3, 2], [2, 2], [-1, 5]])
def test_forged_numbers_are_refused(tmp_path, values):
    index = make()
    index.add([1, 2], random_codes(2))
    index._held = index._held.of(replace(index._held.rows, ids=Numbers(2, np.array(values))))
    with pytest.raises(IndexFileError, match="out of order"):
        merging.merge(tmp_path / "all.hix", saved(tmp_path, index))


def test_a_path_longer_than_any_system_has_is_refused(tmp_path):
    index = make(True)
    index.add(["a" * (streams.MAX_PATH + 1)], random_codes(1))
    with pytest.raises(IndexFileError, match="has a path of 65537 bytes"):
        merging.merge(tmp_path / "all.hix", saved(tmp_path, index))


def test_an_input_that_changes_meanwhile_makes_no_index(tmp_path, monkeypatch):
    paths = saved(tmp_path, small(), small())
    real = merging.put_together

    def slowly(parts, writer, memory):
        with paths[1].open("r+b") as file:
            file.seek(130)
            file.write(b"\xff")
        os.utime(paths[1], ns=(1, 1))
        return real(parts, writer, memory)

    monkeypatch.setattr(merging, "put_together", slowly)
    with pytest.raises(IndexFileError, match=r"1\.hix: was changed while"):
        merging.merge(tmp_path / "all.hix", paths)
    assert sorted(os.listdir(tmp_path)) == ["0.hix", "1.hix"]


def test_a_merged_index_is_for_no_more_eyes_than_what_it_is_made_of(tmp_path):
    paths = saved(tmp_path, small(), small())
    paths[1].chmod(0o600)
    merging.merge(tmp_path / "all.hix", paths)
    assert (tmp_path / "all.hix").stat().st_mode & 0o777 == 0o600


def test_what_is_there_is_replaced_on_request_and_by_one_writer(tmp_path):
    paths, out = saved(tmp_path, small()), tmp_path / "all.hix"
    make(True).save(out)
    with pytest.raises(OutputExistsError):
        merging.merge(out, paths)
    with locked(out), pytest.raises(BusyError):
        merging.merge(out, paths, overwrite=True, wait=0)
    merging.merge(out, paths, overwrite=True)
    assert state(HashIndex.load(out)) == state(small())
    assert sorted(os.listdir(tmp_path)) == ["0.hix", "all.hix"]


LARGE = """
import sys
from pathlib import Path
from aecodec.bench.memory import forget_peak, held_bytes, peak_bytes
from aecodec.index import merging

here = Path(sys.argv[1])
paths = [here / "0.hix", here / "1.hix"]
merging.merge(here / "small.hix", [here / "small0.hix"])
forget_peak()
before = held_bytes()
merging.merge(here / "all.hix", paths, memory=1 << 20)
print(peak_bytes() - before >> 20)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems count memory otherwise")
def test_memory_is_that_of_a_block_however_long_the_indexes_are(tmp_path):
    small(True).save(tmp_path / "small0.hix")
    rng = np.random.default_rng(0)
    for number in range(2):
        index = make(True, 4096, root=f"/photos{number}")
        index.add([f"{row:09d}" for row in range(60_000)], rng.integers(0, 256, (60_000, 512), np.uint8))
        index.save(tmp_path / f"{number}.hix")
    del index
    done = subprocess.run([sys.executable, "-c", LARGE, str(tmp_path)], capture_output=True, text=True, check=True)
    assert (tmp_path / "all.hix").stat().st_size > 60 << 20
    assert int(done.stdout) < 15  # MiB; several blocks of 1 MiB are on their way at once
