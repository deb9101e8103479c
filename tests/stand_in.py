"""A stand-in for encoder and decoder programs: takes their arguments, and makes files that depend on the quality."""

from __future__ import annotations

import stat
import sys
import zlib
from pathlib import Path

_INPUT = ("-i", "-b")
_OUTPUT = ("-o", "-outfile")
_QUALITY = ("-q", "-quality", "-compression_level", "--qp")
#: Options that stand alone; every other one is followed by its value.
_ALONE = ("--quiet", "-y", "--num_threads=0")


def install(folder: Path, *names: str, says: str = "stand-in 1.0 mozjpeg") -> None:
    """Programs of these names in a folder, each of which runs this file."""
    for name in names:
        program = folder / name
        program.write_text(f"#!/bin/sh\nexec {sys.executable} {__file__} '{says}' \"$@\"\n")
        program.chmod(program.stat().st_mode | stat.S_IXUSR)


def _parse(arguments: list[str]) -> tuple[Path, Path, float]:
    """Arguments -> (source, target, quality)."""
    named: dict[str, str] = {}
    bare: list[str] = []
    rest = iter(arguments)
    for word in rest:
        if word in _ALONE:
            continue
        # avifenc's -y takes a value, ffmpeg's does not; neither value is a path that exists.
        if word.startswith("-"):
            named[word] = next(rest)
        else:
            bare.append(word)
    bare = [word for word in bare if "/" in word]
    source = next((named[key] for key in _INPUT if key in named), None) or bare.pop(0)
    target = next((named[key] for key in _OUTPUT if key in named), None) or bare.pop(0)
    quality = next((float(named[key]) for key in _QUALITY if key in named), 0.0)
    return Path(source), Path(target), quality


def main(says: str, arguments: list[str]) -> None:
    if arguments[0] in ("--version", "-version", "--help"):
        print(says, "--qcolor")
        return
    source, target, quality = _parse(arguments)
    if source.suffix == ".yuv":
        # The samples themselves, coarser with a larger QP.
        shift = int(quality) // 8
        samples = memoryview(source.read_bytes()).cast("H")
        target.write_bytes(zlib.compress(b"".join((s >> shift << shift).to_bytes(2, "little") for s in samples)))
    elif source.suffix == ".266":
        target.write_bytes(zlib.decompress(source.read_bytes()))
    else:
        from PIL import Image

        with Image.open(source) as image:
            if target.suffix == ".png":
                image.save(target)
                return
            # A compression ratio falls where a quality rises.
            level = 100 - quality / 2 if "-compression_level" in arguments else quality
            image.convert("RGB").save(target, "JPEG", quality=int(level))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
