"""Feature extractors in ONNX as hashers: features by their definition whatever a graph takes, fits, files, refusals."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import natural_picture
from hypothesis import given
from hypothesis import strategies as st
from onnx_writer import FLOAT, FLOAT16, PATCH, UINT8, extractor, message, model, node, tensor, value_info, weights
from PIL import Image
from places import TESTS

from aecodec.cli import run
from aecodec.codec.info import info
from aecodec.contracts import CheckpointError, UsageError
from aecodec.data.thumbnails import square_thumbnail
from aecodec.engine.extractor import CENTRE, FAMILY, GRAPH, PROJECTION
from aecodec.engine.fitting import Taking, fit, look_at, make_hasher
from aecodec.engine.onnx_file import fault_of
from aecodec.hasher import Hasher
from aecodec.zoo import stored
from aecodec.zoo.registry import model_paths

GOLDEN = TESTS / "golden" / "v2"
#: Levels as they are, whatever the type.
BYTES = Taking(mean=(0.0,), deviation=(1.0,), range=255)


def squares(side: int, channels: int, count: int = 12):
    for seed in range(0, count, 4):
        pictures = [natural_picture(60, 80, seed + number) for number in range(4)]
        yield np.stack([square_thumbnail(pixels, side, channels) for pixels in pictures])


def by_definition(batch: np.ndarray, width: int = 96) -> np.ndarray:
    """(n, 3, S, S) levels of 0 to 255 -> (n, width): patches times weights, negative ones cut off, averaged."""
    n, _, side, _ = batch.shape
    cells = side // PATCH
    patches = batch.reshape(n, 3, cells, PATCH, cells, PATCH).transpose(0, 2, 4, 1, 3, 5).reshape(n, cells**2, -1)
    return np.maximum(patches.astype(np.float64) @ weights(width).reshape(width, -1).T, 0).mean(1)


def written(folder: Path, data: bytes, name: str = "extractor.onnx") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def made(folder: Path, data: bytes | None = None, name: str = "small", **options: object) -> Path:
    target = folder / f"{name}.safetensors"
    graph = written(folder, data or extractor())
    make_hasher(graph, squares, target, **{"taking": BYTES, "bits": 64, "rotation": "random", "name": name, **options})
    return target


@pytest.mark.parametrize("output", ["vector", "map", "sequence"])
@pytest.mark.parametrize(
    ("shape", "layout"),
    [
        (("n", 3, 32, 32), "NCHW"),
        ((1, 3, "h", "w"), "NCHW"),
        (("n", "c", "h", "w"), "NCHW"),
        ((3, 3, 32, "w"), "NCHW"),
        (("n", 32, 32, 3), "NHWC"),
        (("n", "h", "w", 3), "NHWC"),
        (("n", "h", "w", "c"), "NHWC"),
    ],
)
@pytest.mark.parametrize("kind", [FLOAT, FLOAT16, UINT8])
def test_features_are_those_of_the_definition(shape, layout, kind, output, tmp_path):
    path = written(tmp_path, extractor(shape, kind, layout=layout, output=output))
    found = look_at(path, replace(BYTES, side=32))
    assert (found.config["layout"], found.config["shape"]) == (layout, [3, 32, 32])
    batch = next(squares(32, 3))
    assert np.allclose(found.features(batch / np.float32(255)), by_definition(batch), atol=1e-3, rtol=1e-3)


def test_levels_are_prepared_as_asked(tmp_path):
    path = written(tmp_path, extractor())
    batch = next(squares(32, 3))
    taking = Taking(mean=(0.1, 0.2, 0.3), deviation=(0.5, 0.25, 2.0), reversed=True)
    x = batch[:, ::-1] / 255 - np.array([0.1, 0.2, 0.3])[:, None, None]
    known = by_definition(x / np.array([0.5, 0.25, 2.0])[:, None, None])
    assert np.allclose(look_at(path, taking).features(batch / np.float32(255)), known, atol=1e-5)


@pytest.mark.parametrize("rotation", ["itq", "random"])
def test_a_fit_is_centred_and_its_axes_are_orthonormal(rotation):
    features = np.random.default_rng(0).standard_normal((50, 24)).astype(np.float32) @ np.diag(np.arange(1, 25.0)) + 7
    centre, projection = fit(features.astype(np.float32), 16, rotation, 3)
    assert np.allclose(centre, features.mean(0), atol=1e-4)
    assert np.allclose(projection.T @ projection, np.eye(16), atol=1e-5)
    again = fit(features.astype(np.float32), 16, rotation, 3)[1]
    assert np.array_equal(projection, again)
    assert not np.allclose(projection, fit(features.astype(np.float32), 16, rotation, 4)[1])


def test_a_file_holds_all_that_codes_need(tmp_path):
    path = made(tmp_path)
    (tmp_path / "extractor.onnx").unlink()
    hasher = Hasher.from_pretrained(path)
    assert (hasher.name, hasher.side, hasher.lengths, hasher.nested) == ("small", 32, (64,), False)
    pictures = [natural_picture(70, 90, seed) for seed in range(9)]
    batch = np.stack([square_thumbnail(pixels, 32) for pixels in pictures])
    kept = stored.read(path)
    known = (by_definition(batch) - kept.tensors[CENTRE]) @ kept.tensors[PROJECTION]
    sure = np.abs(known) > 1e-2
    bits = np.unpackbits(hasher.hash_pixels(pictures), axis=1)
    assert sure.mean() > 0.9
    assert np.array_equal(bits[sure], (known >= 0)[sure])


def test_shorter_codes_begin_longer_ones(tmp_path):
    path = made(tmp_path, extractor(width=140), bits=136)
    hasher, short = Hasher.from_pretrained(path), Hasher.from_pretrained(path, bits=64)
    assert hasher.lengths == (64, 128, 136)
    pictures = [natural_picture(70, 90, 0)]
    assert np.array_equal(hasher.hash_pixels(pictures)[:, :8], short.hash_pixels(pictures))
    assert len(hasher.describe(pictures[0]).bits) == 8


def test_the_fingerprint_is_of_the_model_of_how_it_is_fed_and_of_the_fit(tmp_path):
    variants = [
        made(tmp_path, name="a"),
        made(tmp_path, extractor(extra=[node("Identity", ["x"], ["unused"])]), name="b"),
        made(tmp_path, name="c", seed=1),
        made(tmp_path, name="d", taking=replace(BYTES, mean=(1.0,))),
    ]
    prints = [stored.read(path).fingerprint for path in variants]
    assert len(set(prints)) == 4
    assert stored.read(made(tmp_path, name="e")).fingerprint == prints[0]


def test_a_file_of_before_gives_the_codes_of_then():
    hasher = Hasher.from_pretrained(GOLDEN / "onnx-hash.safetensors")
    assert hasher.fingerprint.hex() == "c2d6342dd91c0cd4"
    codes = hasher.hash_pixels([natural_picture(40, 50, seed) for seed in range(3)])
    assert [code.tobytes().hex() for code in codes] == ["07f1", "2a0e", "cdb0"]


REFUSED = {
    "weights in another file": (
        model(
            [node("Conv", ["x", "w"], ["y"])],
            [value_info("x", FLOAT, ("n", 3, 32, 32))],
            [value_info("y", FLOAT, ("n", "c", "h", "w"))],
            [tensor("w", weights(8), (13, message((1, "location"), (2, "/etc/passwd"))), (14, 1))],
        ),
        "its weights are in other files",
    ),
    "an operation of somebody": (
        extractor(extra=[node("Shell", ["x"], ["y"], (7, "some.body"))]),
        "operations of 'some.body' are not known",
    ),
    "a loop": (extractor(extra=[node("Loop", ["x"], ["y"])]), "the operation Loop is not run"),
    "a loop inside": (
        extractor(extra=[node("If", ["x"], ["y"], (5, message((1, "then"), (6, message((1, node("Scan", [], [])))))))]),
        "the operation Scan is not run",
    ),
    "noise": (extractor(extra=[node("RandomNormalLike", ["x"], ["y"])]), "RandomNormalLike is not run"),
    "an operation that is none": (extractor(extra=[node("Nothing", ["x"], ["y"])]), "cannot be run"),
    "no model": (b"not a model at all", "no ONNX model"),
    "nothing": (b"", "the file is empty"),
    "no picture": (
        model([node("Relu", ["x"], ["y"])], [value_info("x", FLOAT, ("n", 7))], [value_info("y", FLOAT, ("n", 7))]),
        "expected one input of pictures",
    ),
    "two pictures": (
        model(
            [node("Add", ["x", "z"], ["y"])],
            [value_info(name, FLOAT, ("n", 3, 32, 32)) for name in "xz"],
            [value_info("y", FLOAT, ("n", 3, 32, 32))],
        ),
        "expected one input of pictures",
    ),
    "five channels": (extractor(("n", 5, 32, 32)), "pictures have 1 or 3 channels"),
    "no square": (extractor(("n", 3, 32, 48)), "takes squares"),
    "a square too large": (extractor(("n", 3, 4096, 4096)), "up to 1024"),
    "a number": (
        model(
            [node("ReduceMean", ["x"], ["y"], (5, message((1, "keepdims"), (3, 0), (20, 2))))],
            [value_info("x", FLOAT, ("n", 3, 32, 32))],
            [value_info("y", FLOAT, ())],
        ),
        "expected a vector or a map",
    ),
    "no numbers": (extractor(scale=np.nan), "not finite"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_extractor_or_not_to_be_trusted_is_refused(name, tmp_path):
    data, told = REFUSED[name]
    with pytest.raises(CheckpointError, match=told) as refused:
        look_at(written(tmp_path, data), BYTES)
    assert "\n" not in str(refused.value)


def test_what_does_not_go_with_a_model_is_refused(tmp_path):
    path = written(tmp_path, extractor())
    with pytest.raises(UsageError, match=r"squares of 32 x 32, not of 64"):
        look_at(path, replace(BYTES, side=64))
    with pytest.raises(UsageError, match=r"no output 'other'; there are: vector"):
        look_at(path, replace(BYTES, output="other"))
    with pytest.raises(UsageError, match=r"96 numbers give at most 96 bits, not 128"):
        made(tmp_path, bits=128)
    with pytest.raises(UsageError, match=r"64 bits by itq are fitted to at least 65 pictures, found 12"):
        made(tmp_path, rotation="itq")
    with pytest.raises(CheckpointError, match="cannot be read"):
        look_at(tmp_path / "none.onnx", BYTES)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"graph": "0" * 64}, "is not the one that it was made of"),
        ({"layout": "CHWN"}, "garbled"),
        ({"shape": [3, 32, 31]}, "garbled"),
        ({"prefixes": [72]}, "none of codes in one another"),
        ({"n_bits": 56}, "does not go with its bits"),
        ({"mean": [0.0, 0.0]}, "one for each of 3 channels"),
        ({"batch": -1}, "garbled"),
        ({"input": "y"}, "fails"),
    ],
)
def test_a_forged_file_ends_in_a_named_error(change, told, tmp_path):
    kept = stored.read(made(tmp_path))
    stored.write(replace(kept, config={**kept.config, **change}), tmp_path / "forged.safetensors")
    with pytest.raises(CheckpointError, match=told):
        Hasher.from_pretrained(tmp_path / "forged.safetensors").hash_pixels([natural_picture(40, 40, 0)])


def test_a_forged_graph_or_fit_ends_in_a_named_error(tmp_path):
    kept = stored.read(made(tmp_path))
    loop = extractor(extra=[node("Loop", ["x"], ["y"])])
    config = {**kept.config, "graph": hashlib.sha256(loop).hexdigest()}
    for forged, told in (
        (replace(kept, config=config, graphs={GRAPH: loop}), "the operation Loop is not run"),
        (replace(kept, graphs={}), "is not the one that it was made of"),
        (replace(kept, tensors={CENTRE: kept.tensors[CENTRE]}), "are missing"),
        (replace(kept, tensors={**kept.tensors, CENTRE: np.zeros(7, np.float32)}), "does not go with its bits"),
    ):
        stored.write(forged, tmp_path / "forged.safetensors")
        with pytest.raises(CheckpointError, match=told):
            Hasher.from_pretrained(tmp_path / "forged.safetensors")
    assert kept.family == FAMILY
    with pytest.raises(UsageError, match="engine onnx alone"):
        Hasher.from_pretrained(tmp_path / "small.safetensors", engine="torch")


@given(st.binary(max_size=200))
def test_any_bytes_are_judged(data):
    assert fault_of(data)


@given(st.integers(0, 1 << 20), st.integers(0, 255))
def test_a_changed_model_is_judged(place, value):
    data = bytearray(extractor(width=1))
    data[place % len(data)] = value
    fault = fault_of(bytes(data[: place % 3 * len(data) or None]))
    assert fault is None or isinstance(fault, str)


def test_graphs_whose_weights_are_elsewhere_are_known_by_those_of_the_zoo():
    """Their weights are handed over when they are opened: nobody else's may be."""
    graphs = [graph for path in model_paths() for graph in stored.read(path).graphs.values()]
    assert graphs
    assert all("other files" in str(fault_of(graph)) for graph in graphs)


