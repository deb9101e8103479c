"""Laws of the probability models: they sum to one, meet closed forms in the limit, and survive freezing."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from aecodec.coding.tables import TOTAL
from aecodec.entropy.context import STEPS, step_masks
from aecodec.entropy.hyper_prior import HyperPrior
from aecodec.entropy.scale_mixture import LEVELS, LOGISTIC_STD, SCALE_MAX, SCALE_MIN, ScaleMixture, index_of_scale

#: What a likely symbol may cost beyond its ideal length, in bits, besides one part of the total for every slot.
FROZEN_LOSS = 1e-3


def seeded_hyper_prior(channels: int = 4, knots: int = 3, z_max: int = 32) -> HyperPrior:
    torch.manual_seed(0)
    prior = HyperPrior(channels, knots, z_max)
    with torch.no_grad():
        for parameter in prior.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.5)
    return prior


def logistic_mass(r: torch.Tensor, mean: float, scale: float) -> torch.Tensor:
    """Integral of a logistic density over [r - 1/2, r + 1/2], in float64."""
    r = r.double()
    return torch.sigmoid((r + 0.5 - mean) / scale) - torch.sigmoid((r - 0.5 - mean) / scale)


@pytest.mark.parametrize("level", [0, 1, 17, 40, 63])
def test_the_residuals_prior_sums_to_one(level):
    r = torch.arange(-20000, 20001, dtype=torch.float64)
    total = torch.exp2(ScaleMixture().log2_likelihood(r, torch.full_like(r, level))).sum()
    assert float(total.detach()) == pytest.approx(1.0, abs=1e-6)


def test_the_hyper_prior_sums_to_one():
    prior = seeded_hyper_prior()
    z = torch.arange(-3000.0, 3001.0).view(1, 1, -1, 1).expand(3, 4, -1, 1)
    total = torch.exp2(prior.log2_likelihood(z, torch.arange(3))).sum(dim=(2, 3))
    assert torch.allclose(total, torch.ones_like(total), atol=1e-4)


@pytest.mark.parametrize("level", [0.0, 31.5, 63.0])
def test_equal_components_are_one_logistic(level):
    mixture = ScaleMixture()
    with torch.no_grad():
        mixture.log_ratio.zero_()
    scale = SCALE_MIN * (SCALE_MAX / SCALE_MIN) ** (level / (LEVELS - 1)) / LOGISTIC_STD
    r = torch.arange(-8, 9, dtype=torch.float64) * min(1.0, scale)
    expected = torch.log2(logistic_mass(r, 0.0, scale))
    usable = torch.isfinite(expected) & (expected > -40)
    found = mixture.log2_likelihood(r, torch.full_like(r, level))
    assert torch.allclose(found[usable], expected[usable], atol=1e-6)


def test_one_component_of_the_hyper_prior_is_one_logistic():
    prior = HyperPrior(1, 1, 32)
    with torch.no_grad():
        prior.mean.fill_(0.7)
        prior.log_scale.fill_(math.log(1.5))
    z = torch.arange(-12.0, 13.0).view(1, 1, -1, 1)
    found = prior.log2_likelihood(z, torch.tensor([0]))[0, 0, :, 0]
    assert torch.allclose(found.double(), torch.log2(logistic_mass(z[0, 0, :, 0], 0.7, 1.5)), atol=1e-4)


@given(st.floats(-1e4, 1e4), st.floats(0, LEVELS - 1))
def test_far_tails_have_finite_bits_and_gradients(value, level):
    mixture = ScaleMixture()
    r = torch.tensor([value], requires_grad=True)
    index = torch.tensor([level], requires_grad=True)
    bits = -mixture.log2_likelihood(r, index)
    bits.sum().backward()
    assert torch.isfinite(bits).all()
    assert bits.min() >= -1e-5
    assert r.grad is not None
    assert index.grad is not None
    assert torch.isfinite(r.grad).all()
    assert torch.isfinite(index.grad).all()
    assert all(torch.isfinite(p.grad).all() for p in mixture.parameters() if p.grad is not None)


def test_the_gradient_never_vanishes_in_the_tails():
    r = torch.tensor([1e4, -1e4], requires_grad=True)
    (-ScaleMixture().log2_likelihood(r, torch.tensor([0.0, 63.0]))).sum().backward()
    assert r.grad is not None
    assert r.grad[0] > 1
    assert r.grad[1] < -1e-3


def test_scales_stand_in_geometric_steps():
    scales = torch.from_numpy(np.geomspace(SCALE_MIN, SCALE_MAX, LEVELS))
    assert torch.allclose(index_of_scale(scales), torch.arange(LEVELS, dtype=torch.float64), atol=1e-6)


def test_frozen_residual_tables_cost_what_the_density_says():
    mixture = ScaleMixture()
    tables = mixture.freeze()
    assert len(tables) == LEVELS
    for level in range(LEVELS):
        reach = -int(tables.offsets[level])
        r = torch.arange(-reach, reach + 1, dtype=torch.float64)
        expected = -mixture.log2_likelihood(r, torch.full_like(r, level)).detach().numpy()
        frozen = -np.log2(tables.row(level)[:-1] / TOTAL)
        likely, slots = expected < 8, 1.5 * len(r) / TOTAL
        assert likely.any()
        assert (frozen - expected)[likely].max() < FROZEN_LOSS + slots
        # The mode, which is given what rounding leaves over, may cost a little less.
        assert (expected - frozen)[likely].max() < FROZEN_LOSS + slots * 2.0 ** expected.min()
        assert (np.exp2(-expected) * (frozen - expected)).sum() < FROZEN_LOSS / 2 + slots / 2


def test_frozen_hyper_tables_cost_what_the_density_says():
    prior = seeded_hyper_prior()
    tables = prior.freeze()
    assert len(tables) == 3 * 4
    assert not tables.escape
    z = torch.arange(-32.0, 33.0).view(1, 1, -1, 1).expand(1, 4, -1, 1)
    for knot in range(3):
        expected = -prior.log2_likelihood(z, torch.tensor([knot])).detach()[0, :, :, 0].numpy()
        # A bounded alphabet shares out what little lies beyond it.
        expected += np.log2(np.exp2(-expected.astype(np.float64)).sum(axis=1, keepdims=True))
        for channel in range(4):
            frozen = -np.log2(tables.row(knot * 4 + channel) / TOTAL)
            likely = expected[channel] < 8
            assert np.abs(frozen - expected[channel])[likely].max() < FROZEN_LOSS


@pytest.mark.parametrize(("channels", "height", "width"), [(1, 1, 1), (4, 2, 2), (32, 8, 12), (7, 5, 3)])
def test_the_four_steps_partition_the_latents(channels, height, width):
    masks = step_masks(channels, height, width)
    assert masks.shape == (STEPS, channels, height, width)
    assert torch.equal(masks.sum(dim=0), torch.ones(channels, height, width, dtype=torch.int64))
    if channels >= STEPS:
        assert masks.any(dim=1).all(), "every step touches every location"
