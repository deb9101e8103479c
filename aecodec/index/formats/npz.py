"""An index as arrays of NumPy in an .npz, not compressed.

index         (J,) uint8              the description and the number of rows as JSON
code          (N, n_bits / 8) uint8
windows       (N, W, n_bits / 8) uint8, where the index has them
path_bytes    (P,) uint8              of paths: all of them, one after another
path_offsets  (N + 1,) int64          where each begins, and the end
mtime, size   (N,) int64              nanoseconds, bytes
id            (N,) int64              of numbers
"""

from __future__ import annotations

import math
import zipfile
from collections.abc import Callable, Iterable, Iterator
from typing import IO, BinaryIO

import numpy as np

from ..description import LONGEST, Description, parse_description
from ..ids import Numbers, Paths
from ..rows import Rows
from ..streams import MAX_PATH, MEMORY, RowReader
from .faults import named

_Shape = tuple[int, ...]
#: The time that every array has, so that the same index gives the same file.
_TIME = (1980, 1, 1, 0, 0, 0)
#: An array of so many bytes is read however well it is packed; a larger one was packed so many times at most.
_PLAIN, _RATIO = 256 << 20, 100
#: Rows of a block.
_ROWS = 8192


def write(reader: RowReader, file: BinaryIO) -> None:
    """See `Format.write`."""
    count, description = len(reader), reader.description
    width, shown = description.width, description.shown

    def column(of: Callable[[Rows], np.ndarray]) -> Iterator[bytes]:
        return (np.ascontiguousarray(of(rows)).tobytes() for rows in reader.blocks(MEMORY))

    said = description.to_json(count).encode()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        _put(archive, "index", "u1", (len(said),), [said])
        _put(archive, "code", "u1", (count, width), reader.raw("codes", 0, count * width))
        if shown:
            _put(archive, "windows", "u1", (count, shown, width), reader.raw("codes", count * width))
        if description.has_paths:
            _put(archive, "path_bytes", "u1", (reader.header.path_bytes,), reader.raw("paths"))
            _put(archive, "path_offsets", "<i8", (count + 1,), reader.raw("offsets"))
            _put(archive, "mtime", "<i8", (count,), column(lambda rows: _stamps(rows)[:, 0]))
            _put(archive, "size", "<i8", (count,), column(lambda rows: _stamps(rows)[:, 1]))
        else:
            _put(archive, "id", "<i8", (count,), column(lambda rows: rows.ids.take(np.arange(len(rows.ids)))))


def _stamps(rows: Rows) -> np.ndarray:
    return np.zeros((len(rows.codes), 2), np.int64) if rows.stamps is None else rows.stamps


def _put(archive: zipfile.ZipFile, name: str, kind: str, shape: _Shape, parts: Iterable[bytes]) -> None:
    with archive.open(zipfile.ZipInfo(f"{name}.npy", _TIME), "w", force_zip64=True) as file:
        head = {"descr": np.dtype(kind).str, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, head)
        for part in parts:
            file.write(part)


def read(file: BinaryIO, name: str) -> tuple[Description, Iterator[Rows]]:
    """See `Format.read`."""
    with named(name):
        archive = zipfile.ZipFile(file)
        said = _Column(archive, "index", "u1", (-1,))
        if said.shape[0] > LONGEST:
            raise ValueError(f"index holds {said.shape[0]} bytes")
        description, count = parse_description(said.take(said.shape[0]).tobytes(), name, counted=True)
    return description, _named_blocks(archive, description, count, name)


def _named_blocks(archive: zipfile.ZipFile, description: Description, count: int, name: str) -> Iterator[Rows]:
    with named(name):
        yield from _blocks(archive, description, count)


def _blocks(archive: zipfile.ZipFile, description: Description, count: int) -> Iterator[Rows]:
    width, shown = description.width, description.shown
    code = _Column(archive, "code", "u1", (count, width))
    windows = _Column(archive, "windows", "u1", (count, shown, width)) if shown else None
    ids = stamps = paths = None
    if description.has_paths:
        paths = _PathColumn(archive, count)
        stamps = [_Column(archive, kind, "<i8", (count,)) for kind in ("mtime", "size")]
    else:
        ids = _Column(archive, "id", "<i8", (count,))
    step = max(1, min(_ROWS, MEMORY // (width * (1 + shown))))
    for start in range(0, count, step):
        rows = min(step, count - start)
        codes = code.take(rows)
        shapes = np.empty((rows, 0, width), np.uint8) if windows is None else windows.take(rows)
        if ids is not None:
            yield Rows(Numbers(rows, ids.take(rows)), codes, shapes)
        elif paths is not None and stamps is not None:
            yield Rows(paths.take(rows), codes, shapes, np.stack([column.take(rows) for column in stamps], axis=1))


class _Column:
    """An array of the archive, read from its beginning to its end. Raises ValueError and what zipfile raises."""

    def __init__(self, archive: zipfile.ZipFile, name: str, kind: str, shape: _Shape) -> None:
        """shape: what it must be; -1 for any length."""
        self.name = name
        try:
            entry = archive.getinfo(f"{name}.npy")
        except KeyError:
            there = ", ".join(each.removesuffix(".npy") for each in archive.namelist()[:20])
            raise ValueError(f"it holds no array {name}, but {there or 'nothing'}") from None
        if entry.file_size > max(_PLAIN, _RATIO * entry.compress_size):
            raise ValueError(f"{name}: {entry.compress_size} bytes that unpack to {entry.file_size}")
        self._file: IO[bytes] = archive.open(entry)
        version = np.lib.format.read_magic(self._file)
        if version != (1, 0):
            raise ValueError(f"{name}: version {version} of the format of arrays")
        self.shape, fortran, self._kind = np.lib.format.read_array_header_1_0(self._file)
        fits = len(self.shape) == len(shape) and all(
            want in (-1, found) for want, found in zip(shape, self.shape, strict=True)
        )
        if not fits or self._kind != np.dtype(kind) or (fortran and len(shape) > 1):
            raise ValueError(f"{name} is {self._kind} of shape {self.shape}; expected {kind} of {shape}")
        self._left = int(math.prod(self.shape)) * self._kind.itemsize

    def take(self, count: int) -> np.ndarray:
        """The next items along the first axis."""
        shape = (count, *self.shape[1:])
        length = int(math.prod(shape)) * self._kind.itemsize
        data = self._file.read(length) if length else b""
        self._left -= length
        if len(data) != length:
            raise ValueError(f"{self.name} ends before its shape does")
        if not self._left and self._file.read(1):
            raise ValueError(f"{self.name} goes on behind its shape")
        return np.frombuffer(data, self._kind).reshape(shape)


class _PathColumn:
    """Both arrays of paths."""

    def __init__(self, archive: zipfile.ZipFile, count: int) -> None:
        self._bytes = _Column(archive, "path_bytes", "u1", (-1,))
        self._offsets = _Column(archive, "path_offsets", "<i8", (count + 1,))
        self._end = self._offsets.take(1)
        if self._end[0] != 0:
            raise ValueError("path_offsets does not begin with 0")

    def take(self, count: int) -> Paths:
        """The next paths."""
        offsets = np.concatenate([self._end, self._offsets.take(count)])
        lengths = np.diff(offsets)
        if lengths.min() <= 0 or lengths.max() > MAX_PATH or offsets[-1] > self._bytes.shape[0]:
            raise ValueError(f"path_offsets are paths of 1 to {MAX_PATH} bytes")
        self._end = offsets[-1:]
        return Paths(self._bytes.take(int(offsets[-1] - offsets[0])), offsets - offsets[0])
