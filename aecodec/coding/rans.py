"""Symbols and integer tables to bytes and back, by asymmetric numeral systems (Duda 2013; constriction).

All symbols of a tile are coded in one pass: sorted (stably) by table, so that each table codes its symbols
in one call, then the raw bits of symbols that escaped their table. The coder is a stack: planes are
pushed in reverse, so that they are popped in order.
"""

from __future__ import annotations

from collections.abc import Sequence

import constriction
import numpy as np

from ..contracts import BitstreamError, SymbolPlane
from .tables import ESCAPE_BITS, TableSet

#: The largest distance beyond a table that an escape can express.
ESCAPE_LIMIT = (1 << (ESCAPE_BITS - 1)) - 1


def _model(tables: TableSet, table: int) -> constriction.stream.model.Categorical:
    # constriction rescales the integers with IEEE additions, multiplications and divisions only, which
    # are the same everywhere; `perfect=False` is its documented fast and stable choice.
    return constriction.stream.model.Categorical(tables.row(table).astype(np.float64), perfect=False)


def _groups(which: np.ndarray, tables: TableSet) -> tuple[np.ndarray, list[tuple[int, slice]]]:
    """(n,) table indices -> positions sorted stably by table, and for each table in use its slice of them.

    A table of one slot codes nothing, since its symbol is certain, and has no slice.
    """
    # NumPy sorts 16-bit integers by radix, many times faster than wider ones.
    narrow = which.astype(np.uint16) if len(tables) <= 1 << 16 else which
    order = np.argsort(narrow, kind="stable")
    ends = np.cumsum(np.bincount(which, minlength=len(tables)))
    starts = np.concatenate([[0], ends[:-1]])
    used = np.flatnonzero((ends > starts) & (tables.lengths > 1))
    return order, [(int(table), slice(int(starts[table]), int(ends[table]))) for table in used]


def encode_planes(planes: Sequence[tuple[SymbolPlane, TableSet]]) -> bytes:
    """Planes in the order they will be decoded -> bytes. Raises ValueError for a symbol no table can express."""
    coder = constriction.stream.stack.AnsCoder()
    raw = constriction.stream.model.Uniform(1 << ESCAPE_BITS)
    for plane, tables in reversed(planes):
        which = plane.tables.astype(np.int64)
        slots = plane.symbols.astype(np.int64) - tables.offsets[which]
        top = tables.lengths[which] - (1 if tables.escape else 0)
        below, above = slots < 0, slots >= top
        outside = below | above
        if outside.any():
            if not tables.escape:
                raise ValueError("a symbol lies outside its table and the table set has no escape")
            excess = np.where(below, -1 - slots, slots - top)[outside]
            if excess.max() > ESCAPE_LIMIT:
                raise ValueError(f"a symbol lies {excess.max()} beyond its table; at most {ESCAPE_LIMIT} can be coded")
            coder.encode_reverse((2 * excess + below[outside]).astype(np.int32), raw)
            slots = np.where(outside, top, slots)
        order, groups = _groups(which, tables)
        ordered = slots[order].astype(np.int32)
        for table, part in reversed(groups):
            coder.encode_reverse(ordered[part], _model(tables, table))
    return coder.get_compressed().astype("<u4").tobytes()


class PlaneDecoder:
    """Pops planes off the bytes that `encode_planes` wrote, in the same order."""

    def __init__(self, data: bytes) -> None:
        if len(data) % 4:
            raise BitstreamError(f"an entropy-coded payload is a whole number of 32-bit words, got {len(data)} bytes")
        try:
            self._coder = constriction.stream.stack.AnsCoder(np.frombuffer(data, "<u4").astype(np.uint32))
        except ValueError as error:
            raise BitstreamError(f"an entropy-coded payload ends in a zero word: {error}") from error

    def pop(self, which: np.ndarray, tables: TableSet) -> np.ndarray:
        """which: (n,) table indices -> (n,) int32 symbols."""
        which = np.asarray(which)
        order, groups = _groups(which, tables)
        # One-slot tables stay at slot 0; all work is done in sorted order and undone by one scatter.
        ordered = tables.offsets[which[order]]
        escaped = np.zeros(len(which), bool)
        for table, part in groups:
            slots = self._coder.decode(_model(tables, table), part.stop - part.start)
            ordered[part] += slots
            if tables.escape:
                escaped[part] = slots == tables.lengths[table] - 1
        symbols = np.empty(len(which), np.int32)
        symbols[order] = ordered
        if escaped.any():
            self._unescape(symbols, np.sort(order[escaped]), which, tables)
        return symbols

    def _unescape(self, symbols: np.ndarray, places: np.ndarray, which: np.ndarray, tables: TableSet) -> None:
        """Replace the symbols at the escaped places, in order, by the values that follow in raw bits."""
        raw = constriction.stream.model.Uniform(1 << ESCAPE_BITS)
        code = self._coder.decode(raw, len(places)).astype(np.int64)
        excess, below = code >> 1, (code & 1).astype(bool)
        low = tables.offsets[which[places]].astype(np.int64)
        top = low + tables.lengths[which[places]] - 1
        symbols[places] = np.where(below, low - 1 - excess, top + excess)

    def finish(self) -> None:
        """Raise BitstreamError unless every bit has been used: a valid payload leaves nothing behind."""
        if not self._coder.is_empty():
            raise BitstreamError("an entropy-coded payload holds more than its tile's latents")
