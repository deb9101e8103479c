"""JPEG XL by libjxl's own programs, cjxl and djxl."""

from __future__ import annotations

from ..codecs import FileCodec
from .program import Program, open_program


def open_cjxl() -> FileCodec:
    """Raises MissingDependencyError."""
    program = Program(
        "cjxl, effort 7, lossy from pixels, one thread",
        "cjxl {source} {target} -q {quality} -e 7 --num_threads=0 --quiet",
        "djxl {source} {target} --num_threads=0 --quiet",
        ".jxl",
        (10, 25, 40, 55, 70, 80, 88, 93),
    )
    return open_program("cjxl", program)
