"""The log of what dedup does to files: a line on the disk before each step, by which the step can be taken back.

JSON Lines. The first is a header, every other one step: a file that goes from one path to another, or one that a link
to a kept file replaces. Whether a step was taken is not written down: the files themselves tell. So a process that is
killed leaves nothing that the log does not know. A last line without its end was never acted upon.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from ..coding.container import SUFFIX
from ..contracts import LogError, OutputError, OutputExistsError
from ..data.files import is_special, sync_folder
from ..data.formats import picture_suffixes
from ..data.moves import is_temporary
from ..data.plugins import PLUGINS
from ..data.records import Kind, hexadecimal, integer, listing, misfit, one_of, parse_object, text
from .trash import is_info_of

_WHAT, VERSION = "aecodec dedup log", 1
#: What is done to the pictures that are not kept.
ACTIONS = ("move", "trash", "link")
#: Characters of a path, bytes of a line and of a log at most.
_PATH, _LINE, _LOG = 4096, 1 << 18, 1 << 30
#: Kinds of pictures beside those that Pillow reads here.
_PICTURES = {SUFFIX, ".avif", *(suffix for plugin in PLUGINS for suffix in plugin.suffixes)}
_TIME = integer(-(1 << 63), (1 << 63) - 1)


@dataclass(frozen=True)
class Move:
    """A file that goes to another path. size: bytes, modified: ns, when it was looked at last; temporary: the name of a
    copy that is not whole yet, in the new folder; info: what the trash has about it, or nothing."""

    path: str
    to: str
    size: int
    modified: int
    temporary: str
    info: str = ""


@dataclass(frozen=True)
class Link:
    """A file that a link to an equal one replaces. mode, modified (ns): its own; sha256: of the bytes of both;
    temporary: the name of the link before it takes the file's."""

    path: str
    kept: str
    size: int
    modified: int
    mode: int
    sha256: str
    temporary: str


@dataclass(frozen=True)
class Header:
    """What a log is of. action: one of `ACTIONS`; roots: the folders whose pictures it is about."""

    action: str
    roots: tuple[str, ...]


def _is_path(value: Any) -> bool:
    plain = isinstance(value, str) and 0 < len(value) <= _PATH and "\0" not in value
    return plain and os.path.isabs(value) and os.path.normpath(value) == value


def is_picture_name(path: Path) -> bool:
    """Whether a file of that name may be touched at all, whatever tells us to; a log also outlives plug-ins."""
    return path.suffix.lower() in picture_suffixes() | _PICTURES


def _is_picture(value: Any) -> bool:
    return _is_path(value) and is_picture_name(Path(value))


FOLDER = Kind("an absolute path", _is_path)
PICTURE = Kind("the absolute path of a picture", _is_picture)
_TEMPORARY = Kind("the name of a temporary file", lambda value: isinstance(value, str) and is_temporary(value))
_SIZE = integer(1, (1 << 63) - 1)
_COMMON = {"path": PICTURE, "size": _SIZE, "modified": _TIME, "temporary": _TEMPORARY}
_MOVE = {**_COMMON, "to": PICTURE, "info": text(_PATH)}
_LINK = {**_COMMON, "kept": PICTURE, "mode": integer(0, 0xFFFF), "sha256": hexadecimal(32)}
_HEADER = {
    "what": one_of(_WHAT),
    "version": integer(1, VERSION),
    "action": one_of(*ACTIONS),
    "roots": listing(FOLDER, 2),
}


class Journal:
    """A log being written: each step is on the disk before ``add`` returns."""

    def __init__(self, path: Path, header: Header) -> None:
        """A new file. Raises OutputExistsError, for any file that is there, or OutputError."""
        self.path, self.steps = path, 0
        try:
            self._file = open(path, "xb", opener=lambda name, flags: os.open(name, flags, 0o600))  # noqa: SIM115
        except FileExistsError:
            raise OutputExistsError(f"{path}: exists (a log is never replaced)") from None
        except OSError as error:
            raise OutputError(f"{path}: cannot be written ({error.strerror or error})") from error
        self._write({"what": _WHAT, "version": VERSION, **asdict(header)})
        sync_folder(path.parent)

    def add(self, step: Move | Link) -> None:
        """One step that is about to be taken. Raises OutputError, and then it must not be."""
        self._write(asdict(step))
        self.steps += 1

    def _write(self, content: dict[str, Any]) -> None:
        try:
            self._file.write(json.dumps(content).encode() + b"\n")
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise OutputError(f"{self.path}: cannot be written ({error.strerror or error})") from error

    def close(self) -> None:
        """No more steps."""
        self._file.close()


def read_log(path: Path) -> tuple[Header, list[Move | Link]]:
    """A log and its steps in their order. Whatever it says is checked: fields, ranges, that paths are absolute ones of
    pictures. Raises LogError."""
    lines = _lines_of(path)
    content = _object(path, 1, lines[0], _HEADER)
    header = Header(content["action"], tuple(content["roots"]))
    steps: list[Move | Link] = []
    for number, line in enumerate(lines[1:], 2):
        if header.action == "link":
            found = _object(path, number, line, _LINK)
            steps.append(Link(**{field.name: found[field.name] for field in fields(Link)}))
            continue
        found = _object(path, number, line, _MOVE)
        move = Move(**{field.name: found[field.name] for field in fields(Move)})
        if move.info and not is_info_of(move.info, move.to):
            raise LogError(f"{path}: line {number} is damaged (info is no file of the trash that {move.to!a} is in)")
        steps.append(move)
    return header, steps


def _lines_of(path: Path) -> Sequence[bytes]:
    """The lines that are whole; at least one."""
    try:
        if is_special(path):
            raise LogError(f"{path}: is a pipe or a device, not a log of dedup")
        with open(path, "rb") as file:
            data = file.read(_LOG + 1)
    except FileNotFoundError:
        raise LogError(f"{path}: no such log") from None
    except OSError as error:
        raise LogError(f"{path}: cannot be read ({error.strerror or error})") from error
    lines = data.split(b"\n")[:-1]
    if not lines or len(data) > _LOG:
        raise LogError(f"{path}: is no log of dedup")
    return lines


def _object(path: Path, number: int, line: bytes, required: dict[str, Kind]) -> dict[str, Any]:
    try:
        if len(line) > _LINE:
            raise ValueError(f"longer than {_LINE} bytes")
        content = parse_object(line, depth=2)
        wrong = misfit(content, required)
    except ValueError as error:
        wrong = str(error)
    if wrong:
        what = "is no log of dedup" if number == 1 else f"line {number} is damaged"
        raise LogError(f"{path}: {what} ({wrong})")
    return content
