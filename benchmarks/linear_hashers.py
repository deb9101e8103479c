"""Hashing by linear projections, fitted in closed form: LSH, PCA-sign and ITQ, what a learned hasher is held against.

Each takes vectors (raw pixels or features) and gives the signs of as many projections as there are bits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


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


def principal_axes(centred: np.ndarray, count: int) -> np.ndarray:
    """(N, D) of zero mean -> (D, count) float32, orthonormal, by falling variance. Raises ValueError if count > D."""
    if count > centred.shape[1]:
        raise ValueError(f"{count} axes were asked of vectors of {centred.shape[1]} numbers")
    covariance = (centred.T @ centred).astype(np.float64) / len(centred)
    _, vectors = np.linalg.eigh(covariance)
    return np.ascontiguousarray(vectors[:, ::-1][:, :count]).astype(np.float32)


def fit_pca_sign(x: np.ndarray, n_bits: int, seed: int = 0) -> LinearHasher:
    """The signs of the first principal components. ``seed`` has no effect."""
    mean, centred = _centred(x)
    return LinearHasher(mean, principal_axes(centred, n_bits))


def rotate_to_bits(v: np.ndarray, rng: np.random.Generator, iterations: int = 50) -> tuple[np.ndarray, list[float]]:
    """The rotation R that brings V R near its signs, by alternating minimisation of ||B - V R||_F^2 over B and R.

    v: (N, K) of zero mean -> R (K, K) orthogonal, and the loss per vector once B was chosen, in each iteration
    (Gong and Lazebnik 2011, "Iterative quantization", sec. 3.2: B = sgn(V R), then R from the SVD of B^T V).
    Each half-step is the exact minimum over one of the two, so the losses never rise.
    """
    v = v.astype(np.float64)
    rotation = np.linalg.qr(rng.standard_normal((v.shape[1], v.shape[1])))[0]
    losses = []
    for _ in range(iterations):
        turned = v @ rotation
        bits = np.where(turned >= 0, 1.0, -1.0)
        losses.append(float(np.square(bits - turned).sum() / len(v)))
        left, _, right = np.linalg.svd(bits.T @ v)
        rotation = (left @ right).T
    return rotation, losses


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
