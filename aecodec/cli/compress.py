"""``aecodec compress`` and ``aecodec decompress``."""

from __future__ import annotations

import os
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..codec.options import EncodeOptions
from ..coding.container import METADATA
from ..coding.container import SUFFIX as AEC
from ..contracts import UsageError
from ..data.files import make_folder
from ..data.folders import Walk
from ..data.formats import picture_suffixes
from ..data.images import ORIENTATIONS, encode_picture, require_writer, write_picture
from ..zoo.registry import DEFAULT_HASHER, DEFAULT_MODEL, OVERFITTED, TUNES
from .batch import (
    Job,
    Spread,
    Work,
    announce,
    batch_options,
    binary_output,
    carry_out,
    deliver,
    in_threads,
    is_pipe,
    limit_pixels,
    plan,
    read_source,
    share_processor,
)
from .encode_options import encode_options
from .fitting import Fitting
from .numbers import parse_rectangle
from .on_ray import jobs_on_ray, ray_option
from .output import size_text, tell_walk

if TYPE_CHECKING:
    from ..codec.files import Codecs
    from ..data.images import Picture


@click.command()
@batch_options
@encode_options
@click.option(
    "--tune", type=click.Choice(list(TUNES)), help="The embedded model for eyes, which is the default, or for PSNR."
)
@click.option("--strip", type=click.Choice(["all", *METADATA]), multiple=True, help="Metadata to leave out.")
@click.option(
    "--orientation",
    type=click.Choice(ORIENTATIONS),
    default="apply",
    show_default=True,
    help="Turn the picture upright as its Exif or XMP says, or keep pixels and metadata as they are.",
)
@click.option(
    "--hasher", "hasher_name", metavar="NAME|PATH", help="Hasher of the zoo, the cache, or a checkpoint file."
)
@click.option("--hash/--no-hash", "with_hash", default=True, help="Carry a semantic hash, about 40 bytes, for search.")
@ray_option
def compress(
    options: EncodeOptions,
    tune: str | None,
    strip: tuple[str, ...],
    orientation: str,
    hasher_name: str | None,
    with_hash: bool,
    ray: str | None,
    **batch: Any,
) -> int:
    """Compress pictures: photo.jpg becomes photo.aec. "-" is stdin or stdout."""
    limit_pixels(batch)
    if tune is not None:
        if batch["model"] is not None:
            raise UsageError("--tune and --model both name a model")
        batch["model"] = TUNES[tune]
    walk = Walk(picture_suffixes() if batch["recursive"] else (), once=False)
    jobs = plan(batch, AEC, walk)
    if batch["dry_run"]:
        return tell_walk(walk, announce(jobs))
    kinds = set(METADATA) if "all" in strip else set(strip)
    hasher = hasher_name or DEFAULT_HASHER if with_hash else None
    fitting = Fitting(len(jobs), batch["as_json"]) if ray is None else None  # nobody watches what a cluster does
    opening = partial(_open_compression, len(jobs), options, kinds, orientation, hasher, fitting)
    spread: Spread = in_threads
    if ray is not None:
        models = [hasher] if hasher is not None else []
        if batch["model"] != OVERFITTED:
            models.insert(0, batch["model"] or DEFAULT_MODEL)
        spread = partial(jobs_on_ray, address=ray, models=models)
    with fitting.interruptible() if fitting and batch["model"] == OVERFITTED else nullcontext():
        code = carry_out(jobs, opening, _compressed, batch, "compressing", spread)
    if fitting:
        fitting.check()
    return tell_walk(walk, code)


