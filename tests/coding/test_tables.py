"""Laws of frozen probability tables: positive integers, an exact total, and code lengths near the ideal."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from aecodec.coding.tables import TOTAL, TableCounts, freeze_pmfs, freeze_symmetric, quantise_pmf

pmfs = arrays(np.float64, st.integers(1, 300), elements=st.floats(0, 1)).filter(lambda pmf: pmf.sum() > 0)


@given(pmfs)
def test_frequencies_are_positive_and_sum_to_the_total(pmf):
    frequency = quantise_pmf(pmf)
    assert frequency.dtype == np.uint32
    assert frequency.min() >= 1
    assert int(frequency.astype(np.int64).sum()) == TOTAL


@given(pmfs)
def test_quantising_costs_next_to_nothing(pmf):
    p = pmf / pmf.sum()
    q = quantise_pmf(pmf) / TOTAL
    used = p > 0
    divergence = float((p[used] * np.log2(p[used] / q[used])).sum())
    # Each of n slots takes at most one part of the total away from the others.
    assert divergence <= 2.0 * len(p) / TOTAL + 1e-12


@pytest.mark.parametrize("bad", [[0.0, 0.0], [np.nan, 1.0], [np.inf, 1.0], [-1.0, -2.0]])
def test_impossible_probabilities_are_refused(bad):
    with pytest.raises(ValueError, match="finite and not all zero"):
        quantise_pmf(np.array(bad))


def test_rows_of_different_length_share_one_array():
    tables = freeze_pmfs([np.array([0.5, 0.5]), np.array([0.2, 0.3, 0.5])], [-1, 4], escape=False)
    assert len(tables) == 2
    assert tables.lengths.tolist() == [2, 3]
    assert tables.frequencies.shape == (2, 3)
    assert tables.frequencies[0, 2] == 0
    assert [int(tables.row(t).sum()) for t in range(2)] == [TOTAL, TOTAL]
    assert tables.row(0).tolist() == [TOTAL // 2, TOTAL // 2]


def test_the_escape_holds_the_missing_mass():
    tables = freeze_pmfs([np.array([0.25, 0.5]), np.array([0.5, 0.5])], [0, 0], escape=True)
    assert tables.lengths.tolist() == [3, 3]
    assert tables.row(0)[-1] / TOTAL == pytest.approx(0.25, abs=1e-5)
    assert 1 <= tables.row(1)[-1] <= 2


def test_symmetric_tables_are_symmetric_about_zero():
    tables = freeze_symmetric([np.array([0.5, 0.15, 0.05]), np.array([0.4, 0.3])])
    assert tables.offsets.tolist() == [-2, -1]
    for table in range(2):
        row = tables.row(table)[:-1]
        assert np.array_equal(row, row[::-1])
        assert row[-int(tables.offsets[table])] == row.max()


def test_bits_are_the_logarithm_of_the_probability():
    tables = freeze_pmfs([np.array([0.5, 0.25, 0.25])], [-1], escape=False)
    which = np.zeros(3, np.int64)
    assert tables.bits(np.array([-1, 0, 1]), which) == pytest.approx(1 + 2 + 2, abs=1e-4)
    with pytest.raises(ValueError, match="no escape"):
        tables.bits(np.array([2]), which[:1])


def test_an_escaped_symbol_costs_its_escape_and_sixteen_bits():
    tables = freeze_pmfs([np.array([0.5, 0.25])], [0], escape=True)
    for symbol in (-1, -300, 2, 300):
        assert tables.bits(np.array([symbol]), np.array([0])) == pytest.approx(2 + 16, abs=1e-4)


def test_refitting_moves_tables_towards_what_was_counted():
    """With many observations the refitted table's code length is the empirical entropy."""
    rng = np.random.default_rng(3)
    tables = freeze_symmetric([np.array([0.4, 0.2, 0.1]), np.array([0.9, 0.04, 0.01])])
    symbols = rng.choice([-1, 0, 1], 40_000, p=[0.1, 0.8, 0.1])
    counts = TableCounts(tables)
    counts.add(symbols, np.zeros(len(symbols), np.int64))
    fitted = counts.refit(symmetric=True)
    entropy = -(0.8 * np.log2(0.8) + 0.2 * np.log2(0.1))
    assert fitted.bits(symbols, np.zeros(len(symbols), np.int64)) / len(symbols) == pytest.approx(entropy, rel=0.01)
    assert np.array_equal(fitted.row(0)[:5], fitted.row(0)[4::-1])
    assert (fitted.frequencies.sum(axis=1) == TOTAL).all()


def test_refitting_without_observations_changes_next_to_nothing():
    tables = freeze_symmetric([np.array([0.4, 0.2, 0.1]), np.array([0.9, 0.04, 0.01])])
    fitted = TableCounts(tables).refit(symmetric=False)
    assert np.abs(fitted.frequencies.astype(int) - tables.frequencies.astype(int)).max() <= 8


def test_symbols_outside_a_table_are_counted_as_escapes():
    tables = freeze_symmetric([np.array([0.5, 0.2, 0.05])])
    counts = TableCounts(tables)
    counts.add(np.full(1000, 99), np.zeros(1000, np.int64))
    assert counts.refit(symmetric=True).row(0)[-1] > 0.9 * TOTAL
