"""What a law of a kind of files is, and the changes of bytes that all kinds share."""

from __future__ import annotations

import contextlib
import os
import random
import resource
import struct
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from aecodec.contracts import AecodecError

#: Processor time that an example may take, and memory that it may hold at most beside what was held before.
SECONDS, MEBIBYTES = 2.0, 256
#: And on top of it for every pixel of a picture that was read: seconds, and bytes for its copies of all modes. What
#: reads animated WebP holds the whole canvas four times, of four bytes each.
PIXEL_SECONDS, PIXEL_BYTES = 5e-8, 24
INTERESTING = (0, 1, 8, 14, 255, 256, 1 << 14, 1 << 20, (1 << 31) - 1, 1 << 31, (1 << 32) - 1)


class Law:
    """Makes examples and checks what becomes of them; counts outcomes. suffix: of a file that is kept.

    A subclass has `make` and `outcome`. A finding is any exception that `check` raises.
    """

    suffix: ClassVar[str] = ".bin"

    def __init__(self) -> None:
        self.outcomes: Counter[str] = Counter()
        self.slowest = 0.0
        #: Pixels of the picture that an example was; `outcome` sets it.
        self.pixels = 0

    def make(self, rng: random.Random, number: int) -> tuple[bytes, bool]:
        """A file, and whether its checksums were made right: then its content is anybody's."""
        raise NotImplementedError

    def outcome(self, data: bytes, repaired: bool) -> str:
        """What becomes of a file, in a word. An AecodecError is one of its own; AssertionError: the law is broken."""
        raise NotImplementedError

    def check(self, data: bytes, repaired: bool = False) -> None:
        """Raises AssertionError where the law is broken; any other exception is a finding as well."""
        _forget_peak()
        memory, begin, self.pixels = _peak(), time.process_time(), 0
        try:
            self.outcomes[self.outcome(data, repaired)] += 1
        except AecodecError as error:
            if "\n" in str(error).strip():
                raise AssertionError(f"an error of several lines: {error}") from error
            self.outcomes[type(error).__name__] += 1
        taken = time.process_time() - begin
        self.slowest = max(self.slowest, taken)
        if taken > SECONDS + PIXEL_SECONDS * self.pixels:
            raise AssertionError(f"{len(data)} bytes took {taken:.1f} s")
        if _peak() - memory > (MEBIBYTES << 10) + (PIXEL_BYTES * self.pixels >> 10):
            raise AssertionError(f"{len(data)} bytes took {(_peak() - memory) >> 10} MiB")


class FileLaw(Law):
    """A law of what is read by path: examples are put at ``path``, in memory where the system has such a folder."""

    def __init__(self) -> None:
        super().__init__()
        place = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        self._folder = tempfile.TemporaryDirectory(prefix="aecodec-fuzz-", dir=place)
        self.path = Path(self._folder.name) / f"example{self.suffix}"

    def check(self, data: bytes, repaired: bool = False) -> None:
        """See `Law.check`."""
        with contextlib.suppress(FileNotFoundError):
            self.path.unlink()  # not rewritten: what mapped the one before keeps it
        self.path.write_bytes(data)
        super().check(data, repaired)


def _forget_peak() -> None:
    """Where the system can: begin anew with what is held now, so that a large example hides none after it."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _peak() -> int:
    """KiB that this process held at most since then."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def changed(rng: random.Random, seed: bytes, others: list[bytes], head: int = 120) -> bytes:
    """One to four changes of bytes, half of them in the first ones, where the structure is. others: what is spliced."""
    data = bytearray(seed)
    for _ in range(rng.randint(1, 4)):
        if not data:
            break
        place = rng.randrange(min(len(data), head) if rng.random() < 0.5 else len(data))
        kind = rng.randrange(9)
        if kind == 0:
            data[place] ^= 1 << rng.randrange(8)
        elif kind == 1:
            data[place] = rng.randrange(256)
        elif kind == 2:
            del data[place : place + rng.choice((1, 2, 4, 9, 64, 512))]
        elif kind == 3:
            data[place:place] = rng.randbytes(rng.choice((1, 2, 4, 9, 64)))
        elif kind == 4:
            del data[place:]
        elif kind == 5:
            data[place : place + 4] = struct.pack("<I", rng.choice(INTERESTING))
        elif kind == 6:
            length = rng.choice((4, 9, 64, 512))
            data[place : place + length] = bytes(length)
        elif kind == 7:
            other = rng.choice(others)
            data[place:] = other[rng.randrange(len(other)) :]
        else:
            start = rng.randrange(len(data))
            data[place : place + 64] = data[start : start + 64]
    return bytes(data)


#: Values that no field of a file should be trusted with.
HOSTILE: list[object] = [
    *(None, True, "", "\x1b[31m", "a" * 3000, "nan", -1, 0, 1, 2, 7, 255, 65535, 65537),
    *(1 << 31, (1 << 31) - 1, -(1 << 31), 1 << 63, 10**30, 0.5, -0.0, 1e-320, 1e38, 1e300),
    *(float("nan"), float("inf"), float("-inf"), [], {}, [[]], [1, 2, 3], {"a": {"a": 1}}, [0] * 300),
]


def places_of(tree: object, path: tuple[object, ...] = ()) -> Iterator[tuple[object, ...]]:
    """Where values stand in nested dicts and lists, as paths of keys."""
    if path:
        yield path
    entries = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in entries:
        yield from places_of(value, (*path, key))
