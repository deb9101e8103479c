"""Picture files to .aec files and back: the functions that the package exports."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .. import checkpoint
from ..coding import container
from ..coding.container import Header
from ..contracts import QUALITY_STEPS, UsageError
from ..data.files import read_bytes, write_atomic
from ..data.images import read_picture, write_picture
from ..data.tiling import crop_window
from ..device import pick_device
from ..hasher import Hasher
from ..zoo.registry import find_fingerprint, find_model
from .codec import DEFAULT_QUALITY, Codec
from .refine import DEFAULT_EFFORT


@dataclass(frozen=True)
class Compressed:
    """What `compress` did. quality: step / 10; input_bytes: of the original file; bpp: of the new one."""

    output: Path
    input_bytes: int
    output_bytes: int
    width: int
    height: int
    quality: float
    bpp: float
    notices: tuple[str, ...] = ()


def compress(
    source: str | Path,
    target: str | Path | None = None,
    *,
    quality: float = DEFAULT_QUALITY,
    target_bpp: float | None = None,
    target_size: int | None = None,
    target_psnr: float | None = None,
    model: str | Path | None = None,
    strip: set[str] | frozenset[str] = frozenset(),
    orientation: str = "apply",
    overwrite: bool = False,
    device: str = "cpu",
    codec: Codec | None = None,
    with_hash: bool = True,
    hasher: Hasher | None = None,
    effort: int = DEFAULT_EFFORT,
) -> Compressed:
    """A picture file -> an .aec file beside it (or at ``target``), written atomically.

    codec: an already loaded one, instead of ``model`` and ``device``. orientation: "apply" turns the picture upright
    as its Exif says, "keep" leaves pixels and Exif as they are. with_hash: carry a semantic hash, about 40 bytes, by
    which the file is found without being decoded; hasher: of which model, the embedded one unless given. effort: 1 to
    9, see `Codec.encode_picture`. Raises ImageReadError, OutputExistsError, OutputError, UnknownName,
    TargetUnreachableError.
    """
    source = Path(source)
    output = Path(target) if target is not None else source.with_suffix(".aec")
    picture = read_picture(source, orientation=orientation, windowed=True)
    if picture.turned and "exif" in strip:
        raise UsageError(f"{source}: the orientation is to be kept, but not the Exif that says it")
    picture = picture.without(set(strip))
    codec = codec or Codec.from_pretrained(model, device=device)
    if with_hash:
        hasher = hasher or Hasher.from_pretrained(device=device)
    encoded = codec.encode_picture(
        picture,
        quality=quality,
        target_bpp=target_bpp,
        target_size=target_size,
        target_psnr=target_psnr,
        effort=effort,
        semantic_hash=hasher.describe(picture.upright_pixels) if hasher and with_hash else None,
    )
    write_atomic(output, encoded.data, overwrite=overwrite)
    return Compressed(
        output,
        source.stat().st_size,
        len(encoded.data),
        encoded.width,
        encoded.height,
        100.0 * encoded.quality / QUALITY_STEPS,
        encoded.bpp,
        picture.notices,
    )


def codec_for(
    data: bytes, model: str | Path | None = None, device: str = "cpu", precision: str = "auto", jobs: int = 1
) -> Codec:
    """The codec that a file was written with, found by fingerprint. Raises ModelMismatchError."""
    header, _ = container.parse_header(data)
    extra = find_model(model) if model is not None else None
    path = find_fingerprint(header.fingerprint, header.model, extra)
    return Codec(checkpoint.load(path, pick_device(device)), precision, jobs=jobs)


def decompress(
    source: str | Path,
    target: str | Path | None = None,
    *,
    crop: tuple[int, int, int, int] | None = None,
    allow_partial: bool = False,
    model: str | Path | None = None,
    overwrite: bool = False,
    device: str = "cpu",
    codec: Codec | None = None,
) -> Path:
    """An .aec file -> a picture beside it (PNG, or the format of ``target``'s suffix), written atomically.

    crop: (x, y, width, height) in pixels of the part wanted; only the tiles that it needs are decoded.
    allow_partial: decode what is whole of a damaged file; lost tiles become grey.
    """
    source = Path(source)
    output = Path(target) if target is not None else source.with_suffix(".png")
    data = read_bytes(source)
    parsed = container.parse(data, partial=allow_partial)
    if codec is None or codec.fingerprint != parsed.header.fingerprint:
        codec = codec_for(data, model, device)
    write_picture(codec.decode_container(parsed, crop_window(crop), windowed=True), output, overwrite=overwrite)
    return output


def verify(source: str | Path, *, full: bool = False, model: str | Path | None = None, device: str = "cpu") -> Header:
    """Check every checksum of a file; with ``full``, decode it as well. Raises BitstreamError and its kin."""
    data = read_bytes(Path(source))
    parsed = container.parse(data)
    if full:
        codec_for(data, model, device).decode_container(parsed)
    return parsed.header
