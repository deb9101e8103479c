"""Pictures in and out: reading with limits, writing atomically, padding."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from PIL import Image

from ..contracts import BitstreamError, OutputError, UsageError
from .deep import deep_colour
from .files import atomic_file, open_input, read_bytes
from .metadata import INFO_KEYS, UPRIGHT, fit, normal, orientation_of, upright, writer_options
from .opening import DECODER_FAULTS, Opened, open_image
from .pixels import WindowedPixels, through_profile, turned
from .plugins import FORMATS
from .tiff import TiffHead, amend_tiff

__all__ = [
    "ORIENTATIONS",
    "Picture",
    "blank_pixels",
    "encode_picture",
    "pack_alpha",
    "read_bytes",
    "read_opened",
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
        """Whether its Exif or XMP asks for it to be turned before it is shown."""
        return orientation_of(self.metadata) != UPRIGHT

    @property
    def upright_pixels(self) -> Any:
        """The pixels as its metadata ask for them to be shown: those themselves unless it is `turned`."""
        orientation = orientation_of(self.metadata)
        if isinstance(self.pixels, WindowedPixels):
            return WindowedPixels(self.pixels.image, orientation) if self.turned else self.pixels
        return turned(self.pixels, orientation)

    @property
    def upright_alpha(self) -> np.ndarray | None:
        """The alpha plane, turned as `upright_pixels` are."""
        return None if self.alpha is None else turned(self.alpha, orientation_of(self.metadata))

    def without(self, kinds: set[str]) -> Picture:
        """The same picture less some kinds of metadata."""
        return replace(self, metadata={k: v for k, v in self.metadata.items() if k not in kinds})


def read_picture(
    source: str | Path | bytes | BinaryIO | Image.Image | np.ndarray,
    name: str = "image",
    *,
    orientation: str = "apply",
    windowed: bool = False,
) -> Picture:
    """A picture in one of the `readable_formats`, or (H, W) grey or (H, W, 3) RGB uint8 -> Picture.

    Raises ImageReadError, and UsageError for what is none of these.

    Grey stays grey; everything else becomes RGB, with a notice where that loses or changes something. Alpha is
    kept if any pixel is not opaque. orientation: "apply" turns the picture upright as its Exif or XMP says,
    "keep" leaves pixels and metadata as they are; what Pillow turns itself, TIFF, is upright in any case. Metadata
    that cannot be read, or that nothing here holds, costs a notice and never the picture. windowed: leave the pixels
    in Pillow's memory as `WindowedPixels`, which can be sliced like an array, instead of copying them.
    """
    if orientation not in ORIENTATIONS:
        raise UsageError(f"orientation is one of {', '.join(ORIENTATIONS)}, got {orientation!r}")
    if isinstance(source, np.ndarray):
        if source.dtype != np.uint8 or source.shape[2:] not in ((), (3,)) or source.ndim < 2 or not source.size:
            raise UsageError(f"pixels are (H, W) or (H, W, 3) uint8, not {source.shape} {source.dtype}")
        return Picture(source)
    if isinstance(source, Image.Image):
        return read_opened(Opened.of(source), name, apply=orientation == "apply", windowed=windowed)
    if not (isinstance(source, (str, Path, bytes)) or hasattr(source, "read")):
        kinds = "a path, bytes, a binary file, a Pillow image or an array"
        raise UsageError(f"a picture is {kinds}, not {type(source).__name__}")
    with contextlib.ExitStack() as stack:
        if isinstance(source, (str, Path)):
            name, source = str(source), stack.enter_context(open_input(Path(source)))
        stream = io.BytesIO(source) if isinstance(source, bytes) else source
        opened = stack.enter_context(open_image(stream, name))
        return read_opened(opened, name, apply=orientation == "apply", windowed=windowed)


def read_opened(opened: Opened, name: str, *, apply: bool = True, windowed: bool = False) -> Picture:
    """An opened picture -> Picture, as `read_picture` gives it. Raises what Pillow raises: see `open_image`."""
    image, metadata, turn = opened.image, dict(opened.metadata), opened.orientation
    notices = list(opened.notices)
    if opened.frames > 1:
        notices.append(f"only the first of {opened.frames} frames is used")
    image.load()
    described = f"{opened.bits}-bit samples"
    if opened.bits > 8 and opened.stream is not None and (whole := deep_colour(image, opened.stream)):
        image, bits = whole
        described += f" with {2**bits - 1}, {bits} bits, for white"
    if turn != UPRIGHT and apply:
        metadata = upright(metadata)
    if image.mode == "CMYK" and (converted := through_profile(image, metadata.get("icc", b""))):
        image, metadata = converted, {kind: block for kind, block in metadata.items() if kind != "icc"}
        notices.append("CMYK was converted to sRGB through its profile")
    pixels = WindowedPixels(image, turn if apply else UPRIGHT)
    if pixels.deep or opened.bits > 8:
        notices.append(f"{pixels.described if pixels.deep else described} were reduced to 8 bits")
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
    for kind, block in normal(picture.metadata)[0].items():
        image.info[INFO_KEYS[kind]] = block
    return image


def require_writer(suffix: str) -> str:
    """A file suffix (".png") -> Pillow's name of its format. Raises UsageError for one that cannot be written."""
    name = Image.registered_extensions().get(suffix.lower())
    # HEIC and JPEG XL are read only: whether they can be written must not depend on what was read before.
    if name is None or name not in Image.SAVE or name in FORMATS:
        raise UsageError(f"{suffix or 'a file without suffix'}: no picture format that can be written")
    return name


class _WithoutDescriptor:
    """A file that keeps its descriptor to itself: Pillow writes to one directly and takes a short write, which is what
    a full disk gives, for a whole one."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.head = TiffHead()

    def write(self, data: bytes | memoryview) -> int:
        self.head.see(data)
        return self._file.write(data)

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
    held = fit(picture.metadata, name)
    image = to_image(replace(picture, metadata={}))
    if held.turn != UPRIGHT:
        image = Image.fromarray(np.ascontiguousarray(turned(np.asarray(image), held.turn)))
    options = writer_options(held.metadata, name)
    if name == "PNG":
        options["compress_level"] = 4
    elif name in ("JPEG", "WEBP", "AVIF"):
        options["quality"] = 95
    writing = _WithoutDescriptor(file)
    try:
        image.save(cast(BinaryIO, writing), format=name, **options)
        if name == "TIFF" and held.metadata:
            amend_tiff(file, writing.head, held.metadata)
    except DECODER_FAULTS as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise OutputError(f"the picture cannot be written as {name} ({error})") from error
    return held.notices


def encode_picture(picture: Picture, suffix: str) -> tuple[bytes, tuple[str, ...]]:
    """Bytes of a picture in the format of a file suffix, and notices. Raises as `save_picture` does."""
    buffer = io.BytesIO()
    notices = save_picture(picture, buffer, suffix)
    return buffer.getvalue(), notices


def write_picture(picture: Picture, path: Path, *, overwrite: bool, sources: Iterable[Path] = ()) -> tuple[str, ...]:
    """Write atomically in the format of the suffix -> notices, as `save_picture` gives them.

    sources: see `atomic_file`.
    """
    with atomic_file(path, overwrite=overwrite, sources=sources) as file:
        return save_picture(picture, file, path.suffix)
