"""Laws of the entropy coder: every plane comes back, at the ideal length, and damage is an error at worst."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aecodec.coding.rans import ESCAPE_LIMIT, PlaneDecoder, encode_planes
from aecodec.coding.tables import TableSet, freeze_pmfs, freeze_symmetric
from aecodec.contracts import BitstreamError, SymbolPlane


def laplace_tables(count: int = 64) -> TableSet:
    """Two-sided geometric tables from nearly certain to nearly flat, with escape."""
    halves = []
    for decay in np.linspace(0.01, 0.97, count):
        reach = max(1, min(60, int(6 / -np.log(decay))))
        half = decay ** np.arange(reach + 1)
        halves.append(half / (half[0] + 2 * half[1:].sum()) * 0.999)
    return freeze_symmetric(halves)


def closed_tables() -> TableSet:
    """Bounded alphabets of several sizes and offsets, no escape; the first has a single symbol."""
    return freeze_pmfs(
        [np.ones(1), np.ones(2), np.array([0.7, 0.1, 0.2]), 0.5 ** np.arange(20)], [3, 0, -1, -10], escape=False
    )


LAPLACE, CLOSED = laplace_tables(), closed_tables()


def draw(tables: TableSet, which: np.ndarray, seed: int) -> np.ndarray:
    """Symbols as probable as the tables say; an escape becomes a symbol well outside, on either side."""
    rng = np.random.default_rng(seed)
    symbols = np.empty(len(which), np.int64)
    for i, table in enumerate(which):
        row = tables.row(table).astype(np.float64)
        slot = rng.choice(len(row), p=row / row.sum())
        if tables.escape and slot == len(row) - 1:
            slot = rng.choice([-1, 1]) * rng.integers(len(row), 2000)
        symbols[i] = tables.offsets[table] + slot
    return symbols.astype(np.int32)


def round_trip(*planes: tuple[np.ndarray, np.ndarray, TableSet]) -> bytes:
    data = encode_planes([(SymbolPlane(symbols, which), tables) for symbols, which, tables in planes])
    decoder = PlaneDecoder(data)
    for symbols, which, tables in planes:
        assert np.array_equal(decoder.pop(which, tables), symbols)
    decoder.finish()
    return data


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 63), st.integers(-32000, 32000)), max_size=60))
def test_any_symbols_come_back_escapes_on_both_sides_included(pairs):
    which = np.array([table for table, _ in pairs], np.uint8)
    round_trip((np.array([symbol for _, symbol in pairs], np.int32), which, LAPLACE))


@settings(max_examples=40)
@given(st.lists(st.integers(0, 3), max_size=80), st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))
def test_two_planes_come_back_in_order(tables, seed, other):
    which = np.array(tables, np.int32)
    inner = np.random.default_rng(other).integers(0, 64, 50).astype(np.uint8)
    round_trip((draw(CLOSED, which, seed), which, CLOSED), (draw(LAPLACE, inner, other), inner, LAPLACE))


def test_every_table_and_every_symbol_of_it():
    for tables in (LAPLACE, CLOSED):
        symbols, which = [], []
        for table in range(len(tables)):
            reach = range(int(tables.lengths[table]) - (1 if tables.escape else 0))
            symbols += [int(tables.offsets[table]) + slot for slot in reach]
            which += [table] * len(reach)
        round_trip((np.array(symbols, np.int32), np.array(which, np.int32), tables))


def test_empty_planes_and_single_symbols():
    nothing = (np.zeros(0, np.int32), np.zeros(0, np.uint8), LAPLACE)
    assert round_trip(nothing) == b""
    one = (np.array([-7], np.int32), np.array([40], np.uint8), LAPLACE)
    round_trip(one)
    round_trip(nothing, one, nothing)


def test_a_table_of_one_symbol_costs_nothing():
    which = np.zeros(1000, np.int32)
    assert len(round_trip((np.full(1000, 3, np.int32), which, CLOSED))) <= 4


def test_the_farthest_symbols_an_escape_can_hold():
    low = int(LAPLACE.offsets[5]) - 1 - ESCAPE_LIMIT
    high = int(LAPLACE.offsets[5] + LAPLACE.lengths[5]) - 1 + ESCAPE_LIMIT
    which = np.full(2, 5, np.uint8)
    round_trip((np.array([low, high], np.int32), which, LAPLACE))
    for symbols in ([low - 1, 0], [0, high + 1]):
        with pytest.raises(ValueError, match="beyond its table"):
            encode_planes([(SymbolPlane(np.array(symbols, np.int32), which), LAPLACE)])


def test_a_symbol_outside_a_closed_alphabet_is_refused():
    with pytest.raises(ValueError, match="no escape"):
        encode_planes([(SymbolPlane(np.array([2], np.int32), np.array([1])), CLOSED)])


#: The payload of the planes below. If it changes, so does the format of every file.
GOLDEN = "6f4ff563246700aaa39c815e3e010000"


def test_the_words_of_a_small_plane_never_change():
    which = np.array([0, 10, 20, 30, 40, 50, 63, 63, 0, 5], np.uint8)
    symbols = np.array([0, 1, -1, 2, -3, 10, -60, 900, -2000, 0], np.int32)
    closed = np.array([1, 2, 3, 3, 1], np.int32)
    data = round_trip((np.array([1, -1, 5, -10, 0], np.int32), closed, CLOSED), (symbols, which, LAPLACE))
    assert data.hex() == GOLDEN


@pytest.mark.parametrize("seed", [1, 2])
def test_the_length_is_the_ideal_one(seed):
    which = np.random.default_rng(seed).integers(0, 64, 30000).astype(np.uint8)
    symbols = draw(LAPLACE, which, seed)
    ideal = LAPLACE.bits(symbols, which)
    actual = 8 * len(round_trip((symbols, which, LAPLACE)))
    assert ideal - 1 <= actual <= 1.001 * ideal + 64


@settings(max_examples=150)
@given(st.data())
def test_damaged_bytes_decode_to_something_or_raise(data):
    which = np.arange(64, dtype=np.uint8).repeat(4)
    good = bytearray(encode_planes([(SymbolPlane(draw(LAPLACE, which, 7), which), LAPLACE)]))
    kind = data.draw(st.sampled_from(["flip", "cut", "noise"]))
    if kind == "flip":
        good[data.draw(st.integers(0, len(good) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    elif kind == "cut":
        good = good[: data.draw(st.integers(0, len(good) - 1))]
    else:
        good = bytearray(data.draw(st.binary(max_size=200)))
    try:
        decoder = PlaneDecoder(bytes(good))
        symbols = decoder.pop(which, LAPLACE)
        decoder.finish()
    except BitstreamError:
        return
    assert symbols.shape == which.shape
    assert np.abs(symbols).max() <= ESCAPE_LIMIT + 100


def test_lengths_that_no_encoder_writes_are_refused():
    for data in (b"\1", b"\1\2\3", b"\1\0\0\0\0\0\0\0"):
        with pytest.raises(BitstreamError):
            PlaneDecoder(data)
    decoder = PlaneDecoder(encode_planes([(SymbolPlane(np.full(100, 20, np.int32), np.full(100, 9)), LAPLACE)]))
    with pytest.raises(BitstreamError, match="more than"):
        decoder.finish()
