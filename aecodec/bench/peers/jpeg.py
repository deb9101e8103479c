"""JPEG by Pillow: at its defaults, and with optimised tables at 4:2:0 and 4:4:4."""

from __future__ import annotations

from ..codecs import FileCodec
from .pillow_format import pillow_codec, saving

_LIBRARY = "libjpeg-turbo", "libjpeg_turbo"
_QUALITIES = (5, 10, 15, 20, 30, 45, 60, 75, 85)


def open_jpeg() -> FileCodec:
    """As CompressAI's benchmark calls it."""
    settings = "Pillow JPEG, its defaults (4:2:0, standard Huffman tables), as in CompressAI's benchmark"
    return pillow_codec("jpeg", settings, _LIBRARY, _QUALITIES, saving("JPEG"))


def open_jpeg420() -> FileCodec:
    """Chroma at half the resolution."""
    return _optimised("jpeg420", "4:2:0")


def open_jpeg444() -> FileCodec:
    """Chroma at full resolution."""
    return _optimised("jpeg444", "4:4:4")


def _optimised(name: str, subsampling: str) -> FileCodec:
    settings = f"Pillow JPEG, {subsampling}, optimize=True, baseline sequential"
    encode = saving("JPEG", optimize=True, progressive=False, subsampling=subsampling)
    return pillow_codec(name, settings, _LIBRARY, _QUALITIES, encode)
