"""``aecodec compress`` and ``aecodec decompress``."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..contracts import UsageError
from ..data.files import make_folder
from ..data.images import ORIENTATIONS, PHOTO_SUFFIXES, encode_picture, read_picture, require_writer, write_picture
from .batch import (
    AEC,
    Job,
    announce,
    batch_options,
    carry_out,
    deliver,
    limit_pixels,
    parse_size,
    plan,
    read_source,
    refuse_terminal,
    share_processor,
)
from .output import size_text

if TYPE_CHECKING:
    from ..codec.codec import Codec
    from ..data.images import Picture
    from ..hasher import Hasher


@click.command()
@batch_options
@click.option("-q", "--quality", type=click.FloatRange(0, 100), default=50.0, show_default=True, help="0 to 100.")
@click.option("--target-bpp", type=click.FloatRange(0, min_open=True), help="Bits per pixel not to exceed.")
@click.option("--target-size", metavar="BYTES", help="File size not to exceed: 60000, 60k, 1.5M.")
@click.option("--target-psnr", type=click.FloatRange(0, min_open=True), help="PSNR in dB not to exceed.")
@click.option("--closest", is_flag=True, help="Come as near to a target as can be, above it or below.")
@click.option("--strip", type=click.Choice(["all", "exif", "xmp", "icc"]), multiple=True, help="Metadata to leave out.")
@click.option(
    "--orientation",
    type=click.Choice(ORIENTATIONS),
    default="apply",
    show_default=True,
    help="Turn the picture upright as its Exif says, or keep pixels and Exif as they are.",
)
@click.option(
    "--effort",
    type=click.IntRange(1, 9),
    default=1,
    show_default=True,
    help="Above 1, refine the latents of each picture: smaller files for more time here, none when decoding.",
)
@click.option("--hash/--no-hash", "with_hash", default=True, help="Carry a semantic hash, about 40 bytes, for search.")
@click.option("--verify", "check", is_flag=True, help="Decode the latents of each file again before it is written.")
def compress(
    quality: float,
    target_bpp: float | None,
    target_size: str | None,
    target_psnr: float | None,
    closest: bool,
    strip: tuple[str, ...],
    orientation: str,
    with_hash: bool,
    check: bool,
    effort: int,
    **batch: Any,
) -> int:
    """Compress pictures: photo.jpg becomes photo.aec. "-" is stdin or stdout."""
    targets = sum(target is not None for target in (target_bpp, target_size, target_psnr))
    if targets > 1:
        raise UsageError("--target-bpp, --target-size and --target-psnr exclude each other")
    if closest and not targets:
        raise UsageError("--closest needs a target to come close to")
    size = parse_size(target_size) if target_size else None
    kinds = {"exif", "xmp", "icc"} if "all" in strip else set(strip)
    limit_pixels(batch)
    jobs = plan(batch, AEC, PHOTO_SUFFIXES)
    if batch["dry_run"]:
        return announce(jobs)
    codec = _load_codec(batch, len(jobs))
    hasher = _load_hasher(batch["device"]) if with_hash else None

    def work(job: Job) -> dict[str, Any]:
        source = read_source("-") if job.source == "-" else Path(job.source)
        original = read_picture(source, job.source, orientation=orientation, windowed=True)
        picture = original.without(kinds)
        if original.turned and not picture.turned:
            raise UsageError(f"{job.source}: --orientation keep needs the Exif that --strip would leave out")
        encoded = codec.encode_picture(
            picture,
            quality=quality,
            target_bpp=target_bpp,
            target_size=size,
            target_psnr=target_psnr,
            closest=closest,
            check=check,
            effort=effort,
            semantic_hash=hasher.describe(picture.upright_pixels) if hasher else None,
        )
        deliver(encoded.data, job.target, batch["force"])
        taken = len(source) if isinstance(source, bytes) else os.stat(source).st_size
        return {
            "input": job.source,
            "output": job.target,
            "input_bytes": taken,
            "bytes": len(encoded.data),
            "width": encoded.width,
            "height": encoded.height,
            "bpp": round(encoded.bpp, 5),
            "quality": encoded.quality / 10,
            "alpha_bytes": encoded.alpha_bytes,
            "encodes": encoded.encodes,
            "model": codec.name,
            "notices": picture.notices,
        }

    def say(record: dict[str, Any]) -> str:
        share = record["bytes"] / record["input_bytes"]
        alpha = f", {size_text(record['alpha_bytes'])} of them alpha" if record["alpha_bytes"] else ""
        return (
            f"{record['output']}: {size_text(record['input_bytes'])} -> {size_text(record['bytes'])} "
            f"({share:.1%}, {record['bpp']:.3f} bpp, quality {record['quality']:g}{alpha})"
        )

    return carry_out(jobs, work, say, batch, "compressing")


@click.command()
@batch_options
@click.option("--format", "suffix", default="png", show_default=True, help="Format where the output names none.")
@click.option("--crop", metavar="X,Y,W,H", help="Only this part, in pixels; decodes only the tiles it needs.")
@click.option("--allow-partial", is_flag=True, help="Decode what is whole of a damaged file; the rest becomes grey.")
def decompress(suffix: str, crop: str | None, allow_partial: bool, **batch: Any) -> int:
    """Decompress .aec files: photo.aec becomes photo.png, or the format of OUT's suffix."""
    from ..data.tiling import crop_window

    part = crop_window(parse_crop(crop))
    ending = f".{suffix.lstrip('.')}"
    limit_pixels(batch)
    jobs = plan(batch, ending, {AEC})
    if batch["dry_run"]:
        return announce(jobs)
    codecs = _Codecs(batch, len(jobs))

    def work(job: Job) -> dict[str, Any]:
        from ..coding import container

        output = ending if job.target == "-" else Path(job.target).suffix
        require_writer(output)
        data = read_source(job.source)
        parsed = container.parse(data, partial=allow_partial)
        picture = codecs.of(data).decode_container(parsed, part, windowed=True)
        count, notices = _write(picture, job, output, batch["force"])
        height, width = picture.pixels.shape[:2]
        return {
            "input": job.source,
            "output": job.target,
            "input_bytes": len(data),
            "bytes": count,
            "width": width,
            "height": height,
            "damaged_tiles": picture.damaged,
            "notices": [f"{job.source}: {text}" for text in picture.notices + notices],
        }

    def say(record: dict[str, Any]) -> str:
        return f"{record['output']}: {record['width']} x {record['height']}, {size_text(record['bytes'])}"

    return carry_out(jobs, work, say, batch, "decompressing")


