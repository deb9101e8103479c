"""Small .aec files that ask for much: header and chunks of right checksums, whatever they say."""

from __future__ import annotations

import functools
import io
import struct
import zlib

from PIL import Image

from aecodec.coding import container
from aecodec.coding.chunks import pack_chunk


def header(**changes: int) -> bytes:
    """A header of right checksum, whatever its fields."""
    fields = {"width": 5, "height": 3, "channels": 3, "tile": 10} | changes
    head = (
        struct.pack(
            "<4sBBBBII8sHB",
            container.MAGIC,
            1,
            fields["channels"],
            8,
            fields["tile"],
            fields["width"],
            fields["height"],
            bytes(8),
            421,
            10,
        )
        + b"photo-tiny"
    )
    return head + struct.pack("<I", zlib.crc32(head))


def chunk(head: bytes, kind: bytes, data: bytes, number: int = 0) -> bytes:
    return pack_chunk(kind, data, int.from_bytes(head[-4:], "little"), number)


def png(width: int, height: int) -> bytes:
    """A PNG of zeros that takes a thousandth of its pixels."""
    buffer = io.BytesIO()
    Image.new("L", (width, height)).save(buffer, "PNG")
    return buffer.getvalue()


@functools.cache
def bombs() -> dict[str, bytes]:
    """Small files that ask for much."""
    plain, huge, tiny_tiles = (
        header(),
        header(width=1 << 20, height=1 << 20),
        header(width=1 << 20, height=1 << 20, tile=8),
    )
    alpha = header(channels=4)
    tile = chunk(plain, b"T", b"data")
    zeros = zlib.compress(bytes(300 << 20), 9)
    head_of_chunk = struct.pack("<cI", b"T", 100_000)
    return {
        "gigantic sides": huge + tile,
        "sides beyond the format": header(width=(1 << 32) - 1, height=(1 << 32) - 1) + tile,
        "millions of tiles": tiny_tiles + tile * 50,
        "many tiles": header(width=1 << 18, height=1 << 18, tile=8) + tile * 50,
        "chunk length": plain + struct.pack("<cI", b"T", (1 << 32) - 1) + bytes(40),
        "metadata": plain + chunk(plain, b"i", zeros) + tile,
        "three of metadata": plain + b"".join(chunk(plain, kind, zeros) for kind in (b"i", b"e", b"x")) + tile,
        "metadata in metadata": plain + chunk(plain, b"x", zlib.compress(zeros)) + tile,
        "alpha of another size": alpha + chunk(alpha, b"A", png(12_000, 12_000)) + chunk(alpha, b"T", b"data"),
        "a long search": plain + head_of_chunk * 200_000,
        "a longer search": header(width=1 << 17, height=1 << 17, tile=8) + head_of_chunk * 200_000,
        "letters": plain + b"T" * 3_000_000,
        "empty chunks": plain + chunk(plain, b"q", b"") * 300_000 + tile,
    }
