"""What every family promises, whoever wrote it: a new line in FAMILIES is held to it unaided."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import natural_picture
from small_models import SMALL, as_batch, skip_without_layers_of

from aecodec import checkpoint
from aecodec.coding.tables import TOTAL
from aecodec.contracts import QUALITY_STEPS, BitstreamError, Initialisable, LatentCode, Loss, Model, TileCodec
from aecodec.data.arrays import ArraySet
from aecodec.models import FAMILIES
from aecodec.nn.quantise import round_half_up, round_ste

SIDE = 128
QUALITIES = (0, 50, 333, 500, 999, QUALITY_STEPS)


@contextmanager
def threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


#: What may run an encoder or a decoder.
ARITHMETIC: dict[str, Callable[[], AbstractContextManager]] = {
    "plain": nullcontext,
    "one thread": lambda: threads(1),
    "two threads": lambda: threads(2),
    "without mkldnn": lambda: torch.backends.mkldnn.flags(enabled=False),
    "bfloat16": lambda: torch.autocast("cpu", torch.bfloat16),
}


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


def source_for(model: Any) -> ArraySet:
    """Items to start from; crops of pictures are small."""
    items = batch_for(model)
    if not hasattr(model.config, "shape"):
        items = items.unfold(2, 32, 32).unfold(3, 32, 32).permute(0, 2, 3, 1, 4, 5).flatten(0, 2)
    return ArraySet((items * 255).byte())


def started_model(name: str) -> Any:
    """A small model, started from data if it can."""
    model = small_model(name)
    if isinstance(model, Initialisable):
        model.initialise(source_for(model), torch.Generator().manual_seed(0))
    return model


def save(family: str, path: Path, half: bool = False) -> Any:
    model = started_model(family)
    checkpoint.save(model.eval(), path, name="small", family_name=family, card={}, half=half)
    return model


def same(a: LatentCode, b: LatentCode) -> bool:
    """Whether two tiles hold the same integers."""
    hyper = (a.z is None and b.z is None) or np.array_equal(a.z, b.z)
    return a.quality == b.quality and np.array_equal(a.y, b.y) and hyper


@pytest.fixture(scope="module", params=sorted(FAMILIES))
def family(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module", params=sorted(name for name in FAMILIES if FAMILIES[name].role == "codec"))
def saved(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """A small codec and its checkpoint."""
    path = tmp_path_factory.mktemp(request.param) / "model.safetensors"
    return save(request.param, path), path


@pytest.fixture(scope="module")
def codec(saved: tuple[Any, Path]) -> Any:
    """A small codec, loaded."""
    return checkpoint.load(saved[1]).module


@pytest.fixture(scope="module")
def x(codec: Any) -> torch.Tensor:
    """A picture of one tile."""
    return as_batch(natural_picture(2 * codec.alignment, 3 * codec.alignment))


@pytest.fixture(scope="module")
def latents(codec: Any, x: torch.Tensor) -> torch.Tensor:
    return codec.analyse(x)


@pytest.mark.parametrize("progress", [0.0, 1.0])
@pytest.mark.parametrize("autocast", [False, True])
def test_the_loss_is_finite_and_moves_every_parameter(family, progress, autocast):
    model = started_model(family)
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
            if FAMILIES[family].role == "codec":
                assert (parameter.grad != 0).any(), key


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
    weights = [torch.cat([p.detach().flatten() for p in started_model(name).parameters()]) for _ in range(2)]
    assert torch.equal(weights[0], weights[1])
    assert torch.isfinite(weights[0]).all()


@pytest.mark.parametrize("half", [False, True])
def test_saving_and_loading_is_the_identity(family, half, tmp_path):
    path, again = tmp_path / "first", tmp_path / "again"
    model = save(family, path, half)
    loaded = checkpoint.load(path)
    assert loaded.family == family
    assert loaded.module.config == model.config
    ours, theirs = model.state_dict(), loaded.module.state_dict()
    assert ours.keys() == theirs.keys()
    for key in ours:
        assert torch.equal(ours[key], theirs[key]), key
    print_ = checkpoint.save(loaded.module, again, name="small", family_name=family, card={}, half=half)
    assert print_ == loaded.fingerprint


# -- codecs ----------------------------------------------------------------------------------------------------------


def test_a_codec_is_one_and_analyses_alike_when_loaded(saved, codec, x, latents):
    model = saved[0]
    assert isinstance(codec, TileCodec)
    with torch.no_grad():
        assert torch.equal(model.analyse(x), latents)
    for name, tables in model.tables.items():
        for part in ("frequencies", "lengths", "offsets"):
            assert np.array_equal(getattr(tables, part), getattr(codec.tables[name], part))
        assert tables.escape == codec.tables[name].escape


@pytest.mark.parametrize("quality", QUALITIES)
def test_decoding_inverts_encoding(codec, x, latents, quality):
    positions = tuple(side // codec.stride for side in x.shape[2:])
    code = codec.quantise(latents, quality)
    assert (code.y.shape, None if code.z is None else code.z.shape) == codec.code_shapes(*positions)
    assert latents.shape == (1, *code.y.shape)
    decoded = codec.decode_tile(codec.encode_tile(code), quality, *positions)
    assert same(decoded, code)
    y_hat = codec.dequantise(decoded)
    assert torch.equal(y_hat, codec.dequantise(code))
    assert y_hat.shape == latents.shape
    x_hat = codec.synthesise(y_hat, quality)
    assert x_hat.shape == x.shape
    assert torch.isfinite(x_hat).all()


@pytest.mark.parametrize("gain", [1e2, 1e4, 1e6, 1e8])
def test_latents_far_beyond_every_table_still_code(codec, latents, gain):
    code = codec.quantise(latents * gain, QUALITY_STEPS)
    assert same(code, codec.decode_tile(codec.encode_tile(code), QUALITY_STEPS, *latents.shape[2:]))


@pytest.mark.parametrize("encoder", ARITHMETIC)
def test_who_encodes_and_who_decodes_makes_no_difference(codec, x, latents, encoder):
    with torch.no_grad(), ARITHMETIC[encoder]():
        code = codec.quantise(codec.analyse(x), 420)
        data = codec.encode_tile(code)
    for decoder in ARITHMETIC.values():
        with torch.no_grad(), decoder():
            assert same(code, codec.decode_tile(data, 420, *latents.shape[2:]))
            assert codec.encode_tile(code) == data


def test_other_arithmetic_moves_pixels_only_a_little(codec, latents):
    code = codec.quantise(latents, 500)
    pictures = []
    for setting in ARITHMETIC.values():
        with torch.no_grad(), setting():
            pictures.append(codec.synthesise(codec.dequantise(code), 500))
    for other in pictures[1:]:
        assert (other - pictures[0]).abs().max() < 0.05


@pytest.mark.parametrize("quality", QUALITIES)
def test_bytes_are_what_the_tables_say(codec, latents, quality):
    code = codec.quantise(latents, quality)
    ideal = sum(tables.bits(plane.symbols, plane.tables) for plane, tables in codec.symbol_planes(code))
    actual = 8 * len(codec.encode_tile(code))
    # The coder begins with an empty state, so its first symbol can cost up to log2(TOTAL) bits less.
    assert ideal - math.log2(TOTAL) <= actual < 1.005 * ideal + 64


def test_damaged_tiles_decode_to_something_or_raise(codec, latents):
    data = codec.encode_tile(codec.quantise(latents, 300))
    positions = latents.shape[2:]
    for wrong in (data[:-1], data + b"\1\0\0\0" * 40):
        with pytest.raises(BitstreamError):
            codec.decode_tile(wrong, 300, *positions)
    rng = np.random.default_rng(0)
    for trial in range(40):
        damaged = bytearray(data)
        if trial % 2:
            damaged[rng.integers(len(data))] ^= 1 << int(rng.integers(8))
        else:
            damaged = damaged[: 4 * int(rng.integers(len(data) // 4))]
        try:
            code = codec.decode_tile(bytes(damaged), 300, *positions)
        except BitstreamError:
            continue
        assert code.y.shape == codec.code_shapes(*positions)[0]
        assert torch.isfinite(codec.dequantise(code)).all()


def test_a_tile_of_the_wrong_size_or_quality_is_noticed_or_harmless(codec, latents):
    data = codec.encode_tile(codec.quantise(latents, 300))
    for height, width, quality in ((4, 4, 300), (8, 16, 300), (*latents.shape[2:], 900)):
        try:
            code = codec.decode_tile(data, quality, height, width)
        except BitstreamError:
            continue
        assert code.y.shape == codec.code_shapes(height, width)[0]


@pytest.mark.parametrize("quality", [0, 333, QUALITY_STEPS])
def test_the_quantiser_with_hard_rounding_is_quantising_and_its_inverse(codec, latents, quality):
    code = codec.quantise(latents, quality)
    indices = codec.table_indices(code)
    assert indices.shape == code.y.shape
    scaled = codec.scaled(latents, quality).requires_grad_()
    y_hat, residual = codec.quantiser(code.z, indices, quality)(scaled, round_half_up)
    assert np.array_equal(residual[0].detach().numpy(), code.y)
    torch.testing.assert_close(y_hat, codec.dequantise(code))
    codec.quantiser(code.z, indices, quality)(scaled, round_ste)[0].square().sum().backward()
    assert torch.isfinite(scaled.grad).all()
    assert codec.distortion_weight(quality) > 0


@torch.no_grad()
def test_context_is_all_that_a_window_needs(codec):
    assert codec.alignment % codec.stride == 0
    stride, margin = codec.stride, codec.context
    start, stop, positions = margin + 3, margin + 7, 2 * margin + 12
    picture = as_batch(natural_picture(stride * positions, stride * positions))
    everything = codec.analyse(picture)
    seen = slice(stride * (start - margin), stride * (stop + margin))
    window = codec.analyse(picture[:, :, seen, stride * (start - margin) :])
    inner = slice(margin, margin + stop - start)
    torch.testing.assert_close(window[:, :, inner, margin:], everything[:, :, start:stop, start:], rtol=1e-4, atol=1e-4)
    y = torch.randn(everything.shape, generator=torch.Generator().manual_seed(0))
    rows = codec.synthesise(y[:, :, start - margin : stop + margin], 500)
    expected = codec.synthesise(y, 500)[:, :, stride * start : stride * stop]
    torch.testing.assert_close(rows[:, :, stride * margin : -stride * margin], expected, rtol=1e-4, atol=1e-4)
