"""How commands print: results on stdout; notices, errors and progress on stderr; JSON Lines on request.

Everything that a person reads goes through `say`.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ..contracts import AecodecError, UnavailableError
from ..data.folders import Walk
from .numbers import SECONDS_LIMIT, Real, Whole

if TYPE_CHECKING:
    from rich.progress import Progress

SCHEMA_VERSION = 1
T = TypeVar("T")
#: Threads that may be asked for; systems give out some thousands.
THREADS = Whole(1, 1024)
#: What a terminal obeys instead of showing it, what breaks or turns a line, and bytes of names that are no text.
_UNSAFE = re.compile(
    r"[\x00-\x1f\x7f-\x9f\xad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff\ufff9-\ufffb]"
)
#: The bar that is on the terminal, if there is one.
_bars: list[Progress] = []
#: The first of the surrogates that stand for the bytes of a name that is not UTF-8.
_BYTES = 0xDC00


def printable(text: str) -> str:
    """Text on one line that does nothing to a terminal: a newline becomes \\n, an escape \\x1b, other bytes \\xff."""
    return _UNSAFE.sub(_escaped, text)


def _escaped(match: re.Match[str]) -> str:
    code = ord(match[0])
    if _BYTES + 0x80 <= code <= _BYTES + 0xFF:
        return f"\\x{code - _BYTES:02x}"
    return match[0].encode("unicode_escape").decode("ascii")


def say(*lines: str, err: bool = False) -> None:
    """Lines for people, each made `printable`, on stdout, or on stderr, which may be closed or full."""
    stream = sys.stderr if err else sys.stdout
    encoding = getattr(stream, "encoding", None) or "utf-8"
    text = "\n".join(printable(line) for line in lines).encode(encoding, "backslashreplace").decode(encoding)
    # Work does not end for want of somebody to tell of it.
    with _no_bar(), contextlib.suppress(OSError) if err else contextlib.nullcontext():
        click.echo(text, err=err)


def wait_option(default: float) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """How long a command waits for another one that writes the same thing: ``wait``, seconds."""
    return click.option(
        "--wait",
        type=Real(0, SECONDS_LIMIT),
        default=default,
        show_default=True,
        metavar="SECONDS",
        help="How long to wait for another process that is writing it.",
    )


def emit_json(record: dict[str, Any]) -> None:
    """One JSON line on stdout."""
    with _no_bar():
        click.echo(json.dumps({"schema_version": SCHEMA_VERSION, **record}, default=str))


def notice(message: str) -> None:
    """One line on stderr that is no error."""
    say(f"aecodec: {message}", err=True)


_warned: ContextVar[list[str] | None] = ContextVar("warned", default=None)


@contextlib.contextmanager
def warnings_as_notices() -> Iterator[None]:
    """Warnings of Python are notices, without the path of the package that gives them, unless -W or PYTHONWARNINGS asks
    for something else."""
    with warnings.catch_warnings():
        if not sys.warnoptions:
            warnings.showwarning = _warn
        yield


def _warn(message: Warning | str, *_: object, **__: object) -> None:
    found = _warned.get()
    if found is None:
        notice(str(message))
    elif str(message) not in found:
        found.append(str(message))


@contextlib.contextmanager
def warnings_kept() -> Iterator[list[str]]:
    """What this thread is warned of within the block, each text once: it belongs to the input at hand."""
    found: list[str] = []
    token = _warned.set(found)
    try:
        yield found
    finally:
        _warned.reset(token)


def fail(error: AecodecError, record: dict[str, Any] | None = None) -> int:
    """An error as one line on stderr and, if there is a record of what it is of, as a JSON line -> its exit code.

    With AECODEC_TRACEBACK set, a fault of this program is shown whole.
    """
    say(f"aecodec: error: {error}", err=True)
    if error.__cause__ is not None and os.environ.get("AECODEC_TRACEBACK"):
        import traceback

        say(*"".join(traceback.format_exception(error.__cause__)).splitlines(), err=True)
    if record is not None:
        emit_json({**record, "error": str(error), "code": error.exit_code})
    return error.exit_code


def size_text(count: int) -> str:
    """Bytes for people: 950 B, 12.3 kB, 4.5 MB."""
    value = float(count)
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} GB"


def watched() -> bool:
    """Whether a person may be looking at stderr."""
    return sys.stderr is not None and sys.stderr.isatty()


@contextlib.contextmanager
def bar(label: str, total: float | None, *, quiet: bool = False) -> Iterator[Callable[..., None]]:
    """Progress on a terminal's stderr, with the time left; elsewhere nothing. `say` takes it away while it prints.

    Gives a function that takes ``advance``, ``completed``, ``total`` (numbers) and ``text`` (shown at the end).
    """
    if quiet or not watched():
        yield lambda **changes: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TimeRemainingColumn

    columns = (label, BarColumn(), "{task.percentage:3.0f} %", "left", TimeRemainingColumn(), "{task.fields[text]}")
    # Left to itself, rich sends whatever is printed to the stream of the bar, results as well.
    shown = Progress(
        *columns, console=Console(stderr=True), transient=True, redirect_stdout=False, redirect_stderr=False
    )
    task = shown.add_task("", total=total, text="")
    with shown:
        _bars.append(shown)
        try:
            yield lambda **changes: shown.update(task, **changes)
        finally:
            _bars.remove(shown)


@contextlib.contextmanager
def _no_bar() -> Iterator[None]:
    """No bar on the terminal within the block."""
    for shown in _bars:
        shown.stop()
    try:
        yield
    finally:
        for shown in _bars:
            shown.start()


def progress(items: Iterable[T], count: int, label: str, quiet: bool) -> Iterator[T]:
    """The items, with a progress bar if there are several and a person is watching."""
    with bar(label, count, quiet=quiet or count < 2) as update:
        for item in items:
            yield item
            update(advance=1)


def expand(inputs: Iterable[str], recursive: bool, walk: Walk) -> list[tuple[str, Path | None]]:
    """Arguments -> (path, folder it was found under or None). Folders are walked only with ``recursive``."""
    found: list[tuple[str, Path | None]] = []
    for argument in inputs:
        path = Path(argument)
        if argument != "-" and path.is_dir() and recursive:
            found.extend((str(walked.path), path) for walked in walk.files(path))
        else:
            found.append((argument, None))
    return found


def tell_walk(walk: Walk, code: int) -> int:
    """Each file and folder that could not be looked at, then the closing line of a walk -> exit code: that of the work
    itself unless it is 0; then 1 if there were any."""
    for one in walk.unreadable:
        fail(UnavailableError(f"{one.path}: cannot be read ({one.error.strerror or one.error})"))
    if walk.summary:
        notice(walk.summary)
    return code or int(bool(walk.unreadable))
