"""The trash of the desktop, as freedesktop.org's Trash specification 1.0 lays it out, so that desktops show what is in
it and `dedup --undo` takes it out again.

The places are worked out here rather than by a library: a step is in the log, with the place, before it is taken.
"""

from __future__ import annotations

import contextlib
import os
import stat
import sys
import urllib.parse
from datetime import datetime
from pathlib import Path

from ..contracts import OutputError, UsageError
from ..data.files import sync_folder
from ..data.private import make_private

_INFO = ".trashinfo"
_MOST = 1 << 16


def check_trash() -> None:
    """Raises UsageError on systems whose trash is another one."""
    if sys.platform in ("win32", "darwin"):
        raise UsageError("the trash of this system is not known here; --move-to FOLDER moves pictures anywhere")


def trash_for(path: Path) -> Path:
    """The folder of the trash for a file, made if it is missing: the user's own, or that of the file system that the
    file is on. Raises OutputError."""
    base = os.environ.get("XDG_DATA_HOME") or ""
    home = Path(base if os.path.isabs(base) else Path.home() / ".local/share") / "Trash"
    if _device(path.parent) != _device(home):
        for folder in _of_mount(_mount_of(path)):
            with contextlib.suppress(OutputError):
                return _prepared(folder)
    return _prepared(home)  # what lies on a file system without a trash is copied to the user's own


def _device(path: Path) -> int:
    """The file system of a path, or of the nearest folder above it that is there. Raises OutputError."""
    for folder in (path, *path.parents):
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            return os.stat(folder).st_dev
    raise OutputError(f"{path}: cannot be looked at")


def _mount_of(path: Path) -> Path:
    """The top folder of the file system that a file is on."""
    folder = Path(os.path.realpath(path.parent))
    while not os.path.ismount(folder):
        folder = folder.parent
    return folder


def _of_mount(top: Path) -> list[Path]:
    """Where a file system may keep the trash of this user."""
    shared, user = top / ".Trash", str(os.getuid())
    places = []
    with contextlib.suppress(OSError):
        mode = os.lstat(shared).st_mode
        if stat.S_ISDIR(mode) and mode & stat.S_ISVTX:  # as the specification asks for
            places.append(shared / user)
    return [*places, top / f".Trash-{user}"]


def _prepared(folder: Path) -> Path:
    """With its two folders, for this user alone if they are new. Raises OutputError for anybody else's."""
    make_private(folder)
    for inside in ("files", "info"):
        make_private(folder / inside)
    for each in (folder, folder / "files", folder / "info"):
        status = os.stat(each)
        if status.st_uid != os.getuid() or not stat.S_ISDIR(status.st_mode):
            raise OutputError(f"{each}: is not this user's trash")
    return folder


def info_of(target: Path) -> Path:
    """The file of the trash that tells where one of its files came from."""
    return target.parent.parent / "info" / f"{target.name}{_INFO}"


def is_info_of(info: str, target: str) -> bool:
    """Whether a path is that of `info_of` a path in a folder named as those of a trash are."""
    return Path(target).parent.name == "files" and info == str(info_of(Path(target)))


def write_info(info: Path, path: Path) -> None:
    """Tell the trash where a file is from; its name there is taken by that. Raises FileExistsError or OutputError."""
    trash = info.parent.parent
    top = os.path.join(os.path.realpath(trash.parent if trash.name.startswith(".Trash-") else trash.parent.parent), "")
    real = os.path.join(os.path.realpath(path.parent), path.name)
    if trash.name != "Trash" and real.startswith(top):  # paths in the trash of a mount are relative to its top
        real = real.removeprefix(top)
    now = datetime.now().isoformat(timespec="seconds")
    content = f"[Trash Info]\nPath={urllib.parse.quote(os.fsencode(real))}\nDeletionDate={now}\n".encode()
    try:
        with open(info, "xb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        sync_folder(info.parent)
    except FileExistsError:
        raise
    except OSError as error:
        raise OutputError(f"{info}: cannot be written ({error.strerror or error})") from error


def drop_info(info: Path, path: Path) -> None:
    """Remove what the trash has about a file that is not in it any more, if that is about this path and nothing else.

    Never raises: a trash puts up with such a file.
    """
    with contextlib.suppress(OSError):
        if not stat.S_ISREG(os.lstat(info).st_mode):
            return
        with open(info, "rb") as file:
            lines = file.read(_MOST).splitlines()
        real = os.fsencode(os.path.join(os.path.realpath(path.parent), path.name))
        said = [urllib.parse.unquote_to_bytes(line[5:]) for line in lines if line.startswith(b"Path=")]
        if lines[:1] == [b"[Trash Info]"] and len(said) == 1 and said[0] and real.endswith(said[0].lstrip(b"/")):
            os.unlink(info)
