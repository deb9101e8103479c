"""Laws of the probability models: they sum to one, meet closed forms in the limit, and survive freezing."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from aecodec.coding.tables import TOTAL
from aecodec.entropy import scale_mixture
from aecodec.entropy.context import STEPS, group_by_step, step_masks, ungroup
from aecodec.entropy.hyper_prior import HyperPrior
from aecodec.entropy.logistic import log_mass
from aecodec.entropy.scale_mixture import (
    LEVELS,
    LOG_STEP,
    LOGISTIC_STD,
    SCALE_MAX,
    SCALE_MIN,
    ScaleMixture,
    index_of_scale,
)

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


def plain_likelihood(mixture: ScaleMixture, r: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """The slow form: the mass of each component by sigmoids, gradients by autograd."""
    inverse = LOGISTIC_STD / SCALE_MIN * torch.exp(-index * LOG_STEP)
    ratios = mixture.log_ratio - mixture.log_ratio.mean()
    weights = torch.log_softmax(mixture.logit, dim=0)
    first, second = (log_mass(r.abs(), inverse * torch.exp(-ratios[k])) + weights[k] for k in range(2))
    return torch.logaddexp(first, second) / math.log(2.0)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-11), (torch.float32, 5e-5)])
def test_the_likelihood_in_one_pass_has_the_values_and_gradients_of_the_plain_one(dtype, tolerance, monkeypatch):
    monkeypatch.setattr(scale_mixture, "BLOCK", 1000)
    rng = torch.Generator().manual_seed(5)
    index = torch.rand(7, 3, 11, 13, generator=rng, dtype=dtype) * (LEVELS - 1)
    spread = SCALE_MIN * torch.exp(index * LOG_STEP)
    r = torch.randn(index.shape, generator=rng, dtype=dtype) * 3 * spread + torch.rand(index.shape, generator=rng) - 0.5
    weight = torch.rand(index.shape, generator=rng, dtype=dtype)
    found = []
    for channels_last in (False, True):
        for likelihood in (ScaleMixture.log2_likelihood, plain_likelihood):
            mixture = ScaleMixture().to(dtype)
            with torch.no_grad():
                mixture.logit.copy_(torch.tensor([0.4, -0.7]))
            order = torch.channels_last if channels_last else torch.contiguous_format
            inputs = [t.clone(memory_format=order).requires_grad_() for t in (r, index)]
            value = likelihood(mixture, *inputs)
            (value * weight).sum().backward()
            found.append([value.detach(), *(t.grad for t in (*inputs, *mixture.parameters()))])
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance * float(b.abs().max()))


def test_the_spread_that_components_have_in_common_is_no_parameter():
    mixture, r, index = ScaleMixture(), torch.linspace(-9, 9, 37), torch.linspace(0, 63, 37)
    before = mixture.log2_likelihood(r, index).detach()
    with torch.no_grad():
        mixture.log_ratio.sub_(3.0)
    torch.testing.assert_close(mixture.log2_likelihood(r, index).detach(), before)


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


def test_grouped_latents_are_those_of_the_masks_and_come_back():
    batch, channels, height, width = 2, 12, 4, 6
    y = torch.arange(float(batch * channels * height * width)).view(batch, channels, height, width)
    steps = group_by_step(y)
    for step, mask in zip(steps, step_masks(channels, height, width), strict=True):
        assert step.shape == (4, batch * height * width // 4, channels // 4)
        assert sorted(step.flatten().tolist()) == sorted(y[:, mask].flatten().tolist())
    assert torch.equal(ungroup(steps, y.shape), y)


@pytest.mark.parametrize(("channels", "height", "width"), [(1, 1, 1), (4, 2, 2), (32, 8, 12), (7, 5, 3)])
def test_the_four_steps_partition_the_latents(channels, height, width):
    masks = step_masks(channels, height, width)
    assert masks.shape == (STEPS, channels, height, width)
    assert torch.equal(masks.sum(dim=0), torch.ones(channels, height, width, dtype=torch.int64))
    if channels >= STEPS:
        assert masks.any(dim=1).all(), "every step touches every location"
