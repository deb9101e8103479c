"""The table of formats that an index is exported to and imported from: one file each, imported only when asked for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import BinaryIO, Protocol, cast

from ...contracts import UsageError
from ..description import Description
from ..rows import Rows
from ..streams import RowReader


class Format(Protocol):
    """What the module of a format has."""

    def write(self, reader: RowReader, file: BinaryIO) -> None:
        """All rows of an index, a block at a time."""
        ...

    def read(self, file: BinaryIO, name: str) -> tuple[Description, Iterator[Rows]]:
        """The inverse: what index it is of, and its rows, a block at a time, in any order. Whatever is wrong with the
        file raises IndexFileError that begins with a name, while rows are read as well."""
        ...


@dataclass(frozen=True)
class Entry:
    """Where a format lives. streams: whether it is written and read from one end to the other."""

    module: str
    summary: str
    streams: bool = False

    def load(self) -> Format:
        """Import it. Raises MissingDependencyError."""
        return cast(Format, import_module(f"{__name__}.{self.module}"))


FORMATS: dict[str, Entry] = {
    ".parquet": Entry("parquet", "Apache Parquet"),
    ".npz": Entry("npz", "arrays of NumPy"),
    ".jsonl": Entry("lines", "JSON Lines", streams=True),
}
#: The format of what comes through a pipe.
PIPED = ".jsonl"


def format_of(path: Path) -> Entry:
    """By the suffix of a file. Raises UsageError, listing what there is."""
    found = FORMATS.get(path.suffix.lower())
    if found is None:
        raise UsageError(f"{path}: the name ends in none of {', '.join(FORMATS)}")
    return found
