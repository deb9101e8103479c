"""The files of a folder and of those below it: one walk for every command that takes folders."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from ..contracts import ImageReadError

#: What is taken for a picture when a folder is walked.
PHOTO_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".avif", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".jp2"}


def _pass_over(error: OSError) -> None:
    """What cannot be read is as if it were not there."""


def walk_files(
    folder: Path,
    suffixes: Collection[str],
    *,
    recursive: bool = True,
    hidden: bool = True,
    unreadable: Callable[[OSError], None] = _pass_over,
) -> Iterator[Path]:
    """Regular files whose suffix is one of those given: a folder's own by name, then those of each folder in it.

    suffixes: lower case, with the dot; those of files may be in capitals. recursive: whether folders in the folder are
    entered; links to folders never are, links to files count as files. hidden: whether files and folders count whose
    names begin with a dot. unreadable: told of each folder and file that cannot be looked at; raises nothing itself.
    """
    for parent, folders, files in os.walk(folder, onerror=unreadable):
        folders[:] = sorted(name for name in folders if recursive and (hidden or not name.startswith(".")))
        for name in sorted(files):
            path = Path(parent, name)
            if path.suffix.lower() not in suffixes or (name.startswith(".") and not hidden):
                continue
            try:
                status = path.stat()
            except OSError as error:
                unreadable(error)
                continue
            if stat.S_ISREG(status.st_mode):
                yield path


def list_photos(folder: Path) -> list[Path]:
    """Every picture file below a folder, sorted by path. Raises ImageReadError if there is none."""
    paths = sorted(walk_files(folder, PHOTO_SUFFIXES))
    if not paths:
        raise ImageReadError(f"{folder}: no pictures found in it")
    return paths
