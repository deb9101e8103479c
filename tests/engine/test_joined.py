"""Several hashers as one: its code is theirs, one after another; only what is asked for is computed; refusals."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import natural_picture
from places import TESTS
from small_hasher import CONFIG, save_hasher

from aecodec.cli import run
from aecodec.contracts import CheckpointError, UsageError
from aecodec.engine.hashing import open_hash_network
from aecodec.engine.joined import join
from aecodec.hasher import Hasher
from aecodec.index.windows import LAYOUT
from aecodec.search.pictures import CodeReader
from aecodec.zoo import stored

BITS = (16, 64)


#: Of squares of 32 pixels, with a graph; codes of 16 and 64 bits.
MEMBER = TESTS / "engine" / "small-hash.safetensors"


@pytest.fixture
def member() -> Path:
    return MEMBER


@pytest.fixture(scope="module")
def joined(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a hasher of squares of 16 pixels, and the member."""
    folder = tmp_path_factory.mktemp("joined")
    small, path = (
        save_hasher(folder / "small.safetensors", {**CONFIG, "shape": [3, 16, 16]}),
        folder / "joined.safetensors",
    )
    from aecodec.engine.graphs import add_graphs

    add_graphs(small)
    stored.write(join([stored.read(small), stored.read(MEMBER)], BITS, "both"), path)
    return path


@pytest.fixture(scope="module")
def squares() -> np.ndarray:
    return np.stack([natural_picture(32, 32, seed).transpose(2, 0, 1) for seed in range(5)])


def test_its_code_is_the_first_bits_of_each_member(member, joined, squares):
    first = open_hash_network(joined.with_name("small.safetensors"), engine="onnx")
    hasher, alone = Hasher.from_pretrained(joined, engine="onnx"), Hasher.from_pretrained(member, engine="onnx")
    assert (hasher.side, hasher.n_bits, hasher.lengths) == (32, 80, (16, 80))
    codes = hasher.hash(squares)
    assert np.array_equal(codes[:, 2:], alone.hash(squares))
    x = squares / np.float32(255)
    halves = np.ascontiguousarray(x).reshape(5, 3, 16, 2, 16, 2).mean((3, 5))
    assert np.array_equal(codes[:, :2], np.packbits(first.logits(halves)[:, :16] >= 0, axis=1))
    network = open_hash_network(joined, engine="onnx")  # whose means of blocks are NumPy's to the bit, in any layout
    for layout in (x, np.ascontiguousarray(x)):
        assert np.array_equal(network.logits(layout, 16), first.logits(halves)[:, :16])


def test_a_short_code_is_the_beginning_and_asks_the_first_member_alone(joined, squares):
    network = open_hash_network(joined, engine="onnx")
    x = squares / np.float32(255)
    assert network.logits(x, 16).shape == (5, 16)
    assert set(network._networks) == {0}
    assert np.array_equal(network.logits(x)[:, :16], network.logits(x, 16))
    short = Hasher(network, bits=16)
    assert np.array_equal(short.hash(squares), Hasher(network).hash(squares)[:, :2])


@pytest.mark.parametrize("layout", [0, LAYOUT])
def test_an_index_of_short_codes_has_the_first_member_compute_alone(layout, joined):
    network, pictures = open_hash_network(joined, engine="onnx"), [natural_picture(60, 70, 1)]
    reader = CodeReader(Hasher(network), layout=layout).shortened(16)
    sets, wholes = reader.sets(pictures), reader.hash(pictures)
    assert set(network._networks) == {0}
    assert np.array_equal(sets, CodeReader(Hasher(network), layout=layout).sets(pictures)[..., :2])
    assert np.array_equal(wholes, sets[:, 0])


def test_every_engine_gives_the_same_logits(joined, squares):
    pytest.importorskip("torch", reason="compared with torch")
    x = squares / np.float32(255)
    onnx, torch = (open_hash_network(joined, engine=engine).logits(x) for engine in ("onnx", "torch"))
    np.testing.assert_allclose(onnx, torch, atol=1e-4)


def test_the_command_joins_what_the_zoo_or_a_file_holds(member, tmp_path, capsys):
    out = tmp_path / "both.safetensors"
    line = ["models", "join", str(member), str(member), "--bits", "16,64", "--name", "both", "-o", str(out)]
    assert run(line) == 0
    kept = stored.read(out)
    assert kept.fingerprint.hex() in capsys.readouterr().out
    assert [one["fingerprint"] for one in kept.card["members"]] == [stored.read(member).fingerprint.hex()] * 2
    assert run(line) == 5  # it is there
    assert run([*line, "--force"]) == 0


@pytest.mark.parametrize("bits", ["16", "16,64,64", "16,32", "16,x", "", "16,-1", "16,64.0", "9" * 50])
def test_bits_that_no_member_was_trained_for_are_refused(bits, member, tmp_path):
    line = ["models", "join", str(member), str(member), "--name", "both", "-o", str(tmp_path / "both.safetensors")]
    assert run([*line, "--bits", bits]) == 2
    assert not list(tmp_path.iterdir())


def test_what_is_joined_already_has_other_channels_or_another_side_is_refused(member, joined):
    kept = stored.read(member)
    for shape in ([1, 32, 32], [3, 24, 24]):
        with pytest.raises(UsageError, match="not the same channels, and sides"):
            join([kept, replace(kept, config={**kept.config, "shape": shape})], (16, 64), "both")
    with pytest.raises(UsageError, match="is joined of several already"):
        join([kept, stored.read(joined)], (64, 80), "both")


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"bits": []}, "do not hold together"),
        ({"bits": [16]}, "do not hold together"),
        ({"bits": [16, 1 << 20]}, "garbled"),
        ({"n_bits": 88}, "do not hold together"),
        ({"shape": [2, 32, 32]}, "do not hold together"),
        ({"prefixes": [20]}, "none of codes"),
        ({"prefixes": [64, 16]}, "none of codes"),
        ({"prefixes": [80]}, "none of codes"),
        ({"bits": [16, 64, 8], "n_bits": 88}, "has no name or family"),
        ({"0/family": "joined-hash"}, "has no name or family"),
        ({"0/family": 3}, "has no name or family"),
        ({"0/family": "exact-hyperprior"}, "is no hasher"),
        ({"0/shape": [3, 24, 24]}, "does not go with the others"),
        ({"0/shape": [1, 16, 16]}, "does not go with the others"),
        ({"bits": [24, 56]}, "does not go with the others"),
    ],
)
def test_a_file_that_does_not_hold_together_is_refused(change, fault, joined, squares, tmp_path):
    kept, path = stored.read(joined), tmp_path / "forged.safetensors"
    stored.write(replace(kept, config={**kept.config, **change}), path)
    with pytest.raises(CheckpointError, match=fault):
        Hasher.from_pretrained(path, engine="onnx").hash(squares)


def test_a_member_that_gives_fewer_bits_than_it_says_is_told(joined, squares, tmp_path):
    kept, path = stored.read(joined), tmp_path / "forged.safetensors"
    config = {**kept.config, "bits": [16, 128], "n_bits": 144, "1/n_bits": 128}
    stored.write(replace(kept, config=config), path)
    with pytest.raises(CheckpointError, match=r"its member 1 gives \(5, 64\), not \(5, 128\)"):
        Hasher.from_pretrained(path, engine="onnx").hash(squares)
