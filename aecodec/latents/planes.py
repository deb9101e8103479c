"""Planes of latents under tables of their own channels, and symbols kept within what their tables can express."""

from __future__ import annotations

import numpy as np

from ..coding.rans import ESCAPE_LIMIT
from ..coding.tables import TableSet


def channel_tables(channels: int, height: int, width: int) -> np.ndarray:
    """Table indices (channels * height * width,) int32 of a plane whose channels have a table each."""
    return np.repeat(np.arange(channels, dtype=np.int32), height * width)


def symbol_range(indices: np.ndarray, tables: TableSet) -> tuple[np.ndarray, np.ndarray]:
    """The lowest and the highest symbol that tables (with escape) can express, int32, each of the shape of indices."""
    lowest = tables.offsets[indices] - ESCAPE_LIMIT - 1
    return lowest, tables.offsets[indices] + tables.lengths[indices] - 1 + ESCAPE_LIMIT


def nearest_symbols(values: np.ndarray, indices: np.ndarray, tables: TableSet) -> np.ndarray:
    """values: (C, H, W) float32 -> (C, H, W) int32: rounded (half to even), clamped to what the tables can express.

    indices: table indices of the (C, H, W) values, any shape that reshapes to theirs; tables: with escape.
    """
    rounded = np.clip(np.rint(values), -(2.0**30), 2.0**30).astype(np.int32)
    return np.clip(rounded, *symbol_range(indices.reshape(rounded.shape), tables)).astype(np.int32)
