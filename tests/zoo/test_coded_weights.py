"""Laws of checkpoints that hold codes of their weights: the same model from half the bytes, or one clear line."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import as_codes
import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from places import TESTS
from safetensors import safe_open
from safetensors.numpy import save

from aecodec.codec.codec import Codec
from aecodec.contracts import CheckpointError
from aecodec.data.images import Picture
from aecodec.viewer.models import decoder_part
from aecodec.zoo import coded_weights, stored
from aecodec.zoo.stored import Stored

SMALL = TESTS / "engine" / "small.safetensors"
SPREADS = [1e-7, 3e-6, 1e-4, 1e-2, 0.3, 100.0, 6e4]


def drawn(seed: int, spread: float, shape: tuple[int, ...] = (24, 48, 1, 1)) -> np.ndarray:
    numbers = np.random.default_rng(seed).standard_normal(shape) * spread
    return numbers.clip(-6e4, 6e4).astype(np.float16)


def assert_same(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    """To the bit: a fingerprint tells -0 from 0."""
    assert found.keys() == expected.keys()
    for name, array in found.items():
        assert array.dtype == expected[name].dtype
        assert array.shape == expected[name].shape
        assert array.tobytes() == expected[name].tobytes(), name


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 1000), st.sampled_from(SPREADS), st.sampled_from([0.0, 1e-6, 1e-3, 0.1, 3.0]))
def test_settled_changes_are_told_exactly_and_lie_near(seed, spread, moved):
    base = {"w": drawn(seed, spread)}
    after = (base["w"].astype(np.float32) + drawn(seed + 1, moved)).clip(-6e4, 6e4).astype(np.float16)
    settled = coded_weights.settle({"w": after}, base)
    assert_same(coded_weights.apply(coded_weights.split(settled, base), base), settled)
    assert_same(coded_weights.settle(settled, base), settled)
    # Half a step, which is at most a 63rd of a row's largest change, and the rounding to float16.
    change = np.abs(after.astype(np.float32) - base["w"].astype(np.float32)).max(axis=1, keepdims=True)
    room = change / 63 + np.spacing(np.abs(after)).astype(np.float32) + 2.0**coded_weights.FINEST
    assert (np.abs(settled["w"].astype(np.float32) - after.astype(np.float32)) <= room).all()


@settings(max_examples=100, deadline=None)
@given(
    st.integers(0, 1000),
    st.sampled_from(SPREADS),
    st.sampled_from([(24, 48, 1, 1), (8, 16, 3, 3), (40, 64), (1, 2000)]),
)
def test_settled_weights_are_told_exactly_without_a_base_and_lie_near(seed, spread, shape):
    after = drawn(seed, spread, shape)
    after[0] = 0
    settled = coded_weights.settle({"w": after}, {})
    told = coded_weights.split(settled, {})
    assert {name: array.dtype for name, array in told.items()} == {"codes/w": np.int8, "scales/w": np.float32}
    assert_same(coded_weights.apply(told, {}), settled)
    assert_same(coded_weights.settle(settled, {}), settled)
    wide, near = after.astype(np.float64), settled["w"].astype(np.float64)
    largest = np.abs(wide).reshape(len(wide), -1).max(axis=1).reshape(-1, *[1] * (wide.ndim - 1))
    # Half a code, and the rounding to float16.
    room = largest / 253.9 + np.spacing(np.maximum(np.abs(after), np.abs(settled["w"]))).astype(np.float64) / 2
    assert (np.abs(near - wide) <= room).all()


def by_hand(code: int, scale: np.float32) -> float:
    """What a code tells: in float64, where products of a float32 and a code are exact, rounded twice."""
    return float(np.float16(np.float32(float(code) * float(scale))))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(-128, 127), min_size=32, max_size=32), st.floats(2.0**-40, 500, width=32))
def test_any_codes_and_scale_are_multiplied_and_rounded_as_is_told(codes, scale):
    told = {"codes/w": np.array([codes], np.int8), "scales/w": np.array([scale], np.float32)}
    found = coded_weights.apply(told, {})["w"]
    assert found.dtype == np.float16
    assert found[0].tolist() == [by_hand(code, np.float32(scale)) for code in codes]


def test_what_did_not_change_or_is_new_stays():
    base = {"same": drawn(0, 1.0), "narrow": drawn(1, 1.0), "small": drawn(2, 1.0, (4, 4))}
    whole = {
        "same": base["same"],
        "narrow": drawn(3, 1.0, (48, 48)),
        "small": drawn(4, 1.0, (4, 4)),
        "new": drawn(5, 1.0),
        "counts": np.arange(2000, dtype=np.int32),
    }
    told = coded_weights.split(coded_weights.settle(whole, base), base)
    assert told.keys() == {"changes/same", "steps/same", "narrow", "small", "new", "counts"}
    assert not told["changes/same"].any()
    assert_same(coded_weights.apply(told, base), whole)


def test_what_is_narrow_small_or_no_float16_stays():
    whole = {
        "small": drawn(0, 1.0, (4, 40)),
        "narrow": drawn(1, 1.0, (200, 1, 3, 3)),
        "flat": drawn(2, 1.0, (2000,)),
        "wide": drawn(3, 1.0).astype(np.float32),
        "counts": np.arange(2000, dtype=np.int32).reshape(2, 1000),
    }
    assert_same(coded_weights.settle(whole, {}), whole)
    assert_same(coded_weights.split(whole, {}), whole)


def test_a_zero_with_a_sign_is_kept():
    whole = {"w": np.full((32, 32), -0.0, np.float16), "z": np.zeros((32, 32), np.float16)}
    told = coded_weights.split(whole, {})
    assert told.keys() == {"w", "codes/z", "scales/z"}
    assert_same(coded_weights.apply(told, {}), whole)
    assert coded_weights.split(whole, {"w": whole["z"]}).keys() == told.keys()


def test_what_is_to_stay_exact_or_was_never_settled_is_held_whole():
    after = {"a": drawn(1, 1.0), "b": drawn(2, 1.0)}
    for base, kinds in (({"a": drawn(0, 1.0), "b": drawn(0, 1.0)}, "changes steps"), ({}, "codes scales")):
        settled = coded_weights.settle(after, base, exact=["a"])
        assert np.array_equal(settled["a"], after["a"])
        assert not np.array_equal(settled["b"], after["b"])
        for whole, names in ((settled, {"a", *(f"{kind}/b" for kind in kinds.split())}), (after, {"a", "b"})):
            told = coded_weights.split(whole, base)
            assert told.keys() == names
            assert_same(coded_weights.apply(told, base), whole)


@pytest.fixture
def based(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stored:
    """The small codec, which alone lies in the cache, in float16."""
    monkeypatch.setenv("AECODEC_CACHE", str(tmp_path))
    kept = stored.read(SMALL)
    half = {key: a.astype(np.float16) if a.dtype == np.float32 else a for key, a in kept.tensors.items()}
    base = replace(kept, name="base", tensors=half)
    (tmp_path / "models").mkdir()
    stored.write(base, tmp_path / "models" / "base.safetensors")
    return base


def tuned(base: Stored) -> Stored:
    rng = np.random.default_rng(0)
    moved = {
        key: (a + 0.01 * rng.standard_normal(a.shape)).astype(np.float16)
        if a.dtype == np.float16 and a.ndim == 4
        else a
        for key, a in base.tensors.items()
    }
    return replace(base, name="tuned", tensors=moved)


@pytest.mark.parametrize("base", ["", "base"])
def test_a_file_of_codes_is_an_ordinary_checkpoint(based, tmp_path, base):
    whole, out = tmp_path / "whole.safetensors", tmp_path / "codes.safetensors"
    stored.write(tuned(based), whole)
    line = [str(whole), "--out", str(out), "--exact", "y_gain", *(["--base", base] if base else [])]
    result = CliRunner().invoke(as_codes.main, line)
    assert result.exit_code == 0, result.output
    graphs = sum(map(len, based.graphs.values()))
    assert out.stat().st_size - graphs < 0.85 * (whole.stat().st_size - graphs)
    kept = stored.read(out)
    assert kept.fingerprint.hex() in result.output
    assert kept.fingerprint != based.fingerprint
    assert kept.graphs == based.graphs
    # Written once more, with graphs or without, it stays what it is.
    assert stored.write(replace(kept, card={"told": 1}, graphs={}), tmp_path / "again.safetensors") == kept.fingerprint
    assert (tmp_path / "again.safetensors").stat().st_size < out.stat().st_size
    picture = np.random.default_rng(1).integers(0, 256, (70, 90, 3), np.uint8)
    codec = Codec.from_pretrained(out, engine="onnx")
    data = codec.encode_picture(Picture(picture), quality=50, effort=1).data
    assert codec.decode_picture(data).pixels.shape == picture.shape


def test_what_reads_the_latents_and_what_is_exact_already_is_not_rounded_unless_asked(based, tmp_path):
    whole, out = tmp_path / "whole.safetensors", tmp_path / "codes.safetensors"
    stored.write(tuned(based), whole)
    before = stored.read(whole).tensors
    for options, rounded, stays in (
        ([], "analysis.leave.weight", "synthesis.linear.weight"),
        (["--exact", "analysis.*"], "synthesis.linear.weight", "analysis.leave.weight"),
    ):
        result = CliRunner().invoke(as_codes.main, [str(whole), "--out", str(out), *options])
        assert result.exit_code == 0, result.output
        after = stored.read(out).tensors
        moved = {name for name, array in before.items() if array.tobytes() != after[name].tobytes()}
        assert rounded in moved
        assert stays not in moved
        assert all(name.endswith(".weight") for name in moved)
        assert not any(name.startswith("scale_net") for name in moved)
    for line, told in (([str(whole), "--exact", "none.*"], "no tensor none"), ([str(SMALL)], "half=true")):
        result = CliRunner().invoke(as_codes.main, [*line, "--out", str(out)])
        assert result.exit_code == 1
        assert told in result.output


def test_codes_tell_the_weights_of_a_base_as_well(based, tmp_path):
    """A model may hold the changes of one that holds codes, and its part for browsers holds none of either's."""
    coded = stored.as_codes(based)
    print_ = stored.write(coded, tmp_path / "models" / "base.safetensors")
    assert any(name.startswith("codes/") for name in raw(tmp_path / "models" / "base.safetensors")[0])
    made, path = stored.as_codes(tuned(coded), base=print_), tmp_path / "tuned.safetensors"
    stored.write(made, path)
    names = raw(path)[0].keys()
    assert any(name.startswith("changes/") for name in names)
    assert_same(stored.read(path).tensors, made.tensors)
    part = tmp_path / "part.safetensors"
    part.write_bytes(decoder_part(path))
    assert not any(name.startswith(("changes/", "codes/")) for name in raw(part)[0])


