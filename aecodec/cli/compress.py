"""``aecodec compress`` and ``aecodec decompress``."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from ..contracts import AecodecError, OutputExistsError, UsageError
from ..data.files import make_folder, write_atomic
from ..data.images import PHOTO_SUFFIXES, encode_picture, read_bytes, read_picture
from . import fail
from .output import emit_json, expand, notice, progress, size_text

AEC = ".aec"


@dataclass(frozen=True)
class Job:
    """One input and where its output goes; "-" is a standard stream."""

    source: str
    target: str


def batch_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The flags that both directions share."""
    options = [
        click.argument("inputs", nargs=-1, required=True, metavar="IN... [OUT]"),
        click.option("-o", "--output", metavar="PATH", help="Output file, or folder (with a trailing / or existing)."),
        click.option("-f", "--force", is_flag=True, help="Overwrite existing outputs."),
        click.option("--skip-existing", is_flag=True, help="Leave inputs alone whose output exists."),
        click.option("-r", "--recursive", is_flag=True, help="Walk folders."),
        click.option("--append-ext", is_flag=True, help="photo.png becomes photo.png.aec, not photo.aec."),
        click.option("--preserve-times", is_flag=True, help="Give the output the input's modification time."),
        click.option("-n", "--dry-run", is_flag=True, help="Say what would be done, and do nothing."),
        click.option("-m", "--model", metavar="NAME|PATH", help="Model of the zoo, the cache, or a checkpoint file."),
        click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:N or mps."),
        click.option(
            "--precision", default="auto", show_default=True, help="Of the transforms: auto, float32, bfloat16."
        ),
        click.option("--threads", type=click.IntRange(1), help="CPU threads."),
        click.option("--json", "as_json", is_flag=True, help="One JSON line per file on stdout."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


@click.command()
@batch_options
@click.option("-q", "--quality", type=click.FloatRange(0, 100), default=50.0, show_default=True, help="0 to 100.")
@click.option("--target-bpp", type=click.FloatRange(0, min_open=True), help="Bits per pixel not to exceed.")
@click.option("--target-size", metavar="BYTES", help="File size not to exceed: 60000, 60k, 1.5M.")
@click.option("--target-psnr", type=click.FloatRange(0, min_open=True), help="PSNR in dB not to exceed.")
@click.option("--strip", type=click.Choice(["all", "exif", "xmp", "icc"]), multiple=True, help="Metadata to leave out.")
@click.option("--verify", "check", is_flag=True, help="Decode the latents of each file again before it is written.")
def compress(
    quality: float,
    target_bpp: float | None,
    target_size: str | None,
    target_psnr: float | None,
    strip: tuple[str, ...],
    check: bool,
    **batch: Any,
) -> int:
    """Compress pictures: photo.jpg becomes photo.aec. "-" is stdin or stdout."""
    if sum(target is not None for target in (target_bpp, target_size, target_psnr)) > 1:
        raise UsageError("--target-bpp, --target-size and --target-psnr exclude each other")
    size = parse_size(target_size) if target_size else None
    kinds = {"exif", "xmp", "icc"} if "all" in strip else set(strip)
    jobs = plan(batch, AEC, PHOTO_SUFFIXES)
    if batch["dry_run"]:
        return announce(jobs)
    codec = _load_codec(batch)

    def work(job: Job) -> dict[str, Any]:
        raw = sys.stdin.buffer.read() if job.source == "-" else read_bytes(Path(job.source))
        picture = read_picture(raw, job.source).without(kinds)
        for message in picture.notices:
            notice(message)
        encoded = codec.encode_picture(
            picture, quality=quality, target_bpp=target_bpp, target_size=size, target_psnr=target_psnr, check=check
        )
        _deliver(encoded.data, job.target, batch["force"])
        return {
            "input": job.source, "output": job.target, "input_bytes": len(raw), "bytes": len(encoded.data),
            "width": encoded.width, "height": encoded.height, "bpp": round(encoded.bpp, 5),
            "quality": encoded.quality / 10, "model": codec.name,
        }  # fmt: skip

    def say(record: dict[str, Any]) -> str:
        share = record["bytes"] / record["input_bytes"]
        return (
            f"{record['output']}: {size_text(record['input_bytes'])} -> {size_text(record['bytes'])} "
            f"({share:.1%}, {record['bpp']:.3f} bpp, quality {record['quality']:g})"
        )

    return carry_out(jobs, work, say, batch, "compressing")


@click.command()
@batch_options
@click.option("--format", "suffix", default="png", show_default=True, help="Format where the output names none.")
@click.option("--crop", metavar="X,Y,W,H", help="Only this part, in pixels; decodes only the tiles it needs.")
def decompress(suffix: str, crop: str | None, **batch: Any) -> int:
    """Decompress .aec files: photo.aec becomes photo.png, or the format of OUT's suffix."""
    from ..codec import Codec
    from ..transcode import codec_for, crop_window

    part = crop_window(parse_crop(crop))
    jobs = plan(batch, f".{suffix.lstrip('.')}", {AEC})
    if batch["dry_run"]:
        return announce(jobs)
    _set_threads(batch["threads"])
    loaded: dict[bytes, Codec] = {}

    def work(job: Job) -> dict[str, Any]:
        from ..coding import container

        data = sys.stdin.buffer.read() if job.source == "-" else read_bytes(Path(job.source))
        parsed = container.parse(data)
        key = parsed.header.fingerprint
        if key not in loaded:
            loaded[key] = codec_for(data, batch["model"], batch["device"], batch["precision"])
        picture = loaded[key].decode_container(parsed, part)
        ending = Path(job.target).suffix if job.target != "-" else f".{suffix.lstrip('.')}"
        content = encode_picture(picture, ending)
        _deliver(content, job.target, batch["force"])
        height, width = picture.pixels.shape[:2]
        return {"input": job.source, "output": job.target, "input_bytes": len(data), "bytes": len(content),
                "width": width, "height": height}  # fmt: skip

    def say(record: dict[str, Any]) -> str:
        return f"{record['output']}: {record['width']} x {record['height']}, {size_text(record['bytes'])}"

    return carry_out(jobs, work, say, batch, "decompressing")


def parse_size(text: str) -> int:
    """60000, 60k, 1.5M (powers of 1000) or 60Ki -> bytes. Raises UsageError."""
    units = {"": 1, "k": 1000, "m": 1000**2, "ki": 1024, "mi": 1024**2}
    digits = text.strip().lower().removesuffix("b")
    number = digits.rstrip("kmi")
    try:
        size = int(float(number) * units[digits[len(number) :]])
    except (KeyError, ValueError, OverflowError):
        raise UsageError(f"{text!r} is no size; write 60000, 60k or 1.5M") from None
    if size < 1:
        raise UsageError(f"a target size is at least one byte, got {text!r}")
    return size


def parse_crop(text: str | None) -> tuple[int, int, int, int] | None:
    """Text as in 10,20,300,200 -> (x, y, width, height). Raises UsageError."""
    if text is None:
        return None
    try:
        x, y, width, height = (int(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"--crop takes X,Y,W,H in pixels, got {text!r}") from None
    return x, y, width, height


def plan(batch: dict[str, Any], suffix: str, walked: set[str]) -> list[Job]:
    """Arguments -> jobs. Raises UsageError where the outputs are ambiguous or collide."""
    inputs, output = list(batch["inputs"]), batch["output"]
    if output is None and len(inputs) == 2 and _looks_like_output(inputs, suffix):
        output = inputs.pop()
    if batch["force"] and batch["skip_existing"]:
        raise UsageError("--force and --skip-existing exclude each other")
    found = expand(inputs, batch["recursive"], walked)
    if not found:
        raise UsageError("no files of a known kind in the given folders")
    into_folder = output is not None and output != "-" and (output.endswith(("/", os.sep)) or Path(output).is_dir())
    if len(found) > 1 and output is not None and not into_folder:
        raise UsageError(f"several inputs need a folder as output; {output} is none (write {output}/)")
    jobs: dict[str, Job] = {}
    for source, root in found:
        target = _target(source, root, output, into_folder, suffix, batch["append_ext"])
        if target != "-" and target in jobs:
            raise UsageError(f"{jobs[target].source} and {source} would both become {target}; use --append-ext")
        jobs[target] = Job(source, target)
    return list(jobs.values())


def _looks_like_output(inputs: list[str], suffix: str) -> bool:
    """IN OUT, told from IN IN by the suffixes: only one of a pair is an .aec file."""
    first, second = Path(inputs[0]).suffix.lower(), Path(inputs[1]).suffix.lower()
    if inputs[1] == "-":
        return True
    return (second == AEC and first != AEC) if suffix == AEC else (first == AEC and second not in ("", AEC))


def _target(source: str, root: Path | None, output: str | None, into_folder: bool, suffix: str, append: bool) -> str:
    if output is not None and not into_folder:
        return output
    if source == "-":
        if output is None:
            return "-"
        raise UsageError("standard input has no name; give the output one with -o FILE")
    path = Path(source)
    name = path.name + suffix if append else path.stem + suffix
    if output is None:
        return str(path.with_name(name))
    inner = path.relative_to(root).parent if root is not None else Path()
    return str(Path(output) / inner / name)


def announce(jobs: list[Job]) -> int:
    """Print what would be done -> exit code."""
    for job in jobs:
        click.echo(f"{job.source} -> {job.target}")
    return 0


def carry_out(
    jobs: list[Job],
    work: Callable[[Job], dict[str, Any]],
    say: Callable[[dict[str, Any]], str],
    batch: dict[str, Any],
    label: str,
) -> int:
    """Do the jobs one after another; a failure is reported and the rest goes on -> exit code.

    One input: the code of its error. Several: 1 if any failed.
    """
    codes = []
    for job in progress(jobs, label, batch["as_json"]):
        try:
            if _exists(job, batch):
                continue
            record = work(job)
        except AecodecError as error:
            codes.append(fail(str(error), error.exit_code))
            continue
        if batch["preserve_times"] and "-" not in (job.source, job.target):
            times = os.stat(job.source)
            os.utime(job.target, ns=(times.st_atime_ns, times.st_mtime_ns))
        if batch["as_json"]:
            emit_json(record)
        else:
            click.echo(say(record), err=job.target == "-")
    if len(jobs) == 1 and codes:
        return codes[0]
    return 1 if codes else 0


def _exists(job: Job, batch: dict[str, Any]) -> bool:
    """Whether the job is to be skipped. Raises OutputExistsError early, before any work is lost."""
    if job.target == "-":
        return False
    target = Path(job.target)
    if target.exists() and not target.is_dir():
        if batch["skip_existing"]:
            notice(f"{job.target}: exists, skipped")
            return True
        if not batch["force"]:
            raise OutputExistsError(f"{job.target}: exists (use --force to overwrite it)")
    return False


def _deliver(data: bytes, target: str, force: bool) -> None:
    if target == "-":
        if sys.stdout.isatty():
            raise UsageError("refusing to write a binary file to a terminal; redirect stdout or use -o FILE")
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    else:
        make_folder(Path(target).parent)
        write_atomic(Path(target), data, overwrite=force)


def _set_threads(threads: int | None) -> None:
    if threads is not None:
        import torch

        torch.set_num_threads(threads)


def _load_codec(batch: dict[str, Any]) -> Any:
    from ..codec import Codec

    _set_threads(batch["threads"])
    return Codec.from_pretrained(batch["model"], device=batch["device"], precision=batch["precision"])
