"""What may be written where, the same for every output: what is there is replaced on request only, what is read never.

Names that come from an input's name or from inside a file become paths here, and nowhere else.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Set
from pathlib import Path

from ..contracts import AecodecError, OutputError, OutputExistsError, UsageError

#: What a message says may be done about a file that exists.
FORCE = "use --force to overwrite it"
#: What stands at a path and is no regular file, by the type bits of its mode.
_KINDS = {
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def check_output(
    path: Path, *, overwrite: bool, inputs: Set[tuple[int, int]] = frozenset(), advice: str = FORCE
) -> os.stat_result | None:
    """Whether a file may be written -> the status of the regular file that it would replace, None if there is none.

    inputs: `identities` of the files that the output is made of, which are never replaced, under whatever name. Links
    are followed. Raises OutputExistsError for one of the inputs and for a file that was not to be overwritten,
    OutputError for what is no regular file or cannot be looked at.
    """
    try:
        there = os.stat(path)
    except FileNotFoundError:
        if os.path.islink(path):
            raise OutputError(f"{path}: is a link to nothing, and only regular files are replaced") from None
        return None
    except (OSError, ValueError) as error:
        raise OutputError(f"{path}: cannot be written ({getattr(error, 'strerror', None) or error})") from error
    if not stat.S_ISREG(there.st_mode):
        kind = _KINDS.get(stat.S_IFMT(there.st_mode), "no regular file")
        raise OutputError(f"{path}: is {kind}, and only regular files are replaced")
    if _identity(there) in inputs:
        raise input_replaced(path)
    if not overwrite:
        raise OutputExistsError(f"{path}: exists ({advice})")
    return there


def input_replaced(path: Path) -> OutputExistsError:
    """The error for an output that is an input, which forcing does not change."""
    return OutputExistsError(f"{path}: exists and is an input; no output replaces one, not even with --force")


def identities(paths: Iterable[Path]) -> set[tuple[int, int]]:
    """What is the same for all names of a file, of those that are there."""
    found = set()
    for path in paths:
        try:
            found.add(_identity(os.stat(path)))
        except (OSError, ValueError):
            continue  # whoever reads it says so
    return found


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def check_distinct(outputs: Iterable[tuple[Path, str]], advice: str = "") -> None:
    """(output, what it is made of) of one run: raises UsageError where two of them would be the same file."""
    taken: dict[str, str] = {}
    for path, source in outputs:
        place = os.path.realpath(path)
        if place in taken:
            raise UsageError(f"{taken[place]} and {source} would both become {path}{advice}")
        taken[place] = source


def output_in(folder: Path, name: str) -> Path:
    """A file or folder in a folder, named after an input or by what a file says. Raises OutputError for any other
    place than right in the folder."""
    separators = {os.sep, os.altsep or os.sep, "\0"}
    if name in ("", os.curdir, os.pardir) or not separators.isdisjoint(name):
        raise OutputError(f"{name!r} cannot be the name of an output in {folder}")
    return folder / name


def output_below(out: Path, source: Path, root: Path | None, suffix: str, append: bool) -> Path:
    """Where an output of a picture goes in a folder: as deep as the picture lies below its root, with another suffix,
    or one more if it is to be appended. Raises OutputError as `output_in` does, ValueError for a picture outside."""
    inner = source.relative_to(root).parent if root is not None else Path()
    return output_in(out / inner, source.name + suffix if append else source.stem + suffix)


def input_below(root: Path, name: str, error: type[AecodecError]) -> Path:
    """The regular file that a file says lies below a root. Raises ``error`` if it lies elsewhere, links followed, or is
    anything else."""
    path = Path(root, name)
    try:
        real, top = os.path.realpath(path), os.path.realpath(root)
        regular = not os.path.exists(real) or os.path.isfile(real)
    except (OSError, ValueError) as fault:
        raise error(f"{name!r} is no path below {root} ({fault})") from fault
    if not real.startswith(os.path.join(top, "")):
        raise error(f"{path}: lies outside {root}")
    if not regular:
        raise error(f"{path}: is no regular file")
    return path
