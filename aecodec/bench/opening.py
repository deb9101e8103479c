"""From what a user writes, `avif` or `aec:NAME_OR_PATH`, to a codec at its settings; the one list of codec names."""

from __future__ import annotations

from dataclasses import replace

from PIL import Image

from ..contracts import MissingDependencyError, UnknownName, UsageError
from .binaries import PROGRAMS, open_program
from .codecs import OUR_QUALITIES, PEERS, FileCodec, open_ours
from .compressai_peer import open_compressai
from .modules import MODULES
from .vvc import open_vvc

#: Names that are not Pillow's or a program's, with what they are.
OTHERS = {
    "aec": "aecodec, or aec:NAME_OR_PATH",
    "vvc": "VVC intra by vvencapp and vvdecapp",
    "compressai": "compressai:ARCHITECTURE:PATH",
}


def codec_names() -> tuple[str, ...]:
    """Every name that `open_codec` knows, whether its library or program is here or not."""
    return (*OTHERS, *PEERS, *MODULES, *PROGRAMS)


def open_codec(
    name: str, *, device: str = "cpu", qualities: tuple[float, ...] | None = None, named: bool = True
) -> FileCodec:
    """A codec by name at its own qualities or at these.

    `qualities` are on the codec's own scale (see `FileCodec.scale`). named: they are meant for this codec; if not,
    they are for every codec whose scale is 0 to 100 and another one keeps its own. Raises UnknownName,
    MissingDependencyError if a library or program is absent, CheckpointError, or UsageError for qualities that the
    scale does not have.
    """
    head, _, rest = name.partition(":")
    if head == "aec":
        codec = open_ours(rest or None, device, OUR_QUALITIES)
    elif head == "compressai":
        arch, _, where = rest.partition(":")
        if not where:
            raise UsageError(f"expected compressai:ARCHITECTURE:PATH, got {name!r}")
        codec = open_compressai(arch, where)
    elif rest or head not in codec_names():
        raise UnknownName(
            f"no codec {name!r}; there are: {', '.join(codec_names())}, aec:NAME_OR_PATH, compressai:ARCHITECTURE:PATH"
        )
    elif head == "vvc":
        codec = open_vvc()
    elif name in PROGRAMS:
        codec = open_program(name)
    else:
        codec = {**PEERS, **MODULES}[name]()
    if "absent" in codec.version:
        raise MissingDependencyError(f"codec {name} needs a Pillow that was built with it; found {codec.version}")
    if qualities and (named or codec.scale == "quality"):
        _check(codec, qualities)
        codec = replace(codec, qualities=qualities)
    return codec


def _check(codec: FileCodec, qualities: tuple[float, ...]) -> None:
    for quality in qualities:
        if codec.scale == "quality" and not 0 <= quality <= 100:
            raise UsageError(f"{codec.name}: quality goes from 0 to 100, got {quality:g}")
        if codec.scale == "checkpoint" and quality not in codec.qualities:
            raise UsageError(f"{codec.name}: its points are 1 to {len(codec.qualities)}, got {quality:g}")
        if codec.whole and quality != int(quality):
            raise UsageError(f"{codec.name}: quality is a whole number, got {quality:g}")
        if codec.scale in ("distance", "QP", "level") and quality < 0:
            raise UsageError(f"{codec.name}: its {codec.scale} is not negative, got {quality:g}")
        if codec.scale == "bpp" and not 0 < quality <= 24:
            raise UsageError(f"{codec.name}: its quality is a target of bits per pixel up to 24, got {quality:g}")


def kmac_per_pixel(codec: FileCodec, picture: Image.Image) -> dict[str, float]:
    """Thousands of multiply-accumulates per pixel that torch spends on convolutions and matrix products.

    {"encode": ..., "decode": ...} for a learned codec at the middle of its qualities, {} for any other. Counted by
    torch's FlopCounterMode (2 floating-point operations are 1 MAC); entropy coding and integer tables are not.
    """
    if not codec.learned:
        return {}
    from torch.utils.flop_counter import FlopCounterMode

    counts, pixels = {}, picture.width * picture.height
    with FlopCounterMode(display=False) as counter:
        data = codec.encode(picture, codec.qualities[len(codec.qualities) // 2])
    counts["encode"] = counter.get_total_flops() / 2 / pixels / 1000
    with FlopCounterMode(display=False) as counter:
        codec.decode(data)
    counts["decode"] = counter.get_total_flops() / 2 / pixels / 1000
    return counts
