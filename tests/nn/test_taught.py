"""Laws of pictures with a teacher's features beside them: both come out again."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from aecodec.nn.taught import columns, join, split


@pytest.mark.parametrize(("depth", "side", "channels"), [(1, 8, 3), (24, 8, 3), (25, 8, 3), (100, 6, 1)])
def test_pictures_come_back_and_features_keep_their_directions(depth, side, channels):
    draws = np.random.default_rng(depth)
    pictures = draws.integers(0, 256, (5, channels, side, side), dtype=np.uint8)
    features = 7.0 * draws.standard_normal((5, depth)) + 0.1
    joined = join(pictures, features)
    assert joined.dtype == np.uint8
    assert joined.shape == (5, channels, side, side + columns(depth, channels, side))
    back, directions = split(torch.from_numpy(joined).float() / 255.0, depth)
    assert torch.equal((255 * back).round().byte(), torch.from_numpy(pictures))
    wanted = features / np.linalg.norm(features, axis=1, keepdims=True)
    np.testing.assert_allclose(directions.numpy(), wanted, atol=0.02)
    np.testing.assert_allclose(np.linalg.norm(directions.numpy(), axis=1), 1.0, rtol=1e-5)


def test_a_teacher_that_says_nothing_gives_zeros():
    joined = join(np.zeros((2, 3, 4, 4), np.uint8), np.zeros((2, 5)))
    assert split(torch.from_numpy(joined).float() / 255.0, 5)[1].abs().max() == 0
