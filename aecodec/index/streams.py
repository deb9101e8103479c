"""Index files of any size, read and written a block of rows at a time."""

from __future__ import annotations

import contextlib
import os
import tempfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import IO, Any, BinaryIO

import numpy as np

from ..contracts import IndexFileError
from ..data.files import atomic_file
from . import storage
from .description import Description
from .ids import Numbers, Paths
from .mapped import Mapped
from .rows import Rows

#: Bytes of rows that are held at a time, all files together.
MEMORY = 16 << 20
#: Bytes that are copied at a time, and bytes of the longest path; systems have paths of some thousand.
_CHUNK, MAX_PATH = 1 << 20, 1 << 16
#: What a path takes on average, to tell how many rows are a block.
_PATH = 100


class RowReader:
    """An index file, its rows read a block at a time. Whatever is wrong with the file raises IndexFileError."""

    def __init__(self, path: Path, file: BinaryIO, header: storage.Header) -> None:
        self.path, self.header, self._file = path, header, file
        self._places = dict(zip(storage.BLOCKS, header.places(), strict=True))
        self._mapped = Mapped(file, path)
        root = self._read(*self._places["root"]).tobytes()
        self.description = Description(
            header.hasher, header.fingerprint, header.n_bits, header.kind == storage.PATHS, header.layout, root
        )

    def __len__(self) -> int:
        return self.header.count

    def check(self) -> None:
        """Verify every checksum and the order of all ids: reads the file once, and the ids once more."""
        for name, checksum in zip(storage.BLOCKS, self.header.checksums, strict=True):
            found = 0
            for part in self.raw(name):
                found = zlib.crc32(part, found)
            if found != checksum:
                raise IndexFileError(f"{self.path}: the {name} are damaged (checksum mismatch)")
        order = _Order(str(self.path))
        if self.header.kind != storage.IMPLICIT:
            for ids in self._every_id():
                order.add(ids)

    def check_unchanged(self) -> None:
        """What was read is what was checked, unless the file was written to."""
        self._mapped.check()

    def raw(self, block: str, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """The bytes of a block of the file, from one to another, in parts."""
        offset, length = self._places[block]
        stop = length if stop is None else stop
        for place in range(start, stop, _CHUNK):
            yield self._read(offset + place, min(_CHUNK, stop - place)).tobytes()

    def name(self, row: int) -> bytes:
        """One path."""
        return self._paths(row, row + 1).raw(0)

    def blocks(self, memory: int, start: int = 0, stop: int | None = None) -> Iterator[Rows]:
        """Rows from one to another, some at a time, that take so many bytes at most, if one row does."""
        width = self.description.width * (1 + self.description.shown)
        for first, last in self._spans(start, len(self) if stop is None else stop, memory, width):
            yield self._rows(first, last)

    def _rows(self, start: int, stop: int) -> Rows:
        count, width, shown = len(self), self.description.width, self.description.shown
        codes = self._array("codes", start, stop, width)
        windows = self._array("codes", start, stop, shown * width, count * width).reshape(len(codes), shown, width)
        if not self.description.has_paths:
            return Rows(self._numbers(start, stop), codes, windows)
        stamps = self._array("stamps", start, stop, 16).view("<i8")
        return Rows(self._paths(start, stop), codes, windows, stamps)

    def _numbers(self, start: int, stop: int) -> Numbers:
        if self.header.kind == storage.NUMBERS:
            return Numbers(stop - start, self._array("numbers", start, stop, 8).view("<i8")[:, 0])
        return Numbers(stop - start, np.arange(start, stop))

    def _paths(self, start: int, stop: int) -> Paths:
        offsets = self._offsets(start, stop)
        text = self._read(self._places["paths"][0] + int(offsets[0]), int(offsets[-1] - offsets[0]))
        return Paths(text, offsets - offsets[0])

    def _offsets(self, start: int, stop: int) -> np.ndarray:
        """(rows + 1,) int64, checked: where each path begins, and the end."""
        offsets = self._array("offsets", start, stop + 1, 8).view("<i8")[:, 0]
        lengths = np.diff(offsets)
        inside = offsets[0] >= 0 and offsets[-1] <= self.header.path_bytes
        if not (inside and bool((lengths > 0).all()) and (start or offsets[0] == 0)):
            raise IndexFileError(f"{self.path}: its ids are out of order")
        if len(lengths) and lengths.max() > MAX_PATH:
            raise IndexFileError(f"{self.path}: has a path of {lengths.max()} bytes, more than {MAX_PATH}")
        return offsets

    def _every_id(self) -> Iterator[Numbers | Paths]:
        """All ids, some at a time; of paths, to the end of the last."""
        for first, last in self._spans(0, len(self), MEMORY, 0):
            yield self._paths(first, last) if self.description.has_paths else self._numbers(first, last)
        if self.description.has_paths:
            ends = self._array("offsets", len(self), len(self) + 1, 8).view("<i8")[:, 0]
            if ends[0] != self.header.path_bytes:
                raise IndexFileError(f"{self.path}: its ids are out of order")

    def _spans(self, start: int, stop: int, memory: int, width: int) -> Iterator[tuple[int, int]]:
        """Rows of so many bytes without their ids, in spans; those of long paths are shorter."""
        step = max(1, memory // (width + 16 + 8 + _PATH))
        for first in range(start, stop, step):
            last = min(first + step, stop)
            yield from self._halved(first, last, memory) if self.description.has_paths else [(first, last)]

    def _halved(self, first: int, last: int, memory: int) -> Iterator[tuple[int, int]]:
        offsets = self._offsets(first, last)
        if last - first == 1 or offsets[-1] - offsets[0] <= memory:
            yield first, last
            return
        middle = (first + last) // 2
        yield from self._halved(first, middle, memory)
        yield from self._halved(middle, last, memory)

    def _array(self, block: str, start: int, stop: int, size: int, skip: int = 0) -> np.ndarray:
        """Items of so many bytes of a block: (stop - start, size) uint8."""
        offset = self._places[block][0] + skip
        return self._read(offset + start * size, (stop - start) * size).reshape(stop - start, size)

    def _read(self, offset: int, length: int) -> np.ndarray:
        with storage.reading(self.path):
            self._file.seek(offset)
            data = self._file.read(length)
        if len(data) != length:
            raise IndexFileError(f"{self.path}: it became shorter while it was read")
        return np.frombuffer(data, np.uint8)


@contextlib.contextmanager
def row_reader(path: Path) -> Iterator[RowReader]:
    """An index file, open; only its header and its length are checked yet. Raises IndexFileError."""
    with storage.opened(path) as (file, header):
        yield RowReader(path, file, header)


class _Order:
    """Ids that come in parts, and must ascend."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._last: Any = None

    def add(self, ids: Numbers | Paths) -> None:
        """Raises IndexFileError."""
        values = ids.every() if isinstance(ids, Paths) else ids.take(np.arange(len(ids)))
        if not len(values):
            return
        if isinstance(values, list):
            ascending = all(a < b for a, b in pairwise(values)) and len(values[0]) > 0
        else:
            ascending = bool(values[0] >= 0 and (values[1:] > values[:-1]).all())
        if not ascending or (self._last is not None and not self._last < values[0]):
            raise IndexFileError(f"{self._name}: its ids are out of order")
        self._last = values[-1]


class RowWriter:
    """An index file that is written a block of rows at a time. What comes in is kept in nameless files beside it."""

    def __init__(self, path: Path, description: Description, spools: Mapping[str, IO[bytes]]) -> None:
        self._description, self._spools = description, spools
        self._order, self.count, self._text, self._last = _Order(str(path)), 0, 0, -1

    def append(self, rows: Rows) -> None:
        """Rows that come after all before. Raises IndexFileError if they do not."""
        self._order.add(rows.ids)
        self._put("codes", rows.codes)
        self._put("windows", rows.windows)
        if isinstance(rows.ids, Paths):
            stamps = np.zeros((len(rows.codes), 2), np.int64) if rows.stamps is None else rows.stamps
            self._put("stamps", stamps.astype("<i8", copy=False))
            self._put("offsets", (rows.ids.offsets[:-1] + self._text).astype("<i8", copy=False))
            self._put("paths", rows.ids.text)
            self._text += len(rows.ids.text)
        else:
            values = rows.ids.take(np.arange(len(rows.codes)))
            self._put("numbers", values.astype("<i8", copy=False))
            self._last = int(values[-1]) if len(values) else self._last
        self.count += len(rows.codes)

    def _put(self, name: str, array: np.ndarray) -> None:
        self._spools[name].write(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)

    def finish(self, file: BinaryIO) -> None:
        """Put the file together."""
        of, paths = self._description, self._description.has_paths
        numbered = not paths and self._last != self.count - 1
        header = storage.Header(
            storage.PATHS if paths else storage.NUMBERS if numbered else storage.IMPLICIT,
            of.n_bits,
            self.count,
            of.fingerprint,
            of.hasher,
            self._text,
            len(of.root),
            of.layout,
        )
        if paths:
            self._put("offsets", np.array([self._text], "<i8"))
        blocks = [["codes", "windows"], ["numbers"] if numbered else [], ["stamps"], ["offsets"], ["paths"]]
        parts = [(part for name in names for part in _parts(self._spools[name])) for names in blocks]
        storage.write_blocks(file, header, [*parts, [of.root]])


def _parts(spool: IO[bytes]) -> Iterator[bytes]:
    spool.seek(0)
    while part := spool.read(_CHUNK):
        yield part


@contextlib.contextmanager
def row_writer(
    path: Path, description: Description, *, overwrite: bool, sources: Iterable[Path] = ()
) -> Iterator[RowWriter]:
    """A file to append rows to, which is there, whole, once the block ends; atomically, see `files.atomic_file`, which
    tells what sources are.

    Beside it as much room is needed again while it is written. Raises OutputExistsError or OutputError.
    """
    with atomic_file(path, overwrite=overwrite, sources=sources) as file, contextlib.ExitStack() as held:
        names = ("codes", "windows", "numbers", "stamps", "offsets", "paths")
        folder = os.path.dirname(os.path.realpath(path))
        spools = {name: held.enter_context(tempfile.TemporaryFile(dir=folder)) for name in names}
        writer = RowWriter(path, description, spools)
        yield writer
        writer.finish(file)
