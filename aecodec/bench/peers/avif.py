"""AVIF by Pillow, which brings libaom: tuned for several metrics at equal settings, and as shipped."""

from __future__ import annotations

from functools import partial

from PIL import Image

from ...contracts import MissingDependencyError
from ..codecs import FileCodec
from .pillow_format import pillow_codec, saved, saving

_LIBRARY = "libavif", "avif"
_QUALITIES = (10, 20, 32, 44, 56, 66, 75)


def _open_tuned(name: str, tune: str) -> FileCodec:
    """On one thread. Raises MissingDependencyError for a libaom without this tune."""
    settings = f"Pillow AVIF aom, speed=4, 4:4:4, 8-bit, tune={tune}, one thread"
    encode = saving("AVIF", codec="aom", speed=4, subsampling="4:4:4", advanced={"tune": tune}, max_threads=1)
    codec = pillow_codec(name, settings, _LIBRARY, _QUALITIES, encode)
    try:
        saved(Image.new("RGB", (16, 16)), "AVIF", codec="aom", advanced={"tune": tune})
    except ValueError as error:
        raise MissingDependencyError(f"codec {name} needs a Pillow whose libaom has tune={tune} ({error})") from error
    return codec


#: Tuned for the metric of the tables; for structural similarity; for eyes, which libavif does unless told otherwise.
open_avif = partial(_open_tuned, "avif", "psnr")
open_avif_ssim = partial(_open_tuned, "avif-ssim", "ssim")
open_avif_iq = partial(_open_tuned, "avif-iq", "iq")


def open_avif_default() -> FileCodec:
    """As shipped: what `Image.save` does with a quality alone."""
    settings = "Pillow AVIF, its defaults (aom, speed 6, 4:2:0, 8-bit, libavif's own tune), one thread"
    return pillow_codec("avif-default", settings, _LIBRARY, _QUALITIES, saving("AVIF", max_threads=1))
