"""Laws of exact arithmetic: the scale net gives the integers of a slow oracle, whatever runs it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_models import small_flagship
from threadpoolctl import threadpool_limits

from aecodec.contracts import CheckpointError
from aecodec.entropy.scale_net import ScaleNet
from aecodec.latents.exact import EXACT_BOUND, INDEX_FRACTION, LEVELS
from aecodec.latents.exact_hyperprior import read_scale_net
from aecodec.nn.exact import ExactConv

STEPS_PER_KNOT = 100


def make_layer(cin: int, cout: int, kernel: int, seed: int, gain: float = 4.0) -> ExactConv:
    torch.manual_seed(seed)
    layer = ExactConv(cin, cout, kernel=kernel, in_fraction=4, out_fraction=4, in_max=255, out_min=-4096, out_max=4096)
    with torch.no_grad():
        layer.weight.mul_(gain)
        layer.bias.mul_(gain)
    layer.freeze()
    return layer


def make_net(seed: int = 0, gain: float = 3.0) -> ScaleNet:
    """A net whose weights are large enough that its indices use their range."""
    torch.manual_seed(seed)
    net = ScaleNet(8, 32, 8, 32, 11)
    with torch.no_grad():
        for layer in net.layers:
            layer.weight.mul_(gain)
        net.layers[-1].weight.mul_(20.0)
        net.offset.normal_(20.0, 10.0)
    net.freeze()
    return net


def make_z(seed: int, batch: int = 1, height: int = 5, width: int = 3) -> torch.Tensor:
    return torch.randint(-32, 33, (batch, 8, height, width), generator=torch.Generator().manual_seed(seed))


# -- a slow oracle in NumPy's int64 ------------------------------------------------------------------


def accumulate(layer: ExactConv, x: np.ndarray) -> np.ndarray:
    """(C, H, W) int64 -> sums of products plus bias, before any rounding."""
    weight, bias = layer.weight_q.numpy().astype(np.int64), layer.bias_q.numpy().astype(np.int64)
    cout, _, kernel, _ = weight.shape
    height, width = x.shape[1:]
    pad = kernel // 2
    padded = np.pad(x, ((0, 0), (pad, pad), (pad, pad)))
    acc = np.zeros((cout, height, width), np.int64)
    for channel in range(cout):
        sources = [channel] if kernel > 1 else range(x.shape[0])
        for i, source in enumerate(sources):
            for row in range(kernel):
                for column in range(kernel):
                    window = padded[source, row : row + height, column : column + width]
                    acc[channel] += weight[channel, i, row, column] * window
        acc[channel] += bias[channel]
    return acc


def oracle_layer(layer: ExactConv, x: np.ndarray) -> np.ndarray:
    acc = accumulate(layer, x)
    out = np.empty_like(acc)
    for channel, shift in enumerate(layer.shift_q.tolist()):
        a = acc[channel]
        out[channel] = (a + (1 << (shift - 1))) >> shift if shift > 0 else a << -shift
    return np.clip(out, layer.out_min, layer.out_max)


def oracle_net(net: ScaleNet, z: np.ndarray, quality: int) -> np.ndarray:
    h = z.astype(np.int64)
    for i, layer in enumerate(net.layers):
        h = oracle_layer(layer, h)
        if i in net.upsample_after:
            c, height, width = h.shape
            h = h.reshape(c // 4, 2, 2, height, width).transpose(0, 3, 1, 4, 2).reshape(c // 4, 2 * height, 2 * width)
    table = net.offset_q.numpy().astype(np.int64)
    knot = min(quality // STEPS_PER_KNOT, len(table) - 2)
    share = quality - knot * STEPS_PER_KNOT
    mixed = table[knot] * (STEPS_PER_KNOT - share) + table[knot + 1] * share
    offset = (2 * mixed + STEPS_PER_KNOT) // (2 * STEPS_PER_KNOT)
    index = (h + offset[:, None, None] + (1 << (INDEX_FRACTION - 1))) >> INDEX_FRACTION
    return np.clip(index, 0, LEVELS - 1)


@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("gain", [0.01, 1.0, 30.0, 1000.0])
def test_a_layer_equals_the_oracle(kernel, gain):
    layer = make_layer(8, 8, kernel, seed=kernel, gain=gain)
    x = np.random.default_rng(0).integers(-255, 256, (8, 7, 6))
    assert np.array_equal(layer.frozen()(x.astype(np.float64)), oracle_layer(layer, x))


@settings(max_examples=25)
@given(st.integers(0, 2**31), st.integers(0, 10 * STEPS_PER_KNOT), st.floats(0.3, 10.0))
def test_the_net_equals_the_oracle(seed, quality, gain):
    net, z = make_net(seed % 1000, gain), make_z(seed)
    found = net.indices()(z[0].numpy(), quality)
    assert found.dtype == np.uint8
    assert np.array_equal(found, oracle_net(net, z[0].numpy(), quality))
    kept = {name: tensor.numpy() for name, tensor in net.state_dict().items()}
    assert np.array_equal(read_scale_net(kept, "", 32)(z[0].numpy(), quality), found)
    assert read_scale_net(kept, "", 32).bound() == net.indices().bound()


def test_the_net_of_these_laws_uses_its_range():
    index = make_net().indices()(make_z(0, height=8, width=8)[0].numpy(), 500)
    assert len(np.unique(index)) > 30


@pytest.mark.parametrize("gain", [0.5, 4.0, 100.0])
@pytest.mark.parametrize("kernel", [1, 3])
def test_what_training_sees_on_the_grid_is_what_files_get(kernel, gain):
    layer = make_layer(8, 8, kernel, seed=3, gain=gain)
    x = torch.randint(-255, 256, (2, 8, 9, 9), generator=torch.Generator().manual_seed(0)).float()
    exact = np.stack([layer.frozen()(one.double().numpy()) for one in x])
    assert np.array_equal(layer(x, quantised=True).detach().double().numpy(), exact)


def test_the_nets_float_path_agrees_at_the_knots():
    net = make_net()
    with torch.no_grad():
        net.offset.copy_(net.offset_q / 2.0**INDEX_FRACTION)
    z = make_z(1)
    for knot in range(11):
        expected = net.indices()(z[0].numpy(), knot * STEPS_PER_KNOT)
        found = net(z.float(), torch.tensor([float(knot)]), quantised=True)[0].detach()
        assert np.array_equal(found.clamp(0, LEVELS - 1).numpy(), expected)


def test_threads_settings_and_layouts_make_no_difference():
    """NumPy's products may be formed in any order, by any number of threads, whatever torch is told."""
    net = make_net().indices()
    z = make_z(5, height=12, width=16)[0].numpy()
    results = [net(z, 333), net(np.asfortranarray(z), 333), net(z.astype(np.int32), 333)]
    halves = [replace(layer, weight=np.asfortranarray(layer.weight)) for layer in net.layers]
    results.append(replace(net, layers=halves)(z, 333))
    for limit in (1, 2):
        with threadpool_limits(limit):
            results.append(net(z, 333))
    for precision in (torch.bfloat16, torch.float16):
        with torch.autocast("cpu", precision):
            results.append(make_net().indices()(z, 333))
    assert all(np.array_equal(results[0], other) for other in results[1:])


