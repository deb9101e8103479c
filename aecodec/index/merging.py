"""Several index files made one, in the memory of a block: their rows are in order already, so they only meet."""

from __future__ import annotations

import contextlib
import os
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from string import ascii_letters
from typing import Any

import numpy as np

from ..contracts import IndexFileError
from ..data.locks import WAIT, Say, locked
from .codes import select
from .description import Description
from .ids import Numbers, Paths
from .rows import Rows
from .streams import MEMORY, RowReader, RowWriter, row_reader, row_writer

#: Bytes that are read of a file at a time, at least.
_LEAST = 1 << 14
#: What absolute paths begin with.
_ABSOLUTE = [b"/"] if os.sep == "/" else [f"{letter}:".encode() for letter in ascii_letters]


@dataclass(frozen=True)
class Merged:
    """count: rows of the new index. twins: rows that were left out, since another one had the same id."""

    description: Description
    count: int
    twins: int


@dataclass(frozen=True)
class Part:
    """Neighbouring rows of a file whose paths change alike: ``strip`` bytes go from the front, ``prefix`` comes there.
    So they stay in order."""

    reader: RowReader
    start: int
    stop: int
    strip: int = 0
    prefix: bytes = b""

    def blocks(self, memory: int) -> Iterator[Rows]:
        """The rows, some at a time, under their new ids. Raises what `check_names` raises."""
        for rows in self.reader.blocks(memory, self.start, self.stop):
            if not isinstance(rows.ids, Paths):
                yield rows
                continue
            check_names(rows.ids, str(self.reader.path))
            names = rows.ids.every()
            if self.strip or self.prefix:
                names = [self.prefix + name[self.strip :] for name in names]
                rows = Rows(Paths.of(names), rows.codes, rows.windows, rows.stamps)
            yield rows


def check_names(paths: Paths, name: str) -> None:
    """Raises IndexFileError, beginning with a name, for a path that leads upwards: below another folder it would lead
    elsewhere."""
    if b".." in paths.text.tobytes():
        for path in paths.every():
            if b".." in path.split(b"/"):
                raise IndexFileError(f"{name}: names {os.fsdecode(path)}, which leads upwards; no index of ours does")


def parts_below(reader: RowReader, root: bytes) -> list[Part]:
    """The rows of an index of paths as those of one of another folder: what lies below it gets relative paths, all else
    absolute ones, as `index add` gives them.

    root: absolute, or empty: then all paths are absolute. Raises IndexFileError for an index that has relative paths
    and does not say below which folder.
    """
    own, end = reader.description.root, len(reader)
    if not reader.description.has_paths:
        return [Part(reader, 0, end)]
    absolute = [_span(reader, prefix) for prefix in _ABSOLUTE]
    if root and not own and sum(stop - start for start, stop in absolute) < end:
        raise IndexFileError(f"{reader.path}: has relative paths and does not say below which folder they are")
    here, there = _below(own), _below(root)
    marks = [(0, end, 0, here[len(there) :] if there and here.startswith(there) else here)]
    marks += [(*span, 0, b"") for span in absolute]
    if there:
        marks.append((*_span(reader, there), len(there), b""))
    if own and there.startswith(here) and (inside := there[len(here) :]):
        marks.append((*_span(reader, inside), len(inside), b""))
    limits = sorted({limit for mark in marks for limit in mark[:2]})
    found = []
    for start, stop in pairwise(limits):
        *_, (_, _, strip, prefix) = (mark for mark in marks if mark[0] <= start and stop <= mark[1])
        found.append(Part(reader, start, stop, strip, prefix))
    return found


def _below(root: bytes) -> bytes:
    """What paths below a folder begin with, as ids have it; nothing for none."""
    return root.replace(os.fsencode(os.sep), b"/").rstrip(b"/") + b"/" if root else b""


def _span(reader: RowReader, prefix: bytes) -> tuple[int, int]:
    """The rows whose paths begin with some bytes."""
    rows = range(len(reader))
    after = prefix[:-1] + bytes([prefix[-1] + 1])
    return bisect_left(rows, prefix, key=reader.name), bisect_left(rows, after, key=reader.name)


def merge(
    out: Path,
    inputs: Sequence[Path],
    *,
    overwrite: bool = False,
    wait: float = WAIT,
    say: Say = lambda message: None,
    memory: int = MEMORY,
) -> Merged:
    """The rows of some indexes in one, whose folder is that of the first; see `parts_below` for the paths of others.

    All are checked whole before anything is written. Of a path that is in several, the row with the latest modification
    time counts; if that is the same, the one that is named first. wait, say: as of `locks.locked`. memory: bytes of
    rows that are read at a time, of all files together. Raises IndexFileError for what is damaged, and where hashers,
    lengths, windows or kinds of ids differ, or a number has two codes; OutputExistsError, OutputError, BusyError.
    """
    with locked(out, wait=wait, say=say), contextlib.ExitStack() as held:
        readers = [held.enter_context(row_reader(path)) for path in inputs]
        first = readers[0]
        for reader in readers:
            first.description.check_like(reader.description, str(reader.path), str(first.path))
        for reader in readers:
            reader.check()
        parts = [part for reader in readers for part in parts_below(reader, first.description.root)]
        with row_writer(out, first.description, overwrite=overwrite, sources=inputs) as writer:
            twins = put_together(parts, writer, memory)
            for reader in readers:
                reader.check_unchanged()
    return Merged(first.description, writer.count, twins)


