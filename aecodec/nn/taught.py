"""Pictures that bring along what a teacher sees in them: its features, as bytes in columns to the right of the picture.

A batch is one tensor for every family and every source, so the features travel in it.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F

#: The byte of a feature of 0.
_ZERO = 128


def join(pictures: np.ndarray, features: np.ndarray) -> np.ndarray:
    """(N, C, H, W) uint8 and (N, D) floating -> (N, C, H, W + columns) uint8; only directions of features are kept.

    Each picture's features are scaled to bytes by the largest of them, 0 becomes 128; what is left of the last column
    is 0.
    """
    count, channels, height, _ = pictures.shape
    depth = features.shape[1]
    width = columns(depth, channels, height)
    scale = 127 / np.maximum(np.abs(features).max(1, keepdims=True), 1e-12)
    joined = np.zeros((count, channels * height * width), np.uint8)
    joined[:, :depth] = np.rint(features * scale) + _ZERO
    return np.concatenate([pictures, joined.reshape(count, channels, height, width)], axis=3)


def split(batch: torch.Tensor, depth: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(B, C, H, W + columns) float32 in [0, 1] -> pictures (B, C, H, W), features (B, depth) of unit length."""
    width = columns(depth, batch.shape[1], batch.shape[2])
    pictures, joined = batch[..., :-width], batch[..., -width:]
    features = 255.0 * joined.flatten(1)[:, :depth] - _ZERO
    return pictures, F.normalize(features, dim=1)


def split_vectors(batch: torch.Tensor, depth: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Items that are no pictures: (B, D + depth) float32 -> (B, D), and features (B, depth) scaled to unit length."""
    return batch[:, :-depth], F.normalize(batch[:, -depth:], dim=1)


def columns(depth: int, channels: int, height: int) -> int:
    """How many columns so many features take."""
    return math.ceil(depth / (channels * height))
