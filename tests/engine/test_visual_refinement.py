"""Laws of encoder effort where the distortion is what eyes see: both engines go down that, and files stay ordinary."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import natural_picture

from aecodec import checkpoint
from aecodec.codec.codec import Codec
from aecodec.codec.refine import file_cost
from aecodec.codec.tiles import latent_codes
from aecodec.coding import container
from aecodec.contracts import CheckpointError
from aecodec.data.images import Picture
from aecodec.engine.onnx_refinement import original
from aecodec.zoo import stored
from aecodec.zoo.registry import TUNES, find_model

ENGINES = ("onnx", "torch")
SHARE = 0.8


@pytest.fixture(scope="module")
def visual_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded model for PSNR, told that it was trained for eyes."""
    path = tmp_path_factory.mktemp("visual") / "visual.safetensors"
    kept = stored.read(find_model(TUNES["psnr"]))
    stored.write(replace(kept, config={**kept.config, "visual": SHARE}), path)
    return path


def codecs(path: Path, tile: int = 256) -> dict[str, Codec]:
    return {name: Codec.from_pretrained(path, engine=name, precision="float32", tile=tile) for name in ENGINES}


@pytest.mark.parametrize("grey", [False, True])
@pytest.mark.parametrize("size", [(192, 256), (70, 90)])
def test_effort_goes_down_what_eyes_see_with_either_engine(visual_file, size, grey):
    picture = natural_picture(*size)
    source = Picture(picture[..., 0] if grey else picture)
    both = codecs(visual_file)
    assert both["onnx"].engine.refines_cheaply
    start = both["onnx"].encode_picture(source, quality=60, effort=1).data
    found = {name: both[name].encode_picture(source, quality=60, effort=3).data for name in ENGINES}
    cost, *costs = (file_cost(both["onnx"].engine, source, data) for data in (start, *found.values()))
    gains = [cost - each for each in costs]
    assert min(gains) > 0.005 * cost
    assert 0.6 < gains[0] / gains[1] < 1.7
    for data in found.values():
        parsed = container.parse(data)
        for a, b in zip(*(latent_codes(both[name].engine, parsed) for name in ENGINES), strict=True):
            assert np.array_equal(a.y, b.y)


def test_many_tiles_cost_no_more_than_before(visual_file):
    source, codec = Picture(natural_picture(200, 530)), codecs(visual_file, tile=256)["onnx"]
    start, found = (codec.encode_picture(source, quality=40, effort=level).data for level in (1, 2))
    assert file_cost(codec.engine, source, found) < file_cost(codec.engine, source, start)


@pytest.mark.parametrize("shape", [(180, 190, 3), (20, 30, 3), (20, 30), (3, 3)])
def test_every_engine_measures_the_same_distortion(visual_file, shape):
    rng = np.random.default_rng(0)
    pixels = rng.integers(60, 200, shape, np.uint8)
    decoded = (pixels + rng.integers(-9, 10, shape)).astype(np.uint8)
    by_onnx, by_torch = (codec.engine.distortion(pixels, decoded) for codec in codecs(visual_file).values())
    assert by_onnx == pytest.approx(by_torch, rel=1e-3)
    plain = codecs(find_model(TUNES["psnr"]))
    expected = float(np.square(pixels.astype(float) - decoded).mean()) / 255**2
    for codec in plain.values():
        assert codec.engine.distortion(pixels, decoded) == pytest.approx(expected, rel=1e-4)


def test_the_slope_is_that_of_the_model(visual_file):
    rng = np.random.default_rng(1)
    x = rng.uniform(0.2, 0.8, (3, 170, 180)).astype(np.float32)
    y = (x + 0.03 * rng.standard_normal(x.shape)).clip(0, 1).astype(np.float32)
    model = checkpoint.load(visual_file).module
    leaf = torch.from_numpy(y)[None].requires_grad_()
    (expected,) = torch.autograd.grad(model.distortion(torch.from_numpy(x)[None], leaf)[0], leaf)
    off = original(x, SHARE).slope(y) - expected[0].numpy()
    assert np.sqrt(np.square(off).mean()) < 0.02 * float(expected.square().mean().sqrt())


@pytest.mark.parametrize("share", [-0.1, 1.5])
def test_a_share_that_is_none_is_refused(tmp_path, share):
    kept = stored.read(find_model(TUNES["psnr"]))
    path = tmp_path / "forged.safetensors"
    stored.write(replace(kept, config={**kept.config, "visual": share}), path)
    with pytest.raises(CheckpointError, match=r"share|visual"):
        Codec.from_pretrained(path)
