"""The chunks of a PNG that are no pixels: metadata in its several dresses, and colour that no field of ours holds."""

from __future__ import annotations

import contextlib
import io
import re
import struct
import zlib
from typing import BinaryIO

from ..contracts import MAX_METADATA
from .blocks import Blocks, aspect, density
from .exif import PREFIX

SIGNATURE = b"\x89PNG\r\n\x1a\n"
XMP_KEYWORD = b"XML:com.adobe.xmp"
#: Ancillary chunks that pixels depend on: transparency and the frames of animations.
_OF_PIXELS = {b"tRNS", b"acTL", b"fcTL", b"fdAT"}
_COLOUR = {b"gAMA": "gamma", b"cHRM": "chromaticities", b"cICP": "cICP colour space", b"mDCV": "mastering display"}
_COLOUR |= {b"cLLI": "light levels"}
_SRGB_CHUNKS = {
    b"gAMA": {struct.pack(">I", value) for value in range(45450, 45461)},
    b"cHRM": {struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)},
    b"cICP": {bytes((1, 13, 0, 1))},
}
_RAW_PROFILE = re.compile(rb"Raw profile type (exif|APP1|xmp|icc|icm)", re.IGNORECASE)
_XMP_MARKER = b"http://ns.adobe.com/xap/1.0/\0"
_TAKEN = {b"eXIf", b"iCCP", b"tEXt", b"zTXt", b"iTXt", b"pHYs", b"sRGB", *_COLOUR}
_MOST_KEYWORDS = 8
#: Compressed streams that are looked into: a file of many would cost without end.
_MOST_STREAMS = 16


def scan_png(file: BinaryIO) -> Blocks:
    """The metadata of a PNG, and where its pixels stand. What is no chunk is left for Pillow to complain of."""
    end = file.seek(0, io.SEEK_END)
    chunks, place, kept = _Chunks(), len(SIGNATURE), 0
    ranges = chunks.blocks.ranges
    while True:
        file.seek(place)
        head = file.read(8)
        length, kind = struct.unpack(">I4s", head) if len(head) == 8 else (0, b"")
        following = place + 12 + length
        if not kind.isalpha() or following > end or kind == b"IEND":
            break
        if kind[:1].islower() and kind not in _OF_PIXELS:
            ranges.append((kept, place))
            kept = following
            if kind in _TAKEN and length <= MAX_METADATA:
                chunks.take(kind, file.read(length))
            elif kind in _TAKEN:
                chunks.blocks.left_out.append(f"a {kind.decode()} chunk of more than {MAX_METADATA} bytes")
        place = following
    ranges.append((kept, end))
    return chunks.finish()


class _Chunks:
    """What a PNG's ancillary chunks hold until all of them are seen."""

    def __init__(self) -> None:
        self.blocks = Blocks()
        self._colour: dict[bytes, bytes] = {}
        self._texts: list[str] = []
        self._streams = 0

    def take(self, kind: bytes, data: bytes) -> None:
        """One chunk."""
        if kind == b"eXIf":
            self.blocks.add("exif", data)
        elif kind == b"iCCP":
            self.blocks.add("icc", self._inflated(data.partition(b"\0")[2][1:], "an ICC profile"))
        elif kind in (b"tEXt", b"zTXt", b"iTXt"):
            self._take_text(kind, data)
        elif kind == b"pHYs" and len(data) == 9:
            across, down, unit = struct.unpack(">IIB", data)
            self.blocks.left_out += density(across * 0.0254, down * 0.0254) if unit == 1 else aspect(across, down)
        elif kind in _COLOUR or kind == b"sRGB":
            self._colour[kind] = data

    def _take_text(self, kind: bytes, data: bytes) -> None:
        keyword, _, text = data.partition(b"\0")
        profile = _RAW_PROFILE.fullmatch(keyword)
        if kind == b"tEXt" and keyword == b"exif":
            self.blocks.add("exif", text)
            return
        if keyword != XMP_KEYWORD and not profile:
            self._texts.append("".join(c if c.isprintable() else "?" for c in keyword[:79].decode("latin-1")))
            return
        packed = kind == b"zTXt"
        if kind == b"iTXt":
            packed, text = text[:1] == b"\1", [*text[2:].split(b"\0", 2), b"", b""][2]
        elif packed:
            text = text[1:]
        if packed:
            text = self._inflated(text, keyword.decode())
        if keyword == XMP_KEYWORD:
            self.blocks.add("xmp", text)
        elif profile:
            self._take_profile(profile.group(1).lower(), raw_profile(text))

    def _take_profile(self, name: bytes, content: bytes) -> None:
        """What ImageMagick and others wrote as hexadecimal text before PNG had chunks for it."""
        if content.startswith(_XMP_MARKER):
            self.blocks.add("xmp", content[len(_XMP_MARKER) :])
        elif name == b"xmp":
            self.blocks.add("xmp", content)
        elif name in (b"icc", b"icm"):
            self.blocks.add("icc", content)
        elif name == b"exif" or content.startswith(PREFIX):
            self.blocks.add("exif", content)

    def _inflated(self, data: bytes, what: str) -> bytes:
        """A zlib stream of at most MAX_METADATA bytes; nothing for any other, and for more of them than files have."""
        self._streams += 1
        stream = zlib.decompressobj()
        with contextlib.suppress(zlib.error):
            content = stream.decompress(data, MAX_METADATA) if self._streams <= _MOST_STREAMS else b""
            if stream.eof:
                return content
        self.blocks.left_out.append(f"{what} that cannot be unpacked")
        return b""

    def finish(self) -> Blocks:
        """What they held altogether. Of colour, what no profile says better and is not the usual."""
        said_better = "icc" in self.blocks.raw or b"sRGB" in self._colour or b"cICP" in self._colour
        for kind, name in _COLOUR.items():
            usual = self._colour.get(kind) in _SRGB_CHUNKS.get(kind, ())
            if kind in self._colour and not usual and not (said_better and kind in (b"gAMA", b"cHRM")):
                self.blocks.left_out.append(name)
        if self._texts:
            more = ", ..." if len(self._texts) > _MOST_KEYWORDS else ""
            self.blocks.left_out.append(f"text ({', '.join(self._texts[:_MOST_KEYWORDS])}{more})")
        return self.blocks


def raw_profile(text: bytes) -> bytes:
    """The text of a "Raw profile type": a name, a length, hexadecimal digits -> bytes; empty for any other text."""
    parts = text.split(None, 2)
    try:
        length, content = int(parts[1]), bytes.fromhex(parts[2].decode("ascii"))
    except (IndexError, ValueError):
        return b""
    return content if len(content) == length else b""
