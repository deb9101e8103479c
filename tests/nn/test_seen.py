"""Laws of the visual distortion: it is what the metrics measure, its slopes are its slopes, and units are as told."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import natural_picture
from small_models import as_batch

from aecodec.metrics import ms_ssim, ssimulacra2
from aecodec.nn.visual import (
    DISSIMILARITY_SIDE,
    MSE_OF_DISSIMILARITY,
    MSE_OF_ERROR,
    ms_ssim_loss,
    seen,
    seen_in_turn,
    ssimulacra2_error,
)


def pair(height: int = 176, width: int = 208, levels: float = 12.0) -> tuple[np.ndarray, np.ndarray]:
    picture = natural_picture(height, width)
    noise = np.random.default_rng(0).normal(0.0, levels, picture.shape)
    return picture, (picture + noise).clip(0, 255).astype(np.uint8)


def score(error: float) -> float:
    """The curve from SSIMULACRA2's weighted error to its score, written again."""
    error *= 0.9562382616834844
    error = 2.326765642916932 * error - 0.020884521182843837 * error**2 + 6.248496625763138e-05 * error**3
    return 100.0 - 10.0 * error**0.6276336467831387


@pytest.mark.parametrize("size", [(176, 208), (177, 195), (64, 40), (9, 30)])
@pytest.mark.parametrize("levels", [2.0, 25.0])
def test_the_error_is_that_of_the_metric(size, levels):
    """But for the norms that weigh next to nothing."""
    a, b = pair(*size, levels)
    found = float(ssimulacra2_error(as_batch(a), as_batch(b)))
    if min(size) >= 128:
        assert score(found) == pytest.approx(ssimulacra2(a, b), abs=0.3)
    assert found > 0


@pytest.mark.parametrize("size", [(176, 208), (177, 195)])
def test_the_dissimilarity_is_that_of_the_metric(size):
    a, b = pair(*size)
    assert float(ms_ssim_loss(as_batch(a), as_batch(b))) == pytest.approx(1.0 - ms_ssim(a, b), abs=2e-5)


def test_equal_pictures_are_not_apart_and_have_a_finite_slope():
    x = as_batch(pair()[0])
    y = x.clone().requires_grad_()
    found = seen(x, y)
    assert 0.0 <= float(found.detach()) < 1e-5
    found.sum().backward()
    assert torch.isfinite(y.grad).all()
    black = torch.zeros_like(x)
    assert 0.0 <= float(seen(black, black)) < 1e-5


def test_slopes_are_those_of_small_differences():
    x, y = (as_batch(picture).double() for picture in pair(levels=6.0))
    direction = torch.from_numpy(np.random.default_rng(1).normal(size=tuple(y.shape)))
    start = y.clamp(0.05, 0.95).requires_grad_()
    (slope,) = torch.autograd.grad(seen(x.float(), start.float()).sum(), start)
    step = 2e-3
    difference = seen(x.float(), (start + step * direction).float()) - seen(
        x.float(), (start - step * direction).float()
    )
    assert float(difference / (2 * step)) == pytest.approx(float((slope * direction).sum()), rel=0.05)


def test_pictures_of_a_batch_are_measured_each_for_itself():
    x = torch.cat([as_batch(natural_picture(176, 176, seed=seed)) for seed in (1, 2, 3)])
    y = (x + 0.03 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 1)
    for measure in (ssimulacra2_error, ms_ssim_loss, seen):
        each = torch.cat([measure(x[n : n + 1], y[n : n + 1]) for n in range(3)])
        torch.testing.assert_close(measure(x, y), each, rtol=1e-4, atol=0)
    expected = torch.cat([MSE_OF_ERROR * ssimulacra2_error(x, y)[:2], MSE_OF_DISSIMILARITY * ms_ssim_loss(x, y)[2:]])
    torch.testing.assert_close(seen_in_turn(x, y), expected, rtol=1e-4, atol=0)


def test_small_pictures_are_measured_by_what_exists_for_them():
    x, y = (as_batch(picture) for picture in pair(DISSIMILARITY_SIDE - 1, 200))
    torch.testing.assert_close(seen(x, y), MSE_OF_ERROR * ssimulacra2_error(x, y))
    x, y = x[..., :7, :], y[..., :7, :]
    torch.testing.assert_close(seen(x, y), (x - y).square().mean(dim=(1, 2, 3)))


def test_grey_is_colours_that_are_one():
    x, y = (as_batch(picture)[:, :1] for picture in pair())
    torch.testing.assert_close(seen(x, y), seen(x.expand(-1, 3, -1, -1), y.expand(-1, 3, -1, -1)))
