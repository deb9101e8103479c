"""Peers that are programs: measured when they are on PATH, never required."""

from __future__ import annotations

import io
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from ..contracts import AecodecError, MissingDependencyError
from .codecs import FileCodec, decode_with_pillow

_TIMEOUT_S = 600


class ProgramError(AecodecError):
    """An encoder or decoder program failed or wrote nothing."""


@dataclass(frozen=True)
class Program:
    """How to call a codec's programs.

    encode, decode: argument lists in which {source}, {target} and {quality} are filled in; no decode means that
    Pillow reads the format. version: arguments that make the encoder tell its version, of which the first line is
    kept; mark: what that text must contain, where several projects use one program name. option: what its
    --help must name, where older releases lack it. scale, falling: as in `FileCodec`.
    """

    settings: str
    encode: tuple[str, ...]
    decode: tuple[str, ...] | None
    suffix: str
    version: tuple[str, ...]
    qualities: tuple[float, ...]
    source: str = ".png"
    mark: str = ""
    option: str = ""
    scale: str = "quality"
    falling: bool = False


PROGRAMS: dict[str, Program] = {
    "cjxl": Program(
        "cjxl, effort 7, lossy from pixels, one thread",
        ("cjxl", "{source}", "{target}", "-q", "{quality}", "-e", "7", "--num_threads=0", "--quiet"),
        ("djxl", "{source}", "{target}", "--num_threads=0", "--quiet"),
        ".jxl",
        ("--version",),
        (10, 25, 40, 55, 70, 80, 88, 93),
    ),
    "avifenc": Program(
        "avifenc, speed 4, 4:4:4, one thread",
        ("avifenc", "-q", "{quality}", "-s", "4", "-y", "444", "-j", "1", "{source}", "{target}"),
        ("avifdec", "-j", "1", "{source}", "{target}"),
        ".avif",
        ("--version",),
        (10, 20, 32, 44, 56, 66, 75),
        option="--qcolor",
    ),
    "mozjpeg": Program(
        "mozjpeg cjpeg, 4:2:0, its defaults (progressive, trellis)",
        ("cjpeg", "-sample", "2x2", "-quality", "{quality}", "-outfile", "{target}", "{source}"),
        None,
        ".jpg",
        ("-version",),
        (5, 10, 15, 20, 30, 45, 60, 75, 85),
        source=".ppm",
        mark="mozjpeg",
    ),
    "heif-enc": Program(
        "heif-enc, HEVC, its defaults",
        ("heif-enc", "-q", "{quality}", "-o", "{target}", "{source}"),
        ("heif-convert", "{source}", "{target}"),
        ".heic",
        ("--version",),
        (5, 15, 25, 35, 45, 55, 65, 75),
    ),
    "jpeg2000-ffmpeg": Program(
        "ffmpeg libopenjpeg, YCbCr 4:4:4, as in CompressAI's benchmark; a point is a compression level",
        (
            "ffmpeg",
            "-loglevel",
            "error",
            "-y",
            "-i",
            "{source}",
            "-pix_fmt",
            "yuv444p",
            "-c:v",
            "libopenjpeg",
            "-compression_level",
            "{quality}",
            "{target}",
        ),
        ("ffmpeg", "-loglevel", "error", "-y", "-i", "{source}", "{target}"),
        ".jp2",
        ("-version",),
        tuple(float(level) for level in range(5, 100, 5)),
        scale="level",
        falling=True,
    ),
}


def open_program(name: str) -> FileCodec:
    """A codec of PROGRAMS. Raises MissingDependencyError if one of its programs is not on PATH."""
    program = PROGRAMS[name]
    needed = [program.encode[0], *([program.decode[0]] if program.decode else [])]
    require(name, *needed)
    text = told(needed[0], program.version)
    if program.mark not in text:
        found = text.splitlines()[0] if text else "nothing"
        raise MissingDependencyError(f"codec {name} needs {program.mark}'s {needed[0]}, found one that says {found!r}")
    if program.option and program.option not in told(needed[0], ("--help",)):
        raise MissingDependencyError(f"codec {name} needs a newer {needed[0]}: this one has no option {program.option}")
    version = text.splitlines()[0] if text else "unknown"
    return FileCodec(
        name,
        program.settings,
        f"{needed[0]}: {version}",
        program.qualities,
        lambda image, quality: _encode(program, image, quality),
        lambda data: _decode(program, data),
        scale=program.scale,
        falling=program.falling,
    )


def require(codec: str, *tools: str) -> None:
    """Raises MissingDependencyError, naming the programs that are not on PATH."""
    missing = [tool for tool in dict.fromkeys(tools) if shutil.which(tool) is None]
    if missing:
        raise MissingDependencyError(f"codec {codec} needs the program {' and '.join(missing)} on PATH")


def told(tool: str, arguments: tuple[str, ...]) -> str:
    """What a program says of itself."""
    said = subprocess.run([tool, *arguments], capture_output=True, text=True, timeout=30, check=False)
    return (said.stdout + said.stderr).strip()


def _encode(program: Program, image: Image.Image, quality: float) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, f"in{program.source}"), Path(folder, f"out{program.suffix}")
        # Uncompressed: the time that the program spends on its input counts as encoding.
        if program.source == ".png":
            image.save(source, compress_level=0)
        else:
            image.save(source)
        _call(program.encode, source, target, quality)
        return target.read_bytes()


def _decode(program: Program, data: bytes) -> Image.Image:
    if program.decode is None:
        return decode_with_pillow(data)
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, f"in{program.suffix}"), Path(folder, "out.png")
        source.write_bytes(data)
        _call(program.decode, source, target, 0)
        return Image.open(io.BytesIO(target.read_bytes())).convert("RGB")


def _call(arguments: tuple[str, ...], source: Path, target: Path, quality: float) -> None:
    run_program([part.format(source=source, target=target, quality=int(quality)) for part in arguments], target)


def run_program(arguments: list[str], target: Path) -> None:
    """Run a program that writes ``target``. Raises ProgramError if it fails, takes too long or wrote nothing."""
    try:
        done = subprocess.run(arguments, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        raise ProgramError(f"{arguments[0]} took longer than {_TIMEOUT_S} seconds") from None
    if done.returncode or not target.is_file():
        said = (done.stderr or done.stdout).strip().splitlines()
        raise ProgramError(f"{arguments[0]} failed with code {done.returncode}: {said[-1] if said else 'no message'}")
