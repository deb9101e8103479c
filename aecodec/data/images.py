"""Pictures in and out: reading with limits, writing atomically, padding."""

from __future__ import annotations

import contextlib
import io
import struct
import threading
import warnings
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from PIL import Image, PngImagePlugin, UnidentifiedImageError

from ..contracts import BitstreamError, ImageReadError, OutputError, UsageError
from .files import atomic_file, open_input, read_bytes
from .orientation import UPRIGHT, orientation_of, orientation_of_exif, upright
from .pixels import WindowedPixels, turned

__all__ = [
    "ORIENTATIONS",
    "Picture",
    "blank_pixels",
    "encode_picture",
    "open_image",
    "pack_alpha",
    "read_bytes",
    "read_picture",
    "require_writer",
    "save_picture",
    "to_image",
    "unpack_alpha",
    "write_picture",
]

ORIENTATIONS = ("apply", "keep")
_ALPHA_MODES = ("LA", "La", "RGBA", "RGBa", "PA")
_WITHOUT_ALPHA = {"JPEG", "PPM", "BMP", "PDF", "EPS"}
_WITH_EXIF = {"PNG", "JPEG", "WEBP", "AVIF", "TIFF"}
_WITH_XMP = {"PNG", "JPEG", "WEBP", "AVIF", "TIFF"}
_WITH_ICC = {"PNG", "JPEG", "WEBP", "AVIF", "TIFF", "JPEG2000"}
_TIFF_XMP = 700
#: What Pillow's readers raise on damaged files, besides its own errors.
_DECODER_FAULTS = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    MemoryError,
    TypeError,
    LookupError,
    AttributeError,
    OverflowError,
    RuntimeError,
    struct.error,
    zlib.error,
)
_OPENING = threading.Lock()
_METADATA_KEYS = {"icc": "icc_profile", "exif": "exif", "xmp": "xmp"}


@dataclass(frozen=True)
class Picture:
    """pixels: (H, W) grey or (H, W, 3) RGB uint8. alpha: (H, W) uint8, 0 transparent, or None. metadata: icc,
    exif, xmp as raw bytes. notices: for the user. damaged: indices of the tiles of its file that were lost."""

    pixels: np.ndarray
    metadata: dict[str, bytes] = field(default_factory=dict)
    notices: tuple[str, ...] = ()
    alpha: np.ndarray | None = None
    damaged: tuple[int, ...] = ()

    @property
    def channels(self) -> int:
        """Colour channels, and one more for alpha."""
        return (1 if self.pixels.ndim == 2 else 3) + (self.alpha is not None)

    @property
    def turned(self) -> bool:
        """Whether its Exif asks for it to be turned before it is shown."""
        return orientation_of_exif(self.metadata.get("exif", b"")) != UPRIGHT

    @property
    def upright_pixels(self) -> Any:
        """The pixels as its Exif asks for them to be shown: those themselves unless it is `turned`."""
        orientation = orientation_of_exif(self.metadata.get("exif", b""))
        if isinstance(self.pixels, WindowedPixels):
            return WindowedPixels(self.pixels.image, orientation) if self.turned else self.pixels
        return turned(self.pixels, orientation)

    def without(self, kinds: set[str]) -> Picture:
        """The same picture less some kinds of metadata."""
        return replace(self, metadata={k: v for k, v in self.metadata.items() if k not in kinds})


def read_picture(
    source: Path | bytes | BinaryIO | Image.Image,
    name: str = "image",
    *,
    orientation: str = "apply",
    windowed: bool = False,
) -> Picture:
    """Any Pillow picture -> Picture. Raises ImageReadError.

    Grey stays grey; everything else becomes RGB, with a notice where that loses or changes something. Alpha is
    kept if any pixel is not opaque. orientation: "apply" turns the picture upright as its Exif says, "keep" leaves
    pixels and Exif as they are. windowed: leave the pixels in Pillow's memory as `WindowedPixels`, which can be
    sliced like an array, instead of copying them.
    """
    if orientation not in ORIENTATIONS:
        raise UsageError(f"orientation is one of {', '.join(ORIENTATIONS)}, got {orientation!r}")
    if isinstance(source, Image.Image):
        return _convert(source, name, orientation == "apply", windowed)
    with contextlib.ExitStack() as stack:
        if isinstance(source, Path):
            name, source = str(source), stack.enter_context(open_input(source))
        stream = io.BytesIO(source) if isinstance(source, bytes) else source
        return _convert(stack.enter_context(open_image(stream, name)), name, orientation == "apply", windowed)


