"""The structure of TIFF, which Exif is written in: its directories read within bounds, chosen from, and written again.

A block of Exif is kept as it came wherever a container takes it whole, because maker notes hold offsets into it; it is
taken apart only for TIFF, whose directory it shares with the picture's own structure, and where it does not fit.
"""

from __future__ import annotations

import array
import io
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import BinaryIO

PREFIX = b"Exif\0\0"
ORIENTATION, RESOLUTION, XMP, ICC = 0x0112, 0x011A, 700, 34675
EXIF, GPS, INTEROPERABILITY, MAKER_NOTE = 0x8769, 0x8825, 0xA005, 0x927C
SHORT, LONG, RATIONAL, UNDEFINED = 3, 4, 5, 7
#: Pixels per unit across and down, and the unit: readers of TIFF go by them.
_RATIONALS, _UNIT = (RESOLUTION, 0x011B), 0x0128
#: What a TIFF's first directory says of the picture rather than of how its samples lie: what goes from one file to
#: another. Names of things and people, orientation, resolution, dates, ratings, and the notes of Windows.
DESCRIPTIVE = frozenset(
    {0x010D, 0x010E, 0x010F, 0x0110, ORIENTATION, *_RATIONALS, 0x011D, _UNIT, 0x0131, 0x0132, 0x013B, 0x013C}
    | {0x4746, 0x4749, 0x8298, 0xC4A5, *range(0x9C9B, 0x9CA0)}
)
#: Directories of the first one, and those of these.
_CHILDREN: dict[int, tuple[int, ...]] = {EXIF: (INTEROPERABILITY,), GPS: (), INTEROPERABILITY: ()}
#: Type -> bytes of a value, and of the unit that byte order is about.
_TYPES = {1: (1, 1), 2: (1, 1), 3: (2, 2), 4: (4, 4), 5: (8, 4), 6: (1, 1), 7: (1, 1), 8: (2, 2), 9: (4, 4)} | {
    10: (8, 4),
    11: (4, 4),
    12: (8, 8),
    13: (4, 4),
    16: (8, 8),
    18: (8, 8),
}
_INTEGERS = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 13: "I", 16: "Q", 18: "Q"}
_ORDERS = {b"II*\0": "<", b"MM\0*": ">", b"II\0*": "<", b"MM*\0": ">"}
_BIG_ORDERS = {b"II+\0": "<", b"MM\0+": ">"}
_MOST_FIELDS = 4096
_MOST_BYTES = 32 << 20


@dataclass(frozen=True)
class Field:
    """A field of a directory: TIFF's number of its type, how many values, and these in the order of the directory."""

    kind: int
    count: int
    data: bytes

    def integer(self, order: str) -> int | None:
        """The first value, None unless the type is of integers."""
        code = _INTEGERS.get(self.kind)
        return struct.unpack_from(order + code, self.data)[0] if code and self.data else None

    def swapped(self) -> Field:
        """The same in the other byte order."""
        unit = _TYPES[self.kind][1]
        if unit == 1:
            return self
        values = array.array({2: "H", 4: "I", 8: "Q"}[unit], self.data)
        values.byteswap()
        return Field(self.kind, self.count, values.tobytes())


