"""The index file, format versions 1 and 2: written, parsed and checked here, and nowhere else.

Version 2 is that of indexes with windows; those without are written in version 1.

All integers are little-endian; unsigned unless said otherwise. Rows are in ascending order of their ids.

    header, 128 bytes
      0   4   magic           48 49 58 00, that is "HIX" and a zero byte
      4   1   version         1 or 2
      5   1   kind of ids     0 the numbers 0 ... N - 1, 1 other numbers, 2 paths
      6   2   bits            of a code, a multiple of 8, 8 ... 4096
      8   8   count           N, rows
     16   8   fingerprint     of the hasher that made the codes
     24   8   path bytes      P, length of all paths together; 0 unless the ids are paths
     32   2   root bytes      R, length of the root folder's path; 0 unless the ids are paths
     34   1   name length     n, 1 ... 64
     35   1   layout          of windows, in version 2: a number of `windows.LAYOUTS`, whose W windows have codes too;
                              in version 1: 0, and W = 0
     36  24   CRC-32 of each of the six blocks
     60  64   hasher name     n ASCII letters, digits, '-', '_', '.'; then zeros
    124   4   CRC-32 of the 124 bytes before it

    six blocks, each not empty one at the next multiple of 64 bytes, zeros in between, nothing after them
      codes      N x bits / 8   row by row: they begin at byte 128 and can be mapped into memory as they are
                                then N x W x bits / 8: those of the windows, row by row, W for each row
      numbers    N x 8          int64, at least 0, strictly ascending; only for ids of kind 1
      stamps     N x 16         int64 modification time in nanoseconds, int64 size in bytes; this and all below
                                only for ids of kind 2
      offsets    (N + 1) x 8    int64, where each path begins in the next block, and its end
      paths      P              without separators, strictly ascending as bytes; relative ones are below the root
      root       R              absolute path of the folder that was indexed; R = 0: none

The header's place, its first five bytes and its CRC are the same in every version to come.
"""

from __future__ import annotations

import re
import struct
import zlib
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ..contracts import IndexFileError, UnsupportedIndexError
from ..data.files import atomic_file, is_special
from .ids import Numbers, Paths
from .mapped import Mapped
from .windows import LAYOUTS

MAGIC = b"HIX\0"
#: Of a file without windows, and of one with.
PLAIN, WINDOWED = VERSIONS = (1, 2)
MAX_BITS = 4096
MAX_NAME = 64
MAX_ROOT = 1 << 15
_MAX_COUNT = 1 << 48
_ALIGNMENT = 64
_HEADER = struct.Struct("<4sBBHQ8sQHBB24s64s")
_CRC = struct.Struct("<I")
_CRCS = struct.Struct("<6I")
HEADER_SIZE = _HEADER.size + _CRC.size
_IMPLICIT, _NUMBERS, _PATHS = range(3)
_NAME = re.compile(rb"[A-Za-z0-9._-]{1,%d}" % MAX_NAME)
_BLOCKS = ("codes", "numbers", "stamps", "offsets", "paths", "root")


@dataclass(frozen=True)
class Content:
    """All that a file holds.

    codes: (N, n_bits / 8) uint8. stamps: (N, 2) int64, modification time in ns and size in bytes, for paths; else None.
    root: bytes of the indexed folder's absolute path, for paths; may be empty. layout: a number of `windows.LAYOUTS`;
    windows: (N, W, n_bits / 8) uint8, the codes of its windows.
    """

    hasher: str
    fingerprint: bytes
    n_bits: int
    codes: np.ndarray
    windows: np.ndarray
    ids: Numbers | Paths
    layout: int = 0
    stamps: np.ndarray | None = None
    root: bytes = b""
    mapped: Mapped | None = None


@dataclass(frozen=True)
class Header:
    """The first 128 bytes, parsed."""

    kind: int
    n_bits: int
    count: int
    fingerprint: bytes
    hasher: str
    path_bytes: int
    root_bytes: int
    layout: int
    checksums: tuple[int, ...]

    def lengths(self) -> tuple[int, ...]:
        """Bytes of each block."""
        n, paths = self.count, self.kind == _PATHS
        return (
            n * (1 + len(LAYOUTS[self.layout])) * self.n_bits // 8,
            8 * n * (self.kind == _NUMBERS),
            16 * n * paths,
            8 * (n + 1) * paths,
            self.path_bytes,
            self.root_bytes,
        )

    def places(self) -> list[tuple[int, int]]:
        """(offset, length) of each block, in bytes."""
        position, found = HEADER_SIZE, []
        for length in self.lengths():
            position += -position % _ALIGNMENT if length else 0
            found.append((position, length))
            position += length
        return found


