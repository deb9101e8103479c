"""AVIF by Pillow, which brings libaom."""

from __future__ import annotations

from ..codecs import FileCodec
from .pillow_format import pillow_codec, saving


def open_avif() -> FileCodec:
    """On one thread, tuned for the metric of the tables."""
    settings = "Pillow AVIF aom, speed=4, 4:4:4, 8-bit, tune=psnr, one thread"
    encode = saving("AVIF", codec="aom", speed=4, subsampling="4:4:4", advanced={"tune": "psnr"}, max_threads=1)
    return pillow_codec("avif", settings, ("libavif", "avif"), (10, 20, 32, 44, 56, 66, 75), encode)
