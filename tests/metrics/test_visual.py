"""Laws of the visual distortion in NumPy: values and slopes are those that torch finds by automatic differentiation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import natural_picture

from aecodec.metrics import visual
from aecodec.nn.visual import seen

SIZES = [(176, 208), (177, 195), (161, 161), (60, 41), (9, 30), (8, 8), (7, 30), (1, 1)]


def planes(height: int, width: int, levels: float) -> tuple[np.ndarray, np.ndarray]:
    picture = np.moveaxis(natural_picture(height, width), -1, 0).astype(np.float32) / np.float32(255)
    noise = np.random.default_rng(0).normal(0.0, levels / 255, picture.shape).astype(np.float32)
    # Inside the range: at its ends slopes are of one side.
    return picture, (picture + noise).clip(0.01, 0.99)


@pytest.mark.parametrize("levels", [1.0, 30.0])
@pytest.mark.parametrize("size", SIZES)
def test_values_and_slopes_are_torch_s(size, levels):
    x, y = planes(*size, levels)
    value, slope = visual.seen(x, y)
    leaf = torch.from_numpy(y)[None].requires_grad_()
    expected = seen(torch.from_numpy(x)[None], leaf)[0]
    (by_torch,) = torch.autograd.grad(expected, leaf)
    assert value == pytest.approx(float(expected.detach()), rel=5e-3)
    assert slope.dtype == np.float32
    off = slope - by_torch[0].numpy()
    # Where a map has a kink the two may stand on either side of it: few pixels, so the mean, not the largest.
    assert np.sqrt(np.square(off).mean()) < 0.02 * np.sqrt(np.square(slope).mean())


def test_a_step_down_the_slope_goes_down_by_it():
    x, y = planes(180, 200, 10.0)
    value, slope = visual.seen(x, y)
    step = 0.02 * value / float(np.square(slope).sum())
    lower, _ = visual.seen(x, y - np.float32(step) * slope)
    assert lower == pytest.approx(0.98 * value, rel=0.003)


def test_equal_pictures_are_not_apart():
    for picture in (planes(176, 176, 0.0)[1], np.zeros((3, 176, 176), np.float32), np.ones((3, 20, 20), np.float32)):
        value, slope = visual.seen(picture, picture)
        assert 0.0 <= value < 1e-5
        assert np.isfinite(slope).all()


@pytest.mark.parametrize(
    ("side", "taps", "padding"), [(1, 9, 4), (7, 9, 4), (64, 9, 4), (65, 9, 4), (200, 11, 0), (11, 11, 0)]
)
def test_banded_filters_are_convolutions_and_have_their_adjoint(side, taps, padding):
    rng = np.random.default_rng(side)
    kernel = rng.random(taps).astype(np.float32)
    shape = (side, side + 3)
    planes_ = rng.random((2, *shape)).astype(np.float32)
    smooth = visual.Filter(shape, kernel, padding)
    found = smooth(planes_)
    padded = np.pad(planes_, ((0, 0), (padding, padding), (padding, padding))).astype(np.float64)
    rows = sum(kernel[k] * padded[:, k : k + found.shape[1]] for k in range(taps))
    expected = sum(kernel[k] * rows[:, :, k : k + found.shape[2]] for k in range(taps))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    other = rng.random(found.shape).astype(np.float32)
    assert float((found * other).sum()) == pytest.approx(float((planes_ * smooth.back(other)).sum()), rel=1e-4)
