"""A table as an index that is searched: by the database, with the hits and the order that a `HashIndex` has."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any

import numpy as np

from ...contracts import IndexFileError
from ..codes import check_k, check_queries, check_radius
from ..hits import Hits, RangeHits, WindowHits
from ..ids import Paths
from ..names import name_of
from ..rows import Rows
from .address import Address
from .conditions import Condition
from .connection import bits_of, connect, find_table, sql, told, vector_schema

#: Rows that are fetched at a time.
_FETCHED = 8192
#: Candidates that HNSW looks at: pgvector's usual number, and its most.
_LEAST, _MOST = 40, 1000


class TableIndex:
    """Codes of pictures under their paths in a table of PostgreSQL, searched there by pgvector.

    Exact unless ``approximate``: then an HNSW index of the table may answer searches of the k nearest. hasher,
    fingerprint, n_bits and root are as of `HashIndex`; there are no windows. Everything that asks the database raises
    ServerError.
    """

    layout = 0
    has_paths = True

    def __init__(self, address: Address, *, where: Sequence[Condition] = (), approximate: bool = False) -> None:
        """Connect. where: only rows that meet all of these are searched. Raises IndexFileError if there is no such
        table or none of an index, and what `connection.connect` raises."""
        self.address, self._approximate, self._where = address, approximate, tuple(where)
        self._connection = connect(address)
        try:
            self._schema = vector_schema(self._connection, address)
            table = find_table(self._connection, address)
            if table is None:
                raise IndexFileError(f"{address}: no such table")
            with told(address):
                self._connection.execute("SET default_transaction_read_only = on")
        except BaseException:
            self._connection.close()
            raise
        self._table, self.description = table.name, table.description
        self.hasher, self.fingerprint = table.description.hasher, table.description.fingerprint
        self.n_bits, self.root = table.description.n_bits, os.fsdecode(table.description.root)

    def close(self) -> None:
        """End the connection."""
        self._connection.close()

    def __enter__(self) -> TableIndex:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def __len__(self) -> int:
        with told(self.address):
            query = sql.SQL("SELECT count(*) FROM {} {}").format(self._table, self._filter(1))
            found = self._connection.execute(query, self._values).fetchone()
        return int(found[0]) if found else 0

    def snapshot(self) -> TableIndex:
        """Itself: each search is one statement, and sees the rows of one moment."""
        return self

    def check_hasher(self, hasher: str, fingerprint: bytes) -> None:
        """Raises IndexFileError, naming both, if the table is of another hasher."""
        if (hasher, fingerprint) != (self.hasher, self.fingerprint):
            raise IndexFileError(
                f"{self.address}: is of hasher {self.hasher} {self.fingerprint.hex()}; "
                f"this is {hasher} {fingerprint.hex()}"
            )

    # -- searching -------------------------------------------------------------------------------

    def search(self, queries: np.ndarray, k: int) -> Hits:
        """As `HashIndex.search`: (Q, n_bits / 8) uint8 -> hits (Q, min(k, N))."""
        k = check_k(k)
        found = [self._nearest(query, k, None) for query in self._checked(queries)]
        ids, distances = _columns([hit for rows in found for hit in rows])
        shape = len(found), len(found[0]) if found else min(k, len(self))
        return Hits(ids.reshape(shape), distances.reshape(shape))

    def range_search(self, queries: np.ndarray, radius: int) -> RangeHits:
        """As `HashIndex.range_search`."""
        radius = check_radius(radius, self.n_bits // 8)
        found = [self._nearest(query, None, radius) for query in self._checked(queries)]
        limits = np.cumsum([0, *map(len, found)], dtype=np.int64)
        ids, distances = _columns([hit for rows in found for hit in rows])
        return RangeHits(limits, ids, distances)

    def search_windows(self, codes: np.ndarray, k: int | None = None, radius: int | None = None) -> WindowHits:
        """As `HashIndex.search_windows` of an index without windows: a set of one code."""
        [query] = self._checked(codes)
        found = self._nearest(query, None if k is None else check_k(k), radius)
        ids, distances = _columns(found)
        nothing = np.zeros(len(found), np.int64)
        return WindowHits(ids, distances, nothing, nothing)

    def rows(self) -> Iterator[Rows]:
        """All rows that count, some at a time, in no order."""
        query = sql.SQL("SELECT path, code, size, mtime FROM {} {}").format(self._table, self._filter(1))
        width, opened = self.n_bits // 8, self._connection
        with told(self.address), opened.transaction(), opened.cursor("aecodec_rows", binary=True) as cursor:
            cursor.execute(query, self._values)
            while found := cursor.fetchmany(_FETCHED):
                paths, codes, *stamps = zip(*found, strict=True)
                # a bit string in binary: how many bits, then their bytes
                packed = np.frombuffer(b"".join(codes), np.uint8).reshape(len(found), 4 + width)[:, 4:]
                windows = np.empty((len(found), 0, width), np.uint8)
                modified = np.array(stamps[::-1], np.int64).T
                names = Paths.of([self._name(path) for path in paths])
                yield Rows(names, np.ascontiguousarray(packed), windows, modified)

    # -- statements ------------------------------------------------------------------------------

    def _checked(self, queries: np.ndarray) -> np.ndarray:
        return check_queries(queries, self.n_bits // 8)

    def _nearest(self, query: np.ndarray, k: int | None, radius: int | None) -> list[tuple[str, int]]:
        """(path, distance), by distance, then by the bytes of the path."""
        given: list[Any] = ["".join(map(str, np.unpackbits(query).tolist())), *self._values]

        def parameter(value: int, kind: str) -> sql.Composable:
            given.append(value)
            return sql.SQL(f"${len(given)}::{kind}")

        within = None if radius is None else parameter(check_radius(radius, self.n_bits // 8), "integer")
        last = None if k is None else parameter(k, "bigint")
        found: list[tuple[str, float]] | None = None
        with told(self.address):
            if self._approximate and k is not None and last is not None:
                wanted = str(min(max(k, _LEAST), _MOST))
                self._connection.execute("SELECT set_config('hnsw.ef_search', $1, false)", [wanted])
                found = self._connection.execute(self._by_graph(within, last), given).fetchall()
                if len(found) < k and within is None:
                    found = None  # a condition has left few of those that the graph led to
            if found is None:
                found = self._connection.execute(self._by_scan(within, last), given).fetchall()
        return [(os.fsdecode(self._name(path)), int(distance)) for path, distance in found]

    def _by_scan(self, within: sql.Composable | None, last: sql.Composable | None) -> sql.Composed:
        """All rows are compared: pgvector's operator may be answered by an index, its function is not. Of those that
        are as far as the k-th all come, and their paths decide."""
        distance = sql.SQL("{}(code, $1::{})").format(
            sql.Identifier(self._schema, "hamming_distance"), bits_of(self.n_bits)
        )
        near = [] if within is None else [sql.SQL("{} <= {}").format(distance, within)]
        limit: sql.Composable = sql.SQL("")
        if last is not None:
            limit = sql.SQL("ORDER BY distance FETCH FIRST ({}) ROWS WITH TIES").format(last)
        inner = sql.SQL("SELECT path, {} AS distance FROM {} {} {}").format(
            distance, self._table, self._filter(2, *near), limit
        )
        return _ordered(inner, last)

    def _by_graph(self, within: sql.Composable | None, last: sql.Composable) -> sql.Composed:
        """What the graph of HNSW leads to."""
        inner = sql.SQL("SELECT path, {0} AS distance FROM {1} {2} ORDER BY {0} LIMIT {3}").format(
            sql.SQL("code OPERATOR({}.<~>) $1::{}").format(sql.Identifier(self._schema), bits_of(self.n_bits)),
            self._table,
            self._filter(2),
            last,
        )
        if within is not None:
            inner = sql.SQL("SELECT * FROM ({}) AS near WHERE distance <= {}").format(inner, within)
        return _ordered(inner, last)

    @property
    def _values(self) -> list[str]:
        """What conditions compare with."""
        return [one.value for one in self._where if one.value is not None]

    def _filter(self, first: int, *more: sql.Composable) -> sql.Composable:
        """WHERE and what all rows must meet; the values of conditions are parameters from a first one on."""
        parts, number = list(more), first
        for one in self._where:
            parts.append(sql.SQL("{} {}").format(sql.Identifier(one.column), sql.SQL(one.operator)))
            if one.value is not None:
                parts[-1] += sql.SQL(f" ${number}")
                number += 1
        return sql.SQL("WHERE {}").format(sql.SQL(" AND ").join(parts)) if parts else sql.SQL("")

    def _name(self, path: str) -> bytes:
        try:
            return name_of(path)
        except ValueError as error:
            raise IndexFileError(f"{self.address}: {path[:100]!a} is no path ({error})") from error


def _ordered(inner: sql.Composable, last: sql.Composable | None) -> sql.Composed:
    """By distance, then by the bytes that a path is; the first so many, unless all."""
    return sql.SQL("SELECT path, distance FROM ({}) AS found ORDER BY distance, decode(path, 'escape') {}").format(
        inner, sql.SQL("") if last is None else sql.SQL("LIMIT {}").format(last)
    )


def _columns(found: list[tuple[str, int]]) -> tuple[np.ndarray, np.ndarray]:
    """(path, distance) of each -> (N,) of str, (N,) int32."""
    ids = np.empty(len(found), object)
    ids[:] = [path for path, _ in found]
    return ids, np.array([distance for _, distance in found], np.int32)
