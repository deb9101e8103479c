"""What is new of some files put into an index, with many of them read at once."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..contracts import (
    AecodecError,
    BitstreamError,
    ImageReadError,
    UnavailableError,
    UnsupportedVersionError,
    error_of,
)
from ..data.folders import Walk
from ..index.hash_index import HashIndex
from .pictures import CodeReader, Failure, Found, stack
from .syncing import stamps_of

#: Pictures that one thread reads and hashes together.
GROUP = 16
#: Seconds between two writings of an unfinished index.
EVERY = 30.0
Advance = Callable[[int, int], None]
#: Groups of files -> the codes of each group, or their errors, in order, as `CodeReader.codes` gives them.
HashGroups = Callable[[Sequence[Sequence[Path]]], Iterator[list[bytes | AecodecError]]]


@dataclass
class Report:
    """What an update did, in pictures. unseen: kept although nobody could look whether they are there. walk: through
    the folders, if there were any. seconds: it took."""

    added: int = 0
    changed: int = 0
    removed: int = 0
    kept: int = 0
    unseen: int = 0
    walk: Walk | None = None
    failures: list[Failure] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def per_second(self) -> float:
        """Pictures read and hashed per second."""
        return (self.added + self.changed) / self.seconds if self.seconds > 0 else 0.0


def in_threads(reader: CodeReader, jobs: int) -> HashGroups:
    """Groups read and hashed by ``jobs`` threads.

    At most a few groups are ahead of the one that is asked for, so memory does not grow with the folder.
    """

    def hash_groups(groups: Sequence[Sequence[Path]]) -> Iterator[list[bytes | AecodecError]]:
        waiting: deque[Future[list[bytes | AecodecError]]] = deque()
        with ThreadPoolExecutor(jobs, "hash") as pool:
            try:
                for group in groups:
                    waiting.append(pool.submit(reader.codes, group))
                    if len(waiting) > 2 * jobs:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                pool.shutdown(wait=True, cancel_futures=True)

    return hash_groups


def hash_files(
    found: Sequence[Found], hashing: HashGroups
) -> Iterator[tuple[Sequence[Found], list[bytes | AecodecError]]]:
    """Groups of files with their codes or errors, in order."""
    groups = [found[start : start + GROUP] for start in range(0, len(found), GROUP)]
    return zip(groups, hashing([[picture.path for picture in group] for group in groups]), strict=True)


def update(
    index: HashIndex,
    found: Sequence[Found],
    reader: CodeReader,
    *,
    forget: Sequence[str] = (),
    jobs: int = 1,
    hashing: HashGroups | None = None,
    save: Callable[[], None] | None = None,
    every: float = EVERY,
    advance: Advance = lambda done, total: None,
) -> Report:
    """Hash what is new or has another time or size, and put it into the index.

    forget: ids to drop. hashing: what hashes; ``jobs`` threads of this process unless given. save: called about every
    ``every`` seconds and when interrupted, with all codes so far in the index; not at the end. advance: told how many
    of how many files are done. A file without a code is a failure; its old code is dropped if the file was looked at
    and is no picture any more, and kept if it could not be looked at.
    """
    began = time.monotonic()
    stamps = stamps_of(index)
    report = Report(removed=len(forget))
    fresh = [picture for picture in found if stamps.get(picture.id) != picture.stamp]
    report.kept = len(found) - len(fresh)
    index.remove(forget)
    pending: list[tuple[Found, bytes]] = []
    dropped: list[str] = []

    def flush() -> None:
        index.remove([name for name in dropped if name in stamps])
        sets = stack((codes for _, codes in pending), reader.count, index.n_bits)
        times = np.array([picture.stamp for picture, _ in pending], np.int64).reshape(-1, 2)
        names = [picture.id for picture, _ in pending]
        index.add(names, sets[:, 0], windows=sets[:, 1:], stamps=times, replace=True)
        pending.clear()
        dropped.clear()

    saved = time.monotonic()
    try:
        for group, codes in hash_files(fresh, hashing or in_threads(reader, jobs)):
            for picture, code in zip(group, codes, strict=True):
                if isinstance(code, AecodecError):
                    report.failures.append(Failure(str(picture.path), str(error_of(str(picture.path), code))))
                    if _was_seen(code):
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
    except BaseException:  # what is done is kept, whatever it was
        flush()
        if save is not None:
            save()
        raise
    flush()
    report.seconds = time.monotonic() - began
    return report


def _was_seen(error: AecodecError) -> bool:
    """Whether the content of the file is at fault: not the system that keeps it, nor a model or version that lacks."""
    known = isinstance(error, ImageReadError | BitstreamError)
    return known and not isinstance(error, UnavailableError | UnsupportedVersionError)
