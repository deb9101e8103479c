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
    limits = np.zeros(queries + 1, np.int64)
    np.cumsum(np.bincount(found[:, 0].astype(np.int64), minlength=queries), out=limits[1:])
    rows, distances = unpack(found[:, 1])
    row_bits, distance_bits = (int(part.max(initial=0)).bit_length() for part in (rows, distances))
    if queries.bit_length() + row_bits + distance_bits > 64:
        order = np.lexsort((found[:, 1], found[:, 0]))
        return limits, rows[order], distances[order]
    # everything in one integer: sorting those is many times faster
    hits = (found[:, 0] << np.uint64(distance_bits) | distances.astype(np.uint64)) << np.uint64(row_bits)
    hits |= rows.astype(np.uint64)
    hits.sort()
    rows = (hits & np.uint64((1 << row_bits) - 1)).astype(np.int64)
    distances = (hits >> np.uint64(row_bits) & np.uint64((1 << distance_bits) - 1)).astype(np.int32)
    return limits, rows, distances
