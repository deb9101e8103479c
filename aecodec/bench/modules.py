"""Peers that are Python packages: measured where they are installed, never required."""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image

from ..contracts import MissingDependencyError
from .codecs import FileCodec


def open_jxl() -> FileCodec:
    """JPEG XL through imagecodecs; its points are Butteraugli distances, the smaller the better."""
    imagecodecs = _package("jxl", "imagecodecs")

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
        whole=False,
        falling=True,
    )


def open_heic() -> FileCodec:
    """HEIC through pillow-heif, which brings x265."""
    heif = _package("heic", "pillow_heif", "pillow-heif")

    def encode(image: Image.Image, quality: float) -> bytes:
        buffer = io.BytesIO()
        heif.from_pillow(image).save(
            buffer, quality=int(quality), chroma="444", enc_params={"preset": "veryslow", "tune": "psnr"}
        )
        return buffer.getvalue()

    def decode(data: bytes) -> Image.Image:
        return heif.open_heif(io.BytesIO(data)).to_pillow().convert("RGB")

    info = heif.libheif_info()
    return FileCodec(
        "heic",
        "pillow-heif HEIC, x265, 4:4:4, preset=veryslow, tune=psnr",
        f"pillow-heif {heif.__version__}, libheif {info['libheif']}, {info['HEIF']}",
        (8, 16, 24, 32, 40, 48, 56),
        encode,
        decode,
    )


#: name -> how to open it. Raises MissingDependencyError.
MODULES: dict[str, Callable[[], FileCodec]] = {"jxl": open_jxl, "heic": open_heic}


def _package(codec: str, module: str, distribution: str | None = None) -> Any:
    """An optional package, imported. Raises MissingDependencyError."""
    name = distribution or module
    if importlib.util.find_spec(module) is None:
        raise MissingDependencyError(f"codec {codec} needs the package {name}: pip install {name}")
    return importlib.import_module(module)
