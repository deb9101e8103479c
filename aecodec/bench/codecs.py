"""The codecs that are measured: ours and its classical peers, each from a picture to real file bytes and back."""

from __future__ import annotations

import io
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import PIL
from PIL import Image, features

#: Quality points of our own codec unless others are asked for.
OUR_QUALITIES = (0.0, 15.0, 30.0, 45.0, 60.0, 75.0, 90.0, 100.0)


@dataclass(frozen=True)
class FileCodec:
    """One codec at fixed settings.

    name: as in tables and file names. version: what must be the same for two runs to be comparable.
    qualities: the points of its curve. encode: (RGB picture, quality) -> a whole file.
    decode: a whole file -> RGB picture.
    tile_codec: the object whose `decode_tile` is the entropy decoder, if the codec gives access to it.
    scale: what quality means: "quality" is the codec's own 0 to 100, anything else is a unit of its own.
    whole: whether only whole numbers are qualities. falling: whether a larger number means fewer bits.
    learned: whether it is a network, whose arithmetic is counted.
    """

    name: str
    settings: str
    version: str
    qualities: tuple[float, ...]
    encode: Callable[[Image.Image, float], bytes]
    decode: Callable[[bytes], Image.Image]
    tile_codec: Any = None
    scale: str = "quality"
    whole: bool = True
    falling: bool = False
    learned: bool = False

    @property
    def poorest(self) -> float:
        """The point of fewest bits."""
        return max(self.qualities) if self.falling else min(self.qualities)


@dataclass
class Stopwatch:
    """Wall-clock and CPU seconds; CPU seconds count every thread and every finished child process."""

    wall: float = 0.0
    cpu: float = 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        """Add the duration of the block."""
        wall, cpu = time.perf_counter(), _cpu_seconds()
        try:
            yield
        finally:
            self.wall += time.perf_counter() - wall
            self.cpu += _cpu_seconds() - cpu


def _cpu_seconds() -> float:
    children = os.times()
    return time.process_time() + children.children_user + children.children_system


@dataclass
class TileWatch:
    """What `decode_tile` did. tiles: (payload, the LatentCode it decoded to) of each call."""

    stopwatch: Stopwatch = field(default_factory=Stopwatch)
    tiles: list[tuple[bytes, Any]] = field(default_factory=list)


@contextmanager
def watching(tile_codec: Any) -> Iterator[TileWatch]:
    """Time and keep every call of a TileCodec's `decode_tile` inside the block."""
    watch, original = TileWatch(), tile_codec.decode_tile

    def watched(data: bytes, *args: Any) -> Any:
        with watch.stopwatch.running():
            code = original(data, *args)
        watch.tiles.append((data, code))
        return code

    tile_codec.decode_tile = watched
    try:
        yield watch
    finally:
        del tile_codec.decode_tile  # the instance's attribute: the class's method shows again


def decode_with_pillow(data: bytes) -> Image.Image:
    """Whole file -> RGB picture, really decoded (Pillow is lazy)."""
    with Image.open(io.BytesIO(data)) as image:
        return image.convert("RGB")


def _pillow_encoder(file_format: str, **options: Any) -> Callable[[Image.Image, float], bytes]:
    def encode(image: Image.Image, quality: float) -> bytes:
        buffer = io.BytesIO()
        image.save(buffer, file_format, quality=int(quality), **options)
        return buffer.getvalue()

    return encode


def _jpeg2000(image: Image.Image, bits_per_pixel: float) -> bytes:
    buffer = io.BytesIO()
    image.save(
        buffer,
        "JPEG2000",
        quality_mode="rates",
        quality_layers=[24 / bits_per_pixel],
        irreversible=True,
        mct=1,
        no_jp2=False,
    )
    return buffer.getvalue()


def _version(library: str, feature: str) -> str:
    return f"Pillow {PIL.__version__}, {library} {features.version(feature) or 'absent'}"


_JPEG_QUALITIES = (5, 10, 15, 20, 30, 45, 60, 75, 85)

#: name -> how to make it; a function, so that nothing is looked up before it is asked for.
PEERS: dict[str, Callable[[], FileCodec]] = {
    "jpeg": lambda: FileCodec(
        "jpeg",
        "Pillow JPEG, its defaults (4:2:0, standard Huffman tables), as in CompressAI's benchmark",
        _version("libjpeg-turbo", "libjpeg_turbo"),
        _JPEG_QUALITIES,
        _pillow_encoder("JPEG"),
        decode_with_pillow,
    ),
    "jpeg420": lambda: FileCodec(
        "jpeg420",
        "Pillow JPEG, 4:2:0, optimize=True, baseline sequential",
        _version("libjpeg-turbo", "libjpeg_turbo"),
        _JPEG_QUALITIES,
        _pillow_encoder("JPEG", optimize=True, progressive=False, subsampling="4:2:0"),
        decode_with_pillow,
    ),
    "jpeg444": lambda: FileCodec(
        "jpeg444",
        "Pillow JPEG, 4:4:4, optimize=True, baseline sequential",
        _version("libjpeg-turbo", "libjpeg_turbo"),
        _JPEG_QUALITIES,
        _pillow_encoder("JPEG", optimize=True, progressive=False, subsampling="4:4:4"),
        decode_with_pillow,
    ),
    "webp": lambda: FileCodec(
        "webp",
        "Pillow WebP lossy, method=6 (4:2:0)",
        _version("libwebp", "webp"),
        (0, 5, 15, 30, 50, 70, 80, 88, 93),
        _pillow_encoder("WEBP", method=6),
        decode_with_pillow,
    ),
    "webp-default": lambda: FileCodec(
        "webp-default",
        "Pillow WebP lossy, its defaults (method 4, 4:2:0), as in CompressAI's benchmark",
        _version("libwebp", "webp"),
        (5, 15, 30, 50, 70, 80, 90, 95),
        _pillow_encoder("WEBP"),
        decode_with_pillow,
    ),
    "avif": lambda: FileCodec(
        "avif",
        "Pillow AVIF aom, speed=4, 4:4:4, 8-bit, tune=psnr, one thread",
        _version("libavif", "avif"),
        (10, 20, 32, 44, 56, 66, 75),
        _pillow_encoder("AVIF", codec="aom", speed=4, subsampling="4:4:4", advanced={"tune": "psnr"}, max_threads=1),
        decode_with_pillow,
    ),
    "jpeg2000": lambda: FileCodec(
        "jpeg2000",
        "Pillow JPEG2000 (OpenJPEG), 9/7 irreversible, ICT, 1 layer, rates=24/q (q = target bpp), jp2 container",
        _version("OpenJPEG", "jpg_2000"),
        (0.1, 0.15, 0.25, 0.4, 0.6, 0.85, 1.15, 1.5),
        _jpeg2000,
        decode_with_pillow,
        scale="bpp",
        whole=False,
    ),
}


def open_ours(model: str | None, device: str, qualities: tuple[float, ...]) -> FileCodec:
    """Our codec with a model by name or path (None: the built-in default). Raises AecodecError."""
    from ..codec.codec import Codec  # here, so that the peers can be measured without torch

    codec = Codec.from_pretrained(model, device=device)
    return FileCodec(
        f"aec-{codec.name}",
        f"aecodec, model {codec.name}, device {device}",
        codec.fingerprint.hex(),
        qualities,
        lambda image, quality: codec.encode(image, quality=quality),
        lambda data: codec.decode(data).convert("RGB"),
        tile_codec=codec.engine,
        whole=False,
        learned=True,
    )
