"""Files read with named errors, and written so that a crash or a full disk leaves the old one or none."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from ..contracts import ImageReadError, OutputError, OutputExistsError, UnavailableError

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
def atomic_file(path: Path, *, overwrite: bool) -> Iterator[BinaryIO]:
    """A temporary file beside the target, to write to; on leaving: fsync, rename, fsync of the folder.

    If the block or any of that fails, the target is as it was. Raises OutputExistsError or OutputError.
    """
    path = Path(path)
    if path.is_dir():
        raise OutputError(f"{path}: is a directory")
    if not overwrite and path.exists():
        raise OutputExistsError(f"{path}: exists (use --force to overwrite it)")
    temporary = path.with_name(f".{_short(path.name)}.{os.urandom(4).hex()}.tmp")
    try:
        with open(temporary, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if overwrite:
            os.replace(temporary, path)
        else:
            _rename_new(temporary, path)
        _sync_folder(path.parent)
    except FileExistsError:
        raise OutputExistsError(f"{path}: exists (use --force to overwrite it)") from None
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror or error})") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _short(name: str) -> str:
    """As much of a name as leaves room for more in the 255 bytes that systems allow."""
    return os.fsencode(name)[:200].decode("utf-8", "ignore")


def write_atomic(path: Path, data: bytes | memoryview, *, overwrite: bool) -> None:
    """All of a file at once, through `atomic_file`. Raises OutputExistsError or OutputError."""
    with atomic_file(path, overwrite=overwrite) as file:
        file.write(data)


def make_folder(path: Path) -> None:
    """Create a folder and its parents where they are missing. Raises OutputError."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{path}: cannot be made a folder ({error.strerror or error})") from error


def _rename_new(temporary: Path, path: Path) -> None:
    """Rename without overwriting what another process may have put there meanwhile."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise
    except OSError:
        # A file system without hard links: check, then rename.
        if path.exists():
            raise FileExistsError(path) from None
        os.replace(temporary, path)


def _sync_folder(folder: Path) -> None:
    """Make the rename itself durable, where the system lets a folder be opened."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
