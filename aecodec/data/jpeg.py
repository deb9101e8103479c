"""The segments of a JPEG that are no pixels, and those that XMP is written as."""

from __future__ import annotations

import io
import re
import struct
from typing import BinaryIO

from ..contracts import MAX_METADATA
from .blocks import Blocks, aspect, density
from .exif import PREFIX, read_directories
from .xmp import extension_of, joined, split

SIGNATURE = b"\xff\xd8\xff"
#: Bytes of a segment's content.
MOST = 65533
#: Bytes of the largest ICC profile: 255 segments.
MOST_ICC = 255 * (MOST - 14)
_XMP = b"http://ns.adobe.com/xap/1.0/\0"
_EXTENSION = b"http://ns.adobe.com/xmp/extension/\0"
_ICC = b"ICC_PROFILE\0"
_GAIN_MAP = re.compile(rb"http://ns\.(?:adobe\.com/hdr-gain-map|apple\.com/HDRGainMap)/1\.0/")
_ISO_GAIN_MAP = b"urn:iso:std:iso:ts:21496:-1\0"
_APP0, _APP1, _APP2, _APP13, _APP14, _COMMENT = 0xE0, 0xE1, 0xE2, 0xED, 0xEE, 0xFE
#: Bytes between segments that are passed over at a time, and what ends them.
_MOST_JUNK = 1 << 16
_MARKER = re.compile(rb"\xff[^\x00\xff]", re.DOTALL)
#: The tag of how many pictures a file of several holds.
_PICTURES = 0xB001


class _Segments:
    """What a JPEG's segments hold until all of them are seen."""

    def __init__(self) -> None:
        self.blocks = Blocks()
        self.exif = b""
        self.icc: dict[int, bytes] = {}
        self.icc_parts = 0
        self.extensions: dict[bytes, dict[int, bytes]] = {}
        self.gain_map = False

    def take(self, marker: int, data: bytes) -> None:
        """One segment."""
        if marker == _APP0 and data.startswith(b"JFIF\0") and len(data) >= 12:
            unit, across, down = struct.unpack_from(">BHH", data, 7)
            scale = {1: 1.0, 2: 2.54}.get(unit)
            self.blocks.left_out += density(across * scale, down * scale) if scale else aspect(across, down)
        elif marker == _APP1 and data.startswith(PREFIX):
            # A block that is too long for one segment goes on in the next.
            if len(self.exif) <= MAX_METADATA:
                self.exif += data[len(PREFIX) :] if self.exif else data
        elif marker == _APP1 and data.startswith(_XMP):
            self.blocks.add("xmp", data[len(_XMP) :])
        elif marker == _APP1 and data.startswith(_EXTENSION) and len(data) > len(_EXTENSION) + 40:
            name, place = data[len(_EXTENSION) :][:32], len(_EXTENSION) + 36
            self.extensions.setdefault(name.upper(), {})[struct.unpack_from(">I", data, place)[0]] = data[place + 4 :]
        elif marker == _APP2 and data.startswith(_ICC) and len(data) > 14:
            self.icc.setdefault(data[12], data[14:])
            self.icc_parts = data[13]
        elif marker == _APP2 and data.startswith(_ISO_GAIN_MAP):
            self.gain_map = True
        elif marker == _APP2 and data.startswith(b"MPF\0"):
            found = read_directories(io.BytesIO(data[4:]))
            pictures = found.main.get(_PICTURES) if found else None
            self.blocks.frames = (pictures.integer(found.order) if found and pictures else None) or 1
        elif marker == _APP13 and b"8BIM\x04\x04" in data:
            self.blocks.left_out.append("IPTC")
        elif marker == _COMMENT and data.strip(b"\0 "):
            self.blocks.left_out.append("comment")

    def finish(self) -> Blocks:
        """What they held altogether."""
        blocks = self.blocks
        blocks.add("exif", self.exif)
        if self.icc:
            whole = sorted(self.icc) == list(range(1, self.icc_parts + 1))
            blocks.add("icc", b"".join(self.icc[n] for n in sorted(self.icc)) if whole else b"")
            blocks.left_out += [] if whole else ["an ICC profile that lacks a part"]
        if "xmp" in blocks.raw and (name := extension_of(blocks.raw["xmp"])):
            parts = self.extensions.get(name.encode(), {})
            packet = joined(blocks.raw["xmp"], b"".join(parts[place] for place in sorted(parts)))
            if packet is None:
                blocks.left_out.append("a part of the XMP")
            else:
                blocks.raw["xmp"] = packet
        if self.gain_map or _GAIN_MAP.search(blocks.raw.get("xmp", b"")):
            blocks.left_out.append("gain map")
        return blocks


def scan_jpeg(file: BinaryIO) -> Blocks:
    """The metadata of a JPEG, and where its pixels stand. What is no segment is left for Pillow to complain of."""
    end = file.seek(0, io.SEEK_END)
    segments, place, kept = _Segments(), 2, 0
    ranges = segments.blocks.ranges
    while True:
        file.seek(place)
        head = file.read(4)
        if len(head) == 4 and (head[0] != 0xFF or head[1] in (0, 0xFF)):
            # Between segments decoders pass over whatever begins none.
            found = _MARKER.search(head[1:] + file.read(_MOST_JUNK))
            if found is None:
                ranges[:] = [(0, end)]
                break
            ranges.append((kept, place))
            place = kept = place + 1 + found.start()
            continue
        marker = head[1] if len(head) == 4 else 0
        length = struct.unpack(">H", head[2:])[0] if marker else 0
        following = place + 2 + length
        # From the first scan on there are pixels; SOI, RST and TEM have no length.
        if marker < 0xC0 or marker in range(0xD0, 0xDB) or length < 2 or following > end:
            ranges.append((kept, end))
            break
        if marker in range(_APP0, _APP0 + 16) or marker == _COMMENT:
            data = file.read(length - 2)
            segments.take(marker, data)
            if not _of_pixels(marker, data):
                ranges.append((kept, place))
                kept = following
        place = following
    return segments.finish()


def _of_pixels(marker: int, data: bytes) -> bool:
    """Whether a decoder learns from a segment what colours the samples are."""
    jfif = marker == _APP0 and data.startswith(b"JFIF\0") and len(data) >= 14
    return jfif or (marker == _APP14 and data.startswith(b"Adobe") and len(data) >= 12)


def xmp_segments(xmp: bytes) -> bytes:
    """XMP as segments: one where it fits, else a small one that names an extension, and that in parts."""
    if len(xmp) <= MOST - len(_XMP):
        return _segment(_XMP + xmp)
    packet, extension = split(xmp)
    name = (extension_of(packet) or "").encode()
    step = MOST - len(_EXTENSION) - 40
    parts = [
        _segment(_EXTENSION + name + struct.pack(">II", len(extension), start) + extension[start : start + step])
        for start in range(0, len(extension), step)
    ]
    return _segment(_XMP + packet) + b"".join(parts)


def _segment(content: bytes) -> bytes:
    return b"\xff\xe1" + struct.pack(">H", 2 + len(content)) + content
