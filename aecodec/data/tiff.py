"""The metadata in a TIFF's first directory: found, and added to a file that was written without any."""

from __future__ import annotations

import io
import struct
from typing import BinaryIO

from .blocks import Blocks
from .exif import ICC, UNDEFINED, XMP, Directories, Field, exif_directories, read_directories

SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+", b"II\0*", b"MM*\0")
_BYTE, _IPTC, _PHOTOSHOP = 1, 0x83BB, 0x8649
#: Bytes that are looked at for the directory that Pillow begins a file with.
_HEAD = 1 << 16


def scan_tiff(file: BinaryIO) -> Blocks:
    """The metadata of a TIFF. What its first directory says of the picture makes up a block of Exif."""
    blocks = Blocks()
    found = read_directories(file)
    if found is None:
        return blocks
    for kind, tag in (("icc", ICC), ("xmp", XMP)):
        if tag in found.main:
            blocks.add(kind, found.main[tag].data)
    if _IPTC in found.main or _PHOTOSHOP in found.main:
        blocks.left_out.append("IPTC")
    described = found.of_the_picture()
    if described.main or described.children:
        blocks.add("exif", described.block())
    return blocks


class TiffHead:
    """Remembers the first bytes written to a file, so that what they say can be amended when the rest is there."""

    def __init__(self) -> None:
        self.data = bytearray()

    def see(self, data: bytes | memoryview) -> None:
        """Bytes that were written behind those seen so far."""
        if len(self.data) < _HEAD:
            self.data += data[: _HEAD - len(self.data)]


def amend_tiff(file: BinaryIO, head: TiffHead, metadata: dict[str, bytes]) -> None:
    """Add metadata to a little-endian TIFF that ends where the file stands: a new first directory behind it.

    Of Exif, only what describes the picture goes in: the fields that say how samples lie stay those of the writer.
    """
    written = read_directories(io.BytesIO(bytes(head.data)))
    if written is None or written.order != "<":
        raise ValueError("the writer has begun no TIFF in little-endian order")
    given = exif_directories(metadata.get("exif", b""))
    given = given.of_the_picture().little() if given else Directories("<", {})
    main = dict(given.main)
    if "xmp" in metadata:
        main[XMP] = Field(_BYTE, len(metadata["xmp"]), metadata["xmp"])
    if "icc" in metadata:
        main[ICC] = Field(UNDEFINED, len(metadata["icc"]), metadata["icc"])
    start = file.tell()
    if start % 2:
        file.write(b"\0")
        start += 1
    packed, place = Directories("<", main | dict(written.main), given.children).pack(start)
    file.write(packed)
    file.seek(4)
    file.write(struct.pack("<I", place))
    file.seek(0, io.SEEK_END)
