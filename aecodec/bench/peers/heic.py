"""HEIC by the package pillow-heif, which brings x265."""

from __future__ import annotations

import io

from PIL import Image

from ..codecs import FileCodec
from .package import require_package


def open_heic() -> FileCodec:
    """At the slowest preset, tuned for the metric of the tables. Raises MissingDependencyError."""
    heif = require_package("heic", "pillow_heif", "pillow-heif")
    options = {"preset": "veryslow", "tune": "psnr"}

    def encode(image: Image.Image, quality: float) -> bytes:
        buffer = io.BytesIO()
        heif.from_pillow(image).save(buffer, quality=int(quality), chroma="444", enc_params=options)
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
