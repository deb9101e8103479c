"""AVIF by libavif's own programs, avifenc and avifdec."""

from __future__ import annotations

from ..codecs import FileCodec
from .program import Program, open_program


def open_avifenc() -> FileCodec:
    """Raises MissingDependencyError, also for a release without qualities from 0 to 100."""
    program = Program(
        "avifenc, speed 4, 4:4:4, one thread",
        "avifenc -q {quality} -s 4 -y 444 -j 1 {source} {target}",
        "avifdec -j 1 {source} {target}",
        ".avif",
        (10, 20, 32, 44, 56, 66, 75),
        option="--qcolor",
    )
    return open_program("avifenc", program)
