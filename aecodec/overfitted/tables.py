"""The tables that code latents: Laplace distributions of 80 scales, each with its mean at 16 places of a step.

They belong to the format, so every machine must make the same integers. They are made of 80 constants of 40 bits,
which an exponential of any quality gives, by multiplications of float64 alone, one after another.
"""

from __future__ import annotations

import functools
import math

import numpy as np

from ..coding.tables import TOTAL

#: Scale s is 2^((s - UNIT_SCALE) / 8) steps; the mean of fraction f lies (f - FRACTIONS / 2) / FRACTIONS beside a whole
#: number. The table of both has the index FRACTIONS * s + f.
SCALES, UNIT_SCALE, FRACTIONS = 80, 37, 16
#: A table has the symbols -REACH ... REACH, then the escape.
REACH = 64
SLOTS = 2 * REACH + 2
#: Bits of a constant, and of a quantile of the entropy coder.
_BITS, PRECISION = 40, 24


@functools.cache
def frequencies() -> np.ndarray:
    """(SCALES * FRACTIONS, SLOTS) uint32, rows of positive numbers that sum to TOTAL."""
    rows = np.empty((SCALES * FRACTIONS, SLOTS), np.uint32)
    places = FRACTIONS * np.arange(-REACH, REACH + 2) - FRACTIONS // 2  # edges of the symbols
    for scale in range(SCALES):
        # Of the mass beyond 1/16 of a step, what is left after one more.
        ratio = math.floor(math.exp(-1.0 / (FRACTIONS * 2.0 ** ((scale - UNIT_SCALE) / 8.0))) * 2.0**_BITS) / 2.0**_BITS
        powers = np.multiply.accumulate(np.concatenate([[1.0], np.full(FRACTIONS * (REACH + 2), ratio)]))
        for fraction in range(FRACTIONS):
            edges = places - (fraction - FRACTIONS // 2)
            tails = 0.5 * powers[np.abs(edges)]  # the mass beyond each edge, on its side of the mean
            low, high = edges[:-1], edges[1:]
            pmf = np.where(high <= 0, tails[1:] - tails[:-1], np.where(low >= 0, tails[:-1] - tails[1:], 0.0))
            middle = (low < 0) & (high > 0)
            pmf[middle] = 1.0 - tails[1:][middle] - tails[:-1][middle]
            row = np.append(np.floor(pmf * (TOTAL - SLOTS)).astype(np.int64) + 1, 1)
            row[-1] += math.floor((tails[0] + tails[-1]) * (TOTAL - SLOTS))
            row[int(np.argmax(row))] += TOTAL - int(row.sum())
            rows[FRACTIONS * scale + fraction] = row
    rows.setflags(write=False)
    return rows


@functools.cache
def starts() -> np.ndarray:
    """(SCALES * FRACTIONS, SLOTS + 1) uint32: slot k of a table has the quantiles starts[k] ... starts[k + 1] - 1, as
    constriction's categorical model rounds them."""
    sums = np.zeros((SCALES * FRACTIONS, SLOTS + 1), np.int64)
    np.cumsum(frequencies(), axis=1, out=sums[:, 1:])
    found = sums * ((1 << PRECISION) - SLOTS) // TOTAL + np.arange(SLOTS + 1)
    found[:, -1] = 1 << PRECISION
    return np.ascontiguousarray(found, np.uint32)


@functools.cache
def bits() -> np.ndarray:
    """(SCALES * FRACTIONS, SLOTS) float32: what a slot costs, without the raw bits of an escape."""
    return (PRECISION - np.log2(np.diff(starts().astype(np.float64), axis=1))).astype(np.float32)
