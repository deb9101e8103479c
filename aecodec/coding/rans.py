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

#: A plane of more symbols than this is popped so many at a time, so that a large tile takes little more memory than
#: its symbols do.
AT_ONCE, CHUNK = 1 << 23, 1 << 22
#: The largest distance beyond a table that an escape can express.
ESCAPE_LIMIT = (1 << (ESCAPE_BITS - 1)) - 1


#: Rows and columns of a plane.
Part = tuple[slice, slice]


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

    def pop_plane(
        self, index: np.ndarray, tables: TableSet, part: Part | None = None, *, silent: bool = False
    ) -> np.ndarray:
        """index: (N, H, W) table indices -> (N, H, W) int32 symbols, or those of a part of the rows and columns.

        silent: index 0 means that the symbol is 0 and not coded.
        """
        if index.size > AT_ONCE:
            return _LargePlane(self._coder, index, tables, part, silent).pop()
        if silent:
            symbols, coded = np.zeros(index.shape, np.int32), index > 0
            symbols[coded] = self.pop(index[coded], tables)
        else:
            symbols = self.pop(index.ravel(), tables).reshape(index.shape)
        return symbols if part is None else symbols[:, part[0], part[1]].copy()

    def _unescape(self, symbols: np.ndarray, places: np.ndarray, which: np.ndarray, tables: TableSet) -> None:
        """Replace the symbols at the escaped places, in order, by the values that follow in raw bits."""
        symbols[places] = _escaped_values(self._coder, which[places], tables)

    def finish(self) -> None:
        """Raise BitstreamError unless every bit has been used: a valid payload leaves nothing behind."""
        if not self._coder.is_empty():
            raise BitstreamError("an entropy-coded payload holds more than its tile's latents")


def _escaped_values(coder: constriction.stream.stack.AnsCoder, which: np.ndarray, tables: TableSet) -> np.ndarray:
    """Values of symbols that escaped their tables (n,), in order, from the raw bits that follow."""
    code = coder.decode(constriction.stream.model.Uniform(1 << ESCAPE_BITS), len(which)).astype(np.int64)
    excess, below = code >> 1, (code & 1).astype(bool)
    low = tables.offsets[which].astype(np.int64)
    return np.where(below, low - 1 - excess, low + tables.lengths[which] - 1 + excess)


class _LargePlane:
    """A plane popped in the same order as by `PlaneDecoder.pop`, without an array of the order: table by table, and of
    each table chunk by chunk of channels. Symbols outside the part that is wanted are popped and forgotten."""

    def __init__(
        self,
        coder: constriction.stream.stack.AnsCoder,
        index: np.ndarray,
        tables: TableSet,
        part: Part | None,
        silent: bool,
    ) -> None:
        self._coder, self._index, self._tables, self._silent = coder, index, tables, silent
        channels, self._height, self._width = index.shape
        self._rows, self._columns = part or (slice(0, self._height), slice(0, self._width))
        size = self._rows.stop - self._rows.start, self._columns.stop - self._columns.start
        self._symbols = np.zeros((channels, *size), np.int32)
        step = max(CHUNK // (self._height * self._width), 1)
        self._chunks = [slice(start, min(start + step, channels)) for start in range(0, channels, step)]

    def pop(self) -> np.ndarray:
        tables = self._tables
        counts = [np.bincount(self._index[chunk].ravel(), minlength=len(tables)) for chunk in self._chunks]
        escaped: np.ndarray | None = None
        for table in np.flatnonzero(np.sum(counts, axis=0)):
            if self._silent and table == 0:
                continue
            model = _model(tables, table) if tables.lengths[table] > 1 else None
            for chunk, count in zip(self._chunks, counts, strict=True):
                if not count[table]:
                    continue
                places = np.flatnonzero(self._index[chunk] == table)
                slots = np.zeros(len(places), np.int32) if model is None else self._coder.decode(model, len(places))
                self._put(chunk, places, tables.offsets[table] + slots)
                if tables.escape and (outside := slots == tables.lengths[table] - 1).any():
                    escaped = np.zeros(self._index.shape, bool) if escaped is None else escaped
                    escaped[chunk].reshape(-1)[places[outside]] = True
        if escaped is not None:
            for chunk in self._chunks:
                places = np.flatnonzero(escaped[chunk])
                if len(places):
                    self._put(chunk, places, _escaped_values(self._coder, self._index[chunk].ravel()[places], tables))
        return self._symbols

    def _put(self, chunk: slice, places: np.ndarray, symbols: np.ndarray) -> None:
        """Symbols at places of a chunk of channels, as far as they are wanted."""
        target = self._symbols[chunk]
        if target.shape[1:] == (self._height, self._width):
            target.reshape(-1)[places] = symbols
            return
        channel, place = np.divmod(places, self._height * self._width)
        row, column = np.divmod(place, self._width)
        row -= self._rows.start
        column -= self._columns.start
        wanted = (row >= 0) & (row < target.shape[1]) & (column >= 0) & (column < target.shape[2])
        target[channel[wanted], row[wanted], column[wanted]] = symbols[wanted]