# -- the bound ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kernel", [1, 3])
def test_the_bound_is_reached_by_the_worst_input_and_never_passed(kernel):
    layer = make_layer(6, 6, kernel, seed=9, gain=2.0)
    half = np.where(layer.shift_q > 0, 2.0 ** (layer.shift_q.numpy() - 1), 1)
    rng = np.random.default_rng(0)
    for _ in range(50):
        x = rng.integers(-255, 256, (6, 5, 5))
        assert np.abs(accumulate(layer, x)).max() <= layer.frozen().bound()
    reached = []
    for channel in range(6):
        sign = np.sign(layer.weight_q[channel].numpy()) * (1 if layer.bias_q[channel] >= 0 else -1)
        x = 255 * np.broadcast_to(sign.astype(np.int64), (6, 3, 3))
        reached.append(abs(int(accumulate(layer, x)[channel, 1, 1])) + int(half[channel]))
    assert max(reached) == layer.frozen().bound()


def test_sums_just_below_the_bound_are_exact_in_any_order():
    layer = make_layer(500, 4, 1, seed=1, gain=0.0)
    layer.weight_q.copy_(
        torch.randint(0, 2, layer.weight_q.shape, generator=torch.Generator().manual_seed(0)) * 254 - 127
    )
    layer.bias_q.fill_(12345)
    frozen = layer.frozen()
    assert EXACT_BOUND * 0.95 < frozen.bound() < EXACT_BOUND
    x = 255.0 * np.sign(layer.weight_q[0, :, 0, 0].numpy().astype(np.float64))
    weight = layer.weight_q.numpy()[:, :, 0, 0]
    narrow = weight.astype(np.float32) @ x.astype(np.float32)
    wide = weight.astype(np.int64) @ x.astype(np.int64)
    assert np.array_equal(narrow.astype(np.int64), wide)
    turned = replace(frozen, weight=frozen.weight[:, ::-1])
    assert np.array_equal(turned(x[::-1].reshape(500, 1, 1)), frozen(x.reshape(500, 1, 1)))


def test_unfit_weights_are_refused():
    model = small_flagship(initialised=False)
    model.freeze()
    model.prove_exact()
    for value in (1e6, 1e12, float("inf")):
        with torch.no_grad():
            model.scale_net.layers[2].bias.fill_(value)
        model.freeze()
        with pytest.raises(CheckpointError, match="exact below"):
            model.prove_exact()


def test_a_net_too_wide_for_its_weights_is_refused():
    net = ScaleNet(8, 32, 600, 32, 11)
    with torch.no_grad():
        for layer in net.layers:
            layer.weight.fill_(127.0)
    net.freeze()
    assert net.indices().bound() >= EXACT_BOUND
