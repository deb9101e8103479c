"""Laws of encoder effort: it never costs more, files stay ordinary, and the bits of the gradient are real bits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import natural_picture
from PIL import Image

from aecodec.cli import run
from aecodec.codec.codec import Codec
from aecodec.codec.options import EncodeOptions
from aecodec.codec.refine import STEPS, file_cost
from aecodec.coding import container
from aecodec.coding.tables import freeze_symmetric
from aecodec.contracts import BitstreamError, UsageError
from aecodec.data.images import Picture
from aecodec.engine.protocol import Refined
from aecodec.engine.refinement import BitCost
from aecodec.metrics.psnr import psnr
from aecodec.nn.quantise import round_half_up, soft_round


@pytest.fixture(scope="module")
def codec() -> Codec:
    return Codec.from_pretrained(precision="float32")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Five steps at every level."""
    for level in range(2, 10):
        monkeypatch.setitem(STEPS, level, 5)


def test_the_usual_effort_is_that_of_the_engine(codec, picture):
    """2 by graphs; with torch 1, and so the very integers that the network gives."""
    with_torch = Codec.from_pretrained(precision="float32", engine="torch")
    usual, levels = ([each.encode_picture(Picture(picture), quality=40).data for each in (codec, with_torch)], (2, 1))
    for each, data, level in zip((codec, with_torch), usual, levels, strict=True):
        assert each.encode_picture(Picture(picture), quality=40, effort=level).data == data
    assert len({*usual}) == 2
    plain, engine = container.parse(usual[1]), with_torch.engine
    code = engine.quantise(engine.analyse(picture), plain.header.quality)
    assert plain.tiles == [engine.encode_tile(code)]


@pytest.mark.parametrize("quality", [0, 45, 100])
def test_effort_lowers_the_cost_of_the_real_file(codec, picture, quality):
    """On a synthetic picture; photographs gain more (benchmarks/effort.py)."""
    source = Picture(picture)
    start = codec.encode_picture(source, quality=quality, effort=1)
    found = codec.encode_picture(source, quality=quality, effort=4)
    assert found.quality == start.quality
    assert file_cost(codec.engine, source, found.data) < file_cost(codec.engine, source, start.data)
    assert codec.decode_picture(found.data).pixels.shape == picture.shape


def test_more_steps_do_not_cost_more(codec, picture, monkeypatch):
    """Each level keeps the best it saw; with many more steps it sees better."""
    costs = []
    for steps in (0, 8, 40):
        monkeypatch.setitem(STEPS, 5, steps)
        data = codec.encode_picture(Picture(picture), quality=60, effort=5).data
        costs.append(file_cost(codec.engine, Picture(picture), data))
    assert costs[0] > costs[1] > costs[2]


def test_both_planes_of_integers_move_and_the_header_stays(codec, picture, quick):
    before, after = (
        container.parse(codec.encode_picture(Picture(picture), quality=50, effort=level).data) for level in (1, 5)
    )
    assert before.header == after.header
    codes = [codec.engine.decode_tile(parsed.tiles[0], parsed.header.quality, 8, 12) for parsed in (before, after)]
    assert not np.array_equal(codes[0].z, codes[1].z)
    assert not np.array_equal(codes[0].y, codes[1].y)


@pytest.mark.parametrize("quality", [150, 750, 1000])
def test_the_cost_that_hyper_latents_descend_is_near_that_of_the_file(picture, quality):
    """At integers, without a weight for the error, it is the estimate of the bits; and it has a gradient in z."""
    engine = Codec.from_pretrained(precision="float32", engine="torch").engine
    model = engine.module
    with torch.no_grad():
        y = model.scaled(model.analyse(engine.to_tensor(picture)), quality)
        code = model.with_hyper_latents(model.hyper_latents(y), y, quality)
    real = sum(tables.bits(plane.symbols, plane.tables) for plane, tables in model.symbol_planes(code))
    z = torch.from_numpy(code.z)[None].float().requires_grad_()
    weight = torch.zeros(1, y.shape[1], 1, 1)
    cost = model.hyper_cost(z, y, quality, round_half_up, weight)
    assert cost.item() == pytest.approx(real, rel=0.15)
    assert model.hyper_cost(z, y, quality, round_half_up, weight + 1.0).item() > cost.item()
    (gradient,) = torch.autograd.grad(model.hyper_cost(z, y, quality, lambda value: value, weight), z)
    assert torch.isfinite(gradient).all()
    assert (gradient != 0).float().mean() > 0.9


@pytest.mark.parametrize("grey", [False, True])
def test_tiles_alpha_and_odd_sides(codec, grey, quick):
    """Neighbouring tiles see each other's latents; what is not latents passes through."""
    codec = Codec(codec.engine, tile=256)
    pixels = natural_picture(70, 530)
    source = Picture(pixels[..., 0] if grey else pixels, {"icc": b"profile"}, alpha=pixels[..., 1])
    start, found = (codec.encode_picture(source, quality=50, effort=level) for level in (1, 3))
    assert len(container.parse(found.data).tiles) == 3
    assert file_cost(codec.engine, source, found.data) < file_cost(codec.engine, source, start.data)
    back = codec.decode_picture(found.data)
    assert np.array_equal(back.alpha, source.alpha)
    assert back.metadata == source.metadata
    assert back.pixels.shape == source.pixels.shape


