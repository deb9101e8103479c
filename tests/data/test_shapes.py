"""Laws of segmented shapes: voxels do not depend on how a shape lies, parts are numbered by size, files are read."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from aecodec import checkpoint
from aecodec.contracts import UsageError
from aecodec.data.shapes import PARTS, SIDE, ordered_parts, read_shapes, upright, voxelise


def cloud(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A long box with a small box on one end: (300, 3) points and two parts."""
    rng = np.random.default_rng(seed)
    body = rng.uniform([-1, -0.2, -0.1], [1, 0.2, 0.1], (240, 3))
    knob = rng.uniform([0.8, -0.1, 0.1], [1, 0.1, 0.5], (60, 3))
    return np.concatenate([body, knob]), np.repeat([7, 3], [240, 60])


def test_a_turned_shape_gives_the_same_voxels():
    points, segment = cloud()
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
    volumes = [voxelise(upright(p), ordered_parts(p, segment)) for p in (points, 0.3 * points @ turn + 0.2)]
    assert (volumes[0] == volumes[1]).mean() > 0.999
    assert set(np.unique(volumes[0])) == {0, 1, 2}


def test_parts_are_numbered_by_size_and_the_rest_shares_a_label():
    points, segment = cloud()
    assert (ordered_parts(points, segment) == np.where(segment == 7, 1, 2)).all()
    many = np.arange(300) % 20
    assert ordered_parts(points, many).max() == PARTS


def test_a_file_of_shapes_becomes_volumes_that_the_model_takes(tmp_path):
    clouds = [cloud(seed) for seed in range(3)]
    np.savez(tmp_path / "shapes.npz", points=np.stack([c[0] for c in clouds]), segment=np.stack([c[1] for c in clouds]))
    volumes = read_shapes(tmp_path / "shapes.npz")
    assert volumes.shape == (3, SIDE, SIDE, SIDE)
    torch.manual_seed(0)
    model = checkpoint.build("shape-vae", {"latents": 3, "width": 4, "levels": 2})
    x = torch.from_numpy(volumes).float() / 255.0
    assert (model.labels(x).numpy() == volumes).all()
    made = model.reconstruct(x)
    assert made.shape == x.shape
    assert ((made * 255).round().long() <= PARTS).all()
    assert (model.elbo(x, torch.Generator().manual_seed(0)) < 0).all()
    with pytest.raises(UsageError, match="volumes"):
        model.encode(x[:, :4])
