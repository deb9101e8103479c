"""The families built on compressai's layers, against compressai itself, and their exact choice of tables."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import WITHOUT_COMPRESSAI

from aecodec import checkpoint
from aecodec.contracts import BitstreamError, CheckpointError, LatentCode, TileCodec
from aecodec.models import family
from aecodec.nn.fixed_point import ACTIVATION_FRACTION, ACTIVATION_MAX, WEIGHT_FRACTION, FixedConv, FixedRectifier
from aecodec.train.compressai_weights import ARCHITECTURES, import_state_dict

google = pytest.importorskip("compressai.models.google", reason=WITHOUT_COMPRESSAI)

FAMILIES = sorted(ARCHITECTURES)
N, M = 32, 48
SIDE = 256


def picture(height: int = SIDE, width: int = SIDE, seed: int = 0) -> torch.Tensor:
    """Smooth waves and some noise, (1, 3, height, width) in [0, 1]."""
    rng = torch.Generator().manual_seed(seed)
    rows, columns = torch.meshgrid(torch.arange(height) / 40, torch.arange(width) / 25, indexing="ij")
    waves = torch.stack([torch.sin(rows + k) * torch.cos(columns - k) for k in range(3)])
    return (0.5 + 0.3 * waves + 0.1 * torch.randn(waves.shape, generator=rng)).clamp(0, 1)[None]


@torch.no_grad()
def theirs(name: str) -> Any:
    """A compressai model with random weights whose latents are as widely spread as its scales say, 0.1 to 8."""
    torch.manual_seed(1)
    model = google.FactorizedPrior(N, M) if name == "factorized-prior" else google.MeanScaleHyperprior(N, M)
    sigma = torch.logspace(-1.0, 0.9, M)
    y = model.g_a(picture())
    gain = sigma / y.std(dim=(0, 2, 3))
    model.g_a[6].weight.mul_(gain[:, None, None, None])
    model.g_a[6].bias.sub_(y.mean(dim=(0, 2, 3))).mul_(gain)
    quantiles = model.entropy_bottleneck.quantiles
    quantiles[:, 0, 1] += torch.linspace(-0.4, 0.4, len(quantiles))
    if name == "mean-scale-hyperprior":
        z = model.h_a(model.g_a(picture()))
        model.h_a[4].weight.mul_(4.0 / z.std())
        model.h_s[4].bias[:M] += sigma
    model.update(force=True)
    return model.eval()


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Any, Any]]:
    """Family -> (compressai's model, ours imported from its weights and loaded)."""
    folder = tmp_path_factory.mktemp("imported")
    made = {}
    for name in FAMILIES:
        model = theirs(name)
        torch.save({"epoch": 3, "state_dict": model.state_dict()}, folder / f"{name}.pth.tar")
        imported = import_state_dict(folder / f"{name}.pth.tar", out=folder / f"{name}.safetensors")
        made[name] = (model, checkpoint.load(imported.path).module)
    return made


def fresh(name: str, seed: int = 0) -> Any:
    torch.manual_seed(seed)
    model_class, config_class = family(name).load()
    return model_class(config_class(n=8, m=12))


# -- against compressai ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FAMILIES)
@torch.no_grad()
def test_latents_reconstruction_and_rate_are_those_of_compressai(pairs: dict, name: str) -> None:
    model, codec = pairs[name]
    x = picture()
    y = model.g_a(x)
    if name == "factorized-prior":
        symbols = model.entropy_bottleneck.quantize(
            y, "symbols", model.entropy_bottleneck._get_medians()[None, :, :, 0, None]
        )
    else:
        z_hat = model.entropy_bottleneck(model.h_a(y))[0]
        means = model.h_s(z_hat).chunk(2, 1)[1]
        symbols = model.gaussian_conditional.quantize(y, "symbols", means)
    compressed = model.compress(x)
    x_hat = model.decompress(**compressed)["x_hat"]

    code = codec.quantise(codec.analyse(x), 500)
    data = codec.encode_tile(code)
    decoded = codec.decode_tile(data, 500, SIDE // 16, SIDE // 16)
    ours = codec.synthesise(codec.dequantise(decoded), 500).clamp(0, 1)
    assert 1.0 < code.y.std() < 10.0
    np.testing.assert_array_equal(code.y, symbols[0].numpy())
    assert float((ours - x_hat).abs().max()) < 1e-5
    reference = sum(len(part[0]) for part in compressed["strings"])
    assert abs(len(data) / reference - 1.0) < 0.01


@torch.no_grad()
def test_scale_indices_are_those_of_compressai_but_at_boundaries(pairs: dict) -> None:
    model, codec = pairs["mean-scale-hyperprior"]
    code = codec.quantise(codec.analyse(picture()), 0)
    z_hat = model.entropy_bottleneck(model.h_a(model.g_a(picture())))[0]
    theirs_ = model.gaussian_conditional.build_indexes(model.h_s(z_hat).chunk(2, 1)[0])[0].numpy()
    ours = codec.fixed_scales.exact(code.z).astype(np.int64)
    difference = np.abs(ours - theirs_)
    assert len(np.unique(ours)) > 20
    assert difference.max() <= 1
    assert difference.mean() < 0.002


@pytest.mark.parametrize("name", FAMILIES)
def test_loss_is_that_of_compressai_for_the_same_noise(pairs: dict, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, codec = pairs[name]
    x = picture(128, 128)
    rng = torch.Generator().manual_seed(5)

    def noisy(self: Any, inputs: torch.Tensor, mode: str, means: Any = None) -> torch.Tensor:
        return inputs + (torch.rand(inputs.shape, generator=rng) - 0.5)

    monkeypatch.setattr(sys.modules["compressai.entropy_models"].EntropyModel, "quantize", noisy)
    with torch.no_grad():
        out = model(x)
        bpp = sum(-torch.log2(p).sum() for p in out["likelihoods"].values()) / (128 * 128)
        mse = (out["x_hat"] - x).square().mean()
        loss = codec.loss(x, torch.Generator().manual_seed(5))
    torch.testing.assert_close(loss.parts["bpp"], bpp, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(loss.parts["mse"], mse, rtol=1e-5, atol=1e-9)
    torch.testing.assert_close(loss.total, codec.config.mse_weight * mse + bpp, rtol=1e-5, atol=1e-6)


# -- the contracts -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FAMILIES)
def test_loss_is_finite_repeatable_and_reaches_every_trained_parameter(name: str) -> None:
    model = fresh(name)
    batch = torch.cat([picture(64, 128, seed) for seed in range(2)])
    losses = [model.loss(batch, torch.Generator().manual_seed(3)).total for _ in range(2)]
    other = model.loss(batch, torch.Generator().manual_seed(4)).total
    assert losses[0].item() == losses[1].item() != other.item()
    losses[0].backward()
    for key, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, key
            assert bool(torch.isfinite(parameter.grad).all()), key
            assert bool((parameter.grad != 0).any()), key
    assert [k for k, p in model.named_parameters() if not p.requires_grad] == ["entropy_bottleneck.quantiles"]


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("name", FAMILIES)
@torch.no_grad()
def test_saving_and_loading_changes_nothing(name: str, half: bool, tmp_path: Path) -> None:
    model = fresh(name)
    print_ = checkpoint.save(model, tmp_path / "a", name="a", family_name=name, card={}, half=half)
    loaded = checkpoint.load(tmp_path / "a")
    assert loaded.fingerprint == print_
    assert checkpoint.save(loaded.module, tmp_path / "b", name="a", family_name=name, card={}, half=half) == print_
    for key, table in model.tables.items():
        for part in ("frequencies", "lengths", "offsets"):
            np.testing.assert_array_equal(getattr(table, part), getattr(loaded.module.tables[key], part))
    x = picture(128, 64)
    codes = [codec.quantise(codec.analyse(x), 10) for codec in (model, loaded.module)]
    assert codes[0].quality == codes[1].quality == 10
    np.testing.assert_array_equal(codes[0].y, codes[1].y)
    assert model.encode_tile(codes[0]) == loaded.module.encode_tile(codes[1])
    assert torch.equal(model.dequantise(codes[0]), loaded.module.dequantise(codes[1]))
    assert isinstance(loaded.module, TileCodec)


@pytest.mark.parametrize("name", FAMILIES)
@torch.no_grad()
def test_a_tile_decodes_to_what_was_encoded(pairs: dict, name: str) -> None:
    codec = pairs[name][1]
    rng = np.random.default_rng(0)
    code = codec.quantise(codec.analyse(picture(128, 192)), 700)
    far = rng.integers(-30_000, 30_000, size=code.y.shape).astype(np.int32)
    wild_z = None if code.z is None else code.z + 1000
    for sent in (code, LatentCode(np.where(rng.random(code.y.shape) < 0.01, far, code.y), wild_z, 700)):
        data = codec.encode_tile(sent)
        received = codec.decode_tile(data, 700, 8, 12)
        np.testing.assert_array_equal(received.y, sent.y)
        assert received.quality == 700
        assert (received.z is None) == (sent.z is None)
        if sent.z is not None:
            np.testing.assert_array_equal(received.z, sent.z)
        with pytest.raises(BitstreamError):
            codec.decode_tile(data[:-1], 700, 8, 12)
        with pytest.raises(BitstreamError):
            codec.decode_tile(data + b"\1\0\0\0" * 40, 700, 8, 12)


@pytest.mark.parametrize("name", FAMILIES)
@torch.no_grad()
def test_any_latent_can_be_coded(pairs: dict, name: str) -> None:
    codec = pairs[name][1]
    y = codec.analyse(picture(64, 64)) * 1e6
    code = codec.quantise(y, 0)
    np.testing.assert_array_equal(codec.decode_tile(codec.encode_tile(code), 0, 4, 4).y, code.y)


@pytest.mark.parametrize("name", FAMILIES)
@torch.no_grad()
def test_context_is_all_that_a_window_needs(pairs: dict, name: str) -> None:
    codec = pairs[name][1]
    x = picture(256, 256)
    whole = codec.analyse(x)
    margin, start, stop = codec.context, 5, 9
    window = codec.analyse(x[:, :, 16 * (start - margin) : 16 * (stop + margin), 16 * (start - margin) :])
    torch.testing.assert_close(
        window[:, :, margin:-margin, margin:], whole[:, :, start:stop, start:], rtol=1e-4, atol=1e-4
    )
    y = torch.randn(1, M, 16, 16, generator=torch.Generator().manual_seed(0))
    part = codec.synthesise(y[:, :, start - margin : stop + margin], 0)[:, :, 16 * margin : -16 * margin]
    torch.testing.assert_close(part, codec.synthesise(y, 0)[:, :, 16 * start : 16 * stop], rtol=1e-4, atol=1e-4)


def test_quantiles_are_where_the_density_says() -> None:
    from aecodec.entropy.bottleneck import search_quantiles

    bottleneck = fresh("factorized-prior").entropy_bottleneck
    search_quantiles(bottleneck, keep_medians=False)
    logits = bottleneck._logits_cumulative(bottleneck.quantiles, stop_gradient=True)
    assert float((logits - bottleneck.target).abs().max()) < 0.05


# -- exact integers ----------------------------------------------------------------------------------


def slow_conv(x: np.ndarray, layer: FixedConv) -> np.ndarray:
    """x (C, H, W) int64 -> the layer's (O, H', W') int64, tap by tap in 64-bit integers."""
    weight, bias = layer.weight_q.numpy().astype(np.int64), layer.bias_q.numpy()
    (sy, sx), (py, px) = layer.stride, layer.padding
    height, width = x.shape[1:]
    ky, kx = weight.shape[2:]
    if layer.transposed:
        oy, ox = layer.output_padding
        full = np.zeros((layer.outputs, (height - 1) * sy + ky + oy, (width - 1) * sx + kx + ox), np.int64)
        for i, j in np.ndindex(ky, kx):
            taps = np.einsum("co,chw->ohw", weight[:, :, i, j], x)
            full[:, i : i + sy * height : sy, j : j + sx * width : sx] += taps
        acc = full[:, py : full.shape[1] - py, px : full.shape[2] - px]
    else:
        padded = np.pad(x, ((0, 0), (py, py), (px, px)))
        high, wide = (height + 2 * py - ky) // sy + 1, (width + 2 * px - kx) // sx + 1
        acc = np.zeros((layer.outputs, high, wide), np.int64)
        for i, j in np.ndindex(ky, kx):
            taps = padded[:, i : i + sy * high : sy, j : j + sx * wide : sx]
            acc += np.einsum("oc,chw->ohw", weight[:, :, i, j], taps)
    acc = acc + bias[:, None, None]
    return np.clip((acc + (1 << (WEIGHT_FRACTION - 1))) >> WEIGHT_FRACTION, -ACTIVATION_MAX, ACTIVATION_MAX)


def slow_indices(codec: Any, z: np.ndarray) -> np.ndarray:
    """The scale indices of FixedScales by NumPy's 64-bit integers and Python loops over taps and boundaries."""
    scales = codec.fixed_scales
    x = (z.astype(np.int64) << ACTIVATION_FRACTION) + scales.medians_q.numpy()[:, None, None]
    x = np.clip(x, -ACTIVATION_MAX, ACTIVATION_MAX)
    for layer in scales.sequence.layers:
        if isinstance(layer, FixedRectifier):
            p, q = layer.slope_q.tolist()
            x = np.where(x < 0, (2 * p * x + q) // (2 * q), x)
        else:
            x = slow_conv(x, layer)
    return sum((x > boundary).astype(np.uint8) for boundary in scales.boundaries_q.tolist())


@pytest.mark.parametrize("spread", [3, 300, 2**31 - 1])
def test_scale_indices_equal_a_slow_integer_oracle(pairs: dict, spread: int) -> None:
    codec = pairs["mean-scale-hyperprior"][1]
    z = np.random.default_rng(spread).integers(-spread, spread, size=(N, 3, 5)).astype(np.int32)
    index = codec.fixed_scales.exact(z)
    np.testing.assert_array_equal(index, slow_indices(codec, z))
    assert index.dtype == np.uint8
    assert index.max() < 64


def test_scale_indices_do_not_depend_on_threads_or_libraries(pairs: dict) -> None:
    codec = pairs["mean-scale-hyperprior"][1]
    z = np.random.default_rng(1).integers(-20, 20, size=(N, 8, 8)).astype(np.int32)
    before, results = torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            for enabled in (True, False):
                with torch.backends.mkldnn.flags(enabled=enabled), torch.autocast("cpu", torch.bfloat16):
                    results.append(codec.fixed_scales.exact(z))
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        np.testing.assert_array_equal(results[0], other)


@pytest.mark.parametrize("layer", [0, 2, 4])
@pytest.mark.parametrize("factor", [1e4, 1e30, float("nan")])
def test_weights_too_large_for_exact_sums_are_refused(layer: int, factor: float, tmp_path: Path) -> None:
    model = fresh("mean-scale-hyperprior")
    model.freeze()
    model.prove_exact()
    with torch.no_grad():
        model.h_s[layer].weight.mul_(factor)
    with pytest.raises(CheckpointError, match=r"too large for exact coding|not finite"):
        checkpoint.save(model, tmp_path / "x", name="x", family_name="mean-scale-hyperprior", card={})
    assert not (tmp_path / "x").exists()
