"""Projections that turn vectors so that their signs are a code: principal axes, random rotations, ITQ."""

from __future__ import annotations

import numpy as np


def principal_axes(centred: np.ndarray, count: int) -> np.ndarray:
    """(N, D) of zero mean -> (D, count) float32, orthonormal, by falling variance. Raises ValueError if count > D."""
    if count > centred.shape[1]:
        raise ValueError(f"{count} axes were asked of vectors of {centred.shape[1]} numbers")
    covariance = (centred.T @ centred).astype(np.float64) / len(centred)
    _, vectors = np.linalg.eigh(covariance)
    return np.ascontiguousarray(vectors[:, ::-1][:, :count]).astype(np.float32)


def random_axes(width: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """(width, count) float32, orthonormal: columns of a rotation that is drawn evenly from all (Mezzadri 2007)."""
    q, r = np.linalg.qr(rng.standard_normal((width, count)))
    return (q * np.sign(np.diag(r))).astype(np.float32)


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