def is_hasher_name(name: str) -> bool:
    """Whether the header can hold a hasher's name."""
    return _NAME.fullmatch(name.encode("utf-8", "replace")) is not None


def write(path: Path, content: Content, *, overwrite: bool) -> None:
    """A file, atomically. Raises OutputExistsError or OutputError."""
    blocks = _blocks(content)
    ids = content.ids
    if isinstance(ids, Paths):
        kind, path_bytes = _PATHS, len(ids.text)
    else:
        kind, path_bytes = _IMPLICIT if ids.values is None else _NUMBERS, 0
    name = content.hasher.encode("ascii")
    header = Header(
        kind,
        content.n_bits,
        len(content.codes),
        content.fingerprint,
        content.hasher,
        path_bytes,
        len(content.root),
        content.layout,
        tuple(map(_checksum, blocks)),
    )
    head = _HEADER.pack(
        MAGIC,
        WINDOWED if content.layout else PLAIN,
        kind,
        content.n_bits,
        header.count,
        content.fingerprint,
        header.path_bytes,
        header.root_bytes,
        len(name),
        header.layout,
        _CRCS.pack(*header.checksums),
        name,
    )
    with atomic_file(path, overwrite=overwrite) as file:
        file.write(head + _CRC.pack(zlib.crc32(head)))
        position = HEADER_SIZE
        for parts, (offset, length) in zip(blocks, header.places(), strict=True):
            file.write(bytes(offset - position))
            for part in parts:
                file.write(part)
            position = offset + length


def _blocks(content: Content) -> list[list[memoryview]]:
    """The six blocks as bytes, each in one or two parts."""
    empty = np.empty(0, np.uint8)
    ids = content.ids
    if isinstance(ids, Paths):
        stamps = np.zeros((len(ids), 2), np.int64) if content.stamps is None else content.stamps
        rest = [empty, _little(stamps), _little(ids.offsets), ids.text, np.frombuffer(content.root, np.uint8)]
    else:
        rest = [empty if ids.values is None else _little(ids.values), empty, empty, empty, empty]
    return [[_bytes(content.codes), _bytes(content.windows)], *([_bytes(array)] for array in rest)]


def _bytes(array: np.ndarray) -> memoryview:
    """Without copying what is in the right order already."""
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def _checksum(parts: list[memoryview]) -> int:
    found = 0
    for part in parts:
        found = zlib.crc32(part, found)
    return found


