"""Pictures for laws about moving: a folder, what is kept of it and what is not, and where all their bytes are."""

from __future__ import annotations

import os
from pathlib import Path

from aecodec.search.moving import Chosen
from aecodec.search.pictures import stamp_of

#: Names that trip up whoever treats them as text, options or lines.
NAMES = ("-rf.png", "two\nlines.png", 'it\'s "b" $HOME `x`.png', "\udcff.png", "sub/deep.png", "a.png")


def furnish(root: Path, content: bytes | None = None) -> list[tuple[Chosen, Chosen]]:
    """keep.png, and others below a root, each of other bytes unless given -> pairs of it and each of them."""
    paths = [root / "keep.png", *(root / name for name in NAMES)]
    for number, path in enumerate(paths):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content or b"picture %d" % number)
        os.utime(path, ns=(10**18 + number, 10**18 + number))
    kept, *others = (chosen(path, root) for path in paths)
    return [(kept, other) for other in others]


def chosen(path: Path, root: Path) -> Chosen:
    """A file as it is now."""
    modified, size = stamp_of(path.stat())
    return Chosen(path, size, modified, root)


def held(*folders: Path) -> dict[str, bytes]:
    """All regular files of some folders that are no locks, logs or files of the trash about others, by path."""
    return {
        str(path): path.read_bytes()
        for folder in folders
        for path in folder.rglob("*")
        if path.is_file() and not path.is_symlink() and path.suffix not in (".lock", ".log", ".trashinfo")
    }


def state(root: Path) -> dict[str, tuple[bool, int, int, int, bytes]]:
    """Every picture of a folder: whether it is a link, its mode, time, names, and content."""
    found = {}
    for path in root.rglob("*"):
        if not path.is_dir() and not path.name.startswith("."):
            status = path.lstat()
            key = str(path.relative_to(root))
            found[key] = (path.is_symlink(), status.st_mode, status.st_mtime_ns, status.st_nlink, path.read_bytes())
    return found
