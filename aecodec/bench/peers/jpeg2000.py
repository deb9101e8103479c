"""JPEG 2000 by Pillow, which brings OpenJPEG."""

from __future__ import annotations

from PIL import Image

from ..codecs import FileCodec
from .pillow_format import pillow_codec, saved

_SETTINGS = "Pillow JPEG2000 (OpenJPEG), 9/7 irreversible, ICT, 1 layer, rates=24/q (q = target bpp), jp2 container"


def open_jpeg2000() -> FileCodec:
    """Points are targets of bits per pixel."""
    return pillow_codec(
        "jpeg2000",
        _SETTINGS,
        ("OpenJPEG", "jpg_2000"),
        (0.1, 0.15, 0.25, 0.4, 0.6, 0.85, 1.15, 1.5),
        _encode,
        scale="bpp",
        limits=(0.001, 24),
        integer=False,
    )


def _encode(image: Image.Image, bits_per_pixel: float) -> bytes:
    rates = [24 / bits_per_pixel]
    return saved(image, "JPEG2000", quality_mode="rates", quality_layers=rates, irreversible=True, mct=1, no_jp2=False)