@pytest.mark.parametrize("size", [(1, 1), (3, 70), (64, 64)])
def test_any_size(codec, size, quick):
    found = codec.encode_picture(Picture(natural_picture(*size)), effort=9)
    assert codec.decode_picture(found.data).pixels.shape == (*size, 3)


def test_a_refinement_that_costs_more_is_not_taken(codec, picture, monkeypatch):
    """Whatever an engine hands back; and what does not decode to itself is an error."""
    source = Picture(picture)
    start = codec.encode_picture(source, quality=50, effort=1).data

    def worse(code, canvas, steps):
        noisy = replace(code, y=code.y + (code.y != 0))
        return Refined(noisy, 1e9, 1e6)

    monkeypatch.setattr(codec.engine, "refine", worse)
    assert codec.encode_picture(source, quality=50, effort=2).data == start
    monkeypatch.setattr(
        codec.engine, "refine", lambda code, canvas, steps: Refined(worse(code, canvas, 0).code, 0.0, 1e9)
    )
    monkeypatch.setattr(codec.engine, "encode_tile", lambda code: container.parse(start).tiles[0])
    with pytest.raises(BitstreamError, match="does not decode to what it was"):
        codec.encode_picture(source, quality=50, effort=2)


def test_a_file_that_cannot_be_improved_is_returned_as_it_was(codec, picture, monkeypatch):
    monkeypatch.setitem(STEPS, 2, 0)
    start, found = (codec.encode_picture(Picture(picture), effort=level) for level in (1, 2))
    assert found == start


@pytest.mark.parametrize("target", [{"target_bpp": 0.4}, {"target_size": 900}, {"target_psnr": 33.0}])
def test_targets_are_met_on_the_right_side(codec, picture, target, quick):
    source = Picture(picture)
    plain = codec.encode_picture(source, **target, effort=1)
    found = codec.encode_picture(source, **target, effort=2)
    level = {name: value for name, value in target.items() if name == "target_psnr"}
    if level:
        assert psnr(picture, codec.decode_picture(found.data).pixels) >= target["target_psnr"]
        assert len(found.data) < len(plain.data)
    else:
        assert len(found.data) <= target.get("target_size", 0.4 * picture.shape[0] * picture.shape[1] / 8)
        # Costs at two qualities weigh the error differently; what counts is the better picture of one size.
        assert psnr(picture, codec.decode_picture(found.data).pixels) > psnr(
            picture, codec.decode_picture(plain.data).pixels
        )


@pytest.mark.parametrize("effort", [0, 10, -1])
def test_levels_out_of_range_are_usage_errors(codec, effort):
    with pytest.raises(UsageError, match="effort"):
        EncodeOptions(effort=effort)
    with pytest.raises(UsageError, match="effort"):
        codec.encode_picture(Picture(natural_picture(8, 8)), effort=effort)


def test_the_command_line(tmp_path: Path, quick, capsys):
    photo = tmp_path / "photo.png"
    Image.fromarray(natural_picture(96, 128)).save(photo)
    files = [tmp_path / f"{level}.aec" for level in (1, 7)]
    for file in files:
        assert run(["compress", str(photo), "-o", str(file), "--effort", file.stem]) == 0
        assert run(["decompress", str(file)]) == 0
    assert files[0].read_bytes() != files[1].read_bytes()
    assert run(["compress", str(photo), "--effort", "10"]) == 2


def test_bits_at_integers_are_those_of_the_tables_and_straight_between():
    tables = freeze_symmetric([np.array([0.9, 0.05]), np.array([0.3, 0.2, 0.1, 0.05])])
    rng = np.random.default_rng(0)
    indices = rng.integers(0, 2, (3, 4, 5))
    symbols = rng.integers(-6, 7, (3, 4, 5))
    cost = BitCost(tables, indices, torch.device("cpu"))

    def bits(values: np.ndarray) -> float:
        return tables.bits(values.ravel(), indices.ravel())

    residual = torch.from_numpy(symbols).float()[None]
    assert float(cost(residual)) == pytest.approx(bits(symbols), rel=1e-6)
    between = (residual + 0.25).requires_grad_()
    total = cost(between)
    assert total.item() == pytest.approx(0.75 * bits(symbols) + 0.25 * bits(symbols + 1), rel=1e-6)
    total.backward()
    assert float(between.grad.sum()) == pytest.approx(bits(symbols + 1) - bits(symbols), abs=1e-3)


def test_soft_rounding_goes_from_nearly_nothing_to_rounding():
    x = torch.linspace(-3, 3, 601)
    for temperature in (1.0, 0.3, 0.01):
        soft = soft_round(x, temperature)
        assert (soft >= torch.floor(x)).all()
        assert (soft <= torch.floor(x) + 1).all()
        assert (soft.diff() >= -1e-3).all()
    assert (soft_round(x, 1.0) - x).abs().max() < 0.2
    away = (x - torch.floor(x) - 0.5).abs() > 0.02
    torch.testing.assert_close(soft_round(x, 0.01)[away], round_half_up(x)[away], rtol=0, atol=1e-2)
    x = torch.linspace(-2, 2, 401).requires_grad_()
    soft_round(x, 0.3).sum().backward()
    assert torch.isfinite(x.grad).all()
    assert (x.grad >= 0).all()