def test_every_command_takes_the_file(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AECODEC_CACHE", str(tmp_path / "cache"))
    photos = tmp_path / "photos"
    photos.mkdir()
    for seed in range(6):
        Image.fromarray(natural_picture(60, 80, seed)).save(photos / f"{seed}.png")
    Image.open(photos / "2.png").resize((40, 30)).save(tmp_path / "copy.png")
    written(tmp_path, extractor(("n", 3, "h", "w")), "net.onnx")
    options = ["--fit", "photos", "--rotation", "random", "--bits", "64", "--side", "32", "--quiet"]
    assert (
        run(["models", "hasher", "net.onnx", *options, "-o", "net.safetensors", "--mean", "0.5", "--std", "0.5"]) == 0
    )
    assert "net, 64 bits of 3 x 32 x 32 NCHW" in capsys.readouterr().out
    file = ["--hasher", "net.safetensors"]
    assert run(["index", "build", "photos", "-o", "net.hix", *file, "--quiet"]) == 0
    capsys.readouterr()
    assert run(["search", "net.hix", "copy.png", "-k", "1", *file]) == 0
    assert "2.png" in capsys.readouterr().out
    assert run(["compress", "photos/2.png", "-o", "photos/two.aec", *file]) == 0
    assert info(Path("photos/two.aec"))["semantic_hash"]["hasher"] == "net"
    assert run(["dedup", "photos", "--max-distance", "8", *file, "--quiet"]) == 0
    assert "two.aec" in capsys.readouterr().out
    assert run(["models", "hasher", "net.onnx", *options, "--name", "cached"]) == 0
    assert run(["search", "net.hix", "copy.png", "--hasher", "cached"]) != 0  # another fit
    assert "cached" in capsys.readouterr().err
    assert run(["models", "hasher", "net.onnx", *options, "-o", "net.safetensors"]) == 5
    assert run(["models", "hasher", "net.onnx", *options, "-o", "a.safetensors", "--bits", "65"]) == 2
    assert run(["models", "hasher", "net.onnx", *options, "--mean", "a"]) == 2
