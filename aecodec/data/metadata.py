"""Exif, XMP and ICC in one normal form: made once from whatever a picture came in, written by one table of containers.

The normal form is a dict of bytes. exif: "Exif", two zeros, and a TIFF whose header is by the book; icc: a profile;
xmp: one packet, by which Pillow turns a picture as we do or not at all. Everything else of the package takes metadata
in this form and no other; `normal` makes it, and makes it again of what files of older versions hold.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

from PIL import Image, PngImagePlugin

from ..contracts import MAX_METADATA
from . import jpeg, jxl, png, tiff
from .blocks import Blocks, density
from .exif import (
    ORIENTATION,
    RESOLUTION,
    exif_directories,
    exif_orientation,
    normal_exif,
    only_orientation,
    with_orientation,
)
from .xmp import normal_xmp, with_xmp_orientation, xmp_orientation

UPRIGHT = 1
#: Kind of metadata -> what Pillow calls it.
INFO_KEYS = {"icc": "icc_profile", "exif": "exif", "xmp": "xmp"}
#: Container -> bytes that it holds of each kind, in normal form.
CAPACITY: dict[str, dict[str, int]] = {
    "PNG": {"icc": MAX_METADATA, "exif": MAX_METADATA, "xmp": MAX_METADATA},
    "JPEG": {"icc": jpeg.MOST_ICC, "exif": jpeg.MOST, "xmp": MAX_METADATA},
    "WEBP": {"icc": MAX_METADATA, "exif": MAX_METADATA, "xmp": MAX_METADATA},
    "AVIF": {"icc": MAX_METADATA, "exif": MAX_METADATA, "xmp": MAX_METADATA},
    "TIFF": {"icc": MAX_METADATA, "exif": MAX_METADATA, "xmp": MAX_METADATA},
}
_SCANS = {png.SIGNATURE: png.scan_png, jpeg.SIGNATURE: jpeg.scan_jpeg, jxl.CONTAINER[:8]: jxl.scan_jxl} | dict.fromkeys(
    tiff.SIGNATURES, tiff.scan_tiff
)


def scan(file: BinaryIO) -> Blocks | None:
    """What a file says beside its pixels where we read its container ourselves, PNG, JPEG, JPEG XL and TIFF; else
    None."""
    file.seek(0)
    head = file.read(8)
    for signature, scanner in _SCANS.items():
        if head.startswith(signature):
            return scanner(file)
    return None


def scan_info(image: Image.Image) -> Blocks:
    """The same of an image that Pillow has opened."""
    blocks = Blocks()
    for kind, key in INFO_KEYS.items():
        value = image.info.get(key)
        blocks.add(kind, value.encode() if isinstance(value, str) else value if isinstance(value, bytes) else b"")
    for name in ("exif", "APP1"):
        profile = image.info.get(f"Raw profile type {name}")
        if isinstance(profile, str) and "exif" not in blocks.raw:
            blocks.add("exif", png.raw_profile(profile.encode("latin-1", "replace")))
    if "exif" not in blocks.raw and hasattr(image, "tag_v2"):
        blocks.add("exif", _tags_of(image))
    dpi = image.info.get("dpi")
    if isinstance(dpi, tuple) and len(dpi) == 2:
        with contextlib.suppress(TypeError, ValueError, ArithmeticError):
            blocks.left_out += density(float(dpi[0]), float(dpi[1]))
    if image.info.get("comment"):
        blocks.left_out.append("comment")
    return blocks


def _tags_of(image: Image.Image) -> bytes:
    """What Pillow's tags of a TIFF say of the picture, as a block of Exif; empty where Pillow cannot tell."""
    try:
        found = exif_directories(image.getexif().tobytes())
    # Pillow's parser and writer of Exif raise whatever their innards raise.
    except Exception:
        return b""
    described = found.of_the_picture() if found else None
    return described.block() if described and (described.main or described.children) else b""


def normal(raw: Mapping[str, bytes]) -> tuple[dict[str, bytes], tuple[str, ...]]:
    """Blocks of any form -> those in normal form, and what to say of those that have none. Raises nothing."""
    metadata, notices = {}, []
    for kind, given in raw.items():
        block = _NORMAL[kind](given) if kind in _NORMAL else given
        if given and not block:
            notices.append(NO_EXIF if kind == "exif" else _NO_XMP)
        elif len(block) > MAX_METADATA:
            notices.append(f"{_NAMES[kind]} of {len(block)} bytes was left out; at most {MAX_METADATA} are kept")
        elif block:
            metadata[kind] = block
            if kind == "xmp" and block != given:
                turn = xmp_orientation(block) or UPRIGHT
                notices.append(f"orientations in XMP that readers take for different ones were set to {turn}")
    return metadata, tuple(notices)


#: Said of Exif that nobody could read.
NO_EXIF = "Exif that is no TIFF structure was left out"
_NO_XMP = "XMP whose orientation readers take for different ones was left out"
_NORMAL = {"exif": normal_exif, "xmp": normal_xmp}
_NAMES = {"icc": "an ICC profile", "exif": "Exif", "xmp": "XMP"}


