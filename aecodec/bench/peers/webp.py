"""WebP by Pillow: with its slowest method, and at its defaults."""

from __future__ import annotations

from ..codecs import FileCodec
from .pillow_format import pillow_codec, saving

_LIBRARY = "libwebp", "webp"


def open_webp() -> FileCodec:
    """The method that makes the smallest files."""
    settings, qualities = "Pillow WebP lossy, method=6 (4:2:0)", (0, 5, 15, 30, 50, 70, 80, 88, 93)
    return pillow_codec("webp", settings, _LIBRARY, qualities, saving("WEBP", method=6))


def open_webp_default() -> FileCodec:
    """As CompressAI's benchmark calls it."""
    settings = "Pillow WebP lossy, its defaults (method 4, 4:2:0), as in CompressAI's benchmark"
    return pillow_codec("webp-default", settings, _LIBRARY, (5, 15, 30, 50, 70, 80, 90, 95), saving("WEBP"))
