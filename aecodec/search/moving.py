"""What is done to the pictures of a group that are not kept: moved to a folder or the trash, or replaced by links.

Nothing is ever deleted. Each step is in a log on the disk before it is taken, and `undoing` takes it back.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ..contracts import AecodecError, OutputError, OutputExistsError, UnavailableError, UsageError, error_of
from ..data.files import make_folder
from ..data.locks import locked
from ..data.moves import digest, move_new, new_temporary, regular_status, replace_by_link, same_bytes
from ..data.outputs import input_below
from .journal import Header, Journal, Link, Move, is_picture_name
from .pictures import stamp_of
from .trash import check_trash, info_of, trash_for, write_info

#: Names that are tried for a file before it is left where it is.
_TRIES = 1000


@dataclass(frozen=True)
class Chosen:
    """A picture as it was when it was looked at: size in bytes, modification time in ns; and the folder it must lie
    below."""

    path: Path
    size: int
    modified: int
    root: Path


@dataclass(frozen=True)
class Outcome:
    """What became of a picture. to: where it is now, or what it is a link to; None if it was left, and then why."""

    path: Path
    to: Path | None
    error: AecodecError | None = None


class Action(Protocol):
    """One way of dealing with a picture that is not kept.

    name: one of `journal.ACTIONS`.
    """

    name: str

    def check(self, roots: Iterable[Path]) -> None:
        """Before any work. Raises UsageError if this cannot be done with pictures of these folders."""
        ...

    def target(self, kept: Chosen, other: Chosen) -> Path:
        """Where the picture would go if nothing else were there, or what it would become a link to."""
        ...

    def take(self, kept: Chosen, other: Chosen, journal: Callable[[Move | Link], None]) -> Path:
        """Write the step down, take it -> where the picture is now. Raises AecodecError; it then is where it was."""
        ...


class ToFolder:
    """Moves pictures to a folder, each at the path below it that it had below its root."""

    name = "move"

    def __init__(self, folder: Path) -> None:
        self.folder = Path(os.path.abspath(folder))

    def check(self, roots: Iterable[Path]) -> None:
        """See `Action.check`: not in a folder where pictures would be found again. Raises OutputError for a file."""
        if os.path.lexists(self.folder) and not self.folder.is_dir():
            raise OutputError(f"{self.folder}: is no folder")
        real = os.path.realpath(self.folder)
        for root in roots:
            top = os.path.join(os.path.realpath(root), "")
            inside = f"{real}{os.sep}".removeprefix(top).split(os.sep)
            if f"{real}{os.sep}".startswith(top) and not any(part.startswith(".") for part in inside):
                raise UsageError(f"{self.folder}: lies in {root}, where its pictures would be found again")

    def target(self, kept: Chosen, other: Chosen) -> Path:
        """See `Action.target`."""
        return self.folder / os.path.relpath(other.path, other.root)

    def take(self, kept: Chosen, other: Chosen, journal: Callable[[Move | Link], None]) -> Path:
        """See `Action.take`."""
        wanted = self.target(kept, other)
        make_folder(wanted.parent)
        for target in _numbered(wanted):
            if os.path.lexists(target):
                continue
            step = Move(str(other.path), str(target), other.size, other.modified, new_temporary())
            journal(step)
            try:
                move_new(other.path, target, step.temporary)
            except OutputExistsError:
                continue  # another process took the name meanwhile
            return target
        raise OutputExistsError(f"{wanted}: exists, and so do {_TRIES} more of the kind")


class ToTrash:
    """Moves pictures to the trash of the desktop."""

    name = "trash"

    def check(self, roots: Iterable[Path]) -> None:
        """See `Action.check`: not on systems whose trash is another one."""
        check_trash()

    def target(self, kept: Chosen, other: Chosen) -> Path:
        """See `Action.target`."""
        return trash_for(other.path) / "files" / other.path.name

    def take(self, kept: Chosen, other: Chosen, journal: Callable[[Move | Link], None]) -> Path:
        """See `Action.take`."""
        wanted = self.target(kept, other)
        for target in _numbered(wanted):
            info = info_of(target)
            if os.path.lexists(target) or os.path.lexists(info):
                continue
            step = Move(str(other.path), str(target), other.size, other.modified, new_temporary(), str(info))
            journal(step)
            try:
                write_info(info, other.path)
                move_new(other.path, target, step.temporary)
            except (FileExistsError, OutputExistsError):
                continue
            return target
        raise OutputExistsError(f"{wanted}: exists, and so do {_TRIES} more of the kind")


class ToLink:
    """Replaces pictures by links to the one that is kept, if they are equal to it byte for byte."""

    name = "link"

    def __init__(self, *, symbolic: bool) -> None:
        self.symbolic = symbolic

    def check(self, roots: Iterable[Path]) -> None:
        """See `Action.check`."""

    def target(self, kept: Chosen, other: Chosen) -> Path:
        """See `Action.target`."""
        return kept.path

    def take(self, kept: Chosen, other: Chosen, journal: Callable[[Move | Link], None]) -> Path:
        """See `Action.take`. Raises UsageError for a picture that is not equal."""
        if not equal(kept, other):
            raise UsageError(f"{other.path}: is not the same as {kept.path}, byte for byte")
        if not self.symbolic and os.stat(kept.path).st_dev != os.lstat(other.path).st_dev:
            raise OutputError(f"{other.path}: cannot become a hard link (the other one is on another file system)")
        mode, checksum, real = os.lstat(other.path).st_mode, digest(other.path), os.path.realpath(kept.path)
        if not is_picture_name(Path(real)):
            raise OutputError(f"{other.path}: cannot become a link, for {real} has no name of a picture")
        step = Link(str(other.path), real, other.size, other.modified, mode, checksum, new_temporary())
        journal(step)
        replace_by_link(other.path, kept.path, step.temporary, symbolic=self.symbolic)
        return kept.path


def equal(kept: Chosen, other: Chosen) -> bool:
    """Whether two pictures are files of the same bytes. Raises UnavailableError."""
    try:
        return kept.size == other.size and same_bytes(kept.path, other.path)
    except OSError as error:
        raise UnavailableError(f"{other.path}: cannot be compared ({error.strerror or error})") from error


def exact_copies(pairs: Iterable[tuple[Chosen, Chosen]]) -> list[tuple[Chosen, Chosen]]:
    """Those pairs that are files of the same bytes, and those that cannot be compared any more."""
    found = []
    for pair in pairs:
        try:
            if equal(*pair):
                found.append(pair)
        except UnavailableError:
            found.append(pair)  # whoever looks at it again just before says what is wrong with it
    return found


def _numbered(path: Path) -> Iterator[Path]:
    """A path, then others of its folder and kind: a.png, a (2).png, ..."""
    yield path
    for number in itertools.islice(itertools.count(2), _TRIES):
        yield path.with_name(f"{path.stem} ({number}){path.suffix}")


def check_chosen(one: Chosen) -> None:
    """Raises an AecodecError that says why a picture must be left alone: it lies elsewhere, links followed, or is a
    link; its name is none of a picture's; it has changed or gone since it was looked at."""
    input_below(one.root, str(one.path), OutputError)
    status = regular_status(one.path)
    if status is None:
        raise UnavailableError(f"{one.path}: no such file")
    if not is_picture_name(one.path):
        raise OutputError(f"{one.path}: its name is none of a picture")
    check_unchanged(one, status)


