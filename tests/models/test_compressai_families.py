"""The families built on compressai's layers, against compressai itself, and their exact choice of tables."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_models import WITHOUT_COMPRESSAI

from aecodec import checkpoint
from aecodec.contracts import CheckpointError
from aecodec.latents.exact import ACTIVATION_FRACTION, ACTIVATION_MAX, WEIGHT_FRACTION
from aecodec.latents.mean_scale_hyperprior import read_scales
from aecodec.models import family
from aecodec.nn.fixed_point import FixedConv, FixedRectifier
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
    ours = codec.fixed_scales.indices()(code.z).astype(np.int64)
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


def test_quantiles_are_where_the_density_says() -> None:
    from aecodec.entropy.bottleneck import search_quantiles

    bottleneck = fresh("factorized-prior").entropy_bottleneck
    assert not bottleneck.quantiles.requires_grad, "they are searched, not trained"
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
    index = codec.fixed_scales.indices()(z)
    np.testing.assert_array_equal(index, slow_indices(codec, z))
    kept = {name: tensor.numpy() for name, tensor in codec.fixed_scales.state_dict().items()}
    np.testing.assert_array_equal(index, read_scales(kept, "")(z))
    assert index.dtype == np.uint8
    assert index.max() < 64


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