@dataclass(frozen=True)
class Directories:
    """order: "<" or ">". main: the first directory by tag, without the pointers to the others. children: those by the
    tags that point at them: EXIF, GPS and INTEROPERABILITY."""

    order: str
    main: Mapping[int, Field]
    children: Mapping[int, Mapping[int, Field]] = field(default_factory=dict)

    @property
    def orientation(self) -> int:
        """1 to 8, 0 where none is given that is valid."""
        found = self.main.get(ORIENTATION)
        value = found.integer(self.order) if found else None
        return value if value is not None and 1 <= value <= 8 else 0

    def turned_to(self, value: int) -> Directories:
        """The same with another orientation."""
        found = Field(SHORT, 1, struct.pack(self.order + "H", value))
        return Directories(self.order, {**self.main, ORIENTATION: found}, self.children)

    def little(self) -> Directories:
        """The same in little-endian order."""
        if self.order == "<":
            return self
        swap = {tag: {t: f.swapped() for t, f in fields.items()} for tag, fields in self.children.items()}
        return Directories("<", {tag: f.swapped() for tag, f in self.main.items()}, swap)

    def of_the_picture(self) -> Directories:
        """Without all that is about how a file holds its samples, and without a resolution that is no number."""
        main = {tag: found for tag, found in self.main.items() if tag in DESCRIPTIVE}
        if any(tag in main and not self._is_number(main[tag]) for tag in _RATIONALS) or (
            _UNIT in main and main[_UNIT].integer(self.order) not in (1, 2, 3)
        ):
            main = {tag: found for tag, found in main.items() if tag not in (*_RATIONALS, _UNIT)}
        return Directories(self.order, main, self.children)

    def _is_number(self, found: Field) -> bool:
        """Whether a field is one fraction of two numbers above 0."""
        return (found.kind, found.count) == (RATIONAL, 1) and 0 not in struct.unpack(self.order + "II", found.data)

    def reduced(self) -> Directories:
        """Without maker notes, and without the thumbnail, which is no part of these directories."""
        children = {tag: {t: f for t, f in d.items() if t != MAKER_NOTE} for tag, d in self.children.items()}
        return Directories(self.order, self.main, children)

    def pack(self, start: int) -> tuple[bytes, int]:
        """Bytes to stand at an even offset of a file -> these, and the offset of the first directory."""
        packed = bytearray()
        main = dict(self.main)
        children = {tag: dict(fields) for tag, fields in self.children.items()}
        if INTEROPERABILITY in children and EXIF in children:
            pointer = self._place(children.pop(INTEROPERABILITY), packed, start)
            children[EXIF][INTEROPERABILITY] = pointer
        for tag, fields in children.items():
            main[tag] = self._place(fields, packed, start)
        place = start + len(packed)
        self._place(main, packed, start)
        return bytes(packed), place

    def block(self) -> bytes:
        """A block of Exif, prefix included."""
        packed, place = self.pack(8)
        head = b"II*\0" if self.order == "<" else b"MM\0*"
        return PREFIX + head + struct.pack(self.order + "I", place) + packed

    def _place(self, fields: Mapping[int, Field], packed: bytearray, start: int) -> Field:
        """Append a directory and its values -> the field that points at it."""
        place = start + len(packed)
        values_at = place + 2 + 12 * len(fields) + 4
        entries, values = bytearray(struct.pack(self.order + "H", len(fields))), bytearray()
        for tag, found in sorted(fields.items()):
            entries += struct.pack(self.order + "HHI", tag, found.kind, found.count)
            if len(found.data) <= 4:
                entries += found.data.ljust(4, b"\0")
                continue
            entries += struct.pack(self.order + "I", values_at + len(values))
            values += found.data + b"\0" * (len(found.data) % 2)
        packed += entries + bytes(4) + values
        return Field(LONG, 1, struct.pack(self.order + "I", place))


def read_directories(file: BinaryIO) -> Directories | None:
    """The directories of a seekable TIFF, classic or big, or None where there is none.

    Fields whose values lie outside the file, or are of types of large offsets alone, are left out, and so is what
    exceeds 32 MiB in all. Raises nothing for what the file holds.
    """
    file.seek(0)
    head = file.read(16)
    big = head[:4] in _BIG_ORDERS
    order = (_BIG_ORDERS if big else _ORDERS).get(head[:4])
    if order is None or len(head) < (16 if big else 8):
        return None
    reader = _Reader(file, order, big)
    start = struct.unpack_from(order + ("Q" if big else "I"), head, 8 if big else 4)[0]
    main = reader.fields(start)
    if main is None:
        return None
    children: dict[int, Mapping[int, Field]] = {}
    for tag, inner in _CHILDREN.items():
        if tag != INTEROPERABILITY:
            reader.child(main, tag, children)
        for below in inner:
            if tag in children:
                held = dict(children[tag])
                reader.child(held, below, children)
                children[tag] = held
    return Directories(order, _classic(main), {tag: _classic(fields) for tag, fields in children.items()})


def _classic(fields: Mapping[int, Field]) -> dict[int, Field]:
    return {tag: found for tag, found in fields.items() if found.kind < 16}


