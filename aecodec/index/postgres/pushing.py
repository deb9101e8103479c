"""An index file brought into a table: copied a block at a time into a passing one, and from there into its place."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ...contracts import ServerError, UsageError
from ..description import Description
from ..ids import Paths
from ..merging import parts_below
from ..names import text_of
from ..rows import Rows
from ..streams import row_reader
from .address import Address
from .connection import Connection, Table, bits_of, connect, find_table, sql, told, vector_schema

#: Bytes of rows of one transaction.
_BATCH = 8 << 20
#: PostgreSQL's binary COPY format: signature, flags and extension; and the end (documentation of COPY).
_HEAD, _END = b"PGCOPY\n\xff\r\n\0" + bytes(8), b"\xff\xff"
_COLUMNS = sql.SQL("path, code, size, mtime")
_PASSING = sql.Identifier("pg_temp", "aecodec_push")


@dataclass(frozen=True)
class Pushed:
    """rows: of the index. changed: of the table, that were not there or were older. windows: of each picture, whose
    codes stayed behind."""

    rows: int
    changed: int
    windows: int


def push(
    path: Path, address: Address, *, hnsw: bool = False, advance: Callable[[int, int], None] = lambda done, total: None
) -> Pushed:
    """Bring the rows of an index of paths into a table, which is made if it is not there.

    A row takes the place of one with the same path unless that is of a later modification time. So pushing again
    changes nothing, and goes on where a push was broken off: each block is a transaction. Paths become those of the
    table's folder, as of `merging.parts_below`. hnsw: also make an index for approximate search, if there is none.

    Raises IndexFileError for a damaged index and for a table of another hasher, length or none of ours, UsageError for
    an index of numbers, ServerError and MissingDependencyError as of `connect`.
    """
    with row_reader(path) as reader:
        own = reader.description
        if not own.has_paths:
            raise UsageError(f"{path}: this index is of numbers, not of pictures")
        reader.check()
        done = changed = 0
        with closing(connect(address)) as connection:
            schema = vector_schema(connection, address)
            table = _table(connection, address, replace(own, layout=0), path)
            try:
                with told(address):
                    _make_passing(connection, own)
                    for part in parts_below(reader, table.description.root):
                        for rows in part.blocks(_BATCH):
                            changed += _put(connection, table, rows)
                            done += len(rows.codes)
                            advance(done, len(reader))
            except ServerError as error:
                there = f"{done} of {len(reader)} rows are there; push again for the rest"
                raise ServerError(f"{error} ({there})") from error
            reader.check_unchanged()
            if hnsw:
                with told(address):
                    _index(connection, table, schema)
        return Pushed(done, changed, own.shown)


def _table(connection: Connection, address: Address, description: Description, path: Path) -> Table:
    """The table, made if it is not there. Its comment is the description."""
    table = find_table(connection, address)
    if table is None:
        name = sql.Identifier(address.table)
        with told(address), connection.transaction():
            connection.execute(
                sql.SQL(
                    'CREATE TABLE IF NOT EXISTS {} (path text COLLATE "C" PRIMARY KEY, code {} NOT NULL,'
                    " size bigint NOT NULL, mtime bigint NOT NULL)"
                ).format(name, bits_of(description.n_bits))
            )
            if find_comment(connection, address) is None:
                comment = sql.Literal(description.to_json())
                connection.execute(sql.SQL("COMMENT ON TABLE {} IS {}").format(name, comment))
        table = find_table(connection, address)
        if table is None:
            raise ServerError(f"{address}: the table is not there after it was made")
    table.description.check_like(description, str(path), str(address))
    return table


def find_comment(connection: Connection, address: Address) -> str | None:
    """The comment of a table that is there."""
    found = connection.execute(
        "SELECT obj_description(to_regclass(quote_ident($1)), 'pg_class')", [address.table]
    ).fetchone()
    return None if found is None else found[0]


def _make_passing(connection: Connection, description: Description) -> None:
    connection.execute(
        sql.SQL(
            "CREATE TEMPORARY TABLE aecodec_push (path text, code {}, size bigint, mtime bigint) ON COMMIT DELETE ROWS"
        ).format(bits_of(description.n_bits))
    )


def _put(connection: Connection, table: Table, rows: Rows) -> int:
    """One block, in one transaction -> rows that are new or other than they were."""
    with connection.transaction(), connection.cursor() as cursor:
        with cursor.copy(sql.SQL("COPY {} ({}) FROM STDIN (FORMAT BINARY)").format(_PASSING, _COLUMNS)) as copy:
            copy.write(_HEAD + copied(rows) + _END)
        cursor.execute(
            sql.SQL(
                "INSERT INTO {table} AS old ({columns}) SELECT {columns} FROM {passing} ON CONFLICT (path) DO UPDATE"
                " SET code = EXCLUDED.code, size = EXCLUDED.size, mtime = EXCLUDED.mtime"
                " WHERE EXCLUDED.mtime >= old.mtime AND (old.code, old.size, old.mtime)"
                " IS DISTINCT FROM (EXCLUDED.code, EXCLUDED.size, EXCLUDED.mtime)"
            ).format(table=table.name, columns=_COLUMNS, passing=_PASSING)
        )
        return cursor.rowcount


def copied(rows: Rows) -> bytes:
    """Rows of paths in the binary format of COPY: the length of each field before it, all integers big-endian."""
    count, width = rows.codes.shape
    stamps = np.zeros((count, 2), np.int64) if rows.stamps is None else rows.stamps
    names = [text_of(name).encode() for name in rows.ids.every()] if isinstance(rows.ids, Paths) else []
    heads = np.empty(count, [("fields", ">i2"), ("length", ">i4")])
    heads["fields"], heads["length"] = 4, [len(name) for name in names]
    tails = np.empty(
        count,
        [
            ("code_length", ">i4"),
            ("bits", ">i4"),
            ("code", "u1", (width,)),
            ("size_length", ">i4"),
            ("size", ">i8"),
            ("mtime_length", ">i4"),
            ("mtime", ">i8"),
        ],
    )
    tails["code_length"], tails["bits"], tails["code"] = 4 + width, 8 * width, rows.codes
    tails["size_length"] = tails["mtime_length"] = 8
    tails["mtime"], tails["size"] = stamps[:, 0], stamps[:, 1]
    head, tail = heads.tobytes(), tails.tobytes()
    before, after = heads.itemsize, tails.itemsize
    return b"".join(
        part
        for row, name in enumerate(names)
        for part in (head[row * before : (row + 1) * before], name, tail[row * after : (row + 1) * after])
    )


def _index(connection: Connection, table: Table, schema: str) -> None:
    """An HNSW index of the codes, unless there is one."""
    found = connection.execute(
        "SELECT 1 FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am a ON a.oid = c.relam"
        " WHERE i.indrelid = $1 AND a.amname = 'hnsw' AND i.indisvalid",
        [table.oid],
    ).fetchone()
    if found is None:
        operators = sql.Identifier(schema, "bit_hamming_ops")
        connection.execute(sql.SQL("CREATE INDEX ON {} USING hnsw (code {})").format(table.name, operators))
