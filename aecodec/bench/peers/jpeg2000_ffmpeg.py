"""JPEG 2000 by the program ffmpeg, as CompressAI's benchmark calls it."""

from __future__ import annotations

import math

from ..codecs import FileCodec
from .program import Program, open_program


def open_jpeg2000_ffmpeg() -> FileCodec:
    """Points are compression levels, the smaller the better. Raises MissingDependencyError."""
    program = Program(
        "ffmpeg libopenjpeg, YCbCr 4:4:4, as in CompressAI's benchmark; a point is a compression level",
        "ffmpeg -loglevel error -y -i {source} -pix_fmt yuv444p -c:v libopenjpeg -compression_level {quality} {target}",
        "ffmpeg -loglevel error -y -i {source} {target}",
        ".jp2",
        tuple(float(level) for level in range(5, 100, 5)),
        version="-version",
        scale="level",
        limits=(0, math.inf),
        falling=True,
    )
    return open_program("jpeg2000-ffmpeg", program)
