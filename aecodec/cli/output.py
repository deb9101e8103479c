"""How commands print: results on stdout, notices and progress on stderr, JSON Lines on request."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import click

from ..data.folders import Walk

SCHEMA_VERSION = 1
T = TypeVar("T")


def wait_option(default: float) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """How long a command waits for another one that writes the same thing: ``wait``, seconds."""
    return click.option(
        "--wait",
        type=click.FloatRange(0),
        default=default,
        show_default=True,
        metavar="SECONDS",
        help="How long to wait for another process that is writing it.",
    )


def emit_json(record: dict[str, Any]) -> None:
    """One JSON line on stdout."""
    click.echo(json.dumps({"schema_version": SCHEMA_VERSION, **record}, default=str))


def notice(message: str) -> None:
    """One line on stderr that is no error."""
    click.echo(f"aecodec: {message}", err=True)


def size_text(count: int) -> str:
    """Bytes for people: 950 B, 12.3 kB, 4.5 MB."""
    value = float(count)
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} GB"


def progress(items: Iterable[T], count: int, label: str, quiet: bool) -> Iterator[T]:
    """The items, with a progress bar on stderr if there are several and a person is watching."""
    if quiet or count < 2 or not sys.stderr.isatty():
        yield from items
        return
    from rich.console import Console
    from rich.progress import track

    yield from track(items, description=label, total=count, console=Console(stderr=True), transient=True)


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
        click.echo(f"aecodec: error: {one.path}: cannot be read ({one.error.strerror or one.error})", err=True)
    if walk.summary:
        notice(walk.summary)
    return code or int(bool(walk.unreadable))
