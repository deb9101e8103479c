"""What was chosen on a page of duplicates: a list that the page saves and `dedup --apply` reads."""

from __future__ import annotations

import os
import urllib.parse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..contracts import LogError
from ..data.records import Kind, integer, listing, one_of, read_object, record
from .journal import FOLDER, PICTURE
from .moving import Chosen, exact_copies

WHAT, VERSION = "aecodec dedup list", 1
#: Pictures and groups of a list at most, and characters of an address.
_MANY, _LONG = 100_000, 16_384
_SCHEME = "file://"


def uri_of(path: Path) -> str:
    """The address of an absolute path, in ASCII whatever its name is."""
    return _SCHEME + urllib.parse.quote(os.fsencode(path))


def path_of_uri(uri: str) -> Path:
    """The inverse of `uri_of`."""
    return Path(os.fsdecode(urllib.parse.unquote_to_bytes(uri.removeprefix(_SCHEME))))


def _is_uri(value: Any, kind: Kind) -> bool:
    known = isinstance(value, str) and len(value) <= _LONG and value.isascii() and value.startswith(_SCHEME)
    return known and kind.fits(str(path_of_uri(value)))


_PICTURE = Kind("the address of a picture", lambda value: _is_uri(value, PICTURE))
_FOLDER = Kind("the address of a folder", lambda value: _is_uri(value, FOLDER))
#: A page has numbers as text: those of JavaScript do not hold nanoseconds.
_DIGITS = Kind(
    "a whole number as text", lambda value: isinstance(value, str) and len(value) <= 20 and _is_integer(value)
)
_ONE = record({"uri": _PICTURE, "size": _DIGITS, "modified": _DIGITS, "root": integer(0, 1)})
_GROUP = record({"keep": listing(_ONE, _MANY), "others": listing(_ONE, _MANY)})
_LIST = {
    "what": one_of(WHAT),
    "version": integer(1, VERSION),
    "roots": listing(_FOLDER, 2),
    "groups": listing(_GROUP, _MANY),
}


def _is_integer(text: str) -> bool:
    return text.removeprefix("-").isdigit() and text.isascii()


@dataclass(frozen=True)
class Choice:
    """A group: what is kept of it, at least one, and what is not."""

    kept: list[Chosen]
    others: list[Chosen]


def read_choices(path: Path) -> tuple[list[Path], list[Choice]]:
    """A list -> the folders that its pictures must lie below, and its groups.

    Whatever it says is checked, but not yet whether the files are there. Raises LogError for what is no such list, a
    group of which nothing is kept, and a picture that is named twice.
    """
    content = read_object(path, LogError, _LIST, says="is no list of dedup")
    roots = [path_of_uri(uri) for uri in content["roots"]]
    named: set[Path] = set()

    def chosen(one: dict[str, Any]) -> Chosen:
        place = path_of_uri(one["uri"])
        if one["root"] >= len(roots):
            raise LogError(f"{path}: is no list of dedup (root {one['root']} of {len(roots)})")
        if place in named:
            raise LogError(f"{path}: names {str(place)!a} twice")
        named.add(place)
        return Chosen(place, int(one["size"]), int(one["modified"]), roots[one["root"]])

    found = []
    for group in content["groups"]:
        choice = Choice([chosen(one) for one in group["keep"]], [chosen(one) for one in group["others"]])
        if choice.others and not choice.kept:
            raise LogError(f"{path}: would keep nothing of the group of {str(choice.others[0].path)!a}")
        found.append(choice)
    return roots, found


def pairs_of(choices: list[Choice]) -> list[tuple[Chosen, Chosen]]:
    """Each picture that is not kept behind one that is: an exact copy of it if there is one, else the group's first."""
    found = []
    for choice in choices:
        for other in choice.others:
            same = [kept for kept in choice.kept if kept.size == other.size]
            exact = exact_copies([(kept, other) for kept in same])
            found.append((exact[0][0] if exact else choice.kept[0], other))
    return found
