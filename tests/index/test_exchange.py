"""Exported indexes come back to the byte, in whatever order their rows are; what is no exported index is named."""

from __future__ import annotations

import io
import json
import os
import random
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from extras import is_here, needs
from hypothesis import given
from hypothesis import strategies as st
from index_examples import PRINT, make, random_codes, small, state
from places import GOLDEN

from aecodec.contracts import AecodecError, IndexFileError, MissingDependencyError, OutputExistsError, UsageError
from aecodec.index import exchange
from aecodec.index.description import Description, parse_description
from aecodec.index.formats import FORMATS
from aecodec.index.hash_index import HashIndex
from aecodec.index.names import name_of, text_of
from aecodec.index.streams import MAX_PATH

SUFFIXES = [pytest.param(suffix, marks=needs("pyarrow") if suffix == ".parquet" else ()) for suffix in FORMATS]
HERE = [suffix for suffix in FORMATS if suffix != ".parquet" or is_here("pyarrow")]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)  # it takes most of the time on some systems


def examples() -> list[HashIndex]:
    """Of paths that are no text as well, of numbers, with windows, and empty ones."""
    strange = make(True, root=os.fsdecode(b"/photos \xff\\"))
    strange.add(
        [os.fsdecode(name) for name in (b"caf\xe9.png", "é.png".encode(), b"a\\b", b"\\x5c", b"/else/\n", b"\\\\351")],
        random_codes(6),
        stamps=np.array([[-(1 << 63), 0], [(1 << 63) - 1, 1 << 62], [0, 0], [1, 2], [3, 4], [5, 6]]),
    )
    windowed, counted = make(True, root="/photos", layout=1), make(layout=1)
    windowed.add(["b", "a"], random_codes(2), windows=random_codes(42, 1).reshape(2, 21, 8))
    counted.add(None, random_codes(3), windows=random_codes(63, 1).reshape(3, 21, 8))
    wide = make(True, 512)
    wide.add(["/a"], random_codes(1, width=64))
    return [small(), small(False), make(), make(True), make(True, root="/p"), strange, windowed, counted, wide]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_is_exported_comes_back_to_the_byte(tmp_path, suffix):
    first, other, again = tmp_path / "a.hix", tmp_path / f"a{suffix}", tmp_path / "b.hix"
    golden = [HashIndex.load(path) for path in GOLDEN.glob("v*/*.hix")]
    for index in [*examples(), *golden]:
        index.save(first, overwrite=True)
        assert exchange.export(first, other, overwrite=True) == len(index)
        before = other.read_bytes()
        made = exchange.bring_in(other, again, overwrite=True)
        assert again.read_bytes() == first.read_bytes()
        assert (made.count, made.twins) == (len(index), 0)
        exchange.export(again, other, overwrite=True)
        assert other.read_bytes() == before
    assert sorted(os.listdir(tmp_path)) == sorted(["a.hix", f"a{suffix}", "b.hix"])


def test_a_stream_has_the_lines_of_a_file(tmp_path):
    small().save(tmp_path / "a.hix")
    stream = io.BytesIO()
    exchange.export(tmp_path / "a.hix", stream)
    exchange.export(tmp_path / "a.hix", tmp_path / "a.jsonl")
    assert stream.getvalue() == (tmp_path / "a.jsonl").read_bytes()
    head, first, *_ = map(json.loads, stream.getvalue().splitlines())
    assert head == {
        "what": "aecodec index",
        "version": 1,
        "hasher": "photo-hash",
        "fingerprint": PRINT.hex(),
        "bits": 64,
        "layout": 0,
        "ids": "paths",
        "root": "/photos",
        "rows": 7,
    }
    assert first == {"path": "0/picture0.jpg", "code": random_codes(1).tobytes().hex(), "mtime": 0, "size": 1}
    stream.seek(0)
    exchange.bring_in(stream, tmp_path / "b.hix")
    assert state(HashIndex.load(tmp_path / "b.hix")) == state(small())


@needs("pyarrow")
def test_parquet_has_columns_that_others_read(tmp_path):
    import pyarrow.parquet as pq

    small().save(tmp_path / "a.hix")
    exchange.export(tmp_path / "a.hix", tmp_path / "a.parquet")
    table = pq.read_table(tmp_path / "a.parquet")
    index = small()
    assert table.column("path").to_pylist() == index.ids.tolist()
    assert table.column("code").to_pylist() == [code.tobytes() for code in index.codes]
    assert np.stack([table.column("mtime"), table.column("size")], 1).tolist() == index.stamps.tolist()


