"""Laws of hashing by projections: ITQ's rotation is one and its loss never rises, signs are what is packed."""

from __future__ import annotations

import numpy as np
import pytest
from linear_hashers import LINEAR_HASHERS, fit_itq, fit_lsh, fit_pca_sign, principal_axes, rotate_to_bits


def correlated(count: int = 400, dimensions: int = 24, seed: int = 0) -> np.ndarray:
    """(count, dimensions) float32: a few directions carry most of the variance, off centre."""
    rng = np.random.default_rng(seed)
    scales = np.geomspace(5, 0.1, dimensions)
    turn = np.linalg.qr(rng.standard_normal((dimensions, dimensions)))[0]
    return (rng.standard_normal((count, dimensions)) * scales @ turn + 3).astype(np.float32)


@pytest.mark.parametrize("bits", [1, 7, 16])
@pytest.mark.parametrize("seed", [0, 1])
def test_itq_finds_a_rotation_and_never_loses_ground(bits, seed):
    v = correlated(seed=seed)[:, :bits] - correlated(seed=seed)[:, :bits].mean(0)
    rotation, losses = rotate_to_bits(v, np.random.default_rng(seed), 30)
    assert np.allclose(rotation @ rotation.T, np.eye(bits), atol=1e-10)
    assert np.all(np.diff(losses) <= 1e-9)
    assert bits == 1 or losses[-1] < losses[0]


def test_itq_recovers_a_turned_cube():
    corners = np.random.default_rng(3).choice([-1.0, 1.0], (2000, 4))
    turn = np.linalg.qr(np.random.default_rng(4).standard_normal((4, 4)))[0]
    best = min(rotate_to_bits(corners @ turn, np.random.default_rng(seed))[1][-1] for seed in range(4))
    assert best < 1e-6


def test_itq_quantises_nearer_than_pca_alone():
    x = correlated()
    itq = fit_itq(x, 16, 0)
    pca = fit_pca_sign(x, 16)
    centred = (x - pca.mean) @ pca.projection
    plain = np.square(np.where(centred >= 0, 1, -1) - centred).sum() / len(x)
    assert itq.losses[-1] < plain


def test_principal_axes_are_orthonormal_and_fall_in_variance():
    centred = correlated() - correlated().mean(0)
    axes = principal_axes(centred, 10)
    assert np.allclose(axes.T @ axes, np.eye(10), atol=1e-5)
    assert np.all(np.diff((centred @ axes).var(0)) <= 1e-4)
    with pytest.raises(ValueError, match="25 axes"):
        principal_axes(centred, 25)


@pytest.mark.parametrize("name", sorted(LINEAR_HASHERS))
def test_codes_are_the_packed_signs_and_depend_on_the_seed_alone(name):
    x = correlated()
    hasher = LINEAR_HASHERS[name](x, 16, 5)
    again = LINEAR_HASHERS[name](x, 16, 5)
    codes = hasher.hash(x)
    assert hasher.n_bits == 16
    assert codes.shape == (len(x), 2)
    assert codes.dtype == np.uint8
    assert np.array_equal(codes, again.hash(x))
    signs = (x - x.mean(0)) @ hasher.projection >= 0
    assert (np.unpackbits(codes, axis=1).astype(bool) == signs).mean() > 0.999
    assert np.array_equal(codes, hasher.hash(x.reshape(len(x), 4, 6)))


def test_lsh_keeps_near_vectors_near():
    x = correlated()
    codes = np.unpackbits(fit_lsh(x, 256, 0).hash(np.concatenate([x, x + 0.05])), axis=1)
    near = (codes[:400] != codes[400:]).mean()
    far = (codes[:400] != np.roll(codes[:400], 1, axis=0)).mean()
    assert near < 0.1 < far


def test_one_vector_is_not_enough():
    with pytest.raises(ValueError, match="two vectors"):
        fit_itq(correlated(1), 4, 0)
