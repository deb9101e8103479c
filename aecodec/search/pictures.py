"""Which pictures a folder holds, what they are called in an index, and their codes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..coding.container import SUFFIX, read_semantic_hash
from ..contracts import (
    AecodecError,
    BitstreamError,
    ImageReadError,
    IndexFileError,
    UnavailableError,
    UnexpectedError,
    UsageError,
    error_of,
)
from ..data.files import is_special, open_input
from ..data.folders import Unreadable, Walk
from ..data.formats import picture_suffixes
from ..data.images import read_bytes
from ..data.reduced import Reduced, read_reduced, reduce_pixels
from ..index.windows import LAYOUTS
from .windows import PictureHasher, picture_codes

#: An .aec file's bytes -> its pixels, (H, W) or (H, W, 3) uint8.
Decode = Callable[[bytes], np.ndarray]


@dataclass(frozen=True)
class Found:
    """A picture file. id: what it is called in an index; stamp: modification time in ns, size in bytes."""

    id: str
    path: Path
    stamp: tuple[int, int]


@dataclass(frozen=True)
class Failure:
    """A file or folder that was skipped, and why in one line that names it."""

    path: str
    message: str


@dataclass(frozen=True)
class Coded:
    """A picture's set of codes, count x n_bits / 8 bytes. width, height: of the picture in pixels, upright; as the file
    stores it where an .aec file carries the code."""

    codes: bytes
    width: int
    height: int


def id_of(path: Path, root: str) -> str:
    """Below the root: the path from there, with slashes; elsewhere: the absolute path."""
    absolute = os.path.abspath(path)
    if root and absolute.startswith(os.path.join(root, "")):
        absolute = os.path.relpath(absolute, root)
    return absolute.replace(os.sep, "/")


def path_of(name: str, root: str) -> Path:
    """The inverse of `id_of`. Raises IndexFileError for a name that would lead out of the root."""
    if not os.path.isabs(name) and os.pardir in name.split("/"):
        raise IndexFileError(f"the index names {name}, which is not below its folder; no index of ours does")
    return Path(root, name)


def picture_walk() -> Walk:
    """A walk for pictures and .aec files, to be handed to `list_pictures`."""
    return Walk(picture_suffixes() | {SUFFIX})


def list_pictures(folder: Path, root: str, walk: Walk | None = None) -> tuple[list[Found], list[Failure]]:
    """Every picture and .aec file below a folder, by path, as a `Walk` finds them.

    walk: one of `picture_walk` that several folders share. Raises UsageError if it is no folder; folders and files
    inside that cannot be looked at are failures.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder")
    walk = picture_walk() if walk is None else walk
    before = len(walk.unreadable)
    found = [found_of(one.path, root, one.status) for one in walk.files(folder)]
    return found, [_failure(one) for one in walk.unreadable[before:]]


def find_picture(path: Path, root: str) -> Found | Failure:
    """One file, whatever its name ends in."""
    try:
        status = os.stat(path)
        if is_special(path):
            return Failure(str(path), f"{path}: is a pipe or a device, not a file")
    except OSError as error:
        return _failure(Unreadable(path, error, folder=False))
    return found_of(path, root, status)


def found_of(path: Path, root: str, status: os.stat_result) -> Found:
    """A file as it was when it was looked at."""
    return Found(id_of(path, root), path, stamp_of(status))


def stamp_of(status: os.stat_result) -> tuple[int, int]:
    """Modification time in ns, as an index can hold it, and size in bytes."""
    return _signed(status.st_mtime_ns), status.st_size


def _signed(nanoseconds: int) -> int:
    """A time as an index can hold it, 64 bits: those after 2262 come round to the far past, each to another one."""
    return (nanoseconds + (1 << 63)) % (1 << 64) - (1 << 63)


def _failure(one: Unreadable) -> Failure:
    missing = isinstance(one.error, FileNotFoundError)
    reason = "no such file" if missing else f"cannot be read ({one.error.strerror or one.error})"
    return Failure(str(one.path), f"{one.path}: {reason}")


def carries_code(path: Path, hasher: str, fingerprint: bytes, n_bits: int) -> bool:
    """Whether a file is an .aec file that holds a code of a hasher, of so many bits at least: then its code in an index
    is that, and nobody decoded a pixel for it."""
    if path.suffix.lower() != SUFFIX:
        return False
    try:
        with open_input(path) as file:
            _, carried = read_semantic_hash(file)
    except (AecodecError, OSError):
        return False
    known = carried is not None and (carried.hasher, carried.fingerprint) == (hasher, fingerprint)
    return known and carried is not None and 8 * len(carried.bits) >= n_bits


