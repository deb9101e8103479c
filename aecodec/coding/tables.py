"""Probability tables as integers: how they are frozen from probabilities, and how they are stored.

A table set is three arrays. Table t covers the symbols ``offsets[t] ... offsets[t] + lengths[t] - 1``; if
the set has an escape, the last slot of each table stands for "outside" and the value follows in raw bits.
Frequencies are positive integers that sum to TOTAL. They are made once, when a checkpoint is written, and
nothing that reads a file ever evaluates an exponential to get them back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

#: Sum of the frequencies of every table.
TOTAL = 1 << 20


@dataclass(frozen=True)
class TableSet:
    """frequencies: (T, L) uint32, rows padded with 0; lengths: (T,) int32 slots in use; offsets: (T,) int32."""

    frequencies: np.ndarray
    lengths: np.ndarray
    offsets: np.ndarray
    escape: bool

    def __len__(self) -> int:
        return len(self.lengths)

    def row(self, table: int) -> np.ndarray:
        """(lengths[table],) uint32 frequencies of one table."""
        return self.frequencies[table, : self.lengths[table]]

    def bits(self, symbols: np.ndarray, tables: np.ndarray) -> float:
        """Ideal code length in bits of symbols (n,) under tables (n,), escapes counted with 16 raw bits."""
        slots = np.asarray(symbols, np.int64) - self.offsets[tables]
        top = self.lengths[tables] - (1 if self.escape else 0)
        outside = (slots < 0) | (slots >= top)
        if outside.any() and not self.escape:
            raise ValueError("a symbol lies outside its table and the table set has no escape")
        slots = np.where(outside, top, slots)
        frequency = self.frequencies[tables, slots].astype(np.float64)
        return float(-np.log2(frequency / TOTAL).sum() + 16.0 * outside.sum())


def quantise_pmf(pmf: np.ndarray) -> np.ndarray:
    """Probabilities (n,) float64 -> positive integers (n,) uint32 that sum to TOTAL.

    Every slot gets at least 1; the rounding surplus is taken from (or given to) the most probable slot,
    where it costs least.
    """
    pmf = np.maximum(np.asarray(pmf, np.float64), 0.0)
    if not np.isfinite(pmf).all() or pmf.sum() <= 0:
        raise ValueError("probabilities must be finite and not all zero")
    n = len(pmf)
    frequency = np.floor(pmf / pmf.sum() * (TOTAL - n)).astype(np.int64) + 1
    frequency[int(np.argmax(frequency))] += TOTAL - int(frequency.sum())
    return frequency.astype(np.uint32)


def freeze_pmfs(pmfs: Sequence[np.ndarray], offsets: Sequence[int], escape: bool) -> TableSet:
    """One table per pmf. With escape, the mass missing from a pmf (1 - sum, at least 2^-20) is the escape's."""
    rows = []
    for pmf in pmfs:
        row = np.asarray(pmf, np.float64)
        if escape:
            row = np.append(row, max(1.0 - row.sum(), 1.0 / TOTAL))
        rows.append(quantise_pmf(row))
    width = max(len(row) for row in rows)
    frequencies = np.zeros((len(rows), width), np.uint32)
    for i, row in enumerate(rows):
        frequencies[i, : len(row)] = row
    lengths = np.array([len(row) for row in rows], np.int32)
    return TableSet(frequencies, lengths, np.asarray(offsets, np.int32), escape)


def freeze_symmetric(half_pmfs: Sequence[np.ndarray]) -> TableSet:
    """half_pmfs[t][k] = P(|symbol| = k side) for k = 0 ... reach, mirrored to -reach ... reach, with escape."""
    pmfs = [np.concatenate([half[:0:-1], half]) for half in half_pmfs]
    return freeze_pmfs(pmfs, offsets=[1 - len(half) for half in half_pmfs], escape=True)
