"""Peers that are programs: measured when they are on PATH, never required."""

from __future__ import annotations

import io
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from ...contracts import AecodecError, MissingDependencyError
from ..codecs import FileCodec
from .pillow_format import decode_with_pillow, saved

_TIMEOUT_S = 600


class ProgramError(AecodecError):
    """An encoder or decoder program failed or wrote nothing."""


@dataclass(frozen=True)
class Program:
    """How to call a codec's programs.

    encode, decode: command lines, split at blanks, in which {source}, {target} and {quality} are then filled in; no
    decode means that Pillow reads the format. suffix: of the codec's files; source: of the encoder's input.
    version: the argument that makes the encoder tell its version, of which the first line is kept; mark: what that
    text must contain, where several projects use one program name. option: what its --help must name, where older
    releases lack it. scale, limits, falling: as in `FileCodec`.
    """

    settings: str
    encode: str
    decode: str
    suffix: str
    qualities: tuple[float, ...]
    version: str = "--version"
    source: str = ".png"
    mark: str = ""
    option: str = ""
    scale: str = "quality"
    limits: tuple[float, float] = (0, 100)
    falling: bool = False


def open_program(name: str, program: Program) -> FileCodec:
    """The codec of these programs. Raises MissingDependencyError if one of them is not on PATH, or another one is."""
    encoder = program.encode.split()[0]
    require(name, encoder, *program.decode.split()[:1])
    text = told(encoder, program.version)
    first = text.splitlines()[0] if text else ""
    if program.mark not in text:
        found = first or "nothing"
        raise MissingDependencyError(f"codec {name} needs {program.mark}'s {encoder}, found one that says {found!r}")
    if program.option and program.option not in told(encoder, "--help"):
        raise MissingDependencyError(f"codec {name} needs a newer {encoder}: this one has no option {program.option}")
    return FileCodec(
        name,
        program.settings,
        f"{encoder}: {first or 'unknown'}",
        program.qualities,
        lambda image, quality: _encode(program, image, quality),
        lambda data: _decode(program, data),
        scale=program.scale,
        limits=program.limits,
        falling=program.falling,
    )


def require(codec: str, *tools: str) -> None:
    """Raises MissingDependencyError, naming the programs that are not on PATH."""
    missing = [tool for tool in dict.fromkeys(tools) if shutil.which(tool) is None]
    if missing:
        raise MissingDependencyError(f"codec {codec} needs the program {' and '.join(missing)} on PATH")


def told(tool: str, argument: str) -> str:
    """What a program says of itself when called with this argument."""
    said = subprocess.run([tool, argument], capture_output=True, text=True, timeout=30, check=False)
    return (said.stdout + said.stderr).strip()


def _encode(program: Program, image: Image.Image, quality: float) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, f"in{program.source}"), Path(folder, f"out{program.suffix}")
        # Uncompressed: the time that the program spends on its input counts as encoding.
        source.write_bytes(saved(image, "PNG", compress_level=0) if program.source == ".png" else saved(image, "PPM"))
        run_program(program.encode, target, source=source, quality=int(quality))
        return target.read_bytes()


def _decode(program: Program, data: bytes) -> Image.Image:
    if not program.decode:
        return decode_with_pillow(data)
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, f"in{program.suffix}"), Path(folder, "out.png")
        source.write_bytes(data)
        run_program(program.decode, target, source=source)
        return Image.open(io.BytesIO(target.read_bytes())).convert("RGB")


def run_program(command: str, target: Path, **values: object) -> None:
    """Run a program that writes ``target``: a command line, split at blanks, in which {target} and values are filled.

    Raises ProgramError if it fails, takes too long or wrote nothing.
    """
    arguments = [part.format(target=target, **values) for part in command.split()]
    try:
        done = subprocess.run(arguments, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        raise ProgramError(f"{arguments[0]} took longer than {_TIMEOUT_S} seconds") from None
    if done.returncode or not target.is_file():
        said = (done.stderr or done.stdout).strip().splitlines()
        raise ProgramError(f"{arguments[0]} failed with code {done.returncode}: {said[-1] if said else 'no message'}")
