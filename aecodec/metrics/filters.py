"""Linear filters of planes in NumPy, each with its adjoint, which leads gradients back."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np

#: Rows or columns that a banded matrix filters at once.
BAND = 64

Pull = Callable[[np.ndarray], np.ndarray]


def halved(planes: np.ndarray, zeros: bool = False) -> tuple[np.ndarray, Pull]:
    """(C, H, W) -> means of 2x2 samples. An odd last row or column counts twice, or, as MS-SSIM has it, a line of zeros
    stands before the first and after the last."""
    height, width = planes.shape[1:]
    odd = height % 2, width % 2
    if zeros:
        padded = np.pad(planes, ((0, 0), (odd[0], odd[0]), (odd[1], odd[1])))
    else:
        padded = np.pad(planes, ((0, 0), (0, odd[0]), (0, odd[1])), mode="edge")
    rows, columns = padded.shape[1] // 2, padded.shape[2] // 2
    cells = padded[:, : 2 * rows, : 2 * columns].reshape(len(planes), rows, 2, columns, 2)

    def pull(gradient: np.ndarray) -> np.ndarray:
        wide = np.zeros(padded.shape, np.float32)
        spread = np.broadcast_to(gradient[:, :, None, :, None] / 4, cells.shape)
        wide[:, : 2 * rows, : 2 * columns] = spread.reshape(len(planes), 2 * rows, 2 * columns)
        if zeros:
            return wide[:, odd[0] : odd[0] + height, odd[1] : odd[1] + width]
        if odd[0]:
            wide[:, -2] += wide[:, -1]
        if odd[1]:
            wide[:, :, -2] += wide[:, :, -1]
        return wide[:, :height, :width]

    return (cells[:, :, 0, :, 0] + cells[:, :, 0, :, 1] + cells[:, :, 1, :, 0] + cells[:, :, 1, :, 1]) / 4, pull


class Filter:
    """Filters planes (M, H, W) by taps along both axes, zeros beyond the ends: products with short bands of matrices.

    padding: zeros on each side; H and W shrink by the taps less one, and grow by twice that.
    """

    def __init__(self, shape: tuple[int, ...], taps: np.ndarray, padding: int) -> None:
        self._rows, self._columns = (_bands(side, tuple(taps.tolist()), padding) for side in shape)
        self._inside, self._outside = shape, tuple(side + 2 * padding - len(taps) + 1 for side in shape)

    def __call__(self, planes: np.ndarray) -> np.ndarray:
        """(M, H, W) -> filtered."""
        found = np.empty((len(planes), self._outside[0], self._inside[1]), np.float32)
        for matrix, rows, seen_rows in self._rows:
            np.matmul(matrix, planes[:, seen_rows], out=found[:, rows])
        out = np.empty((len(planes), *self._outside), np.float32)
        for matrix, columns, seen_columns in self._columns:
            np.matmul(found[:, :, seen_columns], matrix.T, out=out[:, :, columns])
        return out

    def back(self, gradient: np.ndarray) -> np.ndarray:
        """The adjoint."""
        found = np.zeros((len(gradient), self._outside[0], self._inside[1]), np.float32)
        for matrix, columns, seen_columns in self._columns:
            found[:, :, seen_columns] += gradient[:, :, columns] @ matrix
        out = np.zeros((len(gradient), *self._inside), np.float32)
        for matrix, rows, seen_rows in self._rows:
            out[:, seen_rows] += matrix.T @ found[:, rows]
        return out


@lru_cache(maxsize=64)
def _bands(side: int, taps: tuple[float, ...], padding: int) -> tuple[tuple[np.ndarray, slice, slice], ...]:
    """The filter of so many samples in parts: matrix, what it gives, what it sees."""
    matrix = filter_matrix(side, taps, padding)
    parts = []
    for top in range(0, len(matrix), BAND):
        rows = slice(top, min(top + BAND, len(matrix)))
        sees = slice(max(top - padding, 0), min(rows.stop + len(taps) - 1 - padding, side))
        parts.append((np.ascontiguousarray(matrix[rows, sees]), rows, sees))
    return tuple(parts)


def filter_matrix(side: int, taps: tuple[float, ...], padding: int) -> np.ndarray:
    """The matrix that filters so many samples by taps, zeros beyond the ends, (side + 2 padding - taps + 1, side)
    float32."""
    matrix = np.zeros((side + 2 * padding - len(taps) + 1, side), np.float32)
    for place, tap in enumerate(taps):
        offset = place - padding
        first = max(0, -offset)
        rows = np.arange(first, min(len(matrix), side - offset))
        matrix[rows, rows + offset] = tap
    return matrix
