"""Laws of the doors of arrays, recordings and JSON: what a file claims is checked before it takes memory."""

from __future__ import annotations

import io
import json
import struct
import tracemalloc
import wave
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aecodec.contracts import AecodecError, ImageReadError, UsageError
from aecodec.data import records
from aecodec.data.arrays import array_names, read_array, read_labels
from aecodec.data.shapes import read_shapes
from aecodec.data.speech import RATE, read_clips, read_wav


def npy(descr: str, shape: str, data: bytes = b"") -> bytes:
    """An array's bytes with a header of any claims."""
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + data


HEADERS = {
    "terabytes": npy("'<f4'", "(1099511627776, 4)"),
    "a negative side": npy("'<f4'", "(-1, 4)"),
    "sides whose product overflows": npy("'|u1'", "(4294967296, 4294967296, 4)"),
    "objects": npy("'|O'", "(4, 4)", bytes(128)),
    "words": npy("'<U1000'", "(4, 4)", bytes(128)),
    "records": npy("[('a', '<f4')]", "(4, 4)", bytes(64)),
    "dates": npy("'<M8[s]'", "(4, 4)", bytes(128)),
    "complex numbers": npy("'<c8'", "(4, 4)", bytes(128)),
    "a shape of words": npy("'<f4'", "('a', 4)", bytes(64)),
    "a nested shape": npy("'<f4'", "(" * 500 + "4" + ")" * 500, bytes(64)),
    "no header": b"\x93NUMPY\x01\x00\xff\xff",
    "a version of tomorrow": b"\x93NUMPY\x09\x00" + bytes(40),
    "nothing": b"",
    "nothing to learn from": npy("'<f4'", "(4, 0)"),
    "what is not a number": npy("'<f4'", "(4, 4)", np.full(16, np.nan, "<f4").tobytes()),
    "infinity": npy("'<f2'", "(4, 4)", np.full(16, np.inf, "<f2").tobytes()),
    "a value beyond float32": npy("'<f8'", "(4, 4)", np.full(16, 1e300, "<f8").tobytes()),
    "pickles": b"\x80\x04K\x01.",
}


@pytest.mark.parametrize("name", HEADERS)
def test_an_array_of_any_claim_is_refused_at_little_cost(name, tmp_path):
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x_train.npy", HEADERS[name])
    tracemalloc.start()
    try:
        with pytest.raises(ImageReadError):
            read_array(path)
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()


def test_an_array_that_unpacks_without_end_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("aecodec.data.arrays.PLAIN", 1 << 20)
    np.savez_compressed(tmp_path / "a.npz", x_train=np.zeros((4, 1 << 20), np.uint8), images=np.zeros((4, 1 << 17)))
    with pytest.raises(ImageReadError, match="unpack"):
        read_array(tmp_path / "a.npz")


def test_arrays_beside_one_another_fit_each_other(tmp_path):
    items = np.zeros((4, 5, 5), np.uint8)
    for labels in (np.zeros(3, int), np.zeros((4, 2), int), np.array(["a"] * 4), np.full(4, np.nan)):
        np.savez(tmp_path / "a.npz", x_train=items, y_train=labels)
        with pytest.raises(ImageReadError):
            read_array(tmp_path / "a.npz", only=0)
    for points, segment in (
        (np.full((2, 9, 3), np.nan), np.zeros((2, 9), int)),
        (np.full((2, 9, 3), 1e300), np.zeros((2, 9), int)),
        (np.zeros((2, 9, 3)), np.zeros((2, 9))),
        (np.zeros((2, 0, 3)), np.zeros((2, 0), int)),
        (np.zeros(3), np.zeros((2, 9), int)),
    ):
        np.savez(tmp_path / "s.npz", points=points, segment=segment)
        with pytest.raises(ImageReadError):
            read_shapes(tmp_path / "s.npz")
    audio, rate = np.zeros(100, np.int16), np.array([RATE])
    for offsets in ([-5, 10], [10, 5], [0, 101], [0.5, 3.0], [[0, 10]], [0], [5, 5]):
        np.savez(tmp_path / "c.npz", audio=audio, offsets=np.array(offsets), sample_rate=rate)
        with pytest.raises(ImageReadError):
            read_clips(tmp_path / "c.npz")
    for changes in ({"sample_rate": np.array([])}, {"speaker": np.array([1, 2, 3])}, {"audio": np.zeros((10, 10))}):
        np.savez(
            tmp_path / "c.npz", **{"audio": audio, "offsets": np.array([0, 50, 100]), "sample_rate": rate, **changes}
        )
        with pytest.raises(ImageReadError):
            read_clips(tmp_path / "c.npz")


