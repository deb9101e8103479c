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
from .tables import TableSet

#: Escaped values are stored as 16 raw bits: twice the distance beyond the table, plus the side.
ESCAPE_BITS = 16
ESCAPE_LIMIT = (1 << (ESCAPE_BITS - 1)) - 1


def _model(tables: TableSet, table: int) -> constriction.stream.model.Categorical:
    # constriction rescales the integers with IEEE additions, multiplications and divisions only, which
    # are the same everywhere; `perfect=False` is its documented fast and stable choice.
    return constriction.stream.model.Categorical(tables.row(table).astype(np.float64), perfect=False)


def _groups(which: np.ndarray, tables: TableSet) -> list[tuple[int, np.ndarray]]:
    """(n,) table numbers -> for each table in use, in order, the positions it codes, in order.

    A table of one slot codes nothing: its symbol is certain.
    """
    order = np.argsort(which, kind="stable")
    used, starts = np.unique(which[order], return_index=True)
    ends = [*starts[1:], len(order)]
    groups = [(int(t), order[start:end]) for t, start, end in zip(used, starts, ends, strict=False)]
    return [(table, positions) for table, positions in groups if tables.lengths[table] > 1]


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
        for table, positions in reversed(_groups(which, tables)):
            coder.encode_reverse(slots[positions].astype(np.int32), _model(tables, table))
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
        """which: (n,) table numbers -> (n,) int32 symbols."""
        which = np.asarray(which).astype(np.int64)
        slots = np.zeros(len(which), np.int64)
        for table, positions in _groups(which, tables):
            slots[positions] = self._coder.decode(_model(tables, table), len(positions))
        if tables.escape:
            top = tables.lengths[which].astype(np.int64) - 1
            outside = slots == top
            count = int(outside.sum())
            if count:
                raw = constriction.stream.model.Uniform(1 << ESCAPE_BITS)
                code = self._coder.decode(raw, count).astype(np.int64)
                excess, below = code >> 1, (code & 1).astype(bool)
                slots[outside] = np.where(below, -1 - excess, top[outside] + excess)
        return (slots + tables.offsets[which]).astype(np.int32)

    def finish(self) -> None:
        """Raise BitstreamError unless every bit has been used: a valid payload leaves nothing behind."""
        if not self._coder.is_empty():
            raise BitstreamError("an entropy-coded payload holds more than its tile's latents")