def check_unchanged(one: Chosen, status: os.stat_result) -> None:
    """Raises OutputError if a file has another size or time than when it was looked at."""
    if stamp_of(status) != (one.modified, one.size):
        raise OutputError(f"{one.path}: has changed since it was looked at")


def check_kept(one: Chosen) -> None:
    """Raises an AecodecError unless the picture that is kept is there as it was: else nothing is moved away."""
    try:
        check_unchanged(one, os.stat(one.path))
    except OSError as error:
        raise UnavailableError(f"{one.path}: cannot be looked at ({error.strerror or error})") from error


@contextmanager
def alone(roots: Iterable[Path]) -> Iterator[None]:
    """Be the only process that moves pictures of some folders. Raises BusyError at once, or OutputError."""
    with ExitStack() as held:
        for root in sorted({os.path.realpath(root) for root in roots}):
            held.enter_context(locked(Path(root, "dedup"), wait=0))
        yield


def perform(
    pairs: Iterable[tuple[Chosen, Chosen]],
    action: Action,
    log: Path,
    roots: Iterable[Path],
    verify: Callable[[Path], None] = lambda path: None,
) -> Iterator[Outcome]:
    """Deal with the second picture of each pair, of which the first is kept. The caller is `alone`.

    Both are looked at again just before, and handed to ``verify``, which may raise. log: a new file, made for the first
    step. What fails is left where it was and
    told; only a log that cannot be written ends it all: raises OutputError or OutputExistsError.
    """
    journal: Journal | None = None
    broken: list[AecodecError] = []

    def write(step: Move | Link) -> None:
        nonlocal journal
        try:
            if journal is None:
                journal = Journal(log, Header(action.name, tuple(map(str, roots))))
            journal.add(step)
        except AecodecError as error:
            broken.append(error)
            raise

    try:
        for kept, other in pairs:
            try:
                check_kept(kept)
                check_chosen(other)
                if os.path.samefile(kept.path, other.path):
                    raise OutputError(f"{other.path}: is the same file as {kept.path}")
                verify(kept.path)
                verify(other.path)
                yield Outcome(other.path, action.take(kept, other, write))
            except Exception as fault:
                if broken:
                    raise broken[0] from fault
                yield Outcome(other.path, None, error_of(str(other.path), fault, str(kept.path)))
    finally:
        if journal is not None:
            journal.close()
