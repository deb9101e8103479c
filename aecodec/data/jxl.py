"""The head of a JPEG XL file, and the boxes beside its codestream: sides, orientation, depth, Exif and XMP.

ISO/IEC 18181-1 (codestream, annex D) and 18181-2 (boxes). The decoder gives neither sides before it has decoded nor
XMP; whatever it gives comes from Pillow's plug-in.
"""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass
from typing import BinaryIO

from ..contracts import MAX_METADATA
from .blocks import Blocks

CODESTREAM = b"\xff\x0a"
CONTAINER = b"\0\0\0\x0cJXL \r\n\x87\n"
#: Bytes of the codestream in which the fields that are read stand.
_HEAD = 128
#: Boxes that are looked at, at most, and parts of a codestream.
_MOST_BOXES = 4096
_RATIOS = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))
_COMPRESSED = {b"Exif": "compressed Exif", b"xml ": "compressed XMP"}
#: What is said of a box that is packed with Brotli -> its kind of metadata.
PACKED = {"compressed Exif": "exif", "compressed XMP": "xmp"}
#: The maker's mark of profiles that libjxl makes up, and what it calls those of plain sRGB, in colour and grey.
_MADE_UP = b"jxl "
_SRGB = tuple(name.encode("utf-16-be") for name in ("sRGB", "RGB_D65_SRG_Rel_SRG", "Gra_D65_Rel_SRG"))


@dataclass(frozen=True)
class Head:
    """width, height: as stored, in pixels. orientation: 1 to 8, as Exif's. animated: whether there are frames. bits: of
    each sample."""

    width: int
    height: int
    orientation: int
    animated: bool
    bits: int


class _Bits:
    """Bit fields, the lowest bit of each byte first; EOFError behind the end."""

    def __init__(self, data: bytes) -> None:
        self._value, self._left = int.from_bytes(data, "little"), 8 * len(data)

    def __call__(self, count: int) -> int:
        if count > self._left:
            raise EOFError("the codestream ends in its head")
        value = self._value & ((1 << count) - 1)
        self._value >>= count
        self._left -= count
        return value

    def choice(self, *forms: tuple[int, int]) -> int:
        """U32: two bits choose among (offset, bits) forms."""
        offset, count = forms[self(2)]
        return offset + self(count)


def _sides(bits: _Bits, eighth: tuple[tuple[int, int], ...], whole: tuple[tuple[int, int], ...]) -> tuple[int, int]:
    """Width and height: one in eighths or in pixels, the other likewise or by one of seven ratios."""
    forms, scale = (eighth, 8) if bits(1) else (whole, 1)

    def side() -> int:
        return scale * (bits.choice(*forms) if len(forms) > 1 else forms[0][0] + bits(forms[0][1]))

    height, ratio = side(), bits(3)
    if not ratio:
        return side(), height
    across, down = _RATIOS[ratio - 1]
    return height * across // down, height


_SIZE = ((1, 5),), ((1, 9), (1, 13), (1, 18), (1, 30))
_PREVIEW = ((16, 0), (32, 0), (1, 5), (33, 9)), ((1, 6), (65, 8), (321, 10), (1345, 12))


def parse_head(codestream: bytes) -> Head:
    """The first bytes of a codestream -> Head. Raises EOFError where it ends too early, ValueError if it is none."""
    if not codestream.startswith(CODESTREAM):
        raise ValueError("no JPEG XL codestream")
    bits = _Bits(codestream[len(CODESTREAM) : _HEAD])
    width, height = _sides(bits, *_SIZE)
    orientation, animated, depth = 1, False, 8
    if not bits(1):  # else all is default
        if bits(1):
            orientation = 1 + bits(3)
            if bits(1):
                _sides(bits, *_SIZE)  # the intrinsic size
            if bits(1):
                _sides(bits, *_PREVIEW)
            animated = bool(bits(1))
            if animated:
                bits.choice((100, 0), (1000, 0), (1, 10), (1, 30))
                bits.choice((1, 0), (1001, 0), (1, 8), (1, 10))
                bits.choice((0, 0), (0, 3), (0, 16), (0, 32))
                bits(1)
        floating = bits(1)
        depth = (
            bits.choice((32, 0), (16, 0), (24, 0), (1, 6))
            if floating
            else bits.choice((8, 0), (10, 0), (12, 0), (1, 6))
        )
    return Head(width, height, orientation, animated, depth)


def _boxes(file: BinaryIO, end: int) -> list[tuple[bytes, int, int]]:
    """(type, start, end) of what the boxes of a container hold, in order; a box that leads out of the file ends it."""
    found: list[tuple[bytes, int, int]] = []
    place = 0
    while place + 8 <= end and len(found) < _MOST_BOXES:
        file.seek(place)
        size, kind = struct.unpack(">I4s", file.read(8))
        start = place + 8
        if size == 1:
            size = int.from_bytes(file.read(8), "big")
            start += 8
        following = end if size == 0 else place + size
        if following < start or following > end:
            following = end
        found.append((kind, start, following))
        place = following
    return found


def read_head(file: BinaryIO) -> Head | None:
    """Of a file of JPEG XL; None of any other, or where its head is damaged."""
    file.seek(0)
    start = file.read(len(CONTAINER))
    try:
        if start.startswith(CODESTREAM):
            return parse_head(start + file.read(_HEAD))
        if start != CONTAINER:
            return None
        stream = b""
        for kind, begin, end in _boxes(file, file.seek(0, io.SEEK_END)):
            skipped = {b"jxlc": 0, b"jxlp": 4}.get(kind)
            if skipped is not None:
                file.seek(begin + skipped)
                stream += file.read(max(0, min(_HEAD, end - begin - skipped)))
            if len(stream) >= _HEAD:
                break
        return parse_head(stream)
    except (EOFError, ValueError):
        return None


def scan_jxl(file: BinaryIO) -> Blocks:
    """Exif and XMP of a container, as far as they are not packed with Brotli."""
    blocks = Blocks()
    file.seek(0)
    if file.read(len(CONTAINER)) != CONTAINER:
        return blocks
    for kind, start, end in _boxes(file, file.seek(0, io.SEEK_END)):
        file.seek(start)
        if kind == b"brob" and (packed := _COMPRESSED.get(file.read(4))):
            blocks.left_out.append(packed)
        elif kind in _COMPRESSED and end - start > MAX_METADATA:
            blocks.left_out.append(f"a box {kind.decode().strip()} of more than {MAX_METADATA} bytes")
        elif kind == b"xml ":
            blocks.add("xmp", file.read(end - start))
        elif kind == b"Exif":
            skipped = file.read(4)
            blocks.add("exif", file.read(end - start - 4)[int.from_bytes(skipped, "big") :] if end - start > 4 else b"")
    return blocks


def is_made_up(profile: bytes) -> bool:
    """Whether an ICC profile is none of the file's, but what libjxl writes for sRGB, which is meant without one."""
    return profile[4:8] == _MADE_UP and any(name in profile for name in _SRGB)
