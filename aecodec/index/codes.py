"""Packed binary codes: what every backend demands of codes, queries, k and radius, and distances between them."""

from __future__ import annotations

import numpy as np

from ..contracts import UsageError

#: Rows looked at together, and queries that share one reading of them: their distances stay in the cache.
BLOCK, TILE = 1 << 14, 16


def check_codes(codes: np.ndarray, name: str = "codes") -> np.ndarray:
    """(N, B) uint8 with B > 0, as it is or made C-contiguous. Raises UsageError for anything else."""
    if not isinstance(codes, np.ndarray) or codes.ndim != 2 or codes.dtype != np.uint8 or codes.shape[1] < 1:
        found = f"{codes.dtype} {codes.shape}" if isinstance(codes, np.ndarray) else type(codes).__name__
        raise UsageError(f"{name} are a (N, bytes) array of uint8, got {found}")
    return np.ascontiguousarray(codes)


def check_queries(queries: np.ndarray, width: int) -> np.ndarray:
    """(Q, B) uint8 of the codes' width in bytes. Raises UsageError naming both widths in bits."""
    queries = check_codes(queries, "queries")
    if queries.shape[1] != width:
        raise UsageError(f"queries have {8 * queries.shape[1]} bits, the index has {8 * width}")
    return queries


def check_k(k: int) -> int:
    """At least 1. Raises UsageError."""
    if isinstance(k, bool) or not isinstance(k, (int, np.integer)) or k < 1:
        raise UsageError(f"k is an integer of at least 1, got {k!r}")
    return int(k)


def check_radius(radius: int, width: int) -> int:
    """At least 0, and no larger than any two codes of so many bytes are apart. Raises UsageError.

    A larger one asks for the same hits, and would cost, or overflow, more than they do.
    """
    if isinstance(radius, bool) or not isinstance(radius, (int, np.integer)) or radius < 0:
        raise UsageError(f"a radius is an integer of at least 0, got {radius!r}")
    return min(int(radius), 8 * width)


def select(table: np.ndarray, which: np.ndarray) -> np.ndarray:
    """Some rows of a C-contiguous (N, M) array, by a mask or by numbers. A row moves as one item, which is faster."""
    whole = table.view(f"V{table.shape[1] * table.itemsize}").ravel()
    return whole[which].view(table.dtype).reshape(-1, table.shape[1])


def as_words(codes: np.ndarray) -> np.ndarray:
    """(N, B) uint8 -> (N, W) of the widest unsigned integers that divide a row: a view where memory allows it."""
    for dtype in (np.uint64, np.uint32, np.uint16):
        size = np.dtype(dtype).itemsize
        if codes.shape[1] % size == 0:
            return codes.view(dtype)
    return codes


def popcount(words: np.ndarray) -> np.ndarray:
    """Ones in each unsigned integer -> uint8, the same shape. Overwrites ``words``.

    The sum of neighbouring fields of 1, 2 and 4 bits, then of bytes by a multiplication (Knuth, TAOCP 7.1.3).
    """
    bits = 8 * words.itemsize
    kind = words.dtype.type

    def repeated(byte: int) -> np.unsignedinteger:
        return kind(int.from_bytes(bytes([byte]) * words.itemsize, "little"))

    half = words >> kind(1)
    half &= repeated(0x55)
    words -= half
    np.right_shift(words, kind(2), out=half)
    half &= repeated(0x33)
    words &= repeated(0x33)
    words += half
    np.right_shift(words, kind(4), out=half)
    words += half
    words &= repeated(0x0F)
    if bits > 8:
        words *= repeated(0x01)
        words >>= kind(bits - 8)
    return words.astype(np.uint8)


def hamming_distances(queries: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Hamming distances between all pairs: (Q, B) and (N, B) uint8 -> (Q, N) uint16 in [0, 8 B].

    16 bits, since NumPy sorts those many times faster than wider integers; codes of more than 65,535 bits give uint32.
    Raises UsageError for other types or widths that differ.
    """
    codes = check_codes(codes)
    left, right = as_words(check_queries(queries, codes.shape[1])), as_words(codes)
    found = np.zeros((len(left), len(right)), np.uint16 if 8 * codes.shape[1] < 1 << 16 else np.uint32)
    for top in range(0, len(left), TILE):
        for start in range(0, len(right), BLOCK):
            queried, rows = left[top : top + TILE], right[start : start + BLOCK]
            part: np.ndarray = found[top : top + TILE, start : start + BLOCK]
            for column in range(left.shape[1]):
                part += popcount(queried[:, column, None] ^ rows[:, column])
    return found