def test_npz_has_arrays_that_numpy_reads(tmp_path):
    small().save(tmp_path / "a.hix")
    exchange.export(tmp_path / "a.hix", tmp_path / "a.npz")
    with np.load(tmp_path / "a.npz") as arrays:
        names = np.split(arrays["path_bytes"], arrays["path_offsets"][1:-1])
        assert [name.tobytes().decode() for name in names] == small().ids.tolist()
        assert arrays["code"].tolist() == small().codes.tolist()
        assert np.stack([arrays["mtime"], arrays["size"]], 1).tolist() == small().stamps.tolist()
        np.savez_compressed(tmp_path / "packed.npz", **arrays)
    exchange.bring_in(tmp_path / "packed.npz", tmp_path / "b.hix")
    assert (tmp_path / "b.hix").read_bytes() == (tmp_path / "a.hix").read_bytes()


@pytest.mark.parametrize("memory", [1, 500, 1 << 20])
def test_rows_in_any_order_become_the_index_that_a_program_would_make(tmp_path, memory):
    index = make(True, root="/photos")
    names = [f"{number % 7}/{number}" for number in range(200)]
    stamps = np.random.default_rng(0).integers(0, 5, (200, 2))
    index.add(names, random_codes(200), stamps=stamps)
    index.save(tmp_path / "a.hix")
    exchange.export(tmp_path / "a.hix", tmp_path / "a.jsonl")
    head, *rows = (tmp_path / "a.jsonl").read_text().splitlines()
    older = [json.dumps({**json.loads(row), "mtime": -1, "code": "00" * 8}) for row in rows[:50]]
    rows += older
    random.Random(3).shuffle(rows)
    head = json.dumps({**json.loads(head), "rows": 250})
    (tmp_path / "b.jsonl").write_text("\n".join([head, *rows]) + "\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("aecodec.index.formats.lines._ROWS", 7)
        patch.setattr("aecodec.index.exchange._MANY", 3)
        made = exchange.bring_in(tmp_path / "b.jsonl", tmp_path / "b.hix", memory=memory)
    assert (made.count, made.twins) == (200, 50)
    assert (tmp_path / "b.hix").read_bytes() == (tmp_path / "a.hix").read_bytes()
    assert sorted(os.listdir(tmp_path)) == ["a.hix", "a.jsonl", "b.hix", "b.jsonl"]


# -- what is none ----------------------------------------------------------------------------------------------------


def exported(folder: Path, suffix: str) -> bytes:
    small().save(folder / "a.hix", overwrite=True)
    exchange.export(folder / "a.hix", folder / f"a{suffix}", overwrite=True)
    return (folder / f"a{suffix}").read_bytes()


def refused(folder: Path, suffix: str, data: bytes, match: str | None = None) -> None:
    path = folder / f"bad{suffix}"
    path.write_bytes(data)
    with pytest.raises(IndexFileError, match=match) as caught:
        exchange.bring_in(path, folder / "out.hix")
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
    assert not (folder / "out.hix").exists()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_truncations_are_named(tmp_path, suffix):
    data = exported(tmp_path, suffix)
    for length in range(0, len(data), 37):
        refused(tmp_path, suffix, data[:length])
    refused(tmp_path, suffix, data[:-1])


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_random_changes_end_in_a_named_error_or_an_index_that_is_sound(tmp_path, suffix):
    data, rng = exported(tmp_path, suffix), random.Random(7)
    path, out = tmp_path / f"bad{suffix}", tmp_path / "out.hix"
    for _ in range(150):
        damaged = bytearray(data)
        for _ in range(rng.randint(1, 4)):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        path.write_bytes(bytes(damaged))
        try:
            exchange.bring_in(path, out, overwrite=True)
        except IndexFileError:
            continue
        HashIndex.load(out)


HEAD = {
    "what": "aecodec index",
    "version": 1,
    "hasher": "h",
    "fingerprint": "00" * 8,
    "bits": 8,
    "layout": 0,
    "ids": "paths",
    "root": "",
    "rows": 1,
}
ROW = {"path": "a", "code": "00", "size": 1, "mtime": 1}


@pytest.mark.parametrize(
    ("head", "row", "message"),
    [
        ({"what": "else"}, {}, "does not say what index it is of .what is one of aecodec index"),
        ({"version": 2}, {}, "version is a whole number"),
        ({"hasher": "a b"}, {}, "hasher is a hasher's name"),
        ({"fingerprint": "00"}, {}, "fingerprint is 16 hexadecimal"),
        ({"bits": 12}, {}, "bits is a multiple of 8"),
        ({"bits": 1 << 40}, {}, "bits is a multiple of 8"),
        ({"layout": 9}, {}, "layout is one of"),
        ({"ids": "names"}, {}, "ids is one of"),
        ({"root": "photos"}, {}, "root is an absolute path"),
        ({"root": "/" + "a" * (1 << 15)}, {}, "root is an absolute path"),
        ({"root": "/\\"}, {}, "a backslash is not followed"),
        ({"rows": -1}, {}, "rows is a whole number"),
        ({"rows": 2}, {}, "row 2 of 2 is none .the file ends"),
        ({"rows": 0}, {}, "more than the 0 rows"),
        ({}, {"path": ""}, "path is a path"),
        ({}, {"path": 5}, "path is a path"),
        ({}, {"path": "\ud800"}, "surrogates not allowed"),
        ({}, {"path": "\\777"}, "a backslash is not followed"),
        ({}, {"path": "../a"}, "leads upwards"),
        ({}, {"path": "a" * (MAX_PATH + 1)}, "a path has 1 to 65536 bytes, found one of 65537"),
        ({}, {"path": "a" * (20 * MAX_PATH)}, "it is too long"),
        ({}, {"code": "0"}, "code is 2 hexadecimal digits"),
        ({}, {"code": "0000"}, "code is 2 hexadecimal digits"),
        ({}, {"size": 1.5}, "size is a whole number"),
        ({}, {"size": True}, "size is a whole number"),
        ({}, {"mtime": 1 << 63}, "mtime is a whole number"),
        ({"ids": "numbers"}, {}, "id is missing"),
        ({"ids": "numbers"}, {"id": -1}, "id is a whole number"),
        ({"layout": 1}, {}, "windows is missing"),
    ],
)
def test_forged_lines_are_refused(tmp_path, head, row, message):
    lines = [json.dumps({**HEAD, **head}), json.dumps({**ROW, **row})]
    refused(tmp_path, ".jsonl", ("\n".join(lines) + "\n").encode(), message)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"code": np.zeros((7, 9), np.uint8)}, r"code is uint8 of shape \(7, 9\)"),
        ({"code": np.zeros((7, 8), np.int8)}, "code is int8"),
        ({"code": None}, "holds no array code"),
        ({"code": np.zeros((7, 8), object)}, "code"),
        ({"path_offsets": np.zeros(8, np.int64)}, "path_offsets are paths"),
        ({"path_offsets": np.arange(1, 9)}, "does not begin with 0"),
        ({"path_offsets": np.arange(8) << 40}, "path_offsets are paths"),
        ({"mtime": np.zeros(6, np.int64)}, "mtime is int64"),
        ({"index": np.zeros(1 << 20, np.uint8)}, "index holds 1048576 bytes"),
    ],
)
def test_forged_arrays_are_refused(tmp_path, changes, message):
    exported(tmp_path, ".npz")
    with np.load(tmp_path / "a.npz") as arrays:
        found = {name: array for name, array in {**arrays, **changes}.items() if array is not None}
    stream = io.BytesIO()
    np.savez(stream, **found)
    refused(tmp_path, ".npz", stream.getvalue(), message)


