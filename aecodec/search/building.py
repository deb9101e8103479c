"""Indexes of folders: built, resumed, added to and brought up to date, with many files read at once."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..coding.container import SUFFIX
from ..contracts import AecodecError, IndexFileError, OutputError, OutputExistsError, UsageError
from ..data.locks import WAIT, Say, locked
from ..index.hash_index import HashIndex
from .pictures import CodeReader, Failure, Found, find_picture, id_of, list_pictures, path_of, stack

#: Pictures that one thread reads and hashes together.
GROUP = 16
#: Seconds between two writings of an unfinished index.
EVERY = 30.0
Advance = Callable[[int, int], None]


@dataclass
class Report:
    """What an update did, in pictures. seconds: it took."""

    added: int = 0
    changed: int = 0
    removed: int = 0
    kept: int = 0
    failures: list[Failure] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def per_second(self) -> float:
        """Pictures read and hashed per second."""
        return (self.added + self.changed) / self.seconds if self.seconds > 0 else 0.0


def hash_files(
    reader: CodeReader, found: Sequence[Found], jobs: int
) -> Iterator[tuple[Sequence[Found], list[bytes | AecodecError]]]:
    """Groups of files with their codes or errors, in order, read and hashed by ``jobs`` threads.

    At most a few groups are ahead of the one that is asked for, so memory does not grow with the folder.
    """
    groups = [found[start : start + GROUP] for start in range(0, len(found), GROUP)]
    waiting: deque[tuple[Sequence[Found], Future[list[bytes | AecodecError]]]] = deque()
    with ThreadPoolExecutor(jobs, "hash") as pool:
        try:
            for group in groups:
                waiting.append((group, pool.submit(reader.codes, [picture.path for picture in group])))
                if len(waiting) > 2 * jobs:
                    done, future = waiting.popleft()
                    yield done, future.result()
            while waiting:
                done, future = waiting.popleft()
                yield done, future.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def update(
    index: HashIndex,
    found: Sequence[Found],
    reader: CodeReader,
    *,
    forget: bool,
    jobs: int = 1,
    save: Callable[[], None] | None = None,
    every: float = EVERY,
    advance: Advance = lambda done, total: None,
) -> Report:
    """Hash what is new or has another time or size, and put it into the index.

    forget: drop what is not among ``found`` and, if it lies outside the root, is no file any more. save: called about
    every ``every`` seconds and when interrupted, with all codes so far in the index; not at the end. advance: told
    how many of how many files are done. A file that cannot be read is a failure, and its old code is dropped.
    """
    began = time.monotonic()
    before = index.snapshot()
    stamps = (
        {} if before.stamps is None else dict(zip(before.ids.tolist(), map(tuple, before.stamps.tolist()), strict=True))
    )
    report = Report()
    fresh = [picture for picture in found if stamps.get(picture.id) != picture.stamp]
    report.kept = len(found) - len(fresh)
    if forget:
        gone = _vanished(index, {picture.id for picture in found})
        index.remove(gone)
        report.removed = len(gone)
    pending: list[tuple[Found, bytes]] = []
    dropped: list[str] = []

    def flush() -> None:
        index.remove([name for name in dropped if name in stamps])
        codes = stack((code for _, code in pending), index.n_bits)
        times = np.array([picture.stamp for picture, _ in pending], np.int64).reshape(-1, 2)
        index.add([picture.id for picture, _ in pending], codes, stamps=times, replace=True)
        pending.clear()
        dropped.clear()

    saved = time.monotonic()
    try:
        for group, codes in hash_files(reader, fresh, jobs):
            for picture, code in zip(group, codes, strict=True):
                if isinstance(code, AecodecError):
                    text = str(code)
                    named = text if text.startswith(str(picture.path)) else f"{picture.path}: {text}"
                    report.failures.append(Failure(str(picture.path), named))
                    dropped.append(picture.id)
                    continue
                pending.append((picture, code))
                report.changed += picture.id in stamps
                report.added += picture.id not in stamps
            advance(report.added + report.changed + len(report.failures), len(fresh))
            if save is not None and time.monotonic() - saved > every:
                flush()
                save()
                saved = time.monotonic()
    except KeyboardInterrupt:
        flush()
        if save is not None:
            save()
        raise
    flush()
    report.seconds = time.monotonic() - began
    return report


def _vanished(index: HashIndex, present: set[str]) -> list[str]:
    """Ids that are not among those present; outside the root the file itself is looked for."""
    return [
        name
        for name in index.ids.tolist()
        if name not in present and not (os.path.isabs(name) and path_of(name, index.root).is_file())
    ]


def partial_of(out: Path) -> Path:
    """Where the unfinished index of a build is kept."""
    return out.with_name(f"{out.name}.partial")


def build(
    folder: Path,
    out: Path,
    reader: CodeReader,
    *,
    overwrite: bool = False,
    jobs: int = 1,
    every: float = EVERY,
    wait: float = WAIT,
    say: Say = lambda message: None,
    advance: Advance = lambda done, total: None,
) -> tuple[HashIndex, Report]:
    """An index of a folder, written to a file. Goes on with what a killed build of the same folder has left.

    wait, say: as of `locks.locked`, for another process that writes this index. Raises UsageError if it is no folder or
    holds no picture, OutputExistsError, BusyError, OutputError.
    """
    check_target(folder, out, overwrite=overwrite)
    with locked(out, wait=wait, say=say):
        return _build(folder, out, reader, overwrite=overwrite, jobs=jobs, every=every, advance=advance)


def _build(
    folder: Path, out: Path, reader: CodeReader, *, overwrite: bool, jobs: int, every: float, advance: Advance
) -> tuple[HashIndex, Report]:
    """See `build`; of the one process that writes there."""
    check_target(folder, out, overwrite=overwrite)
    root = os.path.abspath(folder)
    found, failures = list_pictures(folder, root)
    if not found:
        raise UsageError(f"{folder}: no pictures found in it")
    partial = partial_of(out)
    index = _left_over(partial, reader, root) or new_index(reader, root)
    report = update(
        index,
        found,
        reader,
        forget=True,
        jobs=jobs,
        every=every,
        advance=advance,
        save=lambda: index.save(partial, overwrite=True),
    )
    report.failures[:0] = failures
    index.save(out, overwrite=overwrite)
    partial.unlink(missing_ok=True)
    return index, report


def check_target(folder: Path, out: Path, *, overwrite: bool) -> None:
    """Before anything is loaded: raises UsageError if the folder is none, OutputExistsError if the index exists,
    OutputError if its folder does not."""
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder")
    if not out.parent.is_dir():
        raise OutputError(f"{out}: cannot be written (no such folder)")
    if out.exists() and not overwrite:
        raise OutputExistsError(f"{out}: exists (use --force to overwrite it, or `index sync` to bring it up to date)")


def folder_index(
    folder: Path, reader: CodeReader, *, jobs: int = 1, advance: Advance = lambda done, total: None
) -> tuple[HashIndex, Report]:
    """An index of a folder in memory. Raises UsageError if it is no folder."""
    root = os.path.abspath(folder)
    found, failures = list_pictures(folder, root)
    index = new_index(reader, root)
    report = update(index, found, reader, forget=False, jobs=jobs, advance=advance)
    report.failures[:0] = failures
    return index, report


def fitted(reader: CodeReader, folder: Path) -> CodeReader:
    """The reader, with codes as short as those that .aec files of the folder carry, so that none must be decoded.

    Looks at the first 100 .aec files. Raises UsageError if it is no folder.
    """
    found, _ = list_pictures(folder, os.path.abspath(folder))
    carrying = [picture.path for picture in found if picture.path.suffix.lower() == SUFFIX][:100]
    length = reader.carried_length(carrying)
    return reader if length is None or length >= reader.n_bits else reader.shortened(length)


def new_index(reader: CodeReader, root: str) -> HashIndex:
    """An empty index of paths for a reader's codes."""
    hasher = reader.hasher
    return HashIndex(hasher=hasher.name, fingerprint=hasher.fingerprint, n_bits=reader.n_bits, paths=True, root=root)


