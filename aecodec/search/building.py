"""Indexes of folders: built, resumed, added to and brought up to date."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ..coding.container import SUFFIX
from ..contracts import IndexFileError, UsageError
from ..data.folders import Walk
from ..data.locks import WAIT, Say, locked
from ..data.outputs import check_output
from ..index.hash_index import HashIndex
from .pictures import CodeReader, Failure, Found, find_picture, id_of, list_pictures, picture_walk
from .syncing import plan_sync
from .updating import EVERY, Advance, HashGroups, Report, update


def partial_of(out: Path, number: int = 0) -> Path:
    """Where the unfinished index of a build is kept; with a number, where else if something of others is there."""
    return out.with_name(f"{out.name}.partial{number or ''}")


def build(
    folder: Path,
    out: Path,
    reader: CodeReader,
    *,
    overwrite: bool = False,
    jobs: int = 1,
    hashing: HashGroups | None = None,
    every: float = EVERY,
    wait: float = WAIT,
    say: Say = lambda message: None,
    advance: Advance = lambda done, total: None,
) -> tuple[HashIndex, Report]:
    """An index of a folder, written to a file. Goes on with what a killed build of the same folder has left.

    hashing: as of `update`. wait, say: as of `locks.locked`, for another process that writes this index. Raises
    UsageError if it is no folder or holds no picture, OutputExistsError, BusyError, OutputError.
    """
    _check(folder, out, overwrite=overwrite)
    with locked(out, wait=wait, say=say):
        how = {"jobs": jobs, "hashing": hashing, "every": every, "advance": advance}
        return _build(folder, out, reader, overwrite=overwrite, **how)


def _build(folder: Path, out: Path, reader: CodeReader, *, overwrite: bool, **how: Any) -> tuple[HashIndex, Report]:
    """See `build`; of the one process that writes there. how: as of `update`."""
    _check(folder, out, overwrite=overwrite)
    root = os.path.abspath(folder)
    walk = picture_walk()
    found, failures = list_pictures(folder, root, walk)
    if not found:
        raise UsageError(f"{folder}: no pictures found in it{f' ({walk.summary})' if walk.summary else ''}")
    partial, index = _unfinished(out, reader, root)
    present = {picture.id for picture in found}
    report = update(
        index,
        found,
        reader,
        forget=[name for name in index.ids.tolist() if name not in present],
        save=lambda: index.save(partial, overwrite=True),
        **how,
    )
    report.failures[:0], report.walk = failures, walk
    index.save(out, overwrite=overwrite)
    partial.unlink(missing_ok=True)
    return index, report


def _check(folder: Path, out: Path, *, overwrite: bool) -> None:
    """Before anything is loaded: raises UsageError if the folder is none, OutputError or OutputExistsError for an index
    that could not be written."""
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder")
    check_output(out, overwrite=overwrite)


def folder_index(
    folder: Path, reader: CodeReader, *, jobs: int = 1, advance: Advance = lambda done, total: None
) -> tuple[HashIndex, Report]:
    """An index of a folder in memory. Raises UsageError if it is no folder."""
    root = os.path.abspath(folder)
    walk = picture_walk()
    found, failures = list_pictures(folder, root, walk)
    index = new_index(reader, root)
    report = update(index, found, reader, jobs=jobs, advance=advance)
    report.failures[:0], report.walk = failures, walk
    return index, report


def fitted(reader: CodeReader, folder: Path) -> CodeReader:
    """The reader, with codes as short as those that .aec files of the folder carry, so that none must be decoded; as it
    is where windows are hashed, since all must be.

    Looks at the first 100 .aec files. Raises UsageError if it is no folder.
    """
    if reader.layout:
        return reader
    found, _ = list_pictures(folder, os.path.abspath(folder))
    carrying = [picture.path for picture in found if picture.path.suffix.lower() == SUFFIX][:100]
    length = reader.carried_length(carrying)
    return reader if length is None or length >= reader.n_bits else reader.shortened(length)


def new_index(reader: CodeReader, root: str) -> HashIndex:
    """An empty index of paths for a reader's codes."""
    hasher = reader.hasher
    return HashIndex(
        hasher=hasher.name,
        fingerprint=hasher.fingerprint,
        n_bits=reader.n_bits,
        paths=True,
        root=root,
        layout=reader.layout,
    )


