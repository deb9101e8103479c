"""Laws of filters: they are convolutions, and lead gradients back by their adjoint."""

from __future__ import annotations

import numpy as np
import pytest

from aecodec.metrics.filters import Filter, halved


@pytest.mark.parametrize(
    ("side", "taps", "padding"), [(1, 9, 4), (7, 9, 4), (64, 9, 4), (65, 9, 4), (200, 11, 0), (11, 11, 0)]
)
def test_banded_filters_are_convolutions_and_have_their_adjoint(side, taps, padding):
    rng = np.random.default_rng(side)
    kernel = rng.random(taps).astype(np.float32)
    shape = (side, side + 3)
    planes_ = rng.random((2, *shape)).astype(np.float32)
    smooth = Filter(shape, kernel, padding)
    found = smooth(planes_)
    padded = np.pad(planes_, ((0, 0), (padding, padding), (padding, padding))).astype(np.float64)
    rows = sum(kernel[k] * padded[:, k : k + found.shape[1]] for k in range(taps))
    expected = sum(kernel[k] * rows[:, :, k : k + found.shape[2]] for k in range(taps))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    other = rng.random(found.shape).astype(np.float32)
    assert float((found * other).sum()) == pytest.approx(float((planes_ * smooth.back(other)).sum()), rel=1e-4)


@pytest.mark.parametrize("zeros", [False, True])
@pytest.mark.parametrize("size", [(8, 6), (7, 9), (1, 2)])
def test_halving_has_its_adjoint(size, zeros):
    rng = np.random.default_rng(0)
    planes = rng.random((2, *size)).astype(np.float32)
    found, pull = halved(planes, zeros)
    other = rng.random(found.shape).astype(np.float32)
    assert float((found * other).sum()) == pytest.approx(float((planes * pull(other)).sum()), rel=1e-5)
