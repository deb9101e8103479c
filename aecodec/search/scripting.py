"""The shell commands that would do what dedup does, for people who want to read them, or run them elsewhere."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path

from .moving import Action, Chosen, ToFolder, ToLink, ToTrash, exact_copies

#: Bytes that stand for themselves between $' and '.
_PLAIN = frozenset(range(0x20, 0x7F)) - frozenset(b"'\\")
HEAD = "#!/usr/bin/env bash"


def quoted(path: Path) -> str:
    """A path as one word of bash, on one line, whatever bytes its name has, and nothing that a terminal obeys."""
    text = str(path)
    if text.isprintable():
        return shlex.quote(text)
    return "$'" + "".join(chr(byte) if byte in _PLAIN else f"\\{byte:03o}" for byte in os.fsencode(path)) + "'"


def script(pairs: Iterable[tuple[Chosen, Chosen]], action: Action) -> Iterator[str]:
    """Lines of bash that deal with the second picture of each pair if the first is there, and overwrite nothing.

    Of pictures that are to become links only those are named that are equal to the kept one byte for byte.
    """
    yield HEAD
    made: set[Path] = set()
    for kept, other in exact_copies(pairs) if isinstance(action, ToLink) else pairs:
        keep, path = quoted(kept.path), quoted(other.path)
        if isinstance(action, ToFolder):
            target = action.target(kept, other)
            if target.parent not in made:
                made.add(target.parent)
                yield f"mkdir -p -- {quoted(target.parent)}"
            yield f"[ -f {keep} ] && [ ! -e {quoted(target)} ] && mv -n -- {path} {quoted(target)}"
        elif isinstance(action, ToTrash):
            yield f"[ -f {keep} ] && gio trash -- {path}"
        elif isinstance(action, ToLink):
            symbol = "-s " if action.symbolic else ""
            yield f"cmp -s -- {keep} {path} && ln {symbol}-f -- {keep} {path}"
