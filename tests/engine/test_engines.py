"""Two engines, one stream: files cross over with their latents, and what an engine lacks is said in one line."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import natural_picture
from hypothesis import given, settings
from hypothesis import strategies as st
from places import GOLDEN
from small_models import skip_without_layers_of

from aecodec import checkpoint
from aecodec.codec.codec import Codec
from aecodec.codec.refine import file_cost
from aecodec.codec.tiles import latent_codes
from aecodec.coding import container
from aecodec.contracts import CheckpointError, MissingDependencyError, UsageError
from aecodec.data.images import Picture
from aecodec.engine import networks, opening
from aecodec.engine.graphs import add_graphs, export_graphs
from aecodec.engine.onnx_engine import OnnxEngine
from aecodec.engine.opening import open_engine
from aecodec.engine.protocol import Engine, RefiningEngine
from aecodec.engine.torch_engine import TorchEngine
from aecodec.hasher import Hasher
from aecodec.zoo import stored
from aecodec.zoo.registry import DEFAULT_HASHER, find_model

FAMILIES = sorted(path.stem for path in (GOLDEN / "v1").glob("*.safetensors"))
ENGINES = ("onnx", "torch")


@pytest.fixture(scope="module")
def with_graphs(tmp_path_factory: pytest.TempPathFactory):
    """Family -> the golden checkpoint of it, with graphs."""
    folder = tmp_path_factory.mktemp("graphs")

    def made(family: str) -> Path:
        skip_without_layers_of(family)
        path = folder / f"{family}.safetensors"
        if not path.exists():
            assert add_graphs(GOLDEN / "v1" / f"{family}.safetensors", path)
        return path

    return made


def codecs(path: Path) -> dict[str, Codec]:
    return {name: Codec.from_pretrained(path, engine=name, precision="float32", tile=256) for name in ENGINES}


def test_auto_is_onnx_on_a_cpu_and_torch_where_there_are_no_graphs(with_graphs):
    path = with_graphs("exact-hyperprior")
    assert isinstance(open_engine(path), OnnxEngine)
    assert isinstance(open_engine(path, precision="bfloat16"), TorchEngine)
    assert isinstance(open_engine(GOLDEN / "v1" / "exact-hyperprior.safetensors"), TorchEngine)
    assert isinstance(Codec.from_pretrained().engine, OnnxEngine)
    for name in ENGINES:
        engine = open_engine(path, engine=name)
        assert isinstance(engine, Engine)
        assert isinstance(engine, RefiningEngine)


@pytest.mark.parametrize("family", FAMILIES)
def test_golden_files_decode_to_their_latents_on_every_engine(family, with_graphs):
    path = with_graphs(family)
    files = sorted((GOLDEN / "v1").glob(f"{family}-q*.aec"))
    assert files
    for codec in codecs(path).values():
        for file in files:
            parsed = container.parse(file.read_bytes())
            (code,) = latent_codes(codec.engine, parsed)
            with np.load(file.with_suffix(".npz")) as recorded:
                assert np.array_equal(code.y, recorded["y"])
            assert codec.engine.encode_tile(code) == parsed.tiles[0]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("grey", [False, True])
def test_each_reads_what_the_other_wrote(family, grey, with_graphs):
    both = codecs(with_graphs(family))
    pixels = natural_picture(70, 300)
    picture = Picture(pixels[..., 0] if grey else pixels)
    for writer in ENGINES:
        for quality in (0, 55, 100):
            data = both[writer].encode_picture(picture, quality=quality).data
            parsed = container.parse(data)
            for a, b in zip(*(latent_codes(both[name].engine, parsed) for name in ENGINES), strict=True):
                assert np.array_equal(a.y, b.y)
                assert a.z is b.z is None or np.array_equal(a.z, b.z)
            seen = [both[name].decode_picture(data).pixels.astype(int) for name in ENGINES]
            assert np.abs(seen[0] - seen[1]).max() <= 1


@settings(max_examples=15)
@given(st.integers(1, 200), st.integers(1, 200), st.integers(0, 100), st.booleans())
def test_pictures_of_any_size_cross_over(height, width, quality, turned):
    both = {name: Codec.from_pretrained(engine=name) for name in ENGINES}
    writer, reader = ENGINES[::-1] if turned else ENGINES
    picture = Picture(natural_picture(height, width, seed=quality))
    data = both[writer].encode_picture(picture, quality=quality).data
    assert both[reader].decode_picture(data).pixels.shape == (height, width, 3)


def test_files_of_one_picture_are_equally_large(with_graphs):
    """The engines round a latent differently now and then, and no more."""
    both = codecs(find_model())
    picture = Picture(natural_picture(256, 384))
    for quality in (10, 50, 90):
        sizes = [len(both[name].encode_picture(picture, quality=quality, effort=1).data) for name in ENGINES]
        assert sizes[0] == pytest.approx(sizes[1], rel=0.01, abs=16)


@pytest.fixture
def without_gradients(tmp_path) -> Path:
    """The default model with the graphs of a release that had none of gradients."""
    path = tmp_path / "older.safetensors"
    kept = stored.read(find_model())
    graphs = {name: graph for name, graph in kept.graphs.items() if "gradient" not in name}
    assert 0 < len(graphs) < len(kept.graphs)
    stored.write(replace(kept, graphs=graphs), path)
    return path


@pytest.mark.parametrize("grey", [False, True])
@pytest.mark.parametrize("effort", [2, 3])
def test_effort_gains_as_much_with_either_engine(picture, effort, grey):
    """Without hyper-latents and with them; what one wrote the other reads to the same latents."""
    source = Picture(picture[..., 0] if grey else picture)
    both = codecs(find_model())
    start = both["onnx"].encode_picture(source, quality=60, effort=1).data
    found = {name: both[name].encode_picture(source, quality=60, effort=effort).data for name in ENGINES}
    cost, *costs = (file_cost(both["onnx"].engine, source, data) for data in (start, *found.values()))
    gains = [cost - each for each in costs]
    assert min(gains) > 0.005 * cost
    assert gains[0] > 0.75 * gains[1]
    for data in found.values():
        parsed = container.parse(data)
        for a, b in zip(*(latent_codes(both[name].engine, parsed) for name in ENGINES), strict=True):
            assert np.array_equal(a.y, b.y)
            assert np.array_equal(a.z, b.z)


def test_what_lacks_graphs_of_gradients_is_refined_by_torch(without_gradients, picture):
    source, codec = Picture(picture), Codec.from_pretrained(without_gradients)
    assert not codec.engine.refines_cheaply
    assert Codec.from_pretrained().engine.refines_cheaply
    start, found = (codec.encode_picture(source, quality=60, effort=level).data for level in (1, 2))
    assert file_cost(codec.engine, source, found) < file_cost(codec.engine, source, start)


def test_damaged_gradients_end_in_an_error_and_no_file(without_gradients, picture):
    kept = stored.read(find_model())
    for name in ("synthesis_forth", "synthesis_back", "means_and_gradient"):
        stored.write(replace(kept, graphs={**kept.graphs, name: kept.graphs["synthesis"]}), without_gradients)
        codec = Codec.from_pretrained(without_gradients)
        with pytest.raises(CheckpointError, match=f"network {name}"):
            codec.encode_picture(Picture(picture), effort=2)


def test_graphs_change_no_fingerprint_and_hold_no_weight(with_graphs):
    for family in FAMILIES:
        path = with_graphs(family)
        kept, bare = stored.read(path), stored.read(GOLDEN / "v1" / f"{family}.safetensors")
        assert kept.fingerprint == bare.fingerprint
        assert checkpoint.load(path).fingerprint == kept.fingerprint
        assert max(map(len, kept.graphs.values())) < 64_000
        assert set(export_graphs(family, checkpoint.load(path).module)) == set(kept.graphs)


def test_codes_of_a_hasher_are_the_same(photo_folder):
    both = [Hasher.from_pretrained(engine=name) for name in ENGINES]
    pictures = [natural_picture(60 + n, 90 + 2 * n, n) for n in range(24)]
    codes = [hasher.hash_pixels(pictures) for hasher in both]
    apart = np.unpackbits(codes[0] ^ codes[1], axis=1).sum(axis=1)
    assert apart.max() <= 1
    assert stored.read(find_model(DEFAULT_HASHER)).graphs


class TestWhatIsMissing:
    def test_a_damaged_graph_or_one_of_another_checkpoint(self, tmp_path, with_graphs):
        kept = stored.read(with_graphs("exact-hyperprior"))
        path = tmp_path / "x.safetensors"
        stored.write(kept, path)
        data = bytearray(path.read_bytes())
        place = data.rindex(kept.graphs["analysis"][-200:])
        data[place + 50] ^= 1
        path.write_bytes(data)
        with pytest.raises(CheckpointError, match="graphs are damaged or belong to another"):
            open_engine(path)
        other = stored.read(find_model())
        swapped = replace(kept, graphs=other.graphs)
        stored.write(swapped, path)
        content = path.read_bytes()
        wrong = stored.fingerprint("x", {}, {}).hex().encode()
        path.write_bytes(content.replace(kept.fingerprint.hex().encode(), wrong))
        with pytest.raises(CheckpointError, match="fingerprint"):
            open_engine(path)

    def test_graphs_whose_weights_do_not_fit(self, tmp_path, with_graphs):
        kept = stored.read(with_graphs("exact-hyperprior"))
        path = tmp_path / "x.safetensors"
        stored.write(
            replace(kept, graphs={**kept.graphs, "analysis": stored.read(find_model()).graphs["analysis"]}), path
        )
        with pytest.raises(CheckpointError, match="network analysis cannot be run"):
            open_engine(path).analyse(natural_picture(64, 64))
        stored.write(replace(kept, graphs={"synthesis": kept.graphs["synthesis"]}), path)
        with pytest.raises(CheckpointError, match="no graph of its network analysis"):
            open_engine(path).analyse(natural_picture(64, 64))

    def test_no_graphs_and_no_torch(self, monkeypatch):
        monkeypatch.setattr(opening, "find_spec", lambda name: None if name == "torch" else object())
        bare = GOLDEN / "v1" / "exact-hyperprior.safetensors"
        with pytest.raises(CheckpointError, match=r"no graphs.*aecodec\[torch\]"):
            open_engine(bare)
        with pytest.raises(CheckpointError, match="models export"):
            open_engine(bare, engine="onnx")
        with pytest.raises(MissingDependencyError, match=r"aecodec\[torch\]"):
            open_engine(bare, engine="torch")

    def test_no_graphs_of_gradients_and_no_torch(self, without_gradients, monkeypatch):
        monkeypatch.setattr(opening, "find_spec", lambda name: None if name == "torch" else object())
        codec = Codec.from_pretrained(without_gradients)
        with pytest.raises(MissingDependencyError, match=r"effort above 1, .*no graphs of gradients.* needs torch"):
            codec.encode_picture(Picture(natural_picture(64, 64)), effort=2)

    def test_onnxruntime_that_is_absent_or_too_old(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "onnxruntime", None)
        with pytest.raises(CheckpointError, match="need the package onnxruntime"):
            networks.runtime()
        monkeypatch.undo()
        monkeypatch.setattr(networks.runtime(), "__version__", "1.2.3")
        with pytest.raises(CheckpointError, match=r"1\.17 or later, found 1\.2\.3"):
            networks.runtime()

    @pytest.mark.parametrize(
        "options",
        [
            {"engine": "onnx", "precision": "bfloat16"},
            {"engine": "onnx", "device": "cuda"},
            {"engine": "abacus"},
            {"precision": "int1"},
            {"device": "nonesuch"},
        ],
        ids=str,
    )
    def test_what_no_engine_does(self, options):
        with pytest.raises(UsageError):
            open_engine(find_model(), **options)

    def test_a_model_that_codes_no_pictures(self):
        for engine in ("auto", "torch"):
            with pytest.raises(CheckpointError, match="codes no pictures"):
                open_engine(find_model("vae-digits"), engine=engine)


def test_threads_change_no_byte():
    before = torch.get_num_threads()
    picture = Picture(natural_picture(300, 600))
    found = []
    try:
        for count in (1, 2):
            opening.limit_threads(count)
            codec = Codec.from_pretrained(engine="onnx", tile=256)
            data = codec.encode_picture(picture, quality=60).data
            found.append((data, codec.decode_picture(data).pixels))
            many = Codec(codec.engine, tile=256, jobs=3)
            assert many.encode_picture(picture, quality=60).data == data
            assert np.array_equal(many.decode_picture(data).pixels, found[-1][1])
    finally:
        networks.limit_threads(0)
        torch.set_num_threads(before)
    assert np.abs(found[0][1].astype(int) - found[1][1]).max() <= 1
