"""The orientation that a camera notes in Exif or XMP: found, and set back to upright without touching anything else."""

from __future__ import annotations

import re
import struct

from PIL import Image

UPRIGHT = 1
_TAG = 0x0112
_PREFIX = b"Exif\0\0"
_SHORT = 3
_XMP = re.compile(rb"(tiff:Orientation\s*=\s*[\"']|<tiff:Orientation>)[0-9](?=[\"'<])")


def orientation_of(image: Image.Image) -> int:
    """The Exif orientation, 1 to 8; 1 where there is none, or no valid one."""
    value = image.getexif().get(_TAG, UPRIGHT)
    return value if isinstance(value, int) and 1 <= value <= 8 else UPRIGHT


def orientation_of_exif(exif: bytes) -> int:
    """The same from a block of Exif; 1 where it is not to be found."""
    found = _entry(exif)
    value = struct.unpack_from(found[1] + "H", exif, found[0])[0] if found else UPRIGHT
    return value if 1 <= value <= 8 else UPRIGHT


def upright(metadata: dict[str, bytes]) -> dict[str, bytes]:
    """Metadata for pixels that were turned: the orientation in Exif and XMP is 1, all other bytes as they were."""
    result = dict(metadata)
    if "exif" in result:
        found = _entry(result["exif"])
        if found:
            changed = bytearray(result["exif"])
            struct.pack_into(found[1] + "H", changed, found[0], UPRIGHT)
            result["exif"] = bytes(changed)
    if "xmp" in result:
        result["xmp"] = _XMP.sub(rb"\g<1>1", result["xmp"])
    return result


def _entry(exif: bytes) -> tuple[int, str] | None:
    """(offset of the orientation's value, byte order) in a block of Exif, with or without its prefix."""
    base = len(_PREFIX) if exif.startswith(_PREFIX) else 0
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[base : base + 4])
    if order is None or len(exif) < base + 8:
        return None
    start = base + struct.unpack_from(order + "I", exif, base + 4)[0]
    if start + 2 > len(exif):
        return None
    for number in range(struct.unpack_from(order + "H", exif, start)[0]):
        place = start + 2 + 12 * number
        if place + 12 > len(exif):
            return None
        tag, kind, count = struct.unpack_from(order + "HHI", exif, place)
        if tag == _TAG:
            return (place + 8, order) if kind == _SHORT and count == 1 else None
    return None
