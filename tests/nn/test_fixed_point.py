"""Fixed-point mirrors of layers: exact at their bound, close to the float layers, refused where none exists."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from aecodec.latents.exact import ACTIVATION_FRACTION, ACTIVATION_MAX, FIXED_BOUND
from aecodec.nn.fixed_point import FixedConv, FixedSequence


def test_the_bound_is_reached_and_sums_below_it_are_exact() -> None:
    """One output, weights just within the bound, the worst input: float64 still gives the integer."""
    conv = torch.nn.Conv2d(4, 1, 3, padding=1)
    fixed = FixedConv(conv)
    taps = 36
    weight = (FIXED_BOUND // ACTIVATION_MAX - 1) // taps
    fixed.weight_q.fill_(weight)
    fixed.weight_q[0, 0, 0, 0] -= 1
    assert FIXED_BOUND * 0.99 < fixed.frozen().bound() < FIXED_BOUND
    x = torch.full((1, 4, 3, 3), float(ACTIVATION_MAX), dtype=torch.float64)
    acc = torch.nn.functional.conv2d(x, fixed.weight_q.double(), padding=1)
    assert int(acc[0, 0, 1, 1]) == ACTIVATION_MAX * (taps * weight - 1)


def test_fixed_layers_follow_the_float_ones() -> None:
    torch.manual_seed(0)
    source = torch.nn.Sequential(
        torch.nn.ConvTranspose2d(5, 7, 5, stride=2, padding=2, output_padding=1),
        torch.nn.ReLU(),
        torch.nn.Conv2d(7, 6, (3, 1), stride=(2, 1), padding=(1, 0), bias=False),
        torch.nn.LeakyReLU(0.2),
        torch.nn.Conv2d(6, 4, 1),
    )
    fixed = FixedSequence(source, outputs=3)
    fixed.freeze(source)
    assert max(layer.bound() for layer in fixed.frozen()) < FIXED_BOUND
    x = torch.randn(1, 5, 6, 4) * 10
    unit = 2.0**ACTIVATION_FRACTION
    exact = np.floor(x[0].double().numpy() * unit + 0.5)
    for layer in fixed.frozen():
        exact = layer(exact)
    np.testing.assert_allclose(exact / unit, source(x)[0, :3].detach().numpy(), rtol=1e-3, atol=2e-3)


@pytest.mark.parametrize(
    "layer",
    [
        torch.nn.Conv2d(4, 4, 3, groups=2),
        torch.nn.Conv2d(4, 4, 3, dilation=2),
        torch.nn.Conv2d(4, 4, 3, padding="same"),
        torch.nn.LeakyReLU(2.0),
        torch.nn.GELU(),
    ],
    ids=str,
)
def test_layers_without_a_mirror_are_refused(layer: torch.nn.Module) -> None:
    with pytest.raises(ValueError, match="fixed-point mirror"):
        FixedSequence(torch.nn.Sequential(layer))