def _write(picture: Picture, job: Job, suffix: str, force: bool) -> tuple[int, tuple[str, ...]]:
    """Write a picture where a job says -> (bytes written, notices)."""
    if job.target == "-":
        refuse_terminal()
        data, notices = encode_picture(picture, suffix)
        deliver(data, "-", force)
        return len(data), notices
    target = Path(job.target)
    make_folder(target.parent)
    notices = write_picture(picture, target, overwrite=force)
    return os.stat(target).st_size, notices


def parse_crop(text: str | None) -> tuple[int, int, int, int] | None:
    """Text as in 10,20,300,200 -> (x, y, width, height). Raises UsageError."""
    if text is None:
        return None
    try:
        x, y, width, height = (int(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"--crop takes X,Y,W,H in pixels, got {text!r}") from None
    return x, y, width, height


def _load_hasher(device: str) -> Hasher:
    from ..hasher import Hasher

    return Hasher.from_pretrained(device=device)


def _load_codec(batch: dict[str, Any], files: int) -> Codec:
    from ..codec.codec import Codec

    share_processor(batch)
    jobs = batch["jobs"] if files == 1 else 1
    return Codec.from_pretrained(batch["model"], device=batch["device"], precision=batch["precision"], jobs=jobs)


class _Codecs:
    """The codecs that files ask for by fingerprint, each loaded once."""

    def __init__(self, batch: dict[str, Any], files: int) -> None:
        self._batch = batch
        self._jobs = batch["jobs"] if files == 1 else 1
        self._loaded: dict[bytes, Codec] = {}
        self._lock = threading.Lock()

    def of(self, data: bytes) -> Codec:
        """Raises ModelMismatchError where the model is not here."""
        from ..codec.files import codec_for
        from ..coding import container

        key = container.parse_header(data)[0].fingerprint
        with self._lock:
            if key not in self._loaded:
                share_processor(self._batch)
                batch = self._batch
                self._loaded[key] = codec_for(data, batch["model"], batch["device"], batch["precision"], self._jobs)
            return self._loaded[key]