def _left_over(partial: Path, reader: CodeReader, root: str) -> HashIndex | None:
    """The unfinished index of an earlier build, if it is sound and of the same folder, hasher and length."""
    try:
        index = HashIndex.load(partial)
        index.check_hasher(reader.hasher.name, reader.hasher.fingerprint)
    except IndexFileError:
        return None
    return index if index.has_paths and (index.root, index.n_bits) == (root, reader.n_bits) else None


def sync(
    index: HashIndex,
    reader: CodeReader,
    *,
    jobs: int = 1,
    save: Callable[[], None] = lambda: None,
    every: float = EVERY,
    advance: Advance = lambda done, total: None,
) -> Report:
    """Bring an index of a folder up to date: new and changed files are hashed, vanished ones dropped; then save.

    Raises UsageError if the folder itself is not there, rather than dropping everything.
    """
    if not index.has_paths or not index.root:
        raise UsageError("the index is of no folder that it could be brought up to date with")
    found, failures = list_pictures(Path(index.root), index.root)
    outside = [path_of(name, index.root) for name in index.ids.tolist() if os.path.isabs(name)]
    found += files_of([path for path in outside if path.is_file()], index.root, failures)
    report = update(index, found, reader, forget=True, jobs=jobs, save=save, every=every, advance=advance)
    save()
    report.failures[:0] = failures
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
    found = files_of(paths, index.root, failures)
    report = update(index, found, reader, forget=False, jobs=jobs, save=save, every=every, advance=advance)
    save()
    report.failures[:0] = failures
    return report


def remove(index: HashIndex, paths: Sequence[str]) -> Report:
    """Take out what `below` names."""
    names = below(index, paths)
    index.remove(names)
    return Report(removed=len(names), kept=len(index))


def files_of(paths: Sequence[Path], root: str, failures: list[Failure]) -> list[Found]:
    """Files, and the pictures in folders, each once; what is not there is added to the failures."""
    found: dict[str, Found] = {}
    for path in paths:
        if path.is_dir():
            inside, unreadable = list_pictures(path, root)
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
