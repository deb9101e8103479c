"""What an index is apart from its rows: in the header of its file, in exported files, and in the comment of a table."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import Any

from ..contracts import IndexFileError
from ..data.records import Kind, hexadecimal, integer, misfit, one_of, parse_object, text
from . import storage
from .names import name_of, text_of
from .windows import LAYOUTS

WHAT, VERSION = "aecodec index", 1
#: Bytes of a description as JSON, at most: a root of zeros takes four bytes for each, and JSON doubles backslashes.
LONGEST = 8 * storage.MAX_ROOT
_NAME = Kind(
    f"a hasher's name of at most {storage.MAX_NAME} letters, digits, '-', '_', '.'",
    lambda value: isinstance(value, str) and storage.is_hasher_name(value),
)
_BITS = Kind(
    f"a multiple of 8, 8 to {storage.MAX_BITS}",
    lambda value: type(value) is int and value % 8 == 0 and 8 <= value <= storage.MAX_BITS,
)
_LAYOUT = Kind(f"one of {', '.join(map(str, LAYOUTS))}", lambda value: type(value) is int and value in LAYOUTS)
_FIELDS = {
    "what": one_of(WHAT),
    "version": integer(1, VERSION),
    "hasher": _NAME,
    "fingerprint": hexadecimal(8),
    "bits": _BITS,
    "layout": _LAYOUT,
    "ids": one_of("paths", "numbers"),
    "root": text(LONGEST),
}


@dataclass(frozen=True)
class Description:
    """hasher, fingerprint (8 bytes) and n_bits: of the codes. layout: of the windows that have codes as well, a number
    of `windows.LAYOUTS`. has_paths: whether ids are paths; root: the folder that relative ones are below, perhaps
    none."""

    hasher: str
    fingerprint: bytes
    n_bits: int
    has_paths: bool = True
    layout: int = 0
    root: bytes = b""

    @property
    def width(self) -> int:
        """Bytes of a code."""
        return self.n_bits // 8

    @property
    def shown(self) -> int:
        """Windows of each row."""
        return len(LAYOUTS[self.layout])

    def check_like(self, other: Description, name: str, first: str) -> None:
        """Raises IndexFileError if codes, windows or ids of another index are of another kind. name: of that one,
        first: of this."""
        ours, theirs = ((one.hasher, one.fingerprint) for one in (self, other))
        if ours != theirs:
            raise IndexFileError(
                f"{name}: was built with hasher {other.hasher} {other.fingerprint.hex()}; "
                f"{first} with {self.hasher} {self.fingerprint.hex()}"
            )
        for said, one, another in (
            ("codes of {} bits", other.n_bits, self.n_bits),
            ("{} windows of each picture", other.shown, self.shown),
            ("{} as ids", *(("paths" if who.has_paths else "numbers") for who in (other, self))),
        ):
            if one != another:
                raise IndexFileError(f"{name}: has {said.format(one)}; {first} has {said.format(another)}")
        if other.layout != self.layout:
            raise IndexFileError(f"{name}: has windows of layout {other.layout}; {first} of layout {self.layout}")

    def to_json(self, count: int | None = None) -> str:
        """One line of ASCII. count: of rows, where they are counted."""
        record = {
            "what": WHAT,
            "version": VERSION,
            "hasher": self.hasher,
            "fingerprint": self.fingerprint.hex(),
            "bits": self.n_bits,
            "layout": self.layout,
            "ids": "paths" if self.has_paths else "numbers",
            "root": text_of(self.root),
        }
        return json.dumps(record if count is None else {**record, "rows": count})


def parse_description(content: str | bytes, name: str, *, counted: bool = False) -> tuple[Description, int]:
    """The inverse of `Description.to_json` -> what it says, and how many rows, 0 where they were not counted.

    counted: whether they must be. Raises IndexFileError that begins with a name.
    """
    try:
        found: dict[str, Any] = parse_object(content)
        wrong = misfit(found, {**_FIELDS, **({"rows": integer(0, 1 << 48)} if counted else {})})
        if wrong:
            raise ValueError(wrong)
        root = name_of(found["root"])
        if len(root) >= storage.MAX_ROOT or (root and not (found["ids"] == "paths" and os.path.isabs(root))):
            raise ValueError("root is an absolute path, and only paths have one")
    except ValueError as error:
        raise IndexFileError(f"{name}: does not say what index it is of ({error})") from error
    return Description(
        found["hasher"],
        bytes.fromhex(found["fingerprint"]),
        found["bits"],
        found["ids"] == "paths",
        found["layout"],
        root,
    ), found["rows"] if counted else 0
