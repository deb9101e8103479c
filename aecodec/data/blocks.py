"""What a picture file says beside its pixels, and the file read as if that were not there."""

from __future__ import annotations

import io
from bisect import bisect_right
from dataclasses import dataclass, field
from typing import Any, BinaryIO, cast


@dataclass
class Blocks:
    """What stands beside the pixels of a file.

    raw: icc, exif and xmp as they stand there. left_out: for people, what is known to be there and is not kept.
    frames: how many pictures it says it holds. ranges: (start, end) of the stretches that hold pixels.
    """

    raw: dict[str, bytes] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)
    frames: int = 1
    ranges: list[tuple[int, int]] = field(default_factory=list)

    def add(self, kind: str, data: bytes) -> None:
        """Take a block of a kind unless there is one already: the first is what programs go by."""
        if data:
            self.raw.setdefault(kind, data)

    def pixels(self, file: BinaryIO) -> BinaryIO:
        """The file from its first byte, less what is no pixels."""
        if len(self.ranges) > 1:
            return cast(BinaryIO, io.BufferedReader(_Spliced(file, self.ranges), 1 << 16))
        file.seek(0)
        return file


def density(across: float, down: float) -> list[str]:
    """What to say of pixels per inch that are not kept: nothing of the usual 72 and 96, which say nothing."""
    usual = across == down and round(across) in (0, 1, 72, 96)
    return [] if usual else [f"density of {across:.4g} x {down:.4g} dpi"]


def aspect(across: int, down: int) -> list[str]:
    """What to say of pixels that are not square, and become so."""
    return [] if across == down else [f"pixel aspect ratio of {across}:{down}"]


class _Spliced(io.RawIOBase):
    """Stretches of a seekable file, one after another. ranges: (start, end) of each, in order."""

    def __init__(self, file: BinaryIO, ranges: list[tuple[int, int]]) -> None:
        self._file = file
        self._starts: list[int] = []
        self._origins: list[int] = []
        self._size = self._place = 0
        for start, end in ranges:
            if end > start:
                self._starts.append(self._size)
                self._origins.append(start)
                self._size += end - start

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise ValueError(f"negative position {base + offset}")
        self._place = base + offset
        return self._place

    def readinto(self, buffer: Any) -> int:
        part = bisect_right(self._starts, self._place) - 1
        if part < 0 or self._place >= self._size:
            return 0
        end = self._starts[part + 1] if part + 1 < len(self._starts) else self._size
        wanted = min(len(buffer), end - self._place)
        self._file.seek(self._origins[part] + self._place - self._starts[part])
        data = self._file.read(wanted)
        buffer[: len(data)] = data
        self._place += len(data)
        return len(data)
