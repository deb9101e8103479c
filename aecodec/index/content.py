"""All that an index file holds, read into memory or mapped, and written."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ..contracts import IndexFileError
from ..data.files import atomic_file
from . import storage
from .ids import Numbers, Paths
from .mapped import Mapped
from .windows import LAYOUTS


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


def write(path: Path, content: Content, *, overwrite: bool) -> None:
    """A file, atomically. Raises OutputExistsError or OutputError."""
    ids = content.ids
    if isinstance(ids, Numbers) and ids.values is not None and ids.values[-1] == len(ids) - 1:
        ids = Numbers(len(ids))  # they are those that are not written down
        content = replace(content, ids=ids)
    header = storage.Header(
        storage.PATHS if isinstance(ids, Paths) else storage.IMPLICIT if ids.values is None else storage.NUMBERS,
        content.n_bits,
        len(content.codes),
        content.fingerprint,
        content.hasher,
        len(ids.text) if isinstance(ids, Paths) else 0,
        len(content.root),
        content.layout,
    )
    with atomic_file(path, overwrite=overwrite) as file:
        storage.write_blocks(file, header, _blocks(content))


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


def _little(values: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(values, "<i8")


def read(path: Path, *, mapped: bool = False, check: bool = True) -> Content:
    """A file's content, in memory or (``mapped``) as read-only memory maps. Raises IndexFileError.

    check: verify the CRC of every block and the order of ids, which reads the whole file once; without it only the
    header, the file's length and the gaps between blocks are verified.
    """
    with storage.opened(path) as (file, header), storage.reading(path):
        mapping = Mapped(file, path) if mapped else None
        blocks = [_read_block(file, place, mapped, path) for place in header.places()]
    if mapping is not None:
        mapping.check()
    if check:
        for block, checksum, name in zip(blocks, header.checksums, storage.BLOCKS, strict=True):
            if zlib.crc32(block.data) != checksum:
                raise IndexFileError(f"{path}: the {name} are damaged (checksum mismatch)")
    codes, numbers, stamps, offsets, text, root = blocks
    ids: Numbers | Paths
    if header.kind == storage.PATHS:
        ids = Paths(text, offsets.view("<i8"))
    else:
        ids = Numbers(header.count, numbers.view("<i8") if header.kind == storage.NUMBERS else None)
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
        stamps.view("<i8").reshape(-1, 2) if header.kind == storage.PATHS else None,
        root.tobytes(),
        mapping,
    )


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
