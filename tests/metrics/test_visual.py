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
    original = visual.Original(x)
    value, slope = original.distortion(y), original.slope(y)
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
    original = visual.Original(x)
    value, slope = original.distortion(y), original.slope(y)
    step = 0.02 * value / float(np.square(slope).sum())
    lower = original.distortion(y - np.float32(step) * slope)
    assert lower == pytest.approx(0.98 * value, rel=0.003)


def test_equal_pictures_are_not_apart():
    for picture in (planes(176, 176, 0.0)[1], np.zeros((3, 176, 176), np.float32), np.ones((3, 20, 20), np.float32)):
        original = visual.Original(picture)
        value, slope = original.distortion(picture), original.slope(picture)
        assert 0.0 <= value < 1e-5
        assert np.isfinite(slope).all()
