"""A hit as one unsigned integer, distance << ROW_BITS | row: its order is the order that hits have."""

from __future__ import annotations

import numpy as np

#: Rows below 2^44; distances have the 20 bits above. hamming.c has the same constant.
ROW_BITS = 44
#: No hit: greater than any.
NO_KEY = np.iinfo(np.uint64).max


def unpack(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """uint64 keys -> rows int64, distances int32, the same shape."""
    rows = keys & np.uint64((1 << ROW_BITS) - 1)
    return rows.astype(np.int64), (keys >> np.uint64(ROW_BITS)).astype(np.int32)


def merge_nearest(parts: list[np.ndarray], k: int) -> np.ndarray:
    """Parts of (Q, any) keys -> the k least of each query, ascending: (Q, k). There must be k."""
    keys = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)
    if keys.shape[1] > k:
        keys = np.partition(keys, k - 1, axis=1)[:, :k]
    return np.sort(keys, axis=1)


def merge_within(parts: list[np.ndarray], queries: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Parts of (M, 2) uint64 of query and key -> limits (queries + 1,) int64, rows int64, distances int32, sorted."""
    found = np.concatenate(parts) if len(parts) != 1 else parts[0]
    order = np.lexsort((found[:, 1], found[:, 0]))
    limits = np.zeros(queries + 1, np.int64)
    np.cumsum(np.bincount(found[:, 0].astype(np.int64), minlength=queries), out=limits[1:])
    return limits, *unpack(found[order, 1])
