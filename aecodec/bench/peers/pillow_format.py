"""Peers that Pillow itself writes and reads."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import PIL
from PIL import Image, features

from ...contracts import MissingDependencyError
from ..codecs import FileCodec


def pillow_codec(
    name: str,
    settings: str,
    library: tuple[str, str],
    qualities: tuple[float, ...],
    encode: Callable[[Image.Image, float], bytes],
    **more: Any,
) -> FileCodec:
    """A codec of a format that Pillow decodes. Raises MissingDependencyError if Pillow was built without its library.

    library: its name for people and as a feature of Pillow; more: further fields of `FileCodec`.
    """
    version = features.version(library[1])
    if version is None:
        raise MissingDependencyError(f"codec {name} needs a Pillow that was built with {library[0]}")
    told = f"Pillow {PIL.__version__}, {library[0]} {version}"
    return FileCodec(name, settings, told, qualities, encode, decode_with_pillow, **more)


def saving(file_format: str, **options: Any) -> Callable[[Image.Image, float], bytes]:
    """An encoder: `Image.save` in this format with these options and the quality."""

    def encode(image: Image.Image, quality: float) -> bytes:
        return saved(image, file_format, quality=int(quality), **options)

    return encode


def saved(image: Image.Image, file_format: str, **options: Any) -> bytes:
    """The file that `Image.save` writes."""
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def decode_with_pillow(data: bytes) -> Image.Image:
    """Whole file -> RGB picture, really decoded (Pillow is lazy)."""
    with Image.open(io.BytesIO(data)) as image:
        return image.convert("RGB")
