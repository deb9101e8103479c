"""A folder that only this user can write to: what is kept in it may be run."""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path
from types import TracebackType

from ..contracts import OutputError

#: Read no more of a file than anything that is kept in such a folder has.
_MOST = 64 << 20


def make_private(path: Path) -> None:
    """Create a folder and its missing parents for this user alone, mode 0700. Raises OutputError."""
    for folder in [*reversed(path.parents), path]:
        if not folder.is_dir():
            try:
                folder.mkdir(0o700)
            except FileExistsError:
                continue  # made by another process meanwhile, or no folder, which whoever opens it finds
            except OSError as error:
                raise OutputError(f"{folder}: cannot be made a folder ({error.strerror or error})") from error


class PrivateFolder:
    """An open folder of mode 0700 that belongs to this user.

    Its files are reached through its descriptor: a folder that takes its name meanwhile, or that of one above, is not
    looked into. ``exposed``: others could write to it before it was opened, and may have done so.
    """

    def __init__(self, path: Path) -> None:
        """Made if it is not there. Raises OSError for a link, another user's folder, or a system without owners."""
        if not hasattr(os, "geteuid") or os.open not in os.supports_dir_fd:
            raise PermissionError(f"{path}: this system does not tell whose a folder is")
        try:
            make_private(path)
        except OutputError as error:
            raise OSError(str(error)) from error
        self._descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            status = os.fstat(self._descriptor)
            if status.st_uid != os.geteuid():
                raise PermissionError(f"{path}: belongs to another user")
            self.exposed = bool(status.st_mode & 0o022)
            if stat.S_IMODE(status.st_mode) != 0o700:
                os.fchmod(self._descriptor, 0o700)
        except BaseException:
            self.close()
            raise
        self.path = path

    def close(self) -> None:
        """Let go of it."""
        os.close(self._descriptor)

    def __enter__(self) -> PrivateFolder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def opened_path(self) -> Path:
        """A path to the very folder that is open, where the system has one: good until it is closed."""
        place = Path(f"/proc/self/fd/{self._descriptor}")
        return place if place.is_dir() else self.path

    def names(self) -> list[str]:
        """What is in it, in order. Raises OSError."""
        return sorted(os.listdir(self._descriptor))

    def read(self, name: str) -> bytes | None:
        """What a file holds; None unless it is a regular one that this user alone can have written. Raises OSError."""
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
        with open(os.open(name, flags, dir_fd=self._descriptor), "rb") as file:
            status = os.fstat(file.fileno())
            mine = status.st_uid == os.geteuid() and not status.st_mode & 0o022 and status.st_nlink == 1
            return file.read(_MOST) if mine and stat.S_ISREG(status.st_mode) else None

    def write(self, name: str, content: bytes) -> None:
        """A file, mode 0600, whole or not at all. Raises OSError."""
        temporary = f".{os.urandom(8).hex()}.tmp"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        try:
            with open(os.open(temporary, flags, 0o600, dir_fd=self._descriptor), "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.rename(temporary, name, src_dir_fd=self._descriptor, dst_dir_fd=self._descriptor)
        except OSError:
            self.remove(temporary)
            raise

    def remove(self, name: str) -> None:
        """Remove a file or a link, if it is one."""
        with contextlib.suppress(OSError):
            os.unlink(name, dir_fd=self._descriptor)
