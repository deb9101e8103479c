"""HEIC by libheif's own programs, heif-enc and heif-convert."""

from __future__ import annotations

from ..codecs import FileCodec
from .program import Program, open_program


def open_heif_enc() -> FileCodec:
    """Raises MissingDependencyError."""
    program = Program(
        "heif-enc, HEVC, its defaults",
        "heif-enc -q {quality} -o {target} {source}",
        "heif-convert {source} {target}",
        ".heic",
        (5, 15, 25, 35, 45, 55, 65, 75),
    )
    return open_program("heif-enc", program)