def _unfinished(out: Path, reader: CodeReader, root: str) -> tuple[Path, HashIndex]:
    """The unfinished index of a build and its place: one left by an earlier build, or a new one in a place of its own.

    What else has such a name is somebody's, and is left alone.
    """
    number = 0
    while os.path.lexists(partial := partial_of(out, number)):
        left = _left_over(partial, reader, root)
        if left is not None:
            return partial, left
        number += 1
    index = new_index(reader, root)
    index.save(partial)
    return partial, index


def _left_over(partial: Path, reader: CodeReader, root: str) -> HashIndex | None:
    """The unfinished index of an earlier build, if it is sound and of the same folder, hasher, length and windows."""
    try:
        index = HashIndex.load(partial)
        index.check_hasher(reader.hasher.name, reader.hasher.fingerprint)
    except IndexFileError:
        return None
    same = (index.root, index.n_bits, index.layout) == (root, reader.n_bits, reader.layout)
    return index if index.has_paths and same else None


def sync(
    index: HashIndex,
    reader: CodeReader,
    *,
    allow_empty: bool = False,
    jobs: int = 1,
    save: Callable[[], None] = lambda: None,
    every: float = EVERY,
    advance: Advance = lambda done, total: None,
) -> Report:
    """Bring an index of a folder up to date: new and changed files are hashed, vanished ones dropped; then save.

    What could not be looked at is kept. allow_empty: as for `plan_sync`, and more than half of the entries may go.
    Raises UsageError if the folder is not there, or more than half would go unasked.
    """
    plan = plan_sync(index, allow_empty=allow_empty)
    if not allow_empty:
        plan.check(index)
    report = update(index, plan.found, reader, forget=plan.gone, jobs=jobs, save=save, every=every, advance=advance)
    save()
    report.failures[:0], report.unseen, report.walk = plan.failures, len(plan.unseen), plan.walk
    return report


def add(
    index: HashIndex,
    paths: Sequence[Path],
    reader: CodeReader,
    *,
    jobs: int = 1,
    save: Callable[[], None] = lambda: None,
    every: float = EVERY,
    advance: Advance = lambda done, total: None,
) -> Report:
    """Add files and the pictures in folders, and save at the end; a path that is not there is a failure."""
    failures: list[Failure] = []
    walk = picture_walk()
    found = files_of(paths, index.root, failures, walk)
    report = update(index, found, reader, jobs=jobs, save=save, every=every, advance=advance)
    save()
    report.failures[:0], report.walk = failures, walk
    return report


def remove(index: HashIndex, paths: Sequence[str]) -> Report:
    """Take out what `below` names."""
    names = below(index, paths)
    index.remove(names)
    return Report(removed=len(names), kept=len(index))


def files_of(paths: Sequence[Path], root: str, failures: list[Failure], walk: Walk) -> list[Found]:
    """Files, and the pictures in folders, each once; what is not there is added to the failures."""
    found: dict[str, Found] = {}
    for path in paths:
        if path.is_dir():
            inside, unreadable = list_pictures(path, root, walk)
            failures += unreadable
            found.update({picture.id: picture for picture in inside})
            continue
        picture = find_picture(path, root)
        if isinstance(picture, Failure):
            failures.append(picture)
        else:
            found[picture.id] = picture
    return list(found.values())


def below(index: HashIndex, paths: Sequence[str]) -> list[str]:
    """The ids that arguments name: files, or folders with all below them. Raises UsageError, naming the first that
    names none."""
    ids = index.ids.tolist()
    known, chosen = set(ids), {}
    for path in paths:
        candidates = [path, id_of(Path(path), index.root)]
        names = [name for name in candidates if name in known][:1]
        names = names or [n for n in ids if any(n.startswith(c.rstrip("/") + "/") for c in candidates)]
        if not names:
            raise UsageError(f"{path}: is not in the index")
        chosen.update(dict.fromkeys(names))
    return list(chosen)
