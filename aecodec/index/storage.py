"""The index file, format versions 1 and 2: its layout and its header, and what is the same for all that read or write
one. `content` does it with a whole file, `streams` a block of rows at a time.

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

import contextlib
import re
import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from ..contracts import IndexFileError, UnsupportedIndexError
from ..data.files import is_special
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
#: Kinds of ids.
IMPLICIT, NUMBERS, PATHS = range(3)
_NAME = re.compile(rb"[A-Za-z0-9._-]{1,%d}" % MAX_NAME)
BLOCKS = ("codes", "numbers", "stamps", "offsets", "paths", "root")


@dataclass(frozen=True)
class Header:
    """The first 128 bytes, parsed. checksums: of the blocks, as long as it is not known what they are none."""

    kind: int
    n_bits: int
    count: int
    fingerprint: bytes
    hasher: str
    path_bytes: int
    root_bytes: int
    layout: int
    checksums: tuple[int, ...] = ()

    def lengths(self) -> tuple[int, ...]:
        """Bytes of each block."""
        n, paths = self.count, self.kind == PATHS
        return (
            n * (1 + len(LAYOUTS[self.layout])) * self.n_bits // 8,
            8 * n * (self.kind == NUMBERS),
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

    def packed(self) -> bytes:
        """The inverse of `parse_header`."""
        name = self.hasher.encode("ascii")
        head = _HEADER.pack(
            MAGIC,
            WINDOWED if self.layout else PLAIN,
            self.kind,
            self.n_bits,
            self.count,
            self.fingerprint,
            self.path_bytes,
            self.root_bytes,
            len(name),
            self.layout,
            _CRCS.pack(*self.checksums),
            name,
        )
        return head + _CRC.pack(zlib.crc32(head))


def is_hasher_name(name: str) -> bool:
    """Whether the header can hold a hasher's name."""
    return _NAME.fullmatch(name.encode("utf-8", "replace")) is not None


def write_blocks(file: BinaryIO, header: Header, blocks: Sequence[Iterable[bytes | memoryview]]) -> None:
    """A whole file: six blocks, each in parts, behind a header that is written last, when their checksums are known.

    file: empty, and of a kind that can be gone back in. The header says how long each block is.
    """
    file.write(bytes(HEADER_SIZE))
    position, checksums = HEADER_SIZE, []
    for parts, (offset, length) in zip(blocks, header.places(), strict=True):
        file.write(bytes(offset - position))
        checksum = 0
        for part in parts:
            file.write(part)
            checksum = zlib.crc32(part, checksum)
        checksums.append(checksum)
        position = offset + length
    file.seek(0)
    file.write(replace(header, checksums=tuple(checksums)).packed())


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
        ("kind of ids", kind <= PATHS, kind),
        ("bits", bits % 8 == 0 and 8 <= bits <= MAX_BITS, bits),
        ("count", count < _MAX_COUNT, count),
        ("path bytes", path_bytes < _MAX_COUNT and (kind == PATHS or path_bytes == 0), path_bytes),
        ("root bytes", root_bytes < MAX_ROOT and (kind == PATHS or root_bytes == 0), root_bytes),
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
    with _opened(path) as file, reading(path):
        return parse_header(file.read(HEADER_SIZE), str(path))


@contextlib.contextmanager
def opened(path: Path) -> Iterator[tuple[BinaryIO, Header]]:
    """A file and its header; its length and the gaps between its blocks are what they should be. Raises
    IndexFileError."""
    with _opened(path) as file:
        with reading(path):
            header = parse_header(file.read(HEADER_SIZE), str(path))
            _check_length(file, header, path)
        yield file, header


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """What the system says while a file is read is an IndexFileError."""
    try:
        yield
    except FileNotFoundError as error:
        raise IndexFileError(f"{path}: no such index") from error
    except (OSError, ValueError) as error:
        raise IndexFileError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from error


def _opened(path: Path) -> BinaryIO:
    with reading(path):
        if is_special(path):
            raise IndexFileError(f"{path}: is a pipe or a device, not an index")
        return open(path, "rb")


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
