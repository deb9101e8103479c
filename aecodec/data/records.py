"""What a file says in JSON, checked field by field at the door: types, ranges and sizes, before anything uses it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..contracts import AecodecError
from .files import is_special

#: Bytes of the largest JSON file that is read.
MAX_JSON = 64 << 20
#: Levels of lists and objects in one another.
MAX_DEPTH = 64
#: Characters of a value that an error shows.
_SHOWN = 60


@dataclass(frozen=True)
class Kind:
    """What a field may hold. says: in words, for errors."""

    says: str
    fits: Callable[[Any], bool]


def number(low: float, high: float) -> Kind:
    """A finite number in [low, high]; neither true nor false."""
    return Kind(f"a number from {low:g} to {high:g}", lambda value: is_number(value) and low <= value <= high)


def integer(low: int, high: int) -> Kind:
    """A whole number in [low, high]."""
    return Kind(f"a whole number from {low} to {high}", lambda value: type(value) is int and low <= value <= high)


def text(most: int = 1000) -> Kind:
    """A string of at most so many characters."""
    return Kind(f"a string of at most {most} characters", lambda value: isinstance(value, str) and len(value) <= most)


def one_of(*words: str) -> Kind:
    """One of some strings."""
    return Kind(f"one of {', '.join(words)}", lambda value: isinstance(value, str) and value in words)


def hexadecimal(count: int) -> Kind:
    """So many bytes as hexadecimal digits."""
    return Kind(
        f"{2 * count} hexadecimal digits",
        lambda value: isinstance(value, str) and len(value) == 2 * count and set(value) <= set("0123456789abcdef"),
    )


def flag() -> Kind:
    """True or false."""
    return Kind("true or false", lambda value: isinstance(value, bool))


def mapping(kind: Kind | None = None, most: int = 10_000) -> Kind:
    """An object of at most so many fields, each of a kind."""
    return Kind(
        "an object" if kind is None else f"an object of {kind.says}",
        lambda value: (
            isinstance(value, dict)
            and len(value) <= most
            and all(isinstance(key, str) and (kind is None or kind.fits(entry)) for key, entry in value.items())
        ),
    )


def listing(kind: Kind, most: int = 10_000) -> Kind:
    """A list of at most so many entries, each of a kind."""
    return Kind(
        f"a list, each of it {kind.says}",
        lambda value: (
            isinstance(value, (list, tuple)) and len(value) <= most and all(kind.fits(entry) for entry in value)
        ),
    )


def either(*kinds: Kind) -> Kind:
    """Of one of several kinds."""
    return Kind(" or ".join(kind.says for kind in kinds), lambda value: any(kind.fits(value) for kind in kinds))


def record(required: Mapping[str, Kind], optional: Mapping[str, Kind] | None = None) -> Kind:
    """An object with these fields, and perhaps others."""
    return Kind(
        f"an object with {', '.join(required)}",
        lambda value: isinstance(value, dict) and misfit(value, required, optional) is None,
    )


def is_number(value: Any) -> bool:
    """Whether it is a finite number, and neither true nor false."""
    try:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # an integer beyond the range of a float
        return False


def misfit(
    content: Mapping[str, Any], required: Mapping[str, Kind], optional: Mapping[str, Kind] | None = None
) -> str | None:
    """What is wrong with the fields of an object, in words, or None. Fields of other names are let pass."""
    for key, kind in {**required, **(optional or {})}.items():
        if key not in content:
            if key in required:
                return f"{key} is missing"
        elif not kind.fits(content[key]):
            return f"{key} is {kind.says}, found {shown(content[key])}"
    return None


def shown(value: Any) -> str:
    """A value for an error, cut to a line's length; one that is not flat is told by its type."""
    if isinstance(value, (dict, list, tuple)):
        return f"{type(value).__name__} of {len(value)}"
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 1 << 64:
        return f"an integer of {value.bit_length()} bits"
    plain = ascii(value)
    return plain if len(plain) <= _SHOWN else f"{plain[:_SHOWN]}..."


def parse_object(content: str | bytes, depth: int = MAX_DEPTH) -> dict[str, Any]:
    """A JSON object with fields of any kind, nested to a depth at most. Raises ValueError for anything else."""
    try:
        parsed = json.loads(content)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(parsed, dict):
        raise ValueError(f"expected an object, found {shown(parsed)}")
    if not _shallow(parsed, depth):
        raise ValueError(f"it is nested more than {depth} levels deep")
    return parsed


def _shallow(value: Any, depth: int) -> bool:
    """Whether lists and objects are nested so many levels at most."""
    level = [value]
    for _ in range(depth):
        level = [
            entry
            for outer in level
            if isinstance(outer, (dict, list))
            for entry in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(entry, (dict, list))
        ]
        if not level:
            return True
    return False


def read_object(
    path: Path,
    error: type[AecodecError],
    required: Mapping[str, Kind] | None = None,
    optional: Mapping[str, Kind] | None = None,
    *,
    says: str = "cannot be read",
) -> dict[str, Any]:
    """The JSON object in a file, with the fields that it must and may have. Raises ``error`` for a file that cannot be
    read, is larger than MAX_JSON, holds anything else, or has a field that is missing or out of its range. says: what
    it then begins with."""
    try:
        if is_special(path):
            raise ValueError("it is no regular file")
        with open(path, "rb") as file:
            content = file.read(MAX_JSON + 1)
        if len(content) > MAX_JSON:
            raise ValueError(f"larger than {MAX_JSON} bytes")
        parsed = parse_object(content)
    except (OSError, ValueError) as fault:
        reason = fault.strerror if isinstance(fault, OSError) and fault.strerror else str(fault)
        raise error(f"{path}: {says} ({reason})") from fault
    if wrong := misfit(parsed, required or {}, optional):
        raise error(f"{path}: {says} ({wrong})")
    return parsed
