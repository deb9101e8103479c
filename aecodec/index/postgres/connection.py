"""A connection to the database that an address names, and the words for what goes wrong there."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

from ...contracts import IndexFileError, MissingDependencyError, ServerError, UsageError
from ..description import Description, parse_description
from .address import FORM, Address

try:
    import psycopg
    from psycopg import sql
    from psycopg.conninfo import conninfo_to_dict, make_conninfo
except ImportError as fault:
    raise MissingDependencyError("PostgreSQL needs psycopg: pip install 'aecodec[postgres]'") from fault

Connection: TypeAlias = "psycopg.Connection[Any]"
#: Seconds until a server that does not answer is given up, unless the URL or the environment says another number.
PATIENCE = 10


@dataclass(frozen=True)
class Table:
    """A table that holds an index. name: quoted, with its schema. oid: its number in the database."""

    name: sql.Composable
    oid: int
    description: Description


@contextlib.contextmanager
def told(address: Address) -> Iterator[None]:
    """What the server or the library says is a ServerError in one line, without secrets."""
    try:
        yield
    except psycopg.Error as error:
        raise ServerError(f"{address}: {_reason(address, error)}") from error


def _reason(address: Address, error: psycopg.Error) -> str:
    said = error.diag.message_primary or str(error) or type(error).__name__
    hint = f" ({error.diag.message_hint})" if error.diag.message_hint else ""
    return address.hidden(f"{said}{hint}")[:500]


def connect(address: Address) -> Connection:
    """A connection on which every statement is a transaction of its own, unless they are put into one.

    Raises ServerError where there is no server, or one that refuses us, UsageError for parameters that libpq does not
    know, and MissingDependencyError for a database without pgvector.
    """
    try:
        given = conninfo_to_dict(address.url)
    except psycopg.Error:
        # libpq repeats what it did not understand, which may be a part of a password
        raise UsageError(f"{address}: libpq does not understand this URL: expected {FORM}") from None
    timed = "connect_timeout" in given or "PGCONNECT_TIMEOUT" in os.environ
    wanted = address.url if timed else make_conninfo(address.url, connect_timeout=PATIENCE)
    try:
        connection: Connection = psycopg.connect(
            wanted, autocommit=True, client_encoding="utf8", cursor_factory=psycopg.RawCursor
        )
        # parameters are $1, as in PostgreSQL itself: a percent sign in a name means nothing
        connection.server_cursor_factory = psycopg.RawServerCursor
    except psycopg.Error as error:
        raise ServerError(f"{address}: {_reason(address, error)}") from None
    encoding = connection.info.parameter_status("server_encoding")
    if encoding != "UTF8":
        connection.close()
        raise ServerError(f"{address}: the database is encoded in {encoding}; paths need one in UTF8")
    return connection


def vector_schema(connection: Connection, address: Address) -> str:
    """Where pgvector lives. Raises MissingDependencyError."""
    with told(address):
        found = connection.execute(
            "SELECT nspname FROM pg_extension JOIN pg_namespace n ON n.oid = extnamespace WHERE extname = 'vector'"
        ).fetchone()
    if found is None:
        raise MissingDependencyError(
            f"{address}: the database lacks the extension vector (pgvector); there: CREATE EXTENSION vector"
        )
    return str(found[0])


def find_table(connection: Connection, address: Address) -> Table | None:
    """The table of an address, if it is there. Raises IndexFileError for one that holds no index of paths."""
    with told(address):
        found = connection.execute(
            "SELECT c.oid, n.nspname, c.relname, obj_description(c.oid, 'pg_class') FROM pg_class c"
            " JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = to_regclass(quote_ident($1))",
            [address.table],
        ).fetchone()
    if found is None:
        return None
    oid, schema, name, comment = found
    if not comment:
        raise IndexFileError(f"{address}: is a table of somebody else: it does not say what index it is of")
    description, _ = parse_description(comment, str(address))
    if not description.has_paths or description.layout:
        raise IndexFileError(f"{address}: holds no codes of whole pictures under paths")
    return Table(sql.Identifier(schema, name), oid, description)


def bits_of(n_bits: int) -> sql.Composable:
    """The type of a code."""
    return sql.SQL("bit({})").format(sql.Literal(int(n_bits)))
