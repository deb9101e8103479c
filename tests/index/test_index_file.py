"""The index file: read back as it was written, or refused by name; old or new after a kill, never half."""

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
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from index_examples import PRINT, make, random_codes, small, state
from places import GOLDEN

from aecodec.contracts import IndexFileError, OutputExistsError
from aecodec.index import storage
from aecodec.index.hash_index import HashIndex
from aecodec.index.ids import Numbers
from aecodec.index.windows import LAYOUTS


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
        path.unlink()
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
        path.unlink()
        path.write_bytes(bytes(damaged))
        try:
            assert state(HashIndex.load(path)) == before
        except IndexFileError:
            continue


@settings(max_examples=200)
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
        storage.MAGIC,
        fields["version"],
        fields["kind"],
        fields["bits"],
        fields["count"],
        PRINT,
        fields["paths"],
        fields["root"],
        fields["n"],
        fields["zero"],
        bytes(24),
        fields["name"],
    )
    return head + struct.pack("<I", zlib.crc32(head))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": 3}, "version 3; this program reads versions 1 and 2"),
        ({"version": 2}, "layout of windows"),
        ({"version": 2, "zero": 99}, "layout of windows 99; this program knows 1"),
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
        ({"zero": 1}, "layout of windows"),
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
    index._held = index._held.of(replace(index._held.rows, ids=Numbers(2, np.array(values))))
    index.save(tmp_path / "a.hix")
    with pytest.raises(IndexFileError, match="out of order"):
        HashIndex.load(tmp_path / "a.hix")


@pytest.mark.parametrize("offsets", [[0, 1, 3], [1, 2, 2], [0, 0, 2], [0, 3, 2], [0, -1, 2], [0, 2**62, 2]])
def test_paths_out_of_order_are_refused(tmp_path, offsets):
    index = make(True)
    index.add(["a", "b"], random_codes(2))
    index._held.rows.ids.offsets = np.array(offsets)
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


CASES = [
    (path.parent, name) for path in sorted(GOLDEN.glob("v*/indexes.json")) for name in json.loads(path.read_text())
]


@pytest.mark.parametrize(("folder", "name"), CASES, ids=[f"{f.name}-{n}" for f, n in CASES])
def test_index_files_of_every_version_hold_what_was_recorded(folder, name):
    recorded = json.loads((folder / "indexes.json").read_text())[name]
    index = HashIndex.load(folder / f"{name}.hix")
    assert (index.hasher, index.fingerprint.hex(), index.n_bits, index.root) == (
        recorded["hasher"],
        recorded["fingerprint"],
        recorded["n_bits"],
        recorded["root"],
    )
    assert index.ids.tolist() == recorded["ids"]
    assert [code.tobytes().hex() for code in index.codes] == recorded["codes"]
    assert (None if index.stamps is None else index.stamps.tolist()) == recorded["stamps"]
    assert index.layout == recorded.get("layout", 0)
    assert index.windows.tobytes().hex() == recorded.get("windows", "")


def test_the_golden_files_cover_every_kind_of_ids_and_layout_and_are_still_written_so(tmp_path):
    paths = list(GOLDEN.glob("v*/*.hix"))
    headers = [storage.read_header(path) for path in paths]
    kinds = {(header.kind, header.layout) for header in headers}
    assert kinds == {(kind, layout) for kind in range(3) for layout in LAYOUTS}
    for path in paths:
        HashIndex.load(path).save(tmp_path / path.name)
        assert (tmp_path / path.name).read_bytes() == path.read_bytes()