class _Run:
    """Rows that come in order, a block at a time. ids: those of the block that are not taken yet begin at ``at``."""

    def __init__(self, blocks: Iterator[Rows]) -> None:
        self._blocks, self.at = blocks, 0
        self.ids: Any = []

    def __bool__(self) -> bool:
        """Whether there are more; the next block is read if it is needed."""
        while self.at == len(self.ids):
            rows = next(self._blocks, None)
            if rows is None:
                return False
            self._rows, self.at = rows, 0
            self.ids = rows.ids.every() if isinstance(rows.ids, Paths) else rows.ids.take(np.arange(len(rows.ids)))
        return True

    def take(self, limit: Any) -> Batch:
        """The rows up to an id, that one as well."""
        start, self.at = self.at, bisect_right(self.ids, limit, self.at)
        part, rows = slice(start, self.at), self._rows
        return Batch(
            self.ids[part], rows.codes[part], rows.windows[part], None if rows.stamps is None else rows.stamps[part]
        )


@dataclass(frozen=True)
class Batch:
    """Rows in any order, some perhaps under one id. ids: a list of bytes, or (N,) int64; all else as of `Rows`."""

    ids: Any
    codes: np.ndarray
    windows: np.ndarray
    stamps: np.ndarray | None

    @classmethod
    def of_rows(cls, rows: Rows) -> Batch:
        """Rows that need not be in order."""
        ids = rows.ids.every() if isinstance(rows.ids, Paths) else rows.ids.take(np.arange(len(rows.ids)))
        return cls(ids, rows.codes, rows.windows, rows.stamps)

    @classmethod
    def joined(cls, batches: Sequence[Batch]) -> Batch:
        """Several, one after another."""
        ids = [batch.ids for batch in batches]
        stamps = [batch.stamps for batch in batches if batch.stamps is not None]
        return cls(
            [name for names in ids for name in names] if isinstance(ids[0], list) else np.concatenate(ids),
            np.concatenate([batch.codes for batch in batches]),
            np.concatenate([batch.windows for batch in batches]),
            np.concatenate(stamps) if stamps else None,
        )

    def in_order(self) -> Rows:
        """One row for each id, ascending; see `merge`."""
        if isinstance(self.ids, list):
            return self._named(sorted(range(len(self.ids)), key=self.ids.__getitem__))
        order = np.argsort(self.ids, kind="stable")
        values = self.ids[order]
        fresh = np.concatenate([[True], values[1:] != values[:-1]]) if len(values) else np.empty(0, bool)
        for place in np.flatnonzero(~fresh):
            one, other = order[place - 1], order[place]
            if (self.codes[one] != self.codes[other]).any() or (self.windows[one] != self.windows[other]).any():
                raise IndexFileError(f"number {values[place]} has two codes")
        return self._chosen(Numbers(int(fresh.sum()), values[fresh]), order[fresh])

    def _named(self, order: list[int]) -> Rows:
        names = [self.ids[place] for place in order]
        if any(a == b for a, b in pairwise(names)):
            best: dict[bytes, int] = {}
            for name, place in zip(names, order, strict=True):
                if name not in best or (self.stamps is not None and self.stamps[place, 0] > self.stamps[best[name], 0]):
                    best[name] = place
            names, order = list(best), list(best.values())
        return self._chosen(Paths.of(names), np.array(order, np.int64))

    def _chosen(self, ids: Numbers | Paths, order: np.ndarray) -> Rows:
        windows = self.windows.reshape(len(self.windows), -1)
        windows = select(windows, order) if windows.shape[1] else windows[order]
        stamps = None if self.stamps is None else self.stamps[order]
        codes = select(np.ascontiguousarray(self.codes), order)
        return Rows(ids, codes, windows.reshape(len(order), *self.windows.shape[1:]), stamps)


def put_together(parts: Sequence[Part], writer: RowWriter, memory: int) -> int:
    """Append the rows of all parts in order -> how many were left out, since another one had the same id."""
    share = max(memory // max(len(parts), 1), _LEAST)
    runs = [_Run(part.blocks(share)) for part in parts]
    twins = 0
    while runs := [run for run in runs if run]:
        # up to here all runs are at hand
        limit = min(run.ids[-1] for run in runs)
        batch = Batch.joined([run.take(limit) for run in runs])
        rows = batch.in_order()
        twins += len(batch.codes) - len(rows.codes)
        writer.append(rows)
    return twins