def _open_compression(
    files: int,
    options: EncodeOptions,
    strip: set[str],
    orientation: str,
    hasher_name: str | None,
    fitting: Fitting | None,
    batch: dict[str, Any],
) -> Work:
    """What compresses so many files. hasher_name: of the hash that they carry, None for none; fitting: who watches."""
    from ..codec.files import encode_source
    from ..codec.quality import quality_of
    from ..hasher import Hasher

    codec, hasher = _codecs(batch, files).named(), None
    if hasher_name is not None:
        hasher = Hasher.from_pretrained(hasher_name, device=batch["device"], engine=batch["engine"])

    def work(job: Job) -> dict[str, Any]:
        source = read_source(job.source) if is_pipe(job.source) else Path(job.source)
        with fitting.watched(codec) if fitting else nullcontext():
            encoded, notices = encode_source(
                source, codec, options, name=job.source, strip=strip, orientation=orientation, hasher=hasher
            )
        deliver(encoded.data, job, batch)
        return {
            "input": job.source,
            "output": job.target,
            "input_bytes": len(source) if isinstance(source, bytes) else os.stat(source).st_size,
            "bytes": len(encoded.data),
            "width": encoded.width,
            "height": encoded.height,
            "bpp": round(encoded.bpp, 5),
            "quality": quality_of(encoded.quality),
            "alpha_bytes": encoded.alpha_bytes,
            "encodes": encoded.encodes,
            "model": codec.name,
            "notices": notices,
        }

    return work


def _compressed(record: dict[str, Any]) -> str:
    share = record["bytes"] / record["input_bytes"]
    alpha = f", {size_text(record['alpha_bytes'])} of them alpha" if record["alpha_bytes"] else ""
    return (
        f"{record['output']}: {size_text(record['input_bytes'])} -> {size_text(record['bytes'])} "
        f"({share:.1%}, {record['bpp']:.3f} bpp, quality {record['quality']:g}{alpha})"
    )


@click.command()
@batch_options
@click.option("--format", "suffix", default="png", show_default=True, help="Format where the output names none.")
@click.option("--crop", metavar="X,Y,W,H", help="Only this part, in pixels; decodes only the tiles it needs.")
@click.option("--allow-partial", is_flag=True, help="Decode what is whole of a damaged file; the rest becomes grey.")
def decompress(suffix: str, crop: str | None, allow_partial: bool, **batch: Any) -> int:
    """Decompress .aec files: photo.aec becomes photo.png, or the format of OUT's suffix."""
    part = parse_crop(crop)
    ending = f".{suffix.lstrip('.')}"
    limit_pixels(batch)
    walk = Walk({AEC}, once=False)
    jobs = plan(batch, ending, walk)
    if batch["dry_run"]:
        return tell_walk(walk, announce(jobs))
    from ..codec.files import decode_source

    codecs = _codecs(batch, len(jobs))

    def work(job: Job) -> dict[str, Any]:
        output = ending if job.target == "-" else Path(job.target).suffix
        require_writer(output)
        data = read_source(job.source)
        picture = decode_source(data, codecs, part, allow_partial=allow_partial, windowed=True)
        count, notices = _write(picture, job, output, batch)
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

    return tell_walk(walk, carry_out(jobs, lambda batch: work, _decompressed, batch, "decompressing"))


def _decompressed(record: dict[str, Any]) -> str:
    return f"{record['output']}: {record['width']} x {record['height']}, {size_text(record['bytes'])}"


def _write(picture: Picture, job: Job, suffix: str, batch: dict[str, Any]) -> tuple[int, tuple[str, ...]]:
    """Write a picture where a job says -> (bytes written, notices)."""
    if job.target == "-":
        binary_output()  # before the picture is encoded
        data, notices = encode_picture(picture, suffix)
        deliver(data, job, batch)
        return len(data), notices
    target = Path(job.target)
    make_folder(target.parent)
    notices = write_picture(picture, target, overwrite=batch["force"], sources=job.sources)
    return os.stat(target).st_size, notices


def parse_crop(text: str | None) -> tuple[int, int, int, int] | None:
    """Text as in 10,20,300,200 -> (x, y, width, height). Raises UsageError."""
    if text is None:
        return None
    return parse_rectangle(text, "--crop", "X,Y,W,H")


def _codecs(batch: dict[str, Any], files: int) -> Codecs:
    """The codecs of a command: tiles are shared out where there is one file, files otherwise."""
    from ..codec.files import Codecs

    share_processor(batch)
    jobs = batch["jobs"] if files == 1 else 1
    return Codecs(
        batch["model"], device=batch["device"], precision=batch["precision"], engine=batch["engine"], jobs=jobs
    )
