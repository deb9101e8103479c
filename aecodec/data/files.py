"""Files read with named errors, and written so that a crash or a full disk leaves the old one or none."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from ..contracts import ImageReadError, OutputError, OutputExistsError, UnavailableError
from .outputs import FORCE, check_output, identities

#: Where a process finds its own descriptors: ``compress <(cat a.png)`` names a pipe that is open already.
_DESCRIPTORS = ("/dev/fd/", "/dev/stdin", "/proc/self/fd/")


def is_special(path: Path) -> bool:
    """Whether a name is that of a pipe, a socket or a device: opening it may wait for ever, reading it may not end.

    A pipe that this process has open already, in /dev/fd, is none. Raises OSError for what is missing.
    """
    mode = os.stat(path).st_mode
    if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode):
        return not str(path).startswith(_DESCRIPTORS)
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def open_input(path: Path) -> BinaryIO:
    """A file, open for reading. Raises UnavailableError, an ImageReadError, for what is missing or cannot be read.

    Raises ImageReadError for a directory, an empty file, and a pipe or device by name, which is never opened: reading
    it may not end. Pipes that are open already, in /dev/fd, are read.
    """
    try:
        status = os.stat(path)
        if stat.S_ISDIR(status.st_mode):
            raise ImageReadError(f"{path}: is a directory")
        if is_special(path):
            raise ImageReadError(f"{path}: is a pipe or a device, not a file")
        if stat.S_ISREG(status.st_mode) and not status.st_size:
            raise ImageReadError(f"{path}: the file is empty")
        return Path(path).open("rb")
    except FileNotFoundError:
        raise UnavailableError(f"{path}: no such file") from None
    except OSError as error:
        raise UnavailableError(f"{path}: cannot be read ({error.strerror or error})") from error


def read_bytes(path: Path) -> bytes:
    """All bytes of a file. Raises ImageReadError as `open_input` does."""
    with open_input(path) as file:
        try:
            data = file.read()
        except OSError as error:
            raise UnavailableError(f"{path}: cannot be read ({error.strerror or error})") from error
    if not data:
        raise ImageReadError(f"{path}: the file is empty")
    return data


@contextlib.contextmanager
def atomic_file(path: Path, *, overwrite: bool, sources: Iterable[Path] = ()) -> Iterator[BinaryIO]:
    """A temporary file beside the target, to write to; on leaving: fsync, rename, fsync of the folder.

    sources: files that the content comes from. None of them is ever the target, and nobody may read a new file who may
    not read all of them. A file that is replaced hands on its mode, and a link to it stays one. If the block or any of
    that fails, the target is as it was. Raises OutputExistsError or OutputError as `check_output` does.
    """
    path, sources = Path(path), list(sources)
    there = check_output(path, overwrite=overwrite, inputs=identities(sources))
    target = path if there is None else Path(os.path.realpath(path))
    mode = _shared_mode(sources) if there is None else 0o600
    temporary = target.with_name(f".aecodec-{os.urandom(8).hex()}.tmp")
    try:
        with open(temporary, "xb", opener=lambda name, flags: os.open(name, flags, mode)) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if there is not None:
            _hand_on(temporary, there)
        if overwrite:
            os.replace(temporary, target)
        else:
            rename_new(temporary, target)
        sync_folder(target.parent)
    except FileExistsError:
        raise OutputExistsError(f"{path}: exists ({FORCE})") from None
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror or error})") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_atomic(path: Path, data: bytes | memoryview, *, overwrite: bool, sources: Iterable[Path] = ()) -> None:
    """All of a file at once, through `atomic_file`. Raises OutputExistsError or OutputError."""
    with atomic_file(path, overwrite=overwrite, sources=sources) as file:
        file.write(data)


def _shared_mode(sources: Iterable[Path]) -> int:
    """Of a new file, before the umask: the owner may read and write it, others do what all sources let them do."""
    mode = 0o666
    for source in sources:
        with contextlib.suppress(OSError):
            status = os.stat(source)
            if stat.S_ISREG(status.st_mode):
                mode &= status.st_mode | 0o600
    return mode


def _hand_on(temporary: Path, there: os.stat_result) -> None:
    """Give a file the owner, where the system lets us, and the mode of the one that it replaces."""
    with contextlib.suppress(OSError, AttributeError):
        os.chown(temporary, there.st_uid, there.st_gid)
    os.chmod(temporary, stat.S_IMODE(there.st_mode) & 0o777)


def make_folder(path: Path) -> None:
    """Create a folder and its parents where they are missing. Raises OutputError."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{path}: cannot be made a folder ({error.strerror or error})") from error


def rename_new(temporary: Path, path: Path) -> None:
    """Rename without overwriting what another process may have put there meanwhile."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise
    except OSError:
        # A file system without hard links: check, then rename.
        if os.path.lexists(path):
            raise FileExistsError(path) from None
        os.replace(temporary, path)


def sync_folder(folder: Path) -> None:
    """Make the rename itself durable, where the system lets a folder be opened."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
