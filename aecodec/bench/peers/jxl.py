"""JPEG XL by the package imagecodecs, which brings libjxl."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image

from ..codecs import FileCodec
from .package import require_package


def open_jxl() -> FileCodec:
    """Points are Butteraugli distances, the smaller the better. Raises MissingDependencyError."""
    imagecodecs = require_package("jxl", "imagecodecs")

    def encode(image: Image.Image, distance: float) -> bytes:
        return bytes(imagecodecs.jpegxl_encode(np.asarray(image), distance=distance, effort=7, numthreads=1))

    def decode(data: bytes) -> Image.Image:
        return Image.fromarray(imagecodecs.jpegxl_decode(data, numthreads=1)).convert("RGB")

    return FileCodec(
        "jxl",
        "imagecodecs JPEG XL, effort 7, one thread, bare codestream",
        f"imagecodecs {imagecodecs.__version__}, {imagecodecs.jpegxl_version()}",
        (1.1, 1.8, 2.7, 4.0, 6.0, 9.0, 14.0, 20.0),
        encode,
        decode,
        scale="distance",
        limits=(0, math.inf),
        integer=False,
        falling=True,
    )
