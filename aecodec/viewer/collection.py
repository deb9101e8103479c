"""The pictures that a page shows: which files there are, and each opened by the name that an address gives it.

A name comes from the network. None leads to a file that the walk of the folder would not have found.
"""

from __future__ import annotations

import os
import stat
import urllib.parse
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from ..coding.container import SUFFIX
from ..contracts import UnavailableError, UsageError
from ..data.files import open_input
from ..data.folders import Walk

#: Pictures that every browser shows itself, by suffix, and the types that they are served as. No SVG, which can hold
#: scripts.
PICTURES = {
    ".avif": "image/avif",
    ".bmp": "image/bmp",
    ".gif": "image/gif",
    ".jpeg": "image/jpeg",
    ".jpg": "image/jpeg",
    ".png": "image/png",
    ".webp": "image/webp",
}
#: Where pictures lie, relative to the pages.
FILES = "files/"
BYTES = "application/octet-stream"
SHOWN = frozenset({SUFFIX, *PICTURES})
_SEPARATORS = {os.sep, os.altsep or os.sep, "\0"}
#: No link is followed and no pipe waited for by what opens the files of a folder.
_FLAGS = os.O_RDONLY | sum(getattr(os, name, 0) for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY"))


@dataclass(frozen=True)
class Entry:
    """One picture. name: its path below the folder, with slashes; path: where it lies; size: in bytes."""

    name: str
    path: Path
    size: int


@dataclass(frozen=True)
class Listing:
    """What there is to show, by path, and what else is to be said of the folder, in words."""

    entries: list[Entry]
    notes: list[str]


class Collection(Protocol):
    """Pictures under names."""

    title: str

    def listing(self) -> Listing:
        """What there is now."""
        ...

    def open(self, name: str) -> BinaryIO:
        """A picture by its name, whoever gave it. Raises UnavailableError for all that is none of the collection."""
        ...

    def name_of(self, path: Path) -> str | None:
        """The name of a file, if it can be one of the collection."""
        ...


def address_of(name: str) -> str:
    """A picture's name as an address, relative to that of the pages."""
    return FILES + urllib.parse.quote(os.fsencode(name))


def name_at(address: str) -> str:
    """The inverse of `address_of`, for whatever was asked for below `FILES`."""
    return os.fsdecode(urllib.parse.unquote_to_bytes(address.removeprefix(FILES)))


def text_of(name: str) -> str:
    """A name as JSON can hold it, whatever its bytes."""
    return name.encode("utf-8", "replace").decode()


def type_of(name: str) -> str:
    """The type that a picture is served as."""
    return PICTURES.get(Path(name).suffix.lower(), BYTES)


class NoPictures:
    """A page to drop files on."""

    title = "aecodec"

    def listing(self) -> Listing:
        """See `Collection.listing`."""
        return Listing([], [])

    def open(self, name: str) -> BinaryIO:
        """See `Collection.open`."""
        raise UnavailableError("no such picture")

    def name_of(self, path: Path) -> str | None:
        """See `Collection.name_of`."""
        return None


class OneFile:
    """A single file, whatever its name ends in."""

    def __init__(self, path: Path) -> None:
        """Raises ImageReadError for what cannot be read, or is no file."""
        open_input(path).close()
        self.path, self.title = Path(os.path.abspath(path)), path.name

    def listing(self) -> Listing:
        """See `Collection.listing`."""
        try:
            return Listing([Entry(self.title, self.path, os.stat(self.path).st_size)], [])
        except OSError as error:
            return Listing([], [f"{self.title}: cannot be read ({error.strerror or error})"])

    def open(self, name: str) -> BinaryIO:
        """See `Collection.open`."""
        if name != self.title:
            raise UnavailableError("no such picture")
        return open_input(self.path)

    def name_of(self, path: Path) -> str | None:
        """See `Collection.name_of`."""
        return self.title if os.path.realpath(path) == os.path.realpath(self.path) else None


class Folder:
    """All pictures of a folder that are `SHOWN`. Links out of it, or to what is hidden, are not followed."""

    def __init__(self, path: Path, suffixes: frozenset[str] = SHOWN) -> None:
        """Raises UsageError for what is no folder, UnavailableError for one that cannot be read."""
        if not path.is_dir():
            raise UsageError(f"{path}: no such folder")
        self.path, self._suffixes = Path(os.path.abspath(path)), suffixes
        self._real = os.path.realpath(path)
        self.title = os.path.basename(self._real) or self._real
        # The folder itself, whatever takes its name later.
        self._descriptor: int | None = None
        if os.open in os.supports_dir_fd:
            try:
                self._descriptor = os.open(self._real, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            except OSError as error:
                raise UnavailableError(f"{path}: cannot be read ({error.strerror or error})") from error

    def listing(self) -> Listing:
        """See `Collection.listing`."""
        walk = Walk(self._suffixes, once=False)
        parents: dict[Path, str] = {}
        entries, outside = [], 0
        for one in walk.files(self.path):
            parent = one.path.parent
            if parent not in parents:
                parents[parent] = os.path.realpath(parent)
            real = os.path.realpath(one.path) if one.path.is_symlink() else os.path.join(parents[parent], one.path.name)
            if self._inside(real) is None:
                outside += 1
                continue
            entries.append(Entry(one.path.relative_to(self.path).as_posix(), one.path, one.status.st_size))
        notes = [f"{outside} {'link' if outside == 1 else 'links'} out of the folder not followed"] if outside else []
        return Listing(entries, [*notes, walk.summary] if walk.summary else notes)

    def open(self, name: str) -> BinaryIO:
        """See `Collection.open`. What takes the place of a file, or of a folder above it, meanwhile is not followed
        out of the collection either."""
        missing = UnavailableError("no such picture")
        if Path(name).suffix.lower() not in self._suffixes or not all(map(_is_plain, name.split("/"))):
            raise missing
        try:
            parts = self._inside(os.path.realpath(os.path.join(self._real, *name.split("/"))))
            if parts is None:
                raise missing
            descriptor = self._descend(parts)
        except (OSError, ValueError) as error:
            raise missing from error
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise missing
        return os.fdopen(descriptor, "rb")

    def name_of(self, path: Path) -> str | None:
        """See `Collection.name_of`."""
        try:
            parts = self._inside(os.path.realpath(path))
        except (OSError, ValueError):
            return None
        return "/".join(parts) if parts is not None and path.suffix.lower() in self._suffixes else None

    def is_at(self, path: str) -> bool:
        """Whether a path is that of the folder, links followed."""
        return bool(path) and os.path.realpath(path) == self._real

    def _inside(self, real: str) -> list[str] | None:
        """The parts of a path below the folder, links followed; None for one elsewhere, or hidden."""
        top = os.path.join(self._real, "")
        parts = real[len(top) :].split(os.sep)
        return parts if real.startswith(top) and all(map(_is_plain, parts)) else None

    def _descend(self, parts: list[str]) -> int:
        """A descriptor of a file, from folder to folder, none of which is a link. Raises OSError."""
        if self._descriptor is None:
            return os.open(os.path.join(self._real, *parts), _FLAGS)
        current = os.dup(self._descriptor)
        try:
            for part in parts[:-1]:
                below = os.open(part, _FLAGS | os.O_DIRECTORY, dir_fd=current)
                os.close(current)
                current = below
            return os.open(parts[-1], _FLAGS, dir_fd=current)
        finally:
            os.close(current)

    def close(self) -> None:
        """Let go of the folder."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _is_plain(part: str) -> bool:
    """Whether a part of a path is the name of what is not hidden."""
    return (
        bool(part)
        and not part.startswith(".")
        and _SEPARATORS.isdisjoint(part)
        and not (os.name == "nt" and ":" in part)
    )
