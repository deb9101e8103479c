"""Steps of a log taken back, the last first: pictures return to where they were, links become files again.

Whatever a killed process left is recognised by what the files are. Doing it twice does no more than doing it once.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..contracts import AecodecError, OutputError, UnavailableError, error_of
from ..data.files import sync_folder
from ..data.locks import locked
from ..data.moves import digest, move_new, regular_status, restore_from_link, same_bytes
from .journal import Link, Move, read_log
from .moving import alone
from .pictures import stamp_of
from .trash import drop_info

#: Nanoseconds by which a file's time may differ: file systems of cameras keep every other second.
_COARSE = 2_000_000_000


@dataclass(frozen=True)
class Undone:
    """What became of a step. back: the picture was put back now; without that and an error it was in its place.
    remark: what else there is to say."""

    path: Path
    back: bool = False
    error: AecodecError | None = None
    remark: str = ""


def undo(log: Path) -> Iterator[Undone]:
    """Take back each step of a log, the last first. What cannot be put back is left where it is, and told.

    Nothing is replaced but the links that the log speaks of. Raises LogError for a log that is damaged or none, before
    anything is touched, BusyError if another process moves pictures of these folders or plays back this log.
    """
    with locked(log, wait=0):
        header, steps = read_log(log)
        with alone(root for name in header.roots if (root := Path(name)).is_dir()):
            for step in reversed(steps):
                try:
                    yield _move_back(step) if isinstance(step, Move) else _unlink(step)
                except Exception as fault:
                    yield Undone(Path(step.path), error=error_of(step.path, fault))


def _move_back(step: Move) -> Undone:
    path, there = Path(step.path), Path(step.to)
    for end in (path, there):
        _drop_temporary(end.with_name(step.temporary), None)
    now, moved = _status(path), regular_status(there)
    if moved is None:
        if now is None:
            raise UnavailableError(f"{path}: cannot be put back, for {there} is not there any more")
        _drop_info(step)
        return Undone(path)
    if now is not None:
        return _both(step, path, there, now, moved)
    if not _alike(step, moved):
        raise OutputError(f"{path}: cannot be put back, for {there} has changed since")
    if not path.parent.is_dir():
        raise OutputError(f"{path}: cannot be put back, for its folder is not there any more")
    move_new(there, path, step.temporary)
    _drop_info(step)
    return Undone(path, back=True)


def _both(step: Move, path: Path, there: Path, now: os.stat_result, moved: os.stat_result) -> Undone:
    """Something is at both ends: a file with two names, of which one goes, or what this program is not to judge."""
    if os.path.samestat(now, moved):
        os.unlink(there)
        sync_folder(there.parent)
        _drop_info(step)
        return Undone(path, back=True)
    if stat.S_ISREG(now.st_mode) and not now.st_size and _alike(step, moved):
        os.replace(there, path)  # over an empty file that held the name when putting it back was cut short
        sync_folder(path.parent)
        _drop_info(step)
        return Undone(path, back=True)
    if stat.S_ISREG(now.st_mode) and _alike(step, now):
        if not moved.st_size:
            os.unlink(there)  # likewise, of moving it
            _drop_info(step)
            return Undone(path)
        if same_bytes(path, there):
            return Undone(path, remark=f"{there} is a copy of it, byte for byte")
    raise OutputError(f"{path}: is in the way of the picture that was moved to {there}")


def _drop_info(step: Move) -> None:
    if step.info:
        drop_info(Path(step.info), Path(step.path))


def _status(path: Path) -> os.stat_result | None:
    """Of whatever is at a path, links not followed."""
    try:
        return os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None


def _alike(step: Move, status: os.stat_result) -> bool:
    modified, size = stamp_of(status)
    return size == step.size and abs(modified - step.modified) <= _COARSE


def _unlink(step: Link) -> Undone:
    path, kept = Path(step.path), Path(step.kept)
    _drop_temporary(path.with_name(step.temporary), kept)
    now = _status(path)
    if now is None:
        raise UnavailableError(f"{path}: cannot be put back, for it is not there any more")
    if not _leads_to(path, now, kept):
        return Undone(path)  # never replaced, or put back before
    source = regular_status(kept)
    if source is None or source.st_size != step.size or digest(kept) != step.sha256:
        raise OutputError(f"{path}: cannot be put back, for {kept} is not any more what it was")
    restore_from_link(path, kept, step.temporary, step.mode, step.modified, step.sha256)
    return Undone(path, back=True)


def _leads_to(path: Path, status: os.stat_result, kept: Path) -> bool:
    """Whether a path is a link to the kept file, hard or symbolic; a symbolic one may have lost it."""
    if stat.S_ISLNK(status.st_mode):
        return os.path.realpath(path) == os.path.realpath(kept)
    held = _status(kept)
    return held is not None and path != kept and os.path.samestat(status, held)


def _drop_temporary(made: Path, kept: Path | None) -> None:
    """Remove what a killed process left of its own: a copy that was not whole, or a link beside the file."""
    with contextlib.suppress(OSError):
        status = os.lstat(made)
        if kept is None:
            own = stat.S_ISREG(status.st_mode)
        else:
            own = (stat.S_ISREG(status.st_mode) and status.st_nlink == 1) or _leads_to(made, status, kept)
        if own:
            os.unlink(made)
