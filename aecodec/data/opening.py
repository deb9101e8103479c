"""Picture files opened: only formats that are known to run nothing, pixels apart from all that stands beside them."""

from __future__ import annotations

import contextlib
import ctypes
import io
import logging
import re
import struct
import warnings
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import BinaryIO

from PIL import Image, UnidentifiedImageError

from ..contracts import ImageReadError, PictureTooLargeError
from ..parallel import Lock
from .blocks import Blocks
from .exif import ORIENTATION
from .formats import loaded_formats
from .jxl import PACKED, Head, is_made_up, read_head
from .metadata import NO_EXIF, UPRIGHT, normal, orientation_of, saying, scan, scan_info, tell_left_out
from .pixels import over_limit
from .plugins import PLUGINS, lacking, register_plugins

#: What Pillow's readers raise on damaged files, besides its own errors.
DECODER_FAULTS = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    MemoryError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    AssertionError,
    RuntimeError,
    struct.error,
    zlib.error,
)
_UNSUPPORTED = re.compile(r"unsupported|not supported|unknown|not implemented|not available", re.IGNORECASE)
_OPENING = Lock()
# What Pillow logs of a file it raises as well; without a handler the line would go to stderr, without the file's name.
logging.getLogger("PIL").addHandler(logging.NullHandler())
#: In HEIF and AVIF the entry of an item that is Exif: its box, version and flags, number, protection, and type.
_EXIF_ITEM = re.compile(rb"(infe(?:\x02...(?:..)|\x03...(?:....))..)Exif", re.DOTALL)
#: In icons: the sides of a PNG, width first, and of a picture of JPEG 2000, height first.
_SIDES_INSIDE = re.compile(rb"\x89PNG\r\n\x1a\n....IHDR(.{8})|jP  .{,64}?ihdr(.{8})", re.DOTALL)
_ICONS = (b"\0\0\1\0", b"\0\0\2\0", b"icns")


@dataclass(frozen=True)
class Opened:
    """A picture file, its pixels not yet decoded.

    metadata: in normal form, as the file says. orientation: what is still to be undone once the pixels are there, 1 to
    8. frames: how many pictures the file holds. notices: for the user, without the file's name. bits: of samples that
    become 8 when they are loaded, or 8. stream: the file, if it is at hand.
    """

    image: Image.Image
    metadata: dict[str, bytes]
    orientation: int
    frames: int
    notices: tuple[str, ...]
    bits: int = 8
    stream: BinaryIO | None = None

    @classmethod
    def of(cls, image: Image.Image, blocks: Blocks | None = None, head: Head | None = None) -> Opened:
        """blocks: what a scan of the file found, if there was one; else what Pillow says counts. head: of JPEG XL."""
        if image.format == "JXL":
            blocks = _completed(blocks or Blocks(), image, head)
        blocks = blocks or scan_info(image)
        metadata, notices = normal(blocks.raw)
        orientation = orientation_of(metadata)
        frames = max(blocks.frames, _frames(image))
        # After the frames: to count them Pillow forgets the first one's tags, and would warn of them again on loading.
        if (left := _left_to_turn(image, head)) is not None:
            metadata, orientation = saying(metadata, left), left
        return cls(
            image, metadata, orientation, frames, (*notices, *tell_left_out(blocks, metadata)), _depth(image, head)
        )


def _completed(blocks: Blocks, image: Image.Image, head: Head | None) -> Blocks:
    """What the boxes of a JPEG XL say, and then what the plug-in says."""
    said = scan_info(image)
    for kind, block in said.raw.items():
        if kind != "icc" or not is_made_up(block):
            blocks.add(kind, block)
    blocks.left_out = [name for name in blocks.left_out if PACKED.get(name) not in blocks.raw] + said.left_out
    if head and head.animated:
        blocks.left_out.append("all frames but the last")
    return blocks


def _depth(image: Image.Image, head: Head | None) -> int:
    """Bits of samples that a reader reduces to 8; 8 where it reduces none. Known before the pixels are loaded only."""
    if any(";16" in str(tile) for tile in getattr(image, "tile", ())):
        return 16
    if image.format == "HEIF" and image.mode.startswith(("RGB", "L")):
        return max(8, int(image.info.get("bit_depth", 8)))
    if image.format == "JXL" and head and image.mode.startswith(("RGB", "L")):
        return max(8, head.bits)
    return 8


def _frames(image: Image.Image) -> int:
    """How many pictures Pillow counts; what is damaged of the others costs nothing of the first."""
    try:
        return int(getattr(image, "n_frames", 1))
    except DECODER_FAULTS:
        with contextlib.suppress(*DECODER_FAULTS):
            image.seek(0)
        return 1


def _left_to_turn(image: Image.Image, head: Head | None) -> int | None:
    """How pixels are still to be turned where a reader turns them when it loads them; None where Exif and XMP say it.

    Pillow turns TIFF, by what it reads itself. HEIF and JPEG XL are turned by their decoders, and what Exif says of
    their orientation counts for nothing by their standards; but of a JPEG that went into JPEG XL as it was, the plug-in
    gives the pixels of the JPEG.
    """
    if image.format == "TIFF":
        try:
            return UPRIGHT if image.getexif().get(ORIENTATION, UPRIGHT) in range(UPRIGHT + 1, 9) else None
        except DECODER_FAULTS:
            return None
    if image.format == "JXL" and getattr(image, "jpeg", False):
        return head.orientation if head else None
    return UPRIGHT if image.format in ("HEIF", "JXL") else None


