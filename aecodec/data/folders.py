"""The files of a folder and of those below it: one walk for every command that takes folders."""

from __future__ import annotations

import os
import stat
import warnings
from collections import Counter, deque
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from ..contracts import ImageReadError
from .locks import is_lock_name
from .plugins import lacking_in

#: What files are counted as that were passed over, where it is not their suffix.
HIDDEN = "hidden"
SPECIAL = "pipes or devices"
AGAIN = "further links"
WITHOUT_SUFFIX = "without suffix"
_OTHER = "others"
_OF_ONE = {SPECIAL: "pipe or device", AGAIN: "further link", _OTHER: "other"}
#: Kinds that the closing line names at most; the rest are "others".
_NAMED = 6
_LONGEST_SUFFIX = 8


@dataclass(frozen=True)
class Unreadable:
    """A file or folder that the system did not let be looked at, and why."""

    path: Path
    error: OSError
    folder: bool


@dataclass(frozen=True)
class Walked:
    """A file that was found, as it was when it was looked at."""

    path: Path
    status: os.stat_result


class Walk:
    """Folders walked for files of some kinds, and what was met there besides.

    A folder is entered once, however many links lead to it, and links to folders are followed. Names that begin with a
    dot are passed over; so is what is no regular file, which is never opened. Files and folders are known by device and
    inode. What was passed over is counted in ``passed_over`` by suffix or kind, what could not be looked at is listed
    in ``unreadable``, and ``empty`` names the folders with nothing whatever in them.
    """

    def __init__(self, suffixes: Collection[str], *, recursive: bool = True, once: bool = True) -> None:
        """suffixes: lower case, with the dot; those of files may be in capitals. recursive: whether folders in a folder
        are entered. once: a file of several names, by hard or symbolic links, is given under one of them, which is none
        of a symbolic link if there is another; else under each."""
        self.suffixes, self.recursive, self.once = suffixes, recursive, once
        self.passed_over: Counter[str] = Counter()
        self.hidden_folders = 0
        self.unreadable: list[Unreadable] = []
        self.empty: list[Path] = []
        self._met: set[tuple[int, int]] = set()

    def files(self, folder: Path) -> list[Walked]:
        """The files below a folder, by path; with ``once``, without those of folders walked before."""
        found: list[Walked] = []
        entered: set[tuple[int, int]] = set()
        links: deque[Path] = deque()
        self._enter(folder, entered, links, found)
        while links:  # after all that is no link, so that a file goes by its own name rather than by a link's
            path = links.popleft()
            try:
                status = path.stat()
            except OSError as error:
                if path.suffix.lower() in self.suffixes or not path.suffix:
                    self.unreadable.append(Unreadable(path, error, folder=not path.suffix))
                else:
                    self._pass(path)
                continue
            if not stat.S_ISDIR(status.st_mode):
                self._consider(path, status, found)
            elif self.recursive:
                self._enter(path, entered, links, found)
        return sorted(found, key=lambda one: one.path)

    def _enter(self, folder: Path, entered: set[tuple[int, int]], links: deque[Path], found: list[Walked]) -> None:
        """All below a folder that is no link; links are put off."""
        waiting = [folder]
        while waiting:
            inside = waiting.pop()
            try:
                identity = _identity(inside.stat())
                if identity in entered:
                    continue
                entered.add(identity)
                with os.scandir(inside) as listing:
                    entries = sorted(listing, key=lambda entry: entry.name)
            except OSError as error:
                self.unreadable.append(Unreadable(inside, error, folder=True))
                continue
            if not entries:
                self.empty.append(inside)
            for entry in entries:
                self._sort(entry, Path(inside, entry.name), waiting, links, found)

    def _sort(
        self, entry: os.DirEntry[str], path: Path, waiting: list[Path], links: deque[Path], found: list[Walked]
    ) -> None:
        """One entry of a folder."""
        hidden = entry.name.startswith(".")
        try:
            if entry.is_dir(follow_symlinks=False):
                self.hidden_folders += hidden and self.recursive
                if self.recursive and not hidden:
                    waiting.append(path)
            elif is_lock_name(entry.name):
                pass  # no file of the user's, and perhaps our own
            elif hidden:
                self.passed_over[HIDDEN] += 1
            elif entry.is_symlink():
                links.append(path)
            elif path.suffix.lower() in self.suffixes:
                self._consider(path, path.stat(), found)
            else:
                self._pass(path)
        except OSError as error:
            self.unreadable.append(Unreadable(path, error, folder=False))

    def _consider(self, path: Path, status: os.stat_result, found: list[Walked]) -> None:
        """What is no folder: found or passed over."""
        identity = _identity(status)
        if not stat.S_ISREG(status.st_mode):
            self.passed_over[SPECIAL] += 1
        elif path.suffix.lower() not in self.suffixes:
            self._pass(path)
        elif self.once and identity in self._met:
            self.passed_over[AGAIN] += 1
        else:
            if status.st_ino:  # 0 where a file system has none
                self._met.add(identity)
            found.append(Walked(path, status))

    def _pass(self, path: Path) -> None:
        suffix = path.suffix.lower()
        plain = suffix[1:].isalnum() and suffix.isascii() and len(suffix) <= _LONGEST_SUFFIX
        self.passed_over[suffix if plain else _OTHER if suffix else WITHOUT_SUFFIX] += 1

    def has_met(self, status: os.stat_result) -> bool:
        """Whether a file was found, under whatever name."""
        return _identity(status) in self._met

    @property
    def summary(self) -> str:
        """The closing line, as in "12 files passed over (8 .raw, 4 hidden), 1 folder unreadable"; empty if there is
        nothing to say."""
        parts = []
        if self.passed_over:
            ranked = sorted(self.passed_over.items(), key=lambda pair: (pair[0] == _OTHER, -pair[1], pair[0]))
            if rest := sum(count for _, count in ranked[_NAMED:]):
                ranked[_NAMED:] = [(_OTHER, rest)]
            kinds = [f"{count} {_OF_ONE.get(kind, kind) if count == 1 else kind}" for kind, count in ranked]
            more = lacking_in(self.suffixes, self.passed_over)
            inside = ", ".join(kinds) + (f"; {more}" if more else "")
            parts.append(f"{counted(self.passed_over.total(), 'file')} passed over ({inside})")
        if self.hidden_folders:
            parts.append(f"{counted(self.hidden_folders, 'hidden folder')} not entered")
        for name, folder in (("folder", True), ("file", False)):
            if count := sum(one.folder == folder for one in self.unreadable):
                parts.append(f"{counted(count, name)} unreadable")
        return ", ".join(parts)


def _identity(status: os.stat_result) -> tuple[int, int]:
    """What tells a file or folder from all others, whatever its names."""
    return status.st_dev, status.st_ino


def counted(count: int, name: str) -> str:
    """A number of things in words: 1 file, 2 files."""
    return f"{count} {name}{'s' * (count != 1)}"


def list_photos(folder: Path, walk: Walk | None = None) -> list[Path]:
    """Every picture file below a folder, by path, each file once.

    walk: told of what else there is; without one, a warning tells of what cannot be looked at. Raises ImageReadError if
    there is none.
    """
    from .formats import picture_suffixes  # Pillow, which those that walk for .aec files do not need

    warn = walk is None
    walk = Walk(picture_suffixes()) if walk is None else walk
    paths = [one.path for one in walk.files(folder)]
    if not paths:
        raise ImageReadError(f"{folder}: no pictures found in it{f' ({walk.summary})' if walk.summary else ''}")
    if walk.unreadable and warn:
        warnings.warn(f"{folder}: {walk.summary}", stacklevel=2)
    return paths
