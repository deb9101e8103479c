"""Our own codec, as one that is measured."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..codecs import FileCodec

if TYPE_CHECKING:
    from ...codec.pictures import PictureCodec

#: Points of the curve unless others are asked for.
QUALITIES = (0.0, 10.0, 20.0, 30.0, 40.0, 50.0, 65.0, 80.0, 100.0)


def open_aec(model: str, device: str) -> FileCodec:
    """Our codec with a model by name or path ("": the built-in default). Raises AecodecError."""
    from ...codec.files import Codecs  # here, so that the peers can be measured without torch

    return file_codec(Codecs(model or None, device=device).named(), device)


def file_codec(codec: PictureCodec, device: str = "cpu") -> FileCodec:
    """A codec that is open already, on a device, at the lowest effort: what others are compared with."""
    return FileCodec(
        f"aec-{codec.name}",
        f"aecodec, model {codec.name}, device {device}",
        codec.fingerprint.hex(),
        QUALITIES,
        lambda image, quality: codec.encode(image, quality=quality, effort=1),
        lambda data: codec.decode(data).convert("RGB"),
        tile_codec=getattr(codec, "engine", None),
        integer=False,
        learned=True,
    )
