"""A file that is mapped into memory, watched for what would make its pages unsafe to read."""

from __future__ import annotations

import os
import weakref
from pathlib import Path
from typing import BinaryIO

from ..contracts import IndexFileError


class Mapped:
    """A file that is mapped into memory, held open to see whether it still is what was mapped.

    A page of a map that lies beyond the end of its file ends the process when it is read.
    """

    def __init__(self, file: BinaryIO, path: Path) -> None:
        self._path, self._file = path, os.dup(file.fileno())
        weakref.finalize(self, os.close, self._file)
        self._status = self._look()

    def __reduce__(self) -> tuple[type[None], tuple[()]]:
        """Pickled arrays are copies, and copies are of no file."""
        return type(None), ()

    def _look(self) -> tuple[int, int]:
        status = os.fstat(self._file)
        return status.st_size, status.st_mtime_ns

    def check(self) -> None:
        """Raises IndexFileError if the file was cut, extended or written to. Replacing it under its name is neither."""
        if self._look() != self._status:
            raise IndexFileError(f"{self._path}: was changed while it was mapped into memory; open it again")
