"""Laws of checkpoints that hold the changes of another: the same model from half the bytes, or one clear line."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import as_changes
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
from aecodec.zoo import changes, stored
from aecodec.zoo.stored import Stored

SMALL = TESTS / "engine" / "small.safetensors"


def drawn(seed: int, spread: float, shape: tuple[int, ...] = (24, 48, 1, 1)) -> np.ndarray:
    numbers = np.random.default_rng(seed).standard_normal(shape) * spread
    return numbers.clip(-6e4, 6e4).astype(np.float16)


@settings(max_examples=50, deadline=None)
@given(
    st.integers(0, 1000),
    st.sampled_from([1e-7, 1e-4, 1e-2, 0.3, 100.0, 6e4]),
    st.sampled_from([0.0, 1e-6, 1e-3, 0.1, 3.0]),
)
def test_settled_weights_are_told_exactly_and_lie_near(seed, spread, moved):
    base = {"w": drawn(seed, spread)}
    after = (base["w"].astype(np.float32) + drawn(seed + 1, moved)).clip(-6e4, 6e4).astype(np.float16)
    settled = changes.settle({"w": after}, base)
    again = changes.apply(changes.split(settled, base), base)
    np.testing.assert_array_equal(again["w"], settled["w"])
    np.testing.assert_array_equal(changes.settle(settled, base)["w"], settled["w"])
    # Half a step, which is at most a 63rd of a row's largest change, and the rounding to float16.
    change = np.abs(after.astype(np.float32) - base["w"].astype(np.float32)).max(axis=1, keepdims=True)
    room = change / 63 + np.spacing(np.abs(after)).astype(np.float32) + 2.0**changes.FINEST
    assert (np.abs(settled["w"].astype(np.float32) - after.astype(np.float32)) <= room).all()


def test_what_did_not_change_or_is_new_stays():
    base = {"same": drawn(0, 1.0), "narrow": drawn(1, 1.0), "small": drawn(2, 1.0, (4, 4))}
    whole = {
        "same": base["same"],
        "narrow": drawn(3, 1.0, (48, 48)),
        "small": drawn(4, 1.0, (4, 4)),
        "new": drawn(5, 1.0),
        "counts": np.arange(2000, dtype=np.int32),
    }
    assert changes.settle(whole, base).keys() == whole.keys()
    told = changes.split(changes.settle(whole, base), base)
    assert told.keys() == {"changes/same", "steps/same", "narrow", "small", "new", "counts"}
    assert not told["changes/same"].any()
    for name, array in changes.apply(told, base).items():
        np.testing.assert_array_equal(array, whole[name])


def test_what_is_to_stay_exact_or_was_never_settled_is_held_whole():
    base, after = {"a": drawn(0, 1.0), "b": drawn(0, 1.0)}, {"a": drawn(1, 1.0), "b": drawn(2, 1.0)}
    settled = changes.settle(after, base, exact=["a"])
    assert np.array_equal(settled["a"], after["a"])
    assert not np.array_equal(settled["b"], after["b"])
    for whole, names in ((settled, {"a", "changes/b", "steps/b"}), (after, {"a", "b"})):
        told = changes.split(whole, base)
        assert told.keys() == names
        for name, array in changes.apply(told, base).items():
            np.testing.assert_array_equal(array, whole[name])


@pytest.fixture
def based(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stored:
    """The small codec, which alone lies in the cache, in float16."""
    monkeypatch.setenv("AECODEC_CACHE", str(tmp_path))
    kept = stored.read(SMALL)
    half = {key: a.astype(np.float16) if a.dtype == np.float32 else a for key, a in kept.tensors.items()}
    base = replace(kept, name="base", tensors=half, graphs={})
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


def test_a_file_of_changes_is_an_ordinary_checkpoint(based, tmp_path):
    whole, out = tmp_path / "whole.safetensors", tmp_path / "changes.safetensors"
    stored.write(tuned(based), whole)
    result = CliRunner().invoke(as_changes.main, [str(whole), "--base", "base", "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert out.stat().st_size < 0.8 * whole.stat().st_size
    kept = stored.read(out)
    assert kept.fingerprint.hex() in result.output
    assert kept.fingerprint != based.fingerprint
    # Written once more, with graphs or without, it stays what it is.
    assert stored.write(replace(kept, card={"told": 1}), tmp_path / "again.safetensors") == kept.fingerprint
    assert (tmp_path / "again.safetensors").stat().st_size < 0.8 * whole.stat().st_size
    picture = np.random.default_rng(1).integers(0, 256, (70, 90, 3), np.uint8)
    codec = Codec.from_pretrained(out, engine="torch")
    data = codec.encode_picture(codec_picture(picture), quality=50).data
    assert codec.decode_picture(data).pixels.shape == picture.shape


def codec_picture(pixels: np.ndarray):
    from aecodec.data.images import Picture

    return Picture(pixels)


def raw(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    with safe_open(path, framework="numpy") as file:
        return {key: file.get_tensor(key) for key in file.keys()}, file.metadata()  # noqa: SIM118 (not a dict)


def first(tensors: dict[str, np.ndarray], prefix: str) -> str:
    return next(key for key in sorted(tensors) if key.startswith(prefix))


Damage = Callable[[dict[str, np.ndarray]], object]
DAMAGES: dict[str, Damage] = {
    "steps of nothing": lambda t: t.pop(first(t, "changes/")),
    "changes without steps": lambda t: t.pop(first(t, "steps/")),
    "another shape": lambda t: t.update({first(t, "changes/"): np.zeros((3, 3), np.int8)}),
    "another type": lambda t: t.update({first(t, "changes/"): t[first(t, "changes/")].astype(np.int16)}),
    "too many steps": lambda t: t.update({first(t, "steps/"): np.zeros(1000, np.int8)}),
    "steps without end": lambda t: t.update(
        {
            first(t, "steps/"): np.full_like(t[first(t, "steps/")], 127),
            first(t, "changes/"): np.full_like(t[first(t, "changes/")], 127),
        }
    ),
    "a tensor twice": lambda t: t.update({first(t, "changes/").removeprefix("changes/"): np.zeros(1, np.float16)}),
    "changes of what the base has not": lambda t: t.update(
        {"changes/none": np.zeros((40, 40), np.int8), "steps/none": np.zeros(40, np.int8)}
    ),
    "another change": lambda t: t[first(t, "changes/")].reshape(-1).__setitem__(0, 99),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_hostile_changes_are_refused(based, tmp_path, damage):
    path = tmp_path / "changes.safetensors"
    stored.write(stored.as_changes(tuned(based), based.fingerprint), path)
    tensors, told = raw(path)
    damage(tensors)
    path.write_bytes(save(tensors, told))
    with pytest.raises(CheckpointError, match=r"changes|base|finite|fingerprint"):
        stored.read(path)


def test_a_base_that_is_missing_or_none_is_told(based, tmp_path):
    path, models = tmp_path / "tuned.safetensors", tmp_path / "models"
    made = stored.as_changes(tuned(based), based.fingerprint)
    print_ = stored.write(made, path)
    # A base that holds changes itself would lead from file to file, or round in a circle.
    stored.write(made, models / "tuned.safetensors")
    with pytest.raises(CheckpointError, match="changes itself"):
        stored.as_changes(tuned(based), print_)
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