def recording() -> bytes:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setparams((1, 2, RATE, 0, "NONE", ""))
        file.writeframes(bytes(range(64)))
    return buffer.getvalue()


WAV = recording()
PACK = io.BytesIO()
np.savez_compressed(PACK, x_train=np.arange(64, dtype=np.uint8).reshape(4, 4, 4), y_train=np.arange(4))


@given(st.integers(0, len(WAV)), st.lists(st.tuples(st.integers(0, len(WAV) - 1), st.integers(0, 255)), max_size=4))
def test_a_damaged_recording_is_read_or_named(tmp_path_factory, length, changes):
    data = bytearray(WAV)
    for place, value in changes:
        data[place] = value
    path = tmp_path_factory.getbasetemp() / "damaged.wav"
    path.write_bytes(bytes(data[:length]))
    try:
        samples = read_wav(path)
    except (ImageReadError, UsageError):
        return
    assert samples.ndim == 1
    assert np.isfinite(samples).all()


@given(st.lists(st.tuples(st.integers(0, len(PACK.getvalue()) - 1), st.integers(0, 255)), min_size=1, max_size=4))
def test_a_damaged_pack_is_read_or_named(tmp_path_factory, changes):
    data = bytearray(PACK.getvalue())
    for place, value in changes:
        data[place] = value
    path = tmp_path_factory.getbasetemp() / "damaged.npz"
    path.write_bytes(bytes(data))
    array_names(path)
    for read in (read_array, read_labels):
        try:
            read(path)
        except ImageReadError:
            continue


@pytest.mark.parametrize(
    "text", ["[]", "7", "null", '"a"', "{", '{"a": NaN}', '{"a": 1e400}', '{"a": "x"}', '{"a": true}']
)
def test_a_json_file_of_another_kind_is_named(text, tmp_path):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(AecodecError, match=r"a\.json"):
        records.read_object(tmp_path / "a.json", AecodecError, {"a": records.number(0, 10)})


def test_json_that_is_nested_or_endless_is_named(tmp_path, monkeypatch):
    for text in ("[" * 200_000, '{"a":' * 80 + "1" + "}" * 80, '{"a": ' + "9" * 5000 + "}"):
        (tmp_path / "a.json").write_text(text)
        with pytest.raises(AecodecError):
            records.read_object(tmp_path / "a.json", AecodecError)
    monkeypatch.setattr(records, "MAX_JSON", 10)
    (tmp_path / "a.json").write_text('{"a": "0123456789"}')
    with pytest.raises(AecodecError, match="larger"):
        records.read_object(tmp_path / "a.json", AecodecError)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(JSON)
def test_every_kind_answers_for_every_value(value):
    kinds = [
        records.number(0, 1),
        records.integer(0, 1),
        records.text(3),
        records.flag(),
        records.one_of("a"),
        records.hexadecimal(1),
        records.mapping(),
        records.listing(records.number(0, 1)),
        records.record({"a": records.flag()}),
    ]
    for kind in kinds:
        assert kind.fits(value) in (True, False)
    assert len(records.shown(value)) < 100
    if isinstance(value, dict) and "NaN" not in json.dumps(value) and "Infinity" not in json.dumps(value):
        assert records.parse_object(json.dumps(value)) == value
