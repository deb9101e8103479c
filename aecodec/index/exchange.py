"""Indexes to files that other programs read, and back; a block of rows at a time."""

from __future__ import annotations

import contextlib
import itertools
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ..contracts import ImageReadError, IndexFileError, OutputError, error_of
from ..data.files import atomic_file, open_input
from ..data.locks import WAIT, Say, locked
from .description import Description
from .formats import FORMATS, PIPED, format_of
from .ids import Paths
from .merging import Batch, Merged, Part, check_names, put_together
from .rows import Rows
from .streams import MAX_PATH, MEMORY, RowWriter, row_reader, row_writer

#: Files that are open at a time.
_MANY = 100


def export(path: Path, target: Path | BinaryIO, *, overwrite: bool = False) -> int:
    """An index as a file of the format that the target's name ends in, or as JSON Lines into a stream -> its rows.

    The index is checked whole before anything is written. Raises IndexFileError, UsageError for another ending,
    MissingDependencyError, OutputExistsError, OutputError.
    """
    entry = format_of(target) if isinstance(target, Path) else FORMATS[PIPED]
    written = entry.load()
    with row_reader(path) as reader:
        reader.check()
        if isinstance(target, Path):
            with atomic_file(target, overwrite=overwrite, sources=[path]) as file:
                written.write(reader, file)
                reader.check_unchanged()
        else:
            written.write(reader, target)
            reader.check_unchanged()
        return len(reader)


def bring_in(
    source: Path | BinaryIO,
    out: Path,
    *,
    overwrite: bool = False,
    wait: float = WAIT,
    say: Say = lambda message: None,
    memory: int = MEMORY,
) -> Merged:
    """An exported file, or JSON Lines from a stream, as an index.

    Rows may come in any order: those that come in none are sorted a block at a time and merged, with as much room
    beside the index as they take. Of rows of one path the latest counts. wait, say: as of `locks.locked`; memory: bytes
    of rows that are held. Raises IndexFileError, UsageError for another ending, MissingDependencyError,
    OutputExistsError, OutputError, BusyError.
    """
    name = str(source) if isinstance(source, Path) else "-"
    entry = format_of(source) if isinstance(source, Path) else FORMATS[PIPED]
    read = entry.load().read
    with locked(out, wait=wait, say=say), contextlib.ExitStack() as held:
        try:
            file = held.enter_context(open_input(source)) if isinstance(source, Path) else source
            description, blocks = read(file, name)
            folder = held.enter_context(_folder_beside(out))
            paths, twins = _sorted_runs(description, _checked(blocks, name), folder, memory)
            while len(paths) > _MANY:
                paths, left_out = _fewer_runs(description, paths, folder, memory)
                twins += left_out
            sources = [source] if isinstance(source, Path) else []
            with row_writer(out, description, overwrite=overwrite, sources=sources) as writer:
                twins += _join(paths, writer, memory)
        except (IndexFileError, ImageReadError) as error:
            raise IndexFileError(str(error_of(name, error))) from error
    return Merged(description, writer.count, twins)


@contextlib.contextmanager
def _folder_beside(out: Path) -> Iterator[Path]:
    """A folder for what is gone in the end."""
    try:
        folder = tempfile.TemporaryDirectory(prefix=".aecodec-", dir=os.path.dirname(os.path.realpath(out)))
    except OSError as error:
        raise OutputError(f"{out}: cannot be written ({error.strerror or error})") from error
    with folder as name:
        yield Path(name)


def _checked(blocks: Iterator[Rows], name: str) -> Iterator[Rows]:
    """The same, with ids that an index may have."""
    for rows in blocks:
        if isinstance(rows.ids, Paths):
            lengths = np.diff(rows.ids.offsets)
            if len(lengths) and not 0 < lengths.min() <= lengths.max() <= MAX_PATH:
                wrong = lengths.max() if lengths.min() else 0
                raise IndexFileError(f"{name}: a path has 1 to {MAX_PATH} bytes, found one of {wrong}")
            check_names(rows.ids, name)
        elif len(rows.ids) and rows.ids.take(np.arange(len(rows.ids))).min() < 0:
            raise IndexFileError(f"{name}: has a negative number as id")
        yield rows


def _sorted_runs(description: Description, blocks: Iterator[Rows], folder: Path, memory: int) -> tuple[list[Path], int]:
    """Index files of all rows, each in order, and how many rows were left out since another one had the same id."""
    paths, twins = [], 0
    for number, run in itertools.groupby(_numbered(blocks, memory), lambda found: found[0]):
        paths.append(folder / f"{number}.hix")
        with row_writer(paths[-1], description, overwrite=False) as writer:
            for _, rows, left_out in run:
                writer.append(rows)
                twins += left_out
    return paths, twins


def _fewer_runs(description: Description, paths: Sequence[Path], folder: Path, memory: int) -> tuple[list[Path], int]:
    """Neighbouring runs joined: no system lets a process open any number of files."""
    joined, twins = [], 0
    for start in range(0, len(paths), _MANY):
        several = paths[start : start + _MANY]
        joined.append(folder / f"{several[0].stem}+.hix")
        with row_writer(joined[-1], description, overwrite=False) as writer:
            twins += _join(several, writer, memory)
        for path in several:
            path.unlink()
    return joined, twins


def _join(paths: Sequence[Path], writer: RowWriter, memory: int) -> int:
    with contextlib.ExitStack() as held:
        readers = [held.enter_context(row_reader(path)) for path in paths]
        return put_together([Part(reader, 0, len(reader)) for reader in readers], writer, memory)


def _numbered(blocks: Iterator[Rows], memory: int) -> Iterator[tuple[int, Rows, int]]:
    """Rows in order, a part of them at a time, with the number of the run that the part goes on with, and how many were
    left out. A run ends where the next part does not come after it."""
    number, last = 0, None
    for batch in _gathered(blocks, memory):
        rows = batch.in_order()
        ends = Batch.of_rows(rows).ids
        number += last is not None and not last < ends[0]
        last = ends[-1]
        yield number, rows, len(batch.codes) - len(rows.codes)


def _gathered(blocks: Iterator[Rows], memory: int) -> Iterator[Batch]:
    """Blocks put together until they take so many bytes."""
    held: list[Batch] = []
    taken = 0
    for rows in blocks:
        held.append(Batch.of_rows(rows))
        taken += rows.codes.nbytes + rows.windows.nbytes + len(rows.codes) * 100
        if taken >= memory:
            yield Batch.joined(held)
            held, taken = [], 0
    if held:
        yield Batch.joined(held)
