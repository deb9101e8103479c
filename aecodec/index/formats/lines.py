"""An index as JSON Lines: its description and how many rows there are, then an object for each row.

A row has ``path``, text as of `names`, or ``id``; ``code`` in hexadecimal digits; of paths ``size`` in bytes and
``mtime`` in nanoseconds; and ``windows``, their codes one after another, where the index has them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np

from ...contracts import IndexFileError
from ...data.records import Kind, hexadecimal, integer, misfit, parse_object
from ..description import LONGEST, Description, parse_description
from ..ids import Numbers, Paths
from ..names import name_of, text_of
from ..rows import Rows
from ..streams import MAX_PATH, MEMORY, RowReader

#: A number that an index can hold.
_INTEGER = integer(-(1 << 63), (1 << 63) - 1)
#: Rows of a block, and characters of a row beside its path and codes.
_ROWS, _REST = 4096, 1024


def write(reader: RowReader, file: BinaryIO) -> None:
    """See `Format.write`."""
    file.write(f"{reader.description.to_json(len(reader))}\n".encode())
    for rows in reader.blocks(MEMORY // 8):
        file.write("".join(f"{json.dumps(record)}\n" for record in _records(rows)).encode())


def _records(rows: Rows) -> Iterator[dict[str, Any]]:
    paths = rows.ids.every() if isinstance(rows.ids, Paths) else []
    ids = rows.ids.take(np.arange(len(rows.ids))).tolist() if isinstance(rows.ids, Numbers) else []
    for row, code in enumerate(rows.codes):
        record: dict[str, Any] = {"path": text_of(paths[row])} if paths else {"id": ids[row]}
        record["code"] = code.tobytes().hex()
        if rows.stamps is not None:
            record["mtime"], record["size"] = rows.stamps[row].tolist()
        if rows.windows.shape[1]:
            record["windows"] = rows.windows[row].tobytes().hex()
        yield record


def read(file: BinaryIO, name: str) -> tuple[Description, Iterator[Rows]]:
    """See `Format.read`."""
    description, count = parse_description(file.readline(LONGEST), name, counted=True)
    return description, _blocks(file, description, count, name)


def _blocks(file: BinaryIO, description: Description, count: int, name: str) -> Iterator[Rows]:
    fields: dict[str, Kind] = {"code": hexadecimal(description.width)}
    if description.has_paths:
        fields |= {
            "path": Kind("a path", lambda value: isinstance(value, str) and value != ""),
            "size": _INTEGER,
            "mtime": _INTEGER,
        }
    else:
        fields |= {"id": integer(0, (1 << 63) - 1)}
    if description.layout:
        fields |= {"windows": hexadecimal(description.shown * description.width)}
    longest = 12 * MAX_PATH + 2 * description.width * (1 + description.shown) + _REST
    for start in range(0, count, _ROWS):
        records = []
        for row in range(start, min(start + _ROWS, count)):
            line = file.readline(longest)
            try:
                if not line.endswith(b"\n"):
                    raise ValueError("it is too long" if len(line) == longest else "the file ends before it does")
                record = parse_object(line)
                if wrong := misfit(record, fields):
                    raise ValueError(wrong)
                if description.has_paths:
                    record["path"] = name_of(record["path"])
            except ValueError as error:
                raise IndexFileError(f"{name}: row {row + 1} of {count} is none ({error})") from error
            records.append(record)
        yield _rows(records, description)
    if file.read(1):
        raise IndexFileError(f"{name}: has more than the {count} rows that it speaks of")


def _rows(records: list[dict[str, Any]], description: Description) -> Rows:
    width, shown = description.width, description.shown
    codes = np.frombuffer(bytes.fromhex("".join(one["code"] for one in records)), np.uint8).reshape(-1, width)
    windows = np.empty((len(codes), 0, width), np.uint8)
    if shown:
        every = bytes.fromhex("".join(one["windows"] for one in records))
        windows = np.frombuffer(every, np.uint8).reshape(-1, shown, width)
    if not description.has_paths:
        return Rows(Numbers(len(codes), np.array([one["id"] for one in records], np.int64)), codes, windows)
    stamps = np.array([(one["mtime"], one["size"]) for one in records], np.int64)
    return Rows(Paths.of([one["path"] for one in records]), codes, windows, stamps)
