"""What the workers of a cluster must have in common with the process that asks, checked where they are."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from ..contracts import AecodecError, ClusterError, OutputError
from ..data.files import make_folder
from ..zoo.registry import find_model, read_header


@dataclass(frozen=True)
class Agreement:
    """What the asking process has. folder: the one that it works in, from which relative paths go; files: some that it
    sees, with their sizes; models: names or paths, with their fingerprints."""

    version: str
    folder: str
    files: tuple[tuple[str, int], ...] = ()
    models: tuple[tuple[str, bytes], ...] = ()

    @classmethod
    def of(cls, files: Iterable[Path] = (), models: Iterable[str] = ()) -> Agreement:
        """Of this process. Raises UnknownName, CheckpointError; files that are not there are left out."""
        seen = []
        for path in files:
            with contextlib.suppress(OSError):
                seen.append((str(path), os.stat(path).st_size))
        found = tuple((name, read_header(find_model(name))["fingerprint"]) for name in models)
        return cls(_version(), os.getcwd(), tuple(seen), found)

    def check(self) -> None:
        """In a worker: go to the folder, and raise ClusterError for the first thing that is not as it is there."""
        here = f"the Ray worker on {socket.gethostname()}"
        if _version() != self.version:
            raise ClusterError(f"{here} has aecodec {_version()}, not {self.version}: files could differ")
        with contextlib.suppress(OSError):  # perhaps no path is relative; one that is will not be found
            os.chdir(self.folder)
        for path, size in self.files:
            if not _is_seen(path, size):
                folder = os.path.dirname(path) or os.curdir
                raise ClusterError(
                    f"{folder}: {here} does not see what is in it; all workers need the same folder at the same path"
                )
        for name, fingerprint in self.models:
            try:
                found = read_header(find_model(name))["fingerprint"]
            except AecodecError as error:
                raise ClusterError(f"{here} lacks the model: {error}") from error
            if found != fingerprint:
                raise ClusterError(f"{here} has another model {name}: {found.hex()}, not {fingerprint.hex()}")


def _version() -> str:
    try:
        return metadata.version("aecodec")
    except metadata.PackageNotFoundError:  # a checkout that is not installed
        return "of unknown version"


def _is_seen(path: str, size: int) -> bool:
    try:
        return os.stat(path).st_size == size
    except OSError:
        return False


@contextlib.contextmanager
def witness(folder: Path) -> Iterator[Path]:
    """A file in a folder, which is made where it is missing, until the block is left: who sees it sees the folder.

    Raises OutputError.
    """
    make_folder(folder)
    path = folder / f".aecodec-{os.urandom(8).hex()}.tmp"
    try:
        path.write_bytes(b"aecodec")
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written to ({error.strerror or error})") from error
    try:
        yield path
    finally:
        with contextlib.suppress(OSError):
            path.unlink()
