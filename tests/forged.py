"""Headers that no writer of ours would make."""

from __future__ import annotations

import struct
import zlib

from aecodec.coding import container


def header_bytes(**changes) -> bytes:
    """A header of valid checksum with raw field values that `Header.pack` would refuse."""
    fields = {"version": 1, "channels": 3, "depth": 8, "tile": 10, "width": 5, "height": 3, "quality": 10, "name": b"m"}
    fields.update(changes)
    head = struct.pack(
        "<4sBBBBII8sHB",
        container.MAGIC,
        fields["version"],
        fields["channels"],
        fields["depth"],
        fields["tile"],
        fields["width"],
        fields["height"],
        bytes(8),
        fields["quality"],
        len(fields["name"]),
    )
    return head + fields["name"] + struct.pack("<I", zlib.crc32(head + fields["name"]))