@contextlib.contextmanager
def open_image(stream: BinaryIO, name: str) -> Iterator[Image.Image]:
    """A Pillow image, not yet decoded. What goes wrong here and in the block ends in ImageReadError."""
    try:
        # Pillow warns above its pixel limit and raises above twice of it; both are limits here. The filters of
        # warnings belong to the process: one thread at a time may change them.
        with _OPENING, warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(stream)
        with image:
            yield image
    except UnidentifiedImageError:
        raise ImageReadError(f"{name}: not a picture in a format that Pillow reads") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        limit = str(error).split(", could")[0]
        raise ImageReadError(f"{name}: {limit} (--max-pixels or Image.MAX_IMAGE_PIXELS raises it)") from error
    except _DECODER_FAULTS as error:
        raise ImageReadError(f"{name}: damaged or truncated picture ({error})") from error


def _convert(image: Image.Image, name: str, apply: bool, windowed: bool) -> Picture:
    notices = []
    frames = getattr(image, "n_frames", 1)
    if frames > 1:
        notices.append(f"only the first of {frames} frames is used")
    # Known before the pixels are loaded only: Pillow itself reduces RGB of 16 bits.
    reduced = any(";16" in str(tile) for tile in getattr(image, "tile", ()))
    image.load()
    turn = orientation_of(image)
    metadata = _metadata(image)
    if turn != UPRIGHT and apply:
        metadata = upright(metadata)
    pixels = WindowedPixels(image, turn if apply else UPRIGHT)
    if pixels.deep or reduced:
        notices.append(f"{image.mode if pixels.deep else '16-bit'} samples were reduced to 8 bits")
    elif image.mode in ("P", "PA"):
        notices.append("palette colours were converted to RGB")
    elif not pixels.grey and image.mode not in ("RGB", "RGBA", "RGBX"):
        profile = " without its profile" if metadata.pop("icc", None) else ""
        notices.append(f"{image.mode} was converted to RGB{profile}")
    alpha = _alpha(image)
    if alpha is not None and apply:
        alpha = np.ascontiguousarray(turned(alpha, turn))
    # Consumers that asked for windows slice; an array is what all others get.
    array = cast(np.ndarray, pixels) if windowed else np.asarray(pixels)
    return Picture(array, metadata, tuple(f"{name}: {text}" for text in notices), alpha)


def _alpha(image: Image.Image) -> np.ndarray | None:
    """(H, W) uint8, or None where there is no alpha channel or every pixel is opaque."""
    # Not by the names of the bands: LAB has an A that is none.
    if image.mode not in _ALPHA_MODES and "transparency" not in image.info:
        return None
    if image.mode not in ("LA", "RGBA"):
        image = image.convert("LA" if image.mode == "La" else "RGBA")
    channel = image.getchannel("A")
    return np.asarray(channel) if channel.getextrema() != (255, 255) else None


def pack_alpha(alpha: np.ndarray) -> bytes:
    """(H, W) uint8 -> a greyscale PNG, lossless."""
    buffer = io.BytesIO()
    Image.fromarray(alpha).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def unpack_alpha(data: bytes, height: int, width: int) -> np.ndarray:
    """The inverse of `pack_alpha`. Raises BitstreamError if it is no PNG or of another size."""
    try:
        with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            if image.size != (width, height) or image.mode != "L":
                raise BitstreamError(
                    f"the alpha plane is {image.mode} of {image.size}, expected L of {(width, height)}"
                )
            image.load()
            return np.asarray(image)
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise BitstreamError(f"the alpha plane is damaged ({error})") from error


def _metadata(image: Image.Image) -> dict[str, bytes]:
    found = {}
    for kind, key in _METADATA_KEYS.items():
        value = image.info.get(key)
        if isinstance(value, str):
            value = value.encode()
        if isinstance(value, bytes) and value:
            found[kind] = value
    return found


