"""Hashing by linear projections, fitted in closed form: LSH, PCA-sign and ITQ, what a learned hasher is held against.

Each takes vectors (raw pixels or features) and gives the signs of as many projections as there are bits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from aecodec.engine.rotation import principal_axes, rotate_to_bits


@dataclass(frozen=True)
class LinearHasher:
    """code = (x - mean) @ projection >= 0.

    mean: (D,) float32; projection: (D, n_bits) float32. losses: quantisation loss before each step of a fit by
    iterations, for the record.
    """

    mean: np.ndarray
    projection: np.ndarray
    losses: tuple[float, ...] = ()

    @property
    def n_bits(self) -> int:
        return int(self.projection.shape[1])

    def hash(self, x: np.ndarray) -> np.ndarray:
        """(N, D) or (N, ...) of D numbers each -> (N, ceil(n_bits / 8)) uint8, packed as np.packbits does."""
        flat = x.reshape(len(x), -1).astype(np.float32)
        return np.packbits((flat - self.mean) @ self.projection >= 0, axis=1)


def _centred(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    flat = x.reshape(len(x), -1).astype(np.float32)
    if len(flat) < 2:
        raise ValueError(f"at least two vectors are needed to fit a hasher, got {len(flat)}")
    mean = flat.mean(0)
    return mean, flat - mean


def fit_lsh(x: np.ndarray, n_bits: int, seed: int = 0) -> LinearHasher:
    """Random hyperplanes through the mean (Charikar 2002). Only the mean depends on x."""
    mean, _ = _centred(x)
    rng = np.random.default_rng(seed)
    return LinearHasher(mean, rng.standard_normal((len(mean), n_bits)).astype(np.float32))


def fit_pca_sign(x: np.ndarray, n_bits: int, seed: int = 0) -> LinearHasher:
    """The signs of the first principal components. ``seed`` has no effect."""
    mean, centred = _centred(x)
    return LinearHasher(mean, principal_axes(centred, n_bits))


def fit_itq(x: np.ndarray, n_bits: int, seed: int = 0, iterations: int = 50) -> LinearHasher:
    """Principal components, rotated to lie near the corners of a cube (Gong and Lazebnik 2011)."""
    mean, centred = _centred(x)
    axes = principal_axes(centred, n_bits)
    rotation, losses = rotate_to_bits(centred @ axes, np.random.default_rng(seed), iterations)
    return LinearHasher(mean, (axes @ rotation).astype(np.float32), tuple(losses))


#: Name -> fit(x, n_bits, seed).
LINEAR_HASHERS: dict[str, Callable[[np.ndarray, int, int], LinearHasher]] = {
    "LSH": fit_lsh,
    "PCA-sign": fit_pca_sign,
    "ITQ": fit_itq,
}
