"""An index as Apache Parquet, through pyarrow: the columns of `lines`, codes as binary of fixed size.

The description and the number of rows stand as JSON in the file's metadata, under "aecodec index".
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np

from ...contracts import MissingDependencyError
from ..description import WHAT, Description, parse_description
from ..ids import Numbers, Paths
from ..names import name_of, text_of
from ..rows import Rows
from ..streams import MEMORY, RowReader
from .faults import named

try:
    import pyarrow as pa
    import pyarrow.parquet as pq
except ImportError as fault:
    raise MissingDependencyError("Parquet needs pyarrow: pip install 'aecodec[parquet]'") from fault

_KEY = WHAT.encode()
#: Rows that are read at a time.
_ROWS = 8192


def _columns(description: Description) -> dict[str, Any]:
    """Name -> type."""
    found = {"path": pa.string()} if description.has_paths else {"id": pa.int64()}
    found["code"] = pa.binary(description.width)
    if description.has_paths:
        found |= {"size": pa.int64(), "mtime": pa.int64()}
    if description.layout:
        found["windows"] = pa.binary(description.shown * description.width)
    return found


def write(reader: RowReader, file: BinaryIO) -> None:
    """See `Format.write`."""
    columns = _columns(reader.description)
    fields = [pa.field(name, kind, nullable=False) for name, kind in columns.items()]
    schema = pa.schema(fields, metadata={_KEY: reader.description.to_json(len(reader))})
    # codes are as good as random: packing them takes time and gives nothing
    packed = {name: "NONE" if name in ("code", "windows") else "ZSTD" for name in columns}
    with pq.ParquetWriter(file, schema, compression=packed, use_dictionary=False) as writer:
        for rows in reader.blocks(MEMORY // 2):
            values = _values(rows)
            arrays = [_array(values[name], kind) for name, kind in columns.items()]
            writer.write_batch(pa.record_batch(arrays, schema=schema))


def _values(rows: Rows) -> dict[str, Any]:
    codes, windows = rows.codes, rows.windows.reshape(len(rows.codes), -1)
    if not isinstance(rows.ids, Paths) or rows.stamps is None:
        return {"id": rows.ids.take(np.arange(len(codes))), "code": codes, "windows": windows}
    paths = [text_of(name) for name in rows.ids.every()]
    return {"path": paths, "code": codes, "windows": windows, "mtime": rows.stamps[:, 0], "size": rows.stamps[:, 1]}


def _array(values: Any, kind: Any) -> Any:
    if not pa.types.is_fixed_size_binary(kind):
        return pa.array(values, kind)
    return pa.FixedSizeBinaryArray.from_buffers(kind, len(values), [None, pa.py_buffer(values.tobytes())])


def read(file: BinaryIO, name: str) -> tuple[Description, Iterator[Rows]]:
    """See `Format.read`."""
    with named(name):
        # a row group's columns are read page by page, not whole
        source = pq.ParquetFile(file, buffer_size=1 << 20, pre_buffer=False)
        said = (source.schema_arrow.metadata or {}).get(_KEY)
        if said is None:
            raise ValueError(f"its metadata have no {WHAT!r}")
        description, count = parse_description(said, name, counted=True)
        if source.metadata.num_rows != count:
            raise ValueError(f"it holds {source.metadata.num_rows} rows and speaks of {count}")
        columns = _columns(description)
        names = source.schema_arrow.names
        for column in columns:
            if names.count(column) != 1:
                raise ValueError(f"it has {names.count(column)} columns {column}; there are {', '.join(names[:20])}")
    return description, _blocks(source, description, columns, name)


def _blocks(source: Any, description: Description, columns: dict[str, Any], name: str) -> Iterator[Rows]:
    with named(name):
        for batch in source.iter_batches(_ROWS, columns=list(columns), use_threads=False):
            batch.validate(full=True)
            found = {column: _checked(batch.column(column), column, kind) for column, kind in columns.items()}
            if batch.num_rows:
                yield _rows(found, description)


def _checked(array: Any, column: str, kind: Any) -> Any:
    if array.null_count:
        raise ValueError(f"column {column} has rows without a value")
    return array.cast(kind)


def _rows(found: dict[str, Any], description: Description) -> Rows:
    width, shown = description.width, description.shown
    codes = _bytes(found["code"], width)
    windows = _bytes(found["windows"], shown * width) if shown else np.empty(0, np.uint8)
    windows = windows.reshape(len(codes), shown, width)
    if not description.has_paths:
        return Rows(Numbers(len(codes), found["id"].to_numpy()), codes, windows)
    names = [name_of(path) for path in found["path"].to_pylist()]
    return Rows(
        Paths.of(names), codes, windows, np.stack([found["mtime"].to_numpy(), found["size"].to_numpy()], axis=1)
    )


def _bytes(array: Any, size: int) -> np.ndarray:
    """An array of binaries of one size -> (N, size) uint8."""
    whole = np.frombuffer(array.buffers()[1], np.uint8)
    return whole[array.offset * size : (array.offset + len(array)) * size].reshape(-1, size)
