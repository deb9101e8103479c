"""Files of one picture by several codecs at about one size, by real encodes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from PIL import Image

from ..contracts import AecodecError
from .codecs import FileCodec

#: What a codec may raise on a picture that it cannot encode or decode.
CODEC_ERRORS = (AecodecError, OSError, ValueError, RuntimeError)
#: Encodes of a search at most, and how far off the size, as a share of it, a search by a scale without steps ends.
_STEPS, _NEAR = 8, 0.003


@dataclass(frozen=True)
class Sized:
    """A whole file at a quality on the codec's own scale."""

    quality: float
    data: bytes


def common_size(
    codecs: list[FileCodec], image: Image.Image, bpp: float, name: str, say: Callable[[str], None]
) -> tuple[int, list[FileCodec]]:
    """The size in bytes that files of a picture are to have, and the codecs that can encode it.

    That of ``bpp`` bits per pixel, or what the codec of the largest smallest file needs. say: told of a codec that
    fails; name: what the picture is called then.
    """
    smallest: dict[str, int] = {}
    for codec in codecs:
        try:
            smallest[codec.name] = len(codec.encode(image, codec.poorest))
        except CODEC_ERRORS as error:
            say(f"{name}: {codec.name} is left out: {error}")
    target = max([round(bpp * image.width * image.height / 8), *smallest.values()])
    return target, [codec for codec in codecs if codec.name in smallest]


def at_most(codec: FileCodec, image: Image.Image, target: int) -> Sized:
    """The largest file found of at most ``target`` bytes; the codec's smallest where there is none."""
    tried = _tried(codec, image, target)
    fitting = [one for one in tried if len(one.data) <= target]
    return max(fitting, key=lambda one: len(one.data), default=tried[0])


def nearest(codec: FileCodec, image: Image.Image, target: int) -> Sized:
    """The file found whose size is nearest to ``target`` bytes, above or below it."""
    return min(_tried(codec, image, target), key=lambda one: abs(len(one.data) - target))


def _tried(codec: FileCodec, image: Image.Image, target: int) -> list[Sized]:
    """The poorest point, then those of a bisection towards ``target`` bytes, from that to the codec's best."""
    # Positions rise with the bits, whatever the codec calls them.
    sign = -1.0 if codec.falling else 1.0
    best = max(sign * quality for quality in codec.qualities)
    low, high = sign * codec.poorest, 100.0 if codec.scale == "quality" else best

    def encoded(position: float) -> Sized:
        return Sized(sign * position, codec.encode(image, sign * position))

    tried = [encoded(low)]
    low, high = (low + 1, math.floor(high)) if codec.integer else (low, high)
    for _ in range(_STEPS):
        if high < low:
            break
        middle = (low + high) // 2 if codec.integer else (low + high) / 2
        tried.append(encoded(middle))
        size = len(tried[-1].data)
        if abs(size - target) <= _NEAR * target and not codec.integer:
            break
        if size <= target:
            low = middle + 1 if codec.integer else middle
        else:
            high = middle - 1 if codec.integer else middle
    return tried
