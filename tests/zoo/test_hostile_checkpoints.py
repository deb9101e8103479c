"""Laws of the door of checkpoints: whatever a file claims, it ends in a CheckpointError at little cost."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from aecodec import checkpoint
from aecodec.contracts import CheckpointError
from aecodec.engine.opening import open_engine
from aecodec.zoo import stored
from aecodec.zoo.registry import FORMAT, read_header

ROOT = Path(__file__).parents[2]
CODEC = ROOT / "tests" / "engine" / "small.safetensors"
KEPT = stored.read(CODEC)
ROWS, LENGTHS, OFFSETS = (f"tables/y/{part}" for part in ("frequencies", "lengths", "offsets"))


def raw_tensors() -> dict[str, np.ndarray]:
    """The tensors of the small codec as its file has them, tables among them, graphs left out."""
    tables = stored._pack_tables(KEPT.tables)
    return {key: value.copy() for key, value in {**KEPT.tensors, **tables}.items()}


def forged(path: Path, tensors: dict[str, np.ndarray] | None = None, **header: object) -> Path:
    """A checkpoint with what is given in place of its own, and the fingerprint that belongs to it."""
    tensors = raw_tensors() if tensors is None else tensors
    fields = {"format": FORMAT, "name": "small", "family": KEPT.family, "config": KEPT.config, "card": {}}
    fields |= {"escapes": {"y": True, "z": False}} | header
    texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in fields.items()}
    config = fields["config"] if isinstance(fields["config"], dict) else {}
    texts.setdefault("fingerprint", stored.fingerprint(str(fields["family"]), config, tensors).hex())
    path.write_bytes(save(tensors, texts))
    return path


def with_tables(rows: np.ndarray, lengths: np.ndarray, offsets: np.ndarray) -> dict[str, np.ndarray]:
    return {**raw_tensors(), ROWS: rows, LENGTHS: lengths, OFFSETS: offsets}


def changed(key: str, value: object, place: int = 0) -> dict[str, np.ndarray]:
    tensors = raw_tensors()
    tensors[key].reshape(-1)[place] = value
    return tensors


def test_a_forged_checkpoint_that_changes_nothing_is_read(tmp_path):
    path = forged(tmp_path / "m.safetensors")
    assert stored.read(path).fingerprint == KEPT.fingerprint
    checkpoint.load(path)


MANY = 2_000_000
TENSORS = {
    "a negative frequency": lambda: changed(ROWS, -1),
    "a frequency of nothing": lambda: changed(ROWS, 0),
    "a wrong sum": lambda: changed(ROWS, raw_tensors()[ROWS][0] + 1),
    "frequencies that are no integers": lambda: {**raw_tensors(), ROWS: raw_tensors()[ROWS].astype(np.float32)},
    "a frequency that is not a number": lambda: {
        **raw_tensors(),
        ROWS: np.full(raw_tensors()[ROWS].shape, np.nan, np.float32),
    },
    "a table too few": lambda: with_tables(
        raw_tensors()[ROWS][int(raw_tensors()[LENGTHS][0]) :], raw_tensors()[LENGTHS][1:], raw_tensors()[OFFSETS][1:]
    ),
    "lengths below nothing": lambda: changed(LENGTHS, -5),
    "offsets without end": lambda: changed(OFFSETS, -(1 << 31)),
    "two million tables": lambda: with_tables(
        np.ones(MANY + (1 << 21), np.int32),
        np.append(np.ones(MANY, np.int32), np.int32(1 << 21)),
        np.zeros(MANY + 1, np.int32),
    ),
    "a table of z that leads the scale net astray": lambda: changed("tables/z/offsets", -4000),
    "a weight that is not a number": lambda: changed("analysis.enter.weight", np.nan),
    "an infinite gain": lambda: changed("y_inverse", np.inf),
    "a gain that overflows": lambda: changed("y_inverse", 3e38),
    "a shift of a million bits": lambda: changed("scale_net.layers.0.shift_q", 1 << 20),
    "a scale net of another width": lambda: {
        **raw_tensors(),
        "scale_net.layers.3.weight_q": np.zeros((3, 1, 3, 3), np.int8),
    },
    "a tensor of many axes": lambda: {**raw_tensors(), "deep": np.zeros((1,) * 30, np.float32)},
    "a tensor that is no part of it": lambda: {**raw_tensors(), "more": np.zeros(3, np.float32)},
}


@pytest.mark.parametrize("name", TENSORS)
def test_tensors_that_no_writer_makes_are_refused(tmp_path, name):
    path = forged(tmp_path / "m.safetensors", TENSORS[name]())
    with pytest.raises(CheckpointError):
        checkpoint.load(path)


DEEP = '{"a":' * 100_000 + "1" + "}" * 100_000
HEADERS = {
    "a name with control characters": {"name": "a\x1b[31m"},
    "a configuration that is a list": {"config": [1, 2]},
    "a configuration in itself": {"config": {"channels": {"channels": {"channels": 1}}}},
    "a nested card": {"card": DEEP},
    "a card that is nested less": {"card": '{"a":' * 500 + "1" + "}" * 500},
    "escapes of words": {"escapes": {"y": "yes", "z": "no"}},
    "escapes that are a list": {"escapes": ["y"]},
    "a fingerprint of another length": {"fingerprint": "00"},
    "a fingerprint of no digits": {"fingerprint": "zz" * 8},
    "a family of nobody": {"family": "nobody"},
    "another format": {"format": "aecodec-checkpoint-99"},
}
CONFIGS = {
    "2^31 blocks": {"analysis_blocks": 1 << 31},
    "blocks that are floats": {"synthesis_blocks": 1.5},
    "channels of gigabytes": {"channels": 40_000},
    "latents of gigabytes": {"latents": 65_536},
    "more channels than the file fills": {"channels": 64},
    "a number beyond all": {"channels": 10**30},
    "negative channels": {"channels": -1},
    "channels that are not a number": {"channels": float("nan")},
    "a rate without end": {"lambda_high": float("inf")},
    "a word for a number": {"features": "many"},
    "truth for a number": {"features": True},
    "a list for a number": {"features": [1, 2, 3]},
    "a key of nobody": {"colour": 1},
}


@pytest.mark.parametrize("changes", [*HEADERS.values(), *({"config": {**KEPT.config, **c}} for c in CONFIGS.values())])
def test_headers_that_no_writer_makes_are_refused_at_little_cost(tmp_path, changes):
    path = forged(tmp_path / "m.safetensors", **changes)
    tracemalloc.start()
    try:
        for opened in (checkpoint.load, open_engine):
            with pytest.raises(CheckpointError) as caught:
                opened(path)
            assert len(str(caught.value)) < 2000
        assert tracemalloc.get_traced_memory()[1] < 64 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "metadata", ["[]", "[[]]", '"text"', "7", '{"format": 1}', '{"format": ["aecodec-checkpoint-1"]}']
)
def test_metadata_of_another_kind_are_refused(tmp_path, metadata):
    path = tmp_path / "m.safetensors"
    header = f'{{"__metadata__":{metadata}}}'.encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(CheckpointError):
        read_header(path)


def test_a_header_of_claimed_gigabytes_and_a_sparse_file_are_refused_unread(tmp_path):
    path = tmp_path / "m.safetensors"
    path.write_bytes((1 << 62).to_bytes(8, "little") + b"{}")
    with pytest.raises(CheckpointError, match="header of"):
        read_header(path)
    with path.open("r+b") as file:
        file.truncate(1 << 40)
    with pytest.raises(CheckpointError, match="at most"):
        stored.read(path)


def test_a_model_is_made_within_the_room_of_its_tensors(tmp_path):
    """The hooks that count are gone afterwards, and another thread's models are not counted."""
    kept = stored.read(CODEC)
    tight = checkpoint.Room({})
    with pytest.raises(CheckpointError, match="larger model"):
        checkpoint.build(kept.family, {**kept.config, "channels": 4096}, tight)
    checkpoint.build(kept.family, kept.config, checkpoint.Room(kept.tensors))
