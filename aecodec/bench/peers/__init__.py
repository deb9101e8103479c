"""The table of codecs that are measured: ours and its peers, one file each, imported only when asked for."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module

from ..codecs import FileCodec


@dataclass(frozen=True)
class Peer:
    """Where a codec lives, what it is, and how its curve is drawn.

    opener: ``module:function``, the module relative to this package or absolute. The function takes nothing, or what
    follows the codec's name and the device of our models where the codec has an `argument`; it returns a `FileCodec`
    and raises MissingDependencyError if a library or program is absent.
    label: the name for people. colour, marker: of its curve, the marker as matplotlib calls it; more_curves: those of
    further curves where a name stands for several codecs. argument: how that which follows the name is written,
    brackets if it may be missing; such a codec is a network, called NAME-... in results.
    """

    opener: str
    label: str
    colour: str
    marker: str
    summary: str
    argument: str = ""
    more_curves: tuple[tuple[str, str], ...] = ()

    def open(self, argument: str, device: str) -> FileCodec:
        """Import the codec's file and open it. Raises what the opener raises."""
        module, _, function = self.opener.partition(":")
        opener = getattr(import_module(module, __name__), function)
        codec: FileCodec = opener(argument, device) if self.argument else opener()
        return codec


#: Name -> codec, in the order of tables. Colours and markers: told apart with every common colour blindness (Okabe &
#: Ito's colours for those that meet most often), markers say the same again.
PEERS: dict[str, Peer] = {
    "aec": Peer(
        ".aec:open_aec",
        "aecodec",
        "#D55E00",
        "o",
        "ours, with its default model or another",
        "[:NAME_OR_PATH]",
        (("#8C2D04", "s"), ("#E69F00", "D")),
    ),
    "compressai": Peer(
        ".compressai:open_compressai",
        "CompressAI",
        "#C2185B",
        "o",
        "a network of CompressAI's zoo; PATH: a checkpoint, or a folder of them, a point each",
        ":ARCHITECTURE:PATH",
        (("#7A1FA2", "s"), ("#E57FA8", "D")),
    ),
    "avif": Peer(".avif:open_avif", "AVIF (aom, 4:4:4)", "#0072B2", "^", "Pillow's AVIF: libaom, speed 4, for PSNR"),
    "avif-iq": Peer(".avif:open_avif_iq", "AVIF (tune iq)", "#3E9BD8", "v", "the same for eyes, libavif's own tune"),
    "avif-ssim": Peer(".avif:open_avif_ssim", "AVIF (tune ssim)", "#1F5F8B", "p", "the same for structural similarity"),
    "avif-default": Peer(
        ".avif:open_avif_default", "AVIF (as shipped)", "#6FA8C9", "P", "Pillow's AVIF at its defaults: speed 6, 4:2:0"
    ),
    "jpeg2000": Peer(".jpeg2000:open_jpeg2000", "JPEG 2000", "#CC79A7", "D", "Pillow's OpenJPEG, at rates in bpp"),
    "webp": Peer(".webp:open_webp", "WebP", "#009E73", "v", "Pillow's libwebp, method 6"),
    "jpeg444": Peer(".jpeg:open_jpeg444", "JPEG 4:4:4", "#56B4E9", "s", "Pillow's JPEG, optimised tables"),
    "jpeg420": Peer(".jpeg:open_jpeg420", "JPEG 4:2:0", "#8A6D00", "P", "Pillow's JPEG, optimised tables"),
    "jxl": Peer(".jxl:open_jxl", "JPEG XL", "#7B61A8", "X", "libjxl of the package imagecodecs, effort 7"),
    "cjxl": Peer(".cjxl:open_cjxl", "JPEG XL (cjxl)", "#4B2E83", ">", "the programs cjxl and djxl, effort 7"),
    "avifenc": Peer(".avifenc:open_avifenc", "AVIF (avifenc)", "#004A7C", "8", "the programs avifenc and avifdec"),
    "mozjpeg": Peer(".mozjpeg:open_mozjpeg", "mozjpeg", "#5F6B6D", "p", "the program cjpeg of mozjpeg, 4:2:0"),
    "heif-enc": Peer(
        ".heif_enc:open_heif_enc", "HEIC (heif-enc)", "#7A0F1E", "h", "the programs heif-enc and heif-convert"
    ),
    "heic": Peer(".heic:open_heic", "HEIC (x265, 4:4:4)", "#B2182B", "<", "x265 of the package pillow-heif, very slow"),
    "vvc": Peer(".vvc:open_vvc", "VVC (vvenc)", "#1A1A1A", "*", "intra by the programs vvencapp and vvdecapp"),
    "jpeg": Peer(
        ".jpeg:open_jpeg", "JPEG (Pillow's defaults)", "#B59A2B", "H", "Pillow's JPEG as CompressAI measures it"
    ),
    "webp-default": Peer(
        ".webp:open_webp_default",
        "WebP (Pillow's defaults)",
        "#4DBD9A",
        "d",
        "Pillow's libwebp as CompressAI measures it",
    ),
    "jpeg2000-ffmpeg": Peer(
        ".jpeg2000_ffmpeg:open_jpeg2000_ffmpeg",
        "JPEG 2000 (ffmpeg)",
        "#9C4F7C",
        "d",
        "the program ffmpeg with OpenJPEG, as CompressAI measures it",
    ),
}


def table_name(codec: str) -> str | None:
    """The table's name of a codec as results call it: avif of avif, aec of aec-MODEL; None for a stranger."""
    if codec in PEERS:
        return codec
    return next((name for name, peer in PEERS.items() if peer.argument and codec.startswith(f"{name}-")), None)
