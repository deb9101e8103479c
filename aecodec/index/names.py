"""Paths as text that every format and every database can hold, and back to the very bytes.

A path of a file system is bytes. As text it is what it says in UTF-8, with a backslash doubled, and a byte that is no
UTF-8, or zero, as a backslash and three octal digits. That is the format "escape" of PostgreSQL's bytea (documentation
of PostgreSQL 18, section 8.4.2), so that decode(path, 'escape') gives the bytes there.
"""

from __future__ import annotations

import re

_SPECIAL = re.compile("[\\\\\0\udc80-\udcff]")
_ESCAPE = re.compile(rb"\\(?:\\|([0-3][0-7]{2}))?")


def text_of(name: bytes) -> str:
    """A path as text."""
    return _SPECIAL.sub(_escaped, name.decode("utf-8", "surrogateescape"))


def _escaped(match: re.Match[str]) -> str:
    return "\\\\" if match[0] == "\\" else f"\\{ord(match[0]) & 0xFF:03o}"


def name_of(text: str) -> bytes:
    """The inverse of `text_of`. Raises ValueError for what it never gives."""
    name = text.encode("utf-8")
    return _ESCAPE.sub(_unescaped, name) if b"\\" in name else name


def _unescaped(match: re.Match[bytes]) -> bytes:
    if match[0] == b"\\":
        raise ValueError("a backslash is not followed by another one or by three octal digits")
    return b"\\" if match[1] is None else bytes([int(match[1], 8)])