@contextlib.contextmanager
def open_image(stream: BinaryIO, name: str) -> Iterator[Opened]:
    """A picture file of a format of `formats`. What goes wrong here and in the block ends in ImageReadError."""
    try:
        if not stream.seekable():
            stream = io.BytesIO(stream.read())
        blocks = scan(stream)
        # Pillow warns above its pixel limit and raises above twice of it; both are limits here. What it warns of in
        # metadata is nobody's concern: we read them ourselves; nor is what it means to give up one day. The filters of
        # warnings belong to the process: one thread at a time may change them.
        with _OPENING, warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            warnings.simplefilter("ignore", DeprecationWarning)
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            head = read_head(stream)
            # The plug-in of JPEG XL decodes a picture before its size can be asked for.
            excess = over_limit(head.width, head.height) if head else _excess_inside(stream)
            if not excess:
                image, notices = _open(blocks.pixels(stream) if blocks else stream)
                excess = over_limit(*image.size)
            if excess:
                raise PictureTooLargeError(f"{name}: {excess}")
            opened = Opened.of(image, blocks, head)
        if image.format == "TIFF":
            _hush_libtiff()
        with image:
            yield replace(opened, notices=(*notices, *opened.notices), stream=stream)
    except UnidentifiedImageError:
        raise ImageReadError(f"{name}: {_why_unknown(stream)}") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        # The limit that Pillow's own text names may be twice this one.
        count = re.search(r"\d+ pixels", str(error))
        found = count[0] if count else "its pixels"
        raise PictureTooLargeError(f"{name}: {found} exceed the limit of {Image.MAX_IMAGE_PIXELS}") from error
    except DECODER_FAULTS as error:
        raise ImageReadError(f"{name}: {_what_is_wrong(error)} ({_told(error)})") from error


def _why_unknown(stream: BinaryIO) -> str:
    """Of a file that no reader knows: those that are missing are named."""
    stream.seek(0)
    start = stream.read(16)
    known = [plugin for plugin in PLUGINS if plugin.accepts(start)]
    if not known:
        return "not a picture in a format that is read"
    return "damaged or truncated picture" if known[0].format in loaded_formats() else lacking(known[0])


def _what_is_wrong(error: Exception) -> str:
    """In words; Pillow's own tell what it cannot read from what nobody could, but for the codes of its decoders."""
    if isinstance(error, NotImplementedError) or _UNSUPPORTED.search(str(error)):
        return "a kind of picture that is not supported"
    if isinstance(error, OSError) and str(error).startswith("decoder error"):
        return "damaged, or a kind of picture that is not supported"
    return "damaged or truncated picture"


def _told(error: Exception) -> str:
    """What a decoder says, in one line; without the advice that libjxl's bindings give to those who build them."""
    return " ".join(str(error).partition(". Please build")[0].split())


def _excess_inside(stream: BinaryIO) -> str | None:
    """As `over_limit`, of the pictures inside an icon: Pillow takes memory for one before its size can be asked for."""
    stream.seek(0)
    head = stream.read(8)
    # No icon without pictures: a TGA, which may be large, can begin like one.
    if not head.startswith(_ICONS) or not any(head[4:]):
        return None
    for found in _SIDES_INSIDE.finditer(head + stream.read()):
        first, second = struct.unpack(">II", found[1] or found[2])
        if excess := over_limit(*((first, second) if found[1] else (second, first))):
            return excess
    return None


@lru_cache(maxsize=1)
def _hush_libtiff() -> None:
    """Have libtiff print nothing: its lines name no file, and what they are about is raised by Pillow as well."""
    handlers = ("TIFFSetErrorHandler", "TIFFSetWarningHandler")
    # Pillow's own module is asked for what it is linked to. Where it hides that, the lines stay.
    with contextlib.suppress(OSError, AttributeError):
        library = ctypes.CDLL(str(Image.core.__file__))
        for handler in handlers:
            getattr(library, handler)(None)


def _open(stream: BinaryIO) -> tuple[Image.Image, tuple[str, ...]]:
    """The image and notices, with the plug-ins that are loaded, then with all of them."""
    try:
        return _open_known(stream), ()
    except DECODER_FAULTS as error:
        stream.seek(0)
        head = stream.read(12)
        data = head + stream.read() if head[4:8] == b"ftyp" else b""
        # Pillow's reader of AVIF gives the whole picture up over Exif that it cannot read.
        bare = _EXIF_ITEM.sub(rb"\1free", data)
        if bare == data:
            raise error
        return _open_known(io.BytesIO(bare)), (NO_EXIF,)


def _open_known(stream: BinaryIO) -> Image.Image:
    Image.preinit()
    try:
        return Image.open(stream, formats=loaded_formats())
    except UnidentifiedImageError:
        Image.init()
        stream.seek(0)
        register_plugins(stream.read(16))
        return Image.open(stream, formats=loaded_formats())
