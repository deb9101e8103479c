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
#: Symbols lie within this distance of 0, tables included: as float32 they are exact.
MAX_SYMBOL = 1 << 22
#: Slots of a table set, padding included.
MAX_SLOTS = 1 << 24
#: Raw bits of a value outside its table: twice the distance beyond the table, plus the side.
ESCAPE_BITS = 16


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
        """Ideal code length in bits of symbols (n,) under tables (n,), escapes counted with their raw bits."""
        slots = np.asarray(symbols, np.int64) - self.offsets[tables]
        top = self.lengths[tables] - (1 if self.escape else 0)
        outside = (slots < 0) | (slots >= top)
        if outside.any() and not self.escape:
            raise ValueError("a symbol lies outside its table and the table set has no escape")
        slots = np.where(outside, top, slots)
        frequency = self.frequencies[tables, slots].astype(np.float64)
        return float(-np.log2(frequency / TOTAL).sum() + ESCAPE_BITS * outside.sum())


def unpack_tables(rows: np.ndarray, lengths: np.ndarray, offsets: np.ndarray, escape: bool) -> TableSet:
    """Tables as a file holds them: (S,) int32 frequencies one table after another, (T,) int32 lengths and offsets.

    Raises ValueError for parts that do not fit each other, and for what no coder could use: a frequency that is not
    positive, a sum that is not TOTAL, a symbol beyond MAX_SYMBOL, more than MAX_SLOTS slots.
    """
    if any(part.dtype != np.int32 or part.ndim != 1 for part in (rows, lengths, offsets)):
        raise ValueError("table parts of the wrong type or shape")
    if not len(lengths) or len(lengths) != len(offsets):
        raise ValueError(f"{len(lengths)} lengths and {len(offsets)} offsets of tables")
    shortest, width, slots = int(lengths.min()), int(lengths.max()), int(lengths.astype(np.int64).sum())
    if shortest < (2 if escape else 1):
        raise ValueError(f"a table of {shortest} slots")
    if slots != len(rows):
        raise ValueError(f"{len(rows)} frequencies for tables of {slots}")
    if len(lengths) * width > MAX_SLOTS:
        raise ValueError(f"{len(lengths)} tables of up to {width} slots; at most {MAX_SLOTS} slots are read")
    if int(offsets.min()) < -MAX_SYMBOL or int(offsets.max()) > MAX_SYMBOL - width:
        raise ValueError(f"symbols beyond {MAX_SYMBOL}")
    if int(rows.min()) < 1 or int(rows.max()) > TOTAL:
        raise ValueError(f"a frequency that is not 1 to {TOTAL}")
    sums = np.add.reduceat(rows.astype(np.int64), np.cumsum(lengths, dtype=np.int64) - lengths)
    if (sums != TOTAL).any():
        raise ValueError(f"a table whose frequencies sum to {sums[sums != TOTAL][0]}, not to {TOTAL}")
    frequencies = np.zeros((len(lengths), width), np.uint32)
    frequencies[np.arange(width) < lengths[:, None]] = rows
    return TableSet(frequencies, lengths, offsets, escape)


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


#: How many observations the parametric table counts for when it is refitted to real symbols.
PRIOR_OBSERVATIONS = 48.0


class TableCounts:
    """Counts of the symbols that each table of a set really coded, to refit the set to them."""

    def __init__(self, tables: TableSet) -> None:
        self._tables = tables
        self._counts = np.zeros(tables.frequencies.shape, np.int64)

    def add(self, symbols: np.ndarray, which: np.ndarray) -> None:
        """symbols, which: (n,) integers; a symbol outside its table counts for the escape."""
        which = np.asarray(which, np.int64)
        slots = np.asarray(symbols, np.int64) - self._tables.offsets[which]
        last = self._tables.lengths[which] - 1
        slots = np.where((slots < 0) | (slots > last), last, slots)
        flat = np.bincount(which * self._counts.shape[1] + slots, minlength=self._counts.size)
        self._counts += flat.reshape(self._counts.shape)

    def refit(self, symmetric: bool) -> TableSet:
        """Tables in proportion to counts + PRIOR_OBSERVATIONS * old probability (a Dirichlet prior).

        symmetric: give a symbol and its negative the same frequency, in tables that are centred on 0.
        """
        frequencies = np.zeros_like(self._tables.frequencies)
        for table in range(len(self._tables)):
            old = self._tables.row(table)
            count = self._counts[table, : len(old)].astype(np.float64)
            if symmetric:
                body = slice(0, len(old) - (1 if self._tables.escape else 0))
                count[body] = (count[body] + count[body][::-1]) / 2.0
            frequencies[table, : len(old)] = quantise_pmf(count + PRIOR_OBSERVATIONS * old / TOTAL)
        return TableSet(frequencies, self._tables.lengths, self._tables.offsets, self._tables.escape)