def blank_pixels(height: int, width: int, grey: bool, *, windowed: bool) -> np.ndarray:
    """(H, W) or (H, W, 3) uint8 to be filled window by window; windowed: in Pillow's memory, as `WindowedPixels`."""
    if windowed:
        return cast(np.ndarray, WindowedPixels(Image.new("L" if grey else "RGB", (width, height))))
    return np.empty((height, width) if grey else (height, width, 3), np.uint8)


def to_image(picture: Picture) -> Image.Image:
    """Picture -> Pillow image, metadata in its ``info``. Windowed pixels are given up to it, not copied."""
    pixels: Any = picture.pixels
    plain = isinstance(pixels, WindowedPixels) and pixels.plain
    image = pixels.image if plain else Image.fromarray(np.asarray(pixels))
    if picture.alpha is not None:
        image.putalpha(Image.fromarray(picture.alpha))
    for kind, value in picture.metadata.items():
        image.info[_METADATA_KEYS[kind]] = value
    return image


def require_writer(suffix: str) -> str:
    """A file suffix (".png") -> Pillow's name of its format. Raises UsageError for one that cannot be written."""
    name = Image.registered_extensions().get(suffix.lower())
    if name is None or name not in Image.SAVE:
        raise UsageError(f"{suffix or 'a file without suffix'}: no picture format that can be written")
    return name


class _WithoutDescriptor:
    """A file that keeps its descriptor to itself: Pillow writes to one directly and takes a short write, which is what
    a full disk gives, for a whole one."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def fileno(self) -> int:
        raise io.UnsupportedOperation("fileno")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def save_picture(picture: Picture, file: BinaryIO, suffix: str) -> tuple[str, ...]:
    """Write a picture in the format of a file suffix (".png") -> notices of metadata that the format cannot hold.

    Raises UsageError for a suffix that Pillow cannot write or an alpha channel the format cannot hold, OutputError
    where writing fails.
    """
    name = require_writer(suffix)
    if picture.alpha is not None and name in _WITHOUT_ALPHA:
        raise UsageError(f"{name} cannot hold the picture's transparency; choose PNG, WebP, AVIF or TIFF")
    metadata, notices = dict(picture.metadata), []
    image = to_image(replace(picture, metadata={}))
    for kind, able in (("icc", _WITH_ICC), ("exif", _WITH_EXIF), ("xmp", _WITH_XMP)):
        if kind in metadata and name not in able:
            if kind == "exif" and (turn := orientation_of_exif(metadata["exif"])) != UPRIGHT:
                image = Image.fromarray(np.ascontiguousarray(turned(np.asarray(image), turn)))
            notices.append(f"{name} cannot hold {kind} metadata; it was left out")
            del metadata[kind]
    try:
        image.save(cast(BinaryIO, _WithoutDescriptor(file)), format=name, **_options(name, metadata))
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise OutputError(f"the picture cannot be written as {name} ({error})") from error
    return tuple(notices)


def _options(name: str, metadata: dict[str, bytes]) -> dict[str, Any]:
    """Keywords for Pillow's writer of a format."""
    options: dict[str, Any] = {_METADATA_KEYS[kind]: value for kind, value in metadata.items()}
    if name == "PNG":
        options["compress_level"] = 4
        if "xmp" in options:
            options["pnginfo"] = PngImagePlugin.PngInfo()
            text = options.pop("xmp").decode("utf-8", "replace")
            options["pnginfo"].add_itxt("XML:com.adobe.xmp", text)
    if name == "TIFF" and "xmp" in options:
        # One directory holds both.
        directory = Image.Exif()
        directory.load(options.get("exif", b""))
        directory[_TIFF_XMP] = options.pop("xmp")
        options["exif"] = directory
    if name in ("JPEG", "WEBP", "AVIF"):
        options["quality"] = 95
    return options


def encode_picture(picture: Picture, suffix: str) -> tuple[bytes, tuple[str, ...]]:
    """Bytes of a picture in the format of a file suffix, and notices. Raises as `save_picture` does."""
    buffer = io.BytesIO()
    notices = save_picture(picture, buffer, suffix)
    return buffer.getvalue(), notices


def write_picture(picture: Picture, path: Path, *, overwrite: bool) -> tuple[str, ...]:
    """Write atomically in the format of the suffix -> notices, as `save_picture` gives them."""
    with atomic_file(path, overwrite=overwrite) as file:
        return save_picture(picture, file, path.suffix)
