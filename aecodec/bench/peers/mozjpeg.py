"""JPEG by mozjpeg's program cjpeg."""

from __future__ import annotations

from ..codecs import FileCodec
from .program import Program, open_program


def open_mozjpeg() -> FileCodec:
    """Raises MissingDependencyError, also for another project's cjpeg."""
    program = Program(
        "mozjpeg cjpeg, 4:2:0, its defaults (progressive, trellis)",
        "cjpeg -sample 2x2 -quality {quality} -outfile {target} {source}",
        "",
        ".jpg",
        (5, 10, 15, 20, 30, 45, 60, 75, 85),
        version="-version",
        source=".ppm",
        mark="mozjpeg",
    )
    return open_program("mozjpeg", program)
