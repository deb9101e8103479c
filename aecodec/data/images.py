"""Pictures in and out: reading with limits, writing atomically, padding."""

from __future__ import annotations

import contextlib
import io
import os
import stat
import threading
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from ..contracts import BitstreamError, ImageReadError, OutputError, UsageError
from .files import write_atomic

#: What is taken for a picture when a folder is walked.
PHOTO_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".avif", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".jp2"}
_OPENING = threading.Lock()
_WITHOUT_ALPHA = {"JPEG", "PPM", "BMP", "PDF", "EPS"}
_METADATA_KEYS = {"icc": "icc_profile", "exif": "exif", "xmp": "xmp"}


@dataclass(frozen=True)
class Picture:
    """pixels: (H, W) grey or (H, W, 3) RGB uint8. alpha: (H, W) uint8, 0 transparent, or None. metadata: icc,
    exif, xmp as raw bytes. notices: for the user."""

    pixels: np.ndarray
    metadata: dict[str, bytes] = field(default_factory=dict)
    notices: tuple[str, ...] = ()
    alpha: np.ndarray | None = None

    @property
    def channels(self) -> int:
        """Colour channels, and one more for alpha."""
        return (1 if self.pixels.ndim == 2 else 3) + (self.alpha is not None)

    def without(self, kinds: set[str]) -> Picture:
        """The same picture less some kinds of metadata."""
        return replace(self, metadata={k: v for k, v in self.metadata.items() if k not in kinds})


def read_bytes(path: Path) -> bytes:
    """A regular file's bytes. Raises ImageReadError for what is missing, a directory, empty or unreadable."""
    try:
        if stat.S_ISDIR(os.stat(path).st_mode):
            raise ImageReadError(f"{path}: is a directory")
        data = Path(path).read_bytes()
    except FileNotFoundError:
        raise ImageReadError(f"{path}: no such file") from None
    except OSError as error:
        raise ImageReadError(f"{path}: cannot be read ({error.strerror or error})") from error
    if not data:
        raise ImageReadError(f"{path}: the file is empty")
    return data


def read_picture(source: Path | bytes | BinaryIO | Image.Image, name: str = "image") -> Picture:
    """Any Pillow picture -> Picture, turned upright by its Exif orientation. Raises ImageReadError.

    Grey stays grey; everything else becomes RGB, with a notice where that loses or changes something. Alpha is
    kept if any pixel is not opaque.
    """
    if isinstance(source, Image.Image):
        return _convert(source, name)
    if isinstance(source, Path):
        name, source = str(source), read_bytes(source)
    with open_image(io.BytesIO(source) if isinstance(source, bytes) else source, name) as image:
        image.load()
        return _convert(image, name)


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
        raise ImageReadError(f"{name}: {str(error).split(', could')[0]}") from error
    except (OSError, SyntaxError, ValueError, EOFError, MemoryError) as error:
        raise ImageReadError(f"{name}: damaged or truncated picture ({error})") from error


def _convert(image: Image.Image, name: str) -> Picture:
    notices = []
    frames = getattr(image, "n_frames", 1)
    if frames > 1:
        notices.append(f"{name}: only the first of {frames} frames is used")
    metadata = _metadata(image)
    upright = ImageOps.exif_transpose(image)
    if upright is not image and "exif" in metadata:
        metadata["exif"] = upright.getexif().tobytes()
    mode = upright.mode
    alpha = _alpha(upright)
    if mode.startswith("I") or mode == "F":
        grey = np.asarray(upright, np.float64)
        top = 65535.0 if grey.max(initial=0.0) > 255 else 255.0
        notices.append(f"{name}: {mode} samples were reduced to 8 bits")
        return Picture(np.clip(np.rint(grey / top * 255.0), 0, 255).astype(np.uint8), metadata, tuple(notices))
    if mode in ("L", "LA", "1"):
        return Picture(np.asarray(upright.convert("L")), metadata, tuple(notices), alpha)
    if mode not in ("RGB", "RGBA", "P", "PA", "RGBX"):
        notices.append(f"{name}: {mode} was converted to RGB")
    if mode == "CMYK":
        metadata.pop("icc", None)
    return Picture(np.asarray(upright.convert("RGB")), metadata, tuple(notices), alpha)


def _alpha(image: Image.Image) -> np.ndarray | None:
    """(H, W) uint8, or None where there is no alpha channel or every pixel is opaque."""
    if "A" not in image.getbands() and "transparency" not in image.info:
        return None
    alpha = np.asarray(image.convert("RGBA").getchannel("A"))
    return alpha if int(alpha.min(initial=255)) < 255 else None


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


def to_image(picture: Picture) -> Image.Image:
    """Picture -> Pillow image, metadata in its ``info``."""
    image = Image.fromarray(picture.pixels)
    if picture.alpha is not None:
        image.putalpha(Image.fromarray(picture.alpha))
    for kind, value in picture.metadata.items():
        image.info[_METADATA_KEYS[kind]] = value
    return image


def encode_picture(picture: Picture, suffix: str) -> bytes:
    """Bytes of a picture in the format of a file suffix (".png"). Raises UsageError for one Pillow cannot write."""
    formats = Image.registered_extensions()
    name = formats.get(suffix.lower())
    if name is None or name not in Image.SAVE:
        raise UsageError(f"{suffix or 'a file without suffix'}: no picture format that can be written")
    if picture.alpha is not None and name in _WITHOUT_ALPHA:
        raise UsageError(f"{name} cannot hold the picture's transparency; choose PNG, WebP, AVIF or TIFF")
    options: dict[str, object] = {}
    if "icc" in picture.metadata:
        options["icc_profile"] = picture.metadata["icc"]
    if "exif" in picture.metadata and name in ("PNG", "JPEG", "WEBP", "AVIF", "TIFF"):
        options["exif"] = picture.metadata["exif"]
    if "xmp" in picture.metadata and name in ("JPEG", "WEBP", "AVIF"):
        options["xmp"] = picture.metadata["xmp"]
    if name == "PNG":
        options["compress_level"] = 4
    if name in ("JPEG", "WEBP", "AVIF"):
        options["quality"] = 95
    buffer = io.BytesIO()
    try:
        to_image(replace(picture, metadata={})).save(buffer, format=name, **options)
    except (OSError, ValueError) as error:
        raise OutputError(f"the picture cannot be written as {name} ({error})") from error
    return buffer.getvalue()


def write_picture(picture: Picture, path: Path, *, overwrite: bool) -> int:
    """Write atomically in the format of the suffix -> bytes written."""
    data = encode_picture(picture, path.suffix)
    write_atomic(path, data, overwrite=overwrite)
    return len(data)


def pad_to_multiple(pixels: np.ndarray, multiple: int) -> np.ndarray:
    """(H, W[, 3]) -> the same with both sides raised to multiples, by repeating the last row and column."""
    height, width = pixels.shape[:2]
    extra = ((0, -height % multiple), (0, -width % multiple)) + ((0, 0),) * (pixels.ndim - 2)
    return np.pad(pixels, extra, mode="edge")