def orientation_of(metadata: Mapping[str, bytes]) -> int:
    """The orientation that Exif says or else XMP, 1 to 8; 1 where neither says a valid one."""
    return exif_orientation(metadata.get("exif", b"")) or xmp_orientation(metadata.get("xmp", b"")) or UPRIGHT


def upright(metadata: Mapping[str, bytes]) -> dict[str, bytes]:
    """Metadata for pixels that were turned: every orientation in them is 1, all other bytes are as they were."""
    result = dict(metadata)
    if "exif" in result:
        result["exif"] = with_orientation(result["exif"], UPRIGHT)
    if "xmp" in result:
        result["xmp"] = with_xmp_orientation(result["xmp"], UPRIGHT)
    return result


def saying(metadata: Mapping[str, bytes], orientation: int) -> dict[str, bytes]:
    """Metadata that say an orientation, whatever they said; those that say it already, and not 1, as they are."""
    if orientation == UPRIGHT:
        return upright(metadata)
    if orientation_of(metadata) == orientation:
        return dict(metadata)
    found = exif_directories(metadata.get("exif", b""))
    block = found.turned_to(orientation).block() if found else only_orientation(orientation)
    return {**metadata, "exif": block}


def tell_left_out(blocks: Blocks, metadata: Mapping[str, bytes]) -> Iterable[str]:
    """At most one notice: what a file says and we do not keep."""
    found = exif_directories(metadata.get("exif", b""))
    kept = found is not None and RESOLUTION in found.main
    names = [name for name in dict.fromkeys(blocks.left_out) if not (kept and name.startswith("density"))]
    if names:
        yield f"left out: {', '.join(names[:_MOST_NAMED])}{', ...' if len(names) > _MOST_NAMED else ''}"


_MOST_NAMED = 12


@dataclass(frozen=True)
class Held:
    """metadata: what a container takes. notices: of what it does not. turn: how the pixels must be turned, because
    the orientation is no longer said."""

    metadata: dict[str, bytes]
    notices: tuple[str, ...]
    turn: int


def fit(metadata: Mapping[str, bytes], container: str) -> Held:
    """What of some metadata goes into a container, by Pillow's name of it. Raises nothing."""
    whole, notices = normal(metadata)
    said = list(notices)
    held = {}
    for kind, block in whole.items():
        most = CAPACITY.get(container, {}).get(kind, 0)
        if len(block) <= most:
            held[kind] = block
        elif not most:
            said.append(f"{container} cannot hold {kind} metadata; it was left out")
        elif kind == "exif":
            shorter, lost = _shortened(block, most)
            held[kind] = shorter
            said.append(f"{container} holds {most} bytes of Exif, not {len(block)}; {lost} left out")
        else:
            said.append(f"{container} holds {most} bytes of {kind} metadata, not {len(block)}; it was left out")
    turn = orientation_of(whole)
    if orientation_of(held) == turn:
        return Held(held, tuple(said), UPRIGHT)
    return Held(upright(held), tuple(said), turn)


def _shortened(block: bytes, most: int) -> tuple[bytes, str]:
    """A block of Exif in fewer bytes, and what it lost."""
    found = exif_directories(block)
    reduced = found.reduced().block() if found else b""
    if found and len(reduced) <= most:
        return reduced, "thumbnail and maker notes were"
    return only_orientation(exif_orientation(block) or UPRIGHT), "all but the orientation was"


class _ReadyExif(Image.Exif):
    """A block of Exif that Pillow's writer of AVIF takes as it is, and turns by, instead of writing one of its own."""

    def __init__(self, block: bytes) -> None:
        super().__init__()
        self._block = block
        # The writer takes the orientation away, and then writes nothing where nothing is left.
        self[0x010E] = "the block"
        if (turn := exif_orientation(block)) != 0:
            self[ORIENTATION] = turn

    def tobytes(self, offset: int = 8) -> bytes:
        return self._block


def writer_options(metadata: Mapping[str, bytes], container: str) -> dict[str, Any]:
    """Metadata that `fit` a container -> keywords for Pillow's writer of it. TIFF takes none: see `amend_tiff`."""
    if container == "TIFF" or container not in CAPACITY:
        return {}
    # A profile is named even where there is none: the image may have one of its own.
    options: dict[str, Any] = {"icc_profile": metadata.get("icc")}
    exif, xmp = metadata.get("exif"), metadata.get("xmp")
    if exif:
        # Where the orientation in Exif is not that of the picture itself, Pillow's reader of AVIF writes Exif anew.
        turned = with_orientation(exif, orientation_of(metadata))
        options["exif"] = _ReadyExif(turned) if container == "AVIF" else exif
    if xmp and container == "PNG":
        # A chunk by its bytes: whoever wrote the packet may not have written UTF-8.
        options["pnginfo"] = PngImagePlugin.PngInfo()
        options["pnginfo"].add(b"iTXt", png.XMP_KEYWORD + bytes(5) + xmp)
    elif xmp and container == "JPEG":
        options["extra"] = jpeg.xmp_segments(xmp)
    elif xmp:
        options["xmp"] = xmp
    return options
