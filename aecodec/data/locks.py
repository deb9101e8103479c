"""One writer at a time: a lock held from reading a file to renaming its successor over it. Readers ask for none."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import socket
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from ..contracts import BusyError, OutputError

#: Seconds that a writer waits for another one unless told otherwise: of an index or a model.
WAIT = 60.0
#: Seconds between two looks, and until a wait is told of.
_POLL, _PATIENCE = 0.05, 1.0
#: What a lock file holds is far shorter.
_MOST = 1024
_MARK = "aecodec lock"
#: Bytes of a file's name that its lock's name repeats.
_NAME = 200
Say = Callable[[str], None]


@dataclass(frozen=True)
class Holder:
    """Who holds a lock. pid, host and since (local time) are as its file says, which anyone may have written."""

    pid: int
    host: str
    since: str

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}, since {self.since}"


def lock_path(path: Path) -> Path:
    """The lock of a file: hidden, beside it. All links to a file, which are written through, have one."""
    folder, name = os.path.split(os.path.realpath(path))
    if len(os.fsencode(name)) > _NAME:
        name = hashlib.sha256(os.fsencode(name)).hexdigest()
    return Path(folder, f".{name}.lock")


def is_lock_name(name: str) -> bool:
    """Whether a file of a folder is called as locks are."""
    return name.startswith(".") and name.endswith(".lock")


@contextlib.contextmanager
def locked(path: Path, *, wait: float = WAIT, say: Say = lambda message: None) -> Iterator[None]:
    """Be the only writer of a file, which need not exist, among all that ask.

    wait: seconds to wait for another writer, in [0, inf]; say: told once if it takes longer than a moment. The lock is
    the system's own, so it ends with its process, however that ends; its file is removed. Raises BusyError, naming the
    holder, or OutputError where the folder cannot be written to.
    """
    from filelock import unlock_descriptor

    lock = lock_path(path)
    try:
        descriptor = _acquire(path, lock, wait, say)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written (its lock {lock}: {error.strerror or error})") from error
    try:
        yield
    finally:
        # Removed while it is still held: whoever waits for this file finds that it has gone, and takes a new one.
        with contextlib.suppress(OSError):
            if _is_at(descriptor, lock):
                os.unlink(lock)
        with contextlib.suppress(OSError):
            unlock_descriptor(descriptor)  # for a forked child that holds a copy of the descriptor
        os.close(descriptor)


def _acquire(path: Path, lock: Path, wait: float, say: Say) -> int:
    """The descriptor of the lock file, locked, with this process in it."""
    began, told = time.monotonic(), False
    while True:
        descriptor = _open(lock)
        try:
            taken, holder = _try(descriptor, lock)
        except BaseException:
            os.close(descriptor)
            raise
        if taken:
            return descriptor
        os.close(descriptor)
        waited = time.monotonic() - began
        if waited >= wait:
            raise BusyError(f"{path}: is being written by {holder or 'another process'}; try again, or wait for longer")
        if waited >= _PATIENCE and not told:
            say(f"{path}: waits for {holder or 'another process'}")
            told = True
        time.sleep(min(_POLL, wait - waited))


def _try(descriptor: int, lock: Path) -> tuple[bool, Holder | None]:
    """Lock an open file and write this process into it -> whether that was done, and who holds it if it was not.

    Raises OutputError for what is no lock of ours, and leaves it as it was.
    """
    from filelock import lock_descriptor

    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
        raise OutputError(f"{lock}: is in the way (expected a lock, found a link or no regular file)")
    taken = lock_descriptor(descriptor, blocking=False)
    os.lseek(descriptor, 0, os.SEEK_SET)
    text = os.read(descriptor, _MOST)
    holder = _holder(text)
    if not taken:
        return False, holder
    if text and holder is None:
        raise OutputError(f"{lock}: is in the way (expected a lock, found something else)")
    if not _is_at(descriptor, lock):
        return False, None  # its holder removed it between our opening and locking it
    _sign(descriptor)
    return True, None


def _open(lock: Path) -> int:
    """The lock file, made if there is none. What is there may be anyone's: a link is not followed, nothing is emptied,
    and a pipe does not stop us."""
    flags = os.O_RDWR | os.O_CREAT
    for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_NOINHERIT", "O_BINARY"):
        flags |= getattr(os, name, 0)
    return os.open(lock, flags, 0o600)


def _holder(text: bytes) -> Holder | None:
    """Who the text of a lock file says holds it; None if it is empty, half written or no such text."""
    try:
        content = json.loads(text)
        mark, pid, host, since = (content[key] for key in ("what", "pid", "host", "since"))
        valid = mark == _MARK and type(pid) is int
        valid = valid and all(re.fullmatch(r"[\w.:+-]+", part, re.ASCII) for part in (host, since))
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return Holder(pid, host, since) if valid else None


def _sign(descriptor: int) -> None:
    """Write this process into the file that it holds."""
    host = re.sub(r"[^\w.:+-]", "-", socket.gethostname(), flags=re.ASCII) or "localhost"
    since = datetime.now().astimezone().isoformat(timespec="seconds")
    text = json.dumps({"what": _MARK, "pid": os.getpid(), "host": host[:255], "since": since})
    os.ftruncate(descriptor, 0)
    os.lseek(descriptor, 0, os.SEEK_SET)
    os.write(descriptor, text.encode())


def _is_at(descriptor: int, lock: Path) -> bool:
    """Whether an open file is the one at a path."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.lstat(lock))
    except FileNotFoundError:
        return False