class _Reader:
    """Reads directories of one file within a budget of bytes."""

    def __init__(self, file: BinaryIO, order: str, big: bool) -> None:
        self._file, self._order, self._big = file, order, big
        self._size = file.seek(0, io.SEEK_END)
        self._left = _MOST_BYTES

    def child(self, parent: dict[int, Field], tag: int, into: dict[int, Mapping[int, Field]]) -> None:
        """Take the pointer out of a directory and read what it points at, if that is a directory."""
        pointer = parent.pop(tag, None)
        place = pointer.integer(self._order) if pointer else None
        fields = self.fields(place) if place is not None else None
        if fields:
            into[tag] = fields

    def fields(self, place: int) -> dict[int, Field] | None:
        """The directory at an offset, None where none can be."""
        head, width = ("Q", 20) if self._big else ("H", 12)
        data = self._read(place, struct.calcsize(head)) if place >= 8 else None
        if data is None:
            return None
        count = min(struct.unpack(self._order + head, data)[0], _MOST_FIELDS)
        table = self._read(place + len(data), min(count * width, max(0, self._size - place - len(data)))) or b""
        found: dict[int, Field] = {}
        for number in range(len(table) // width):
            layout = self._order + ("HHQ8s" if self._big else "HHI4s")
            tag, kind, values, held = struct.unpack_from(layout, table, number * width)
            size = values * _TYPES.get(kind, (0, 0))[0]
            if size > len(held):
                held = self._read(struct.unpack(self._order + ("Q" if self._big else "I"), held)[0], size) or b""
            if 0 < size <= len(held) and tag not in found:
                found[tag] = Field(kind, values, held[:size])
        return found

    def _read(self, place: int, size: int) -> bytes | None:
        if size > self._left or place + size > self._size:
            return None
        self._left -= size
        self._file.seek(place)
        data = self._file.read(size)
        return data if len(data) == size else None


def normal_exif(block: bytes) -> bytes:
    """A block of Exif as it comes -> prefix and TIFF by the book; empty for what is no TIFF.

    The prefix may be absent, as in WebP, or doubled, the header odd, the orientation of another type of integers than
    SHORT. All else behind the header is as it was.
    """
    bare = _bare(block)
    turn = exif_orientation(bare)
    return with_orientation(bare, turn) if turn else bare


def _bare(block: bytes) -> bytes:
    """One prefix, and a header by the book."""
    tiff = re.sub(rb"\A(?:Exif\0\0)+", b"", block)
    order = _ORDERS.get(tiff[:4])
    if order is None or len(tiff) < 8:
        return b""
    start = struct.unpack_from(order + "I", tiff, 4)[0]
    if not 8 <= start <= len(tiff) - 2:
        return b""
    return PREFIX + (b"II*\0" if order == "<" else b"MM\0*") + tiff[4:]


def exif_directories(block: bytes) -> Directories | None:
    """The directories of a block of Exif, None for what is none."""
    return read_directories(io.BytesIO(_bare(block)[len(PREFIX) :]))


def exif_orientation(block: bytes) -> int:
    """The orientation that a block of Exif gives in any type of integer, 1 to 8; 0 where it gives no valid one."""
    found = exif_directories(block)
    return found.orientation if found else 0


def with_orientation(block: bytes, value: int) -> bytes:
    """A block with its orientation, wherever it stands, set as the standard asks, as one SHORT; none is added."""
    changed = bytearray(_bare(block))
    for place, order in _orientation_entries(bytes(changed)):
        struct.pack_into(order + "HHIHH", changed, place, ORIENTATION, SHORT, 1, value, 0)
    return bytes(changed) or block


def only_orientation(value: int) -> bytes:
    """A block of Exif that says nothing else."""
    return Directories("<", {}).turned_to(value).block()


def _orientation_entries(block: bytes) -> list[tuple[int, str]]:
    """(offset of each entry of the orientation in the first directory, byte order) of a normal block."""
    tiff = len(PREFIX)
    order = _ORDERS.get(block[tiff : tiff + 4])
    if order is None:
        return []
    start = tiff + struct.unpack_from(order + "I", block, tiff + 4)[0]
    count = struct.unpack_from(order + "H", block, start)[0]
    places = range(start + 2, min(start + 2 + 12 * count, len(block) - 11), 12)
    return [(place, order) for place in places if struct.unpack_from(order + "H", block, place)[0] == ORIENTATION]
