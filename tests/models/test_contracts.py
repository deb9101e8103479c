"""What every family promises, whoever wrote it: a new line in FAMILIES is held to it unaided."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import SMALL, as_batch, natural_picture, skip_without_layers_of

from aecodec import checkpoint
from aecodec.contracts import QUALITY_STEPS, Initialisable, Loss, Model, TileCodec
from aecodec.data.arrays import ArraySet
from aecodec.models import FAMILIES
from aecodec.nn.quantise import round_half_up, round_ste

SIDE = 128


def small_model(name: str) -> Any:
    """The family's tiny size, smaller still where its configuration has the flagship's knobs."""
    skip_without_layers_of(name)
    torch.manual_seed(0)
    tiny = FAMILIES[name].sizes()["tiny"]
    known = {field.name for field in fields(tiny)}
    config = replace(tiny, **{key: value for key, value in SMALL.items() if key in known})
    return FAMILIES[name].load()[0](config)


def batch_for(model: Any, count: int = 2) -> torch.Tensor:
    """Natural pictures, or random items where the family is built for a shape of its own."""
    if hasattr(model.config, "shape"):
        return torch.rand(4 * count, *model.config.shape, generator=torch.Generator().manual_seed(3))
    return torch.cat([as_batch(natural_picture(SIDE, SIDE, seed)) for seed in range(count)])


def save(family: str, folder: Path) -> tuple[Any, Path]:
    model, path = small_model(family), folder / "model.safetensors"
    checkpoint.save(model.eval(), path, name="small", family_name=family, card={})
    return model, path


@pytest.fixture(scope="module", params=sorted(FAMILIES))
def family(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module", params=sorted(name for name in FAMILIES if FAMILIES[name].role == "codec"))
def saved(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """A small codec and its checkpoint."""
    return save(request.param, tmp_path_factory.mktemp(request.param))


@pytest.mark.parametrize("progress", [0.0, 1.0])
@pytest.mark.parametrize("autocast", [False, True])
def test_the_loss_is_finite_and_moves_every_parameter(family, progress, autocast):
    model = small_model(family)
    assert isinstance(model, Model)
    batch = batch_for(model)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        loss = model.loss(batch, torch.Generator().manual_seed(0), progress)
    assert isinstance(loss, Loss)
    assert loss.total.shape == ()
    assert loss.total.dtype == torch.float32
    if FAMILIES[family].role == "codec":
        assert {"bpp", "mse"} <= loss.parts.keys()
    for value in (loss.total, *loss.parts.values()):
        assert torch.isfinite(value)
    assert not any(part.requires_grad for part in loss.parts.values())
    loss.total.backward()
    for key, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, f"{key} takes no part"
            assert torch.isfinite(parameter.grad).all(), key


def test_the_loss_is_repeatable_from_its_generator(family):
    model = small_model(family)
    batch = batch_for(model, 1)
    losses = [float(model.loss(batch, torch.Generator().manual_seed(seed)).total.detach()) for seed in (1, 1, 2)]
    assert losses[0] == losses[1]
    if FAMILIES[family].role == "codec":
        assert losses[0] != losses[2], "quantisation noise comes from the generator"


def test_a_few_steps_lower_the_loss(family):
    model = small_model(family)
    batch = batch_for(model, 1)
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=2e-3)
    losses = []
    for _ in range(15):
        optimizer.zero_grad()
        loss = model.loss(batch, torch.Generator().manual_seed(0))
        loss.total.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(float(loss.total.detach()))
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("name", [name for name in FAMILIES if issubclass(FAMILIES[name].load()[0], Initialisable)])
def test_weights_that_start_from_data_follow_from_the_seed(name):
    items = (batch_for(small_model(name)) * 255).byte()
    weights = []
    for seed in (1, 1):
        model = small_model(name)
        model.initialise(ArraySet(items), torch.Generator().manual_seed(seed))
        weights.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    assert torch.equal(weights[0], weights[1])
    assert torch.isfinite(weights[0]).all()


def test_saving_and_loading_is_the_identity(family, tmp_path):
    model, path = save(family, tmp_path)
    loaded = checkpoint.load(path)
    assert loaded.family == family
    assert loaded.module.config == model.config
    ours, theirs = model.state_dict(), loaded.module.state_dict()
    assert ours.keys() == theirs.keys()
    for key in ours:
        assert torch.equal(ours[key], theirs[key]), key


def test_a_codec_is_one_and_analyses_alike_when_loaded(saved):
    model, path = saved
    loaded = checkpoint.load(path)
    assert isinstance(loaded.module, TileCodec)
    x = as_batch(natural_picture(SIDE, SIDE))
    with torch.no_grad():
        assert torch.equal(model.analyse(x), loaded.module.analyse(x))


@pytest.mark.parametrize("quality", [0, 137, QUALITY_STEPS])
def test_decoding_inverts_encoding(saved, quality):
    codec = checkpoint.load(saved[1]).module
    height = width = 2 * codec.alignment
    x = as_batch(natural_picture(height, width))
    y = codec.analyse(x)
    positions = height // codec.stride, width // codec.stride
    code = codec.quantise(y, quality)
    y_shape, z_shape = codec.code_shapes(*positions)
    assert code.y.shape == y_shape
    assert (None if code.z is None else code.z.shape) == z_shape
    assert y.shape == (1, *y_shape)
    decoded = codec.decode_tile(codec.encode_tile(code), quality, *positions)
    assert decoded.quality == quality
    assert np.array_equal(decoded.y, code.y)
    assert (decoded.z is None) == (code.z is None)
    if code.z is not None:
        assert np.array_equal(decoded.z, code.z)
    y_hat = codec.dequantise(decoded)
    assert torch.equal(y_hat, codec.dequantise(code))
    assert y_hat.shape == y.shape
    x_hat = codec.synthesise(y_hat, quality)
    assert x_hat.shape == x.shape
    assert torch.isfinite(x_hat).all()


@pytest.mark.parametrize("quality", [0, 333, QUALITY_STEPS])
def test_the_quantiser_with_hard_rounding_is_quantising_and_its_inverse(saved, quality):
    codec = checkpoint.load(saved[1]).module
    y = codec.analyse(as_batch(natural_picture(2 * codec.alignment, 2 * codec.alignment)))
    code = codec.quantise(y, quality)
    indices = codec.table_indices(code)
    assert indices.shape == code.y.shape
    scaled = codec.scaled(y, quality).requires_grad_()
    y_hat, residual = codec.quantiser(code.z, indices, quality)(scaled, round_half_up)
    assert np.array_equal(residual[0].detach().numpy(), code.y)
    torch.testing.assert_close(y_hat, codec.dequantise(code))
    codec.quantiser(code.z, indices, quality)(scaled, round_ste)[0].square().sum().backward()
    assert torch.isfinite(scaled.grad).all()
    assert codec.distortion_weight(quality) > 0


def test_shapes_and_margins_are_sound(saved):
    codec = checkpoint.load(saved[1]).module
    assert codec.alignment % codec.stride == 0
    assert codec.context >= 0