class CodeReader:
    """Files to codes. A hash that an .aec file carries is taken as it is, without decoding a pixel; not where
    windows are hashed too, for which it takes pixels."""

    def __init__(
        self, hasher: PictureHasher, n_bits: int | None = None, decode: Decode | None = None, *, layout: int = 0
    ) -> None:
        """n_bits: of the codes; all that the hasher has unless given. decode: of .aec files that carry no such hash.
        layout: of the windows that are hashed too, a number of `index.windows.LAYOUTS`.

        Raises UsageError if the hasher has no codes of that length.
        """
        self.hasher, self.n_bits, self._decode = hasher, n_bits or hasher.n_bits, decode
        self.layout, self.count = layout, 1 + len(LAYOUTS[layout])
        known = {length for length in (*hasher.lengths, hasher.n_bits) if length <= hasher.n_bits}
        if self.n_bits not in known:
            raise UsageError(
                f"hasher {hasher.name} has codes of {', '.join(map(str, sorted(known)))} bits, not of {self.n_bits}"
            )

    def shortened(self, n_bits: int) -> CodeReader:
        """The same with codes of another length."""
        return CodeReader(self.hasher, n_bits, self._decode, layout=self.layout)

    def read(self, path: Path) -> Coded | Reduced:
        """One file -> the code it carries, or its pixels made small. Raises ImageReadError or BitstreamError."""
        if path.suffix.lower() == SUFFIX and not self.layout:
            carried = self._carried(path)
            length = 8 * len(carried.codes)
            nested = self.n_bits < length and {self.n_bits, length} <= set(self.hasher.lengths)
            if nested or length == self.n_bits:
                return replace(carried, codes=carried.codes[: self.n_bits // 8])
        return read_any(path, self.least, self._decode)

    @property
    def least(self) -> int:
        """Pixels that the shorter side of a picture keeps: enough for the hasher's own resampling to look alike."""
        return 3 * self.hasher.side

    def carried_length(self, paths: Iterable[Path]) -> int | None:
        """Bits of the shortest code of this hasher that some .aec files carry; None if none carries one."""
        lengths = set()
        for path in paths:
            try:
                lengths.add(8 * len(self._carried(path).codes))
            except AecodecError:
                continue  # whoever reads the file itself will say what is wrong with it
        return min(lengths & set(self.hasher.lengths), default=None)

    def _carried(self, path: Path) -> Coded:
        """The code in an .aec file, if it is one of this hasher; else an empty one."""
        try:
            with open_input(path) as file:
                header, carried = read_semantic_hash(file)
        except OSError as error:
            raise UnavailableError(f"{path}: cannot be read ({error.strerror or error})") from error
        except BitstreamError as error:
            raise type(error)(f"{path}: {error}") from error
        known = carried is not None and (carried.hasher, carried.fingerprint) == (
            self.hasher.name,
            self.hasher.fingerprint,
        )
        return Coded(carried.bits if known and carried is not None else b"", header.width, header.height)

    def codes(self, paths: Sequence[Path]) -> list[bytes | AecodecError]:
        """The set of codes of each file, count x n_bits / 8 bytes, or the error that says why there is none."""
        return [one.codes if isinstance(one, Coded) else one for one in self.describe(paths)]

    def describe(self, paths: Sequence[Path]) -> list[Coded | AecodecError]:
        """As `codes`, with the size of each picture."""
        found: list[Coded | AecodecError] = []
        reduced, places = [], []
        for path in paths:
            try:
                picture = self.read(path)
            except Exception as fault:
                found.append(error_of(str(path), fault))
                continue
            if isinstance(picture, Coded):
                found.append(picture)
                continue
            places.append(len(found))
            reduced.append(picture)
            found.append(Coded(b"", picture.width, picture.height))
        codes = self._hash_each([picture.pixels for picture in reduced])
        for place, picture, code in zip(places, reduced, codes, strict=True):
            found[place] = code if isinstance(code, AecodecError) else Coded(code, picture.width, picture.height)
        return found

    def _hash_each(self, pixels: list[np.ndarray]) -> list[bytes | AecodecError]:
        """All together; one by one if the hasher refuses one of them, so that it is refused alone."""
        try:
            return [codes.tobytes() for codes in self.sets(pixels)]
        except Exception as fault:
            error = fault if isinstance(fault, AecodecError) else UnexpectedError.of(fault)
            return [error] if len(pixels) == 1 else [self._hash_each([one])[0] for one in pixels]

    def sets(self, pixels: Sequence[np.ndarray]) -> np.ndarray:
        """Pixels of pictures -> (N, count, n_bits / 8) uint8, each with its windows."""
        return picture_codes(self.hasher, pixels, self.layout, self.n_bits)

    def hash(self, pixels: Sequence[np.ndarray]) -> np.ndarray:
        """Pixels of pictures -> (N, n_bits / 8) uint8, of the wholes alone."""
        return picture_codes(self.hasher, pixels, 0, self.n_bits)[:, 0]


def read_any(path: Path, least: int, decode: Decode | None = None) -> Reduced:
    """A picture or .aec file, made small as `read_reduced` does. Raises ImageReadError or BitstreamError."""
    if path.suffix.lower() != SUFFIX:
        return read_reduced(path, least)
    if decode is None:
        raise ImageReadError(f"{path}: nothing to decode .aec files with was given")
    try:
        pixels = decode(read_bytes(path))
    except BitstreamError as error:
        raise type(error)(f"{path}: {error}") from error
    return Reduced(reduce_pixels(pixels, least), pixels.shape[1], pixels.shape[0])


def check_picture(path: Path) -> None:
    """Raises ImageReadError or BitstreamError for a file that is no picture; of .aec files the first bytes tell."""
    if path.suffix.lower() != SUFFIX:
        read_reduced(path, 1)
        return
    with open_input(path) as file:
        try:
            read_semantic_hash(file)
        except BitstreamError as error:
            raise type(error)(f"{path}: {error}") from error


def stack(sets: Iterable[bytes], count: int, n_bits: int) -> np.ndarray:
    """Sets of so many codes -> (N, count, n_bits / 8) uint8."""
    return np.frombuffer(b"".join(sets), np.uint8).reshape(-1, count, n_bits // 8)