def test_an_array_that_is_packed_beyond_measure_is_not_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr("aecodec.index.formats.npz._PLAIN", 1000)
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("index.npy", bytes(1 << 20))
    refused(tmp_path, ".npz", stream.getvalue(), "bytes that unpack to 1048576")


@needs("pyarrow")
def test_parquet_of_others_is_refused_by_what_it_lacks(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    exported(tmp_path, ".parquet")
    table = pq.read_table(tmp_path / "a.parquet")
    codes = table.column("code")
    for other, message in (
        (table.replace_schema_metadata(None), "its metadata have no 'aecodec index'"),
        (table.drop_columns(["size"]), "it has 0 columns size"),
        (table.append_column("size", table.column("size")), "it has 2 columns size"),
        (table.slice(1), "it holds 6 rows and speaks of 7"),
        (table.set_column(1, "code", pa.array([b"1"] * 7)), "is no exported index"),
        (table.set_column(1, "code", pa.array([None] * 7, codes.type)), "column code has rows without a value"),
        (table.set_column(0, "path", pa.array(["../a"] * 7)), "leads upwards"),
        (table.set_column(0, "path", pa.array([""] * 7)), "a path has 1 to"),
        (table.set_column(0, "path", pa.array([b"\xff"] * 7)), "is no exported index"),
    ):
        pq.write_table(other, tmp_path / "other.parquet")
        refused(tmp_path, ".parquet", (tmp_path / "other.parquet").read_bytes(), message)
    plain = table.set_column(1, "code", codes.cast(pa.binary())).set_column(0, "path", table.column("path"))
    pq.write_table(plain, tmp_path / "plain.parquet")
    exchange.bring_in(tmp_path / "plain.parquet", tmp_path / "b.hix")
    assert (tmp_path / "b.hix").read_bytes() == (tmp_path / "a.hix").read_bytes()


def test_other_endings_missing_files_and_packages_are_named(tmp_path, monkeypatch):
    small().save(tmp_path / "a.hix")
    with pytest.raises(UsageError, match=r"a\.csv: the name ends in none of \.parquet, \.npz, \.jsonl"):
        exchange.export(tmp_path / "a.hix", tmp_path / "a.csv")
    with pytest.raises(UsageError, match="ends in none of"):
        exchange.bring_in(tmp_path / "a.hix", tmp_path / "b.hix")
    with pytest.raises(IndexFileError, match=r"none\.jsonl: no such file"):
        exchange.bring_in(tmp_path / "none.jsonl", tmp_path / "b.hix")
    with pytest.raises(IndexFileError, match=r"none\.hix: no such index"):
        exchange.export(tmp_path / "none.hix", tmp_path / "a.jsonl")
    (tmp_path / "a.jsonl").write_text("mine")
    with pytest.raises(OutputExistsError):
        exchange.export(tmp_path / "a.hix", tmp_path / "a.jsonl")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.delitem(sys.modules, "aecodec.index.formats.parquet", raising=False)
    with pytest.raises(MissingDependencyError, match=r"aecodec\[parquet\]"):
        exchange.export(tmp_path / "a.hix", tmp_path / "a.parquet")


def test_a_damaged_index_gives_no_file(tmp_path):
    small().save(tmp_path / "a.hix")
    data = bytearray((tmp_path / "a.hix").read_bytes())
    data[130] ^= 1
    (tmp_path / "a.hix").write_bytes(data)
    for suffix in HERE:
        with pytest.raises(IndexFileError, match="damaged"):
            exchange.export(tmp_path / "a.hix", tmp_path / f"a{suffix}")
    assert os.listdir(tmp_path) == ["a.hix"]


# -- parts -----------------------------------------------------------------------------------------------------------


@given(st.binary(max_size=40))
def test_every_path_is_text_and_back(name):
    text = text_of(name)
    text.encode("utf-8")
    assert "\0" not in text
    assert name_of(text) == name


@given(st.text(max_size=20))
def test_text_that_is_no_path_is_refused(text):
    try:
        name = name_of(text)
    except ValueError:
        return
    assert name_of(text_of(name)) == name


@given(st.binary(max_size=60))
def test_arbitrary_descriptions_never_crash(data):
    with pytest.raises(AecodecError):
        parse_description(data, "x")


def test_a_description_is_read_as_it_was_written():
    for root in (b"", b"/a", b"/\xff\\"):
        one = Description("photo-hash", PRINT, 64, True, 1, root)
        assert parse_description(one.to_json(5), "x", counted=True) == (one, 5)
        assert parse_description(one.to_json(), "x") == (one, 0)


LARGE = """
import sys
from pathlib import Path
import pyarrow.parquet
from aecodec.index import streams
streams.MEMORY = 1 << 20  # before anything takes it from there
from aecodec.bench.memory import forget_peak, held_bytes, peak_bytes
from aecodec.index import exchange

def there_and_back(name):
    for suffix in sys.argv[2:]:
        exchange.export(here / f"{name}.hix", here / f"{name}{suffix}")
        exchange.bring_in(here / f"{name}{suffix}", here / f"{name}{suffix}.hix", memory=1 << 20)

here = Path(sys.argv[1])
there_and_back("small")
forget_peak()
before = held_bytes()
there_and_back("large")
print(peak_bytes() - before >> 20)
"""


@needs("pyarrow")
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems count memory otherwise")
def test_memory_is_that_of_blocks_however_long_the_index_is(tmp_path):
    small(True).save(tmp_path / "small.hix")
    count, rng = 130_000, np.random.default_rng(0)
    index = make(True, 4096, root="/photos")
    index.add([f"{row:09d}" for row in range(count)], rng.integers(0, 256, (count, 512), np.uint8))
    index.save(tmp_path / "large.hix")
    del index
    command = [sys.executable, "-c", LARGE, str(tmp_path), ".npz", ".parquet"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (tmp_path / "large.parquet.hix").read_bytes() == (tmp_path / "large.hix").read_bytes()
    assert (
        int(done.stdout) < 55
    )  # MiB, of files of 68: blocks of 1 MiB, those of 4 that a format has, and pyarrow itself