def raw(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    with safe_open(path, framework="numpy") as file:
        return {key: file.get_tensor(key) for key in file.keys()}, file.metadata()  # noqa: SIM118 (not a dict)


def first(tensors: dict[str, np.ndarray], prefix: str) -> str:
    return next(key for key in sorted(tensors) if key.startswith(prefix))


Damage = Callable[[dict[str, np.ndarray], str, str], object]
#: What is done to the tensors of a file that holds codes and lengths under these two prefixes.
DAMAGES: dict[str, Damage] = {
    "lengths of nothing": lambda t, codes, lengths: t.pop(first(t, codes)),
    "codes without lengths": lambda t, codes, lengths: t.pop(first(t, lengths)),
    "another shape": lambda t, codes, lengths: t.update({first(t, codes): np.zeros((3, 3), np.int8)}),
    "no shape": lambda t, codes, lengths: t.update(
        {first(t, codes): np.zeros((), np.int8), first(t, lengths): t[first(t, lengths)][:1].reshape(())}
    ),
    "another type": lambda t, codes, lengths: t.update({first(t, codes): t[first(t, codes)].astype(np.int16)}),
    "lengths of another type": lambda t, codes, lengths: t.update(
        {first(t, lengths): t[first(t, lengths)].astype(np.float64)}
    ),
    "too many lengths": lambda t, codes, lengths: t.update(
        {first(t, lengths): np.ones(1000, t[first(t, lengths)].dtype)}
    ),
    "lengths without end": lambda t, codes, lengths: t.update(
        {
            first(t, lengths): np.full_like(t[first(t, lengths)], 127 if lengths == "steps/" else 3e38),
            first(t, codes): np.full_like(t[first(t, codes)], 127),
        }
    ),
    "a tensor twice": lambda t, codes, lengths: t.update(
        {first(t, codes).removeprefix(codes): np.zeros(1, np.float16)}
    ),
    "another code": lambda t, codes, lengths: t[first(t, codes)].reshape(-1).__setitem__(0, 99),
    "another length": lambda t, codes, lengths: t[first(t, lengths)].__setitem__(0, 1),
    "codes of what there is not": lambda t, codes, lengths: t.update(
        {f"{codes}none": np.zeros((40, 40), np.int8), f"{lengths}none": np.ones(40, t[first(t, lengths)].dtype)}
    ),
    "both ways": lambda t, codes, lengths: t.update(
        {
            first(t, codes).replace("codes/", "changes/"): np.zeros((40, 40), np.int8),
            first(t, lengths).replace("scales/", "steps/"): np.zeros(40, np.int8),
        }
        if codes == "codes/"
        else {
            first(t, codes).replace("changes/", "codes/"): np.zeros((40, 40), np.int8),
            first(t, lengths).replace("steps/", "scales/"): np.ones(40, np.float32),
        }
    ),
}
#: What only scales can be.
SCALES = {"not a number": np.nan, "infinite": np.inf, "zero": 0.0, "negative": -1.0}
REFUSED = r"changes|codes|scales|base|finite|fingerprint"


def refused(path: Path, tensors: dict[str, np.ndarray], told: dict[str, str]) -> None:
    path.write_bytes(save(tensors, told))
    with pytest.raises(CheckpointError, match=REFUSED) as caught:
        stored.read(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
@pytest.mark.parametrize("ways", [("changes/", "steps/"), ("codes/", "scales/")], ids=["of a base", "alone"])
def test_hostile_codes_are_refused(based, tmp_path, damage, ways):
    path = tmp_path / "codes.safetensors"
    stored.write(stored.as_codes(tuned(based), base=based.fingerprint if ways[0] == "changes/" else b""), path)
    tensors, told = raw(path)
    damage(tensors, *ways)
    refused(path, tensors, told)


@pytest.mark.parametrize("scale", SCALES.values(), ids=SCALES)
def test_scales_that_no_writer_makes_are_refused(based, tmp_path, scale):
    path = tmp_path / "codes.safetensors"
    stored.write(stored.as_codes(tuned(based)), path)
    tensors, told = raw(path)
    tensors[first(tensors, "scales/")][3] = scale
    refused(path, tensors, told)


def test_changes_without_a_base_are_refused(based, tmp_path):
    path = tmp_path / "changes.safetensors"
    stored.write(stored.as_codes(tuned(based), base=based.fingerprint), path)
    tensors, told = raw(path)
    del told["base"]
    refused(path, tensors, told)


def test_a_base_that_is_missing_or_none_is_told(based, tmp_path):
    path, models = tmp_path / "tuned.safetensors", tmp_path / "models"
    made = stored.as_codes(tuned(based), base=based.fingerprint)
    print_ = stored.write(made, path)
    # A base that holds changes itself would lead from file to file, or round in a circle.
    stored.write(made, models / "tuned.safetensors")
    with pytest.raises(CheckpointError, match="changes itself"):
        stored.as_codes(tuned(based), base=print_)
    tensors, told = raw(path)
    path.write_bytes(save(tensors, {**told, "base": print_.hex()}))
    with pytest.raises(CheckpointError, match="changes itself"):
        stored.read(path)
    path.write_bytes(save(tensors, {**told, "base": "00" * 8}))
    with pytest.raises(CheckpointError, match=f"not here.*{'00' * 8}"):
        stored.read(path)
    path.write_bytes(save(tensors, {**told, "base": json.dumps([1])}))
    with pytest.raises(CheckpointError, match="garbled"):
        stored.read(path)
