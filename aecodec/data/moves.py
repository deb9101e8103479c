"""Files moved and replaced by links so that a crash at any moment leaves each of them whole under some name."""

from __future__ import annotations

import contextlib
import errno
import filecmp
import hashlib
import os
import re
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from ..contracts import OutputError, OutputExistsError, UnavailableError
from .files import rename_new, sync_folder

#: What the program's own temporary files are called.
_TEMPORARY = re.compile(r"\.aecodec-[0-9a-f]{16}\.tmp")
#: A file system that has no hard links, or does not let this file have one, says one of these.
_NO_LINKS = {errno.EPERM, errno.EACCES, errno.EMLINK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL}
_CHUNK = 1 << 20


def new_temporary() -> str:
    """The name of a temporary file that nothing has."""
    return f".aecodec-{os.urandom(8).hex()}.tmp"


def is_temporary(name: str) -> bool:
    """Whether a name is one of `new_temporary`."""
    return _TEMPORARY.fullmatch(name) is not None


def regular_status(path: Path) -> os.stat_result | None:
    """Of a regular file, links not followed; None if there is nothing. Raises UnavailableError for anything else."""
    try:
        status = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise UnavailableError(f"{path}: cannot be looked at ({getattr(error, 'strerror', None) or error})") from error
    if stat.S_ISLNK(status.st_mode):
        raise UnavailableError(f"{path}: is a link, not the picture itself")
    if not stat.S_ISREG(status.st_mode):
        raise UnavailableError(f"{path}: is no regular file")
    return status


def digest(path: Path) -> str:
    """The SHA-256 of a file's bytes as hexadecimal digits. Raises OSError."""
    found = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK):
            found.update(chunk)
    return found.hexdigest()


def same_bytes(first: Path, second: Path) -> bool:
    """Whether two files hold the same, read now. Raises OSError."""
    filecmp.clear_cache()
    return filecmp.cmp(first, second, shallow=False)


def move_new(source: Path, target: Path, temporary: str) -> None:
    """Move a regular file to a name that nothing has, on this file system or another one.

    It has a second name for a moment; where it cannot, an empty file holds the new name until the file takes it. To
    another file system it is copied to ``temporary`` in the target's folder, synced, read again and compared, renamed,
    and only then removed from where it was. Raises OutputExistsError if the target is there, OutputError for whatever
    else fails; the file is then where it was.
    """
    before = regular_status(source)
    if before is None:
        raise UnavailableError(f"{source}: no such file")
    try:
        try:
            os.link(source, target, follow_symlinks=False)
        except OSError as error:
            if error.errno == errno.EXDEV:
                _copy_new(source, target, target.with_name(temporary))
            elif error.errno in _NO_LINKS:
                _rename_reserved(source, target)
                return
            else:
                raise
        sync_folder(target.parent)
        if _unlike(before, os.lstat(source)):
            if os.path.samefile(source, target):
                os.unlink(target)
            raise OutputError(f"{source}: changed while it was moved, and stays")
        os.unlink(source)
        sync_folder(source.parent)
    except FileExistsError:
        raise OutputExistsError(f"{target}: exists") from None
    except OSError as error:
        raise OutputError(f"{source}: cannot be moved to {target} ({error.strerror or error})") from error


def _rename_reserved(source: Path, target: Path) -> None:
    """Where a file has one name only: an empty one takes the new name, and is replaced."""
    os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    try:
        os.replace(source, target)
    except OSError:
        with contextlib.suppress(OSError):
            if not os.lstat(target).st_size:
                os.unlink(target)
        raise
    sync_folder(target.parent)
    sync_folder(source.parent)


def _copy_new(source: Path, target: Path, temporary: Path) -> None:
    """A copy with the times and mode of a file, compared with it byte for byte, under a name that nothing had."""
    try:
        _copy_bytes(source, temporary)
        shutil.copystat(source, temporary)
        if not same_bytes(source, temporary):
            raise OutputError(f"{source}: its copy in {target.parent} is not the same")
        rename_new(temporary, target)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _unlike(before: os.stat_result, now: os.stat_result) -> bool:
    return (before.st_ino, before.st_size, before.st_mtime_ns) != (now.st_ino, now.st_size, now.st_mtime_ns)


def _copy_bytes(source: Path, target: Path) -> None:
    """Into a file that was not there, on its disk when this returns."""
    with open(source, "rb") as read, open(target, "xb") as write:
        shutil.copyfileobj(read, write, _CHUNK)
        write.flush()
        os.fsync(write.fileno())


@contextlib.contextmanager
def _in_place_of(path: Path, temporary: str) -> Iterator[Path]:
    """A name beside a file, for what takes the file's place when all went well, and is removed otherwise."""
    made = path.with_name(temporary)
    try:
        yield made
        os.replace(made, path)
    finally:
        with contextlib.suppress(OSError):
            made.unlink(missing_ok=True)
    sync_folder(path.parent)


def replace_by_link(path: Path, kept: Path, temporary: str, *, symbolic: bool) -> None:
    """Put a hard or symbolic link to one file in the place of another, at once. Raises OutputError.

    Both must hold the same bytes, which is looked up here. A symbolic link is relative, and leads past other links.
    """
    try:
        with _in_place_of(path, temporary) as made:
            if symbolic:
                folder = os.path.realpath(path.parent)
                os.symlink(os.path.relpath(os.path.realpath(kept), folder), made)
            else:
                os.link(os.path.realpath(kept), made)
            if not same_bytes(path, made):
                raise OutputError(f"{path}: is not the same as {kept}, byte for byte")
    except OSError as error:
        where = " (the other one is on another file system)" if error.errno == errno.EXDEV else ""
        raise OutputError(f"{path}: cannot become a link{where or f' ({error.strerror or error})'}") from error


def restore_from_link(path: Path, kept: Path, temporary: str, mode: int, modified: int, checksum: str) -> None:
    """Put a file of its own back in the place of a link to another one, at once, with mode and time in ns.

    Raises OutputError, for a copy without the checksum as well, and leaves the link then.
    """
    try:
        with _in_place_of(path, temporary) as made:
            _copy_bytes(kept, made)
            if digest(made) != checksum:
                raise OutputError(f"{path}: {kept} is not any more what it was")
            os.chmod(made, stat.S_IMODE(mode) & 0o777)
            os.utime(made, ns=(modified, modified))
    except OSError as error:
        raise OutputError(f"{path}: cannot be put back ({error.strerror or error})") from error