def _little(values: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(values, "<i8")


def parse_header(data: bytes, name: str = "the file") -> Header:
    """The first 128 bytes -> what they say. Raises IndexFileError."""
    if data[: len(MAGIC)] != MAGIC[: len(data)] or not data:
        raise IndexFileError(f"{name}: not an index (it does not start with the magic bytes)")
    if len(data) < HEADER_SIZE:
        raise IndexFileError(f"{name}: truncated, it ends inside its header ({len(data)} bytes)")
    if _CRC.unpack_from(data, _HEADER.size)[0] != zlib.crc32(data[: _HEADER.size]):
        raise IndexFileError(f"{name}: the header is damaged (checksum mismatch)")
    _, version, kind, bits, count, print_, path_bytes, root_bytes, n, layout, sums, text = _HEADER.unpack_from(data)
    if version not in VERSIONS:
        raise UnsupportedIndexError(
            f"{name}: index format version {version}; this program reads versions {' and '.join(map(str, VERSIONS))}"
        )
    if version == WINDOWED and layout and layout not in LAYOUTS:
        known = ", ".join(str(number) for number in LAYOUTS if number)
        raise UnsupportedIndexError(f"{name}: layout of windows {layout}; this program knows {known}")
    checks = (
        ("kind of ids", kind <= _PATHS, kind),
        ("bits", bits % 8 == 0 and 8 <= bits <= MAX_BITS, bits),
        ("count", count < _MAX_COUNT, count),
        ("path bytes", path_bytes < _MAX_COUNT and (kind == _PATHS or path_bytes == 0), path_bytes),
        ("root bytes", root_bytes < MAX_ROOT and (kind == _PATHS or root_bytes == 0), root_bytes),
        ("layout of windows", (layout > 0) == (version == WINDOWED), layout),
        ("hasher name", _NAME.fullmatch(text[:n]) is not None and not any(text[n:]), text.rstrip(b"\0")),
    )
    for field, valid, value in checks:
        if not valid:
            raise IndexFileError(f"{name}: {field} is out of range: {value!r}")
    hasher, checksums = text[:n].decode("ascii"), _CRCS.unpack(sums)
    return Header(kind, bits, count, print_, hasher, path_bytes, root_bytes, layout, checksums)


def read_header(path: Path) -> Header:
    """The header of a file, nothing else of it checked. Raises IndexFileError."""
    try:
        with _open(path) as file:
            return parse_header(file.read(HEADER_SIZE), str(path))
    except OSError as error:
        raise _unreadable(path, error) from error


def read(path: Path, *, mapped: bool = False, check: bool = True) -> Content:
    """A file's content, in memory or (``mapped``) as read-only memory maps. Raises IndexFileError.

    check: verify the CRC of every block and the order of ids, which reads the whole file once; without it only the
    header, the file's length and the gaps between blocks are verified.
    """
    try:
        with _open(path) as file:
            mapping = Mapped(file, path) if mapped else None
            header = parse_header(file.read(HEADER_SIZE), str(path))
            _check_length(file, header, path)
            blocks = [_read_block(file, place, mapped, path) for place in header.places()]
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error
    if mapping is not None:
        mapping.check()
    if check:
        for block, checksum, name in zip(blocks, header.checksums, _BLOCKS, strict=True):
            if zlib.crc32(block.data) != checksum:
                raise IndexFileError(f"{path}: the {name} are damaged (checksum mismatch)")
    codes, numbers, stamps, offsets, text, root = blocks
    ids: Numbers | Paths
    if header.kind == _PATHS:
        ids = Paths(text, offsets.view("<i8"))
    else:
        ids = Numbers(header.count, numbers.view("<i8") if header.kind == _NUMBERS else None)
    if check:
        _check_ids(ids, path)
    count, width = header.count, header.n_bits // 8
    return Content(
        header.hasher,
        header.fingerprint,
        header.n_bits,
        codes[: count * width].reshape(count, width),
        codes[count * width :].reshape(count, len(LAYOUTS[header.layout]), width),
        ids,
        header.layout,
        stamps.view("<i8").reshape(-1, 2) if header.kind == _PATHS else None,
        root.tobytes(),
        mapping,
    )


def _open(path: Path) -> BinaryIO:
    """Raises OSError, and IndexFileError for what is never opened."""
    if is_special(path):
        raise IndexFileError(f"{path}: is a pipe or a device, not an index")
    return open(path, "rb")


def _unreadable(path: Path, error: OSError | ValueError) -> IndexFileError:
    if isinstance(error, FileNotFoundError):
        return IndexFileError(f"{path}: no such index")
    return IndexFileError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})")


def _check_length(file: BinaryIO, header: Header, path: Path) -> None:
    """Compare the declared sizes with the file's length, before anything is allocated, and look at the gaps."""
    places = header.places()
    expected = sum(places[-1])
    length = file.seek(0, 2)
    if length < expected:
        raise IndexFileError(f"{path}: truncated, {length} bytes of {expected}")
    if length > expected:
        raise IndexFileError(f"{path}: damaged, {length - expected} bytes too many")
    position = HEADER_SIZE
    for offset, size in places:
        file.seek(position)
        if any(file.read(offset - position)):
            raise IndexFileError(f"{path}: damaged between its blocks, at byte {position}")
        position = offset + size


def _read_block(file: BinaryIO, place: tuple[int, int], mapped: bool, path: Path) -> np.ndarray:
    offset, length = place
    if mapped and length:
        return np.memmap(file, np.uint8, "r", offset, (length,))
    file.seek(offset)
    block = np.fromfile(file, np.uint8, length)
    if len(block) != length:
        raise IndexFileError(f"{path}: it became shorter while it was read")
    return block


def _check_ids(ids: Numbers | Paths, path: Path) -> None:
    """Raises IndexFileError where ids are out of order: a file that was not written by `write`."""
    if isinstance(ids, Paths):
        lengths = np.diff(ids.offsets)
        fits = ids.offsets[0] == 0 and ids.offsets[-1] == len(ids.text) and bool((lengths > 0).all())
        paths = ids.every() if fits else []
        valid = fits and all(a < b for a, b in pairwise(paths))
    else:
        values = ids.values
        valid = values is None or not len(values) or bool(values[0] >= 0 and (values[1:] > values[:-1]).all())
    if not valid:
        raise IndexFileError(f"{path}: its ids are out of order")
