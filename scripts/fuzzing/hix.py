"""The law of index files: what was saved, or a named error; a forged one that is read can be searched and listed."""

from __future__ import annotations

import random
import struct
import zlib
from pathlib import Path

import numpy as np

from aecodec.contracts import AecodecError
from aecodec.index import storage
from aecodec.index.hash_index import HashIndex

from .law import INTERESTING, FileLaw, changed

GOLDEN = Path(__file__).parents[2] / "tests" / "golden"
SEEDS = {path.stem: path.read_bytes() for path in sorted(GOLDEN.glob("v*/*.hix"))}
#: Fields of the header: place, and how many bytes.
_FIELDS = ((4, 1), (5, 1), (6, 2), (8, 8), (24, 8), (32, 2), (34, 1), (35, 1))
_SUMS = 36


def repair(data: bytes) -> bytes:
    """The same bytes with the checksums of the blocks, where the header places them, and of the header made right."""
    if len(data) < storage.HEADER_SIZE:
        return data
    fixed = bytearray(data)
    _seal(fixed)
    try:
        places = storage.parse_header(bytes(fixed)).places()
    except AecodecError:
        return bytes(fixed)
    sums = [zlib.crc32(fixed[place : place + length]) for place, length in places]
    struct.pack_into(f"<{len(sums)}I", fixed, _SUMS, *sums)
    _seal(fixed)
    return bytes(fixed)


def _seal(fixed: bytearray) -> None:
    head = storage.HEADER_SIZE - 4
    struct.pack_into("<I", fixed, head, zlib.crc32(fixed[:head]))


class HixLaw(FileLaw):
    """See the module's docstring."""

    suffix = ".hix"

    def __init__(self) -> None:
        super().__init__()
        self._names = sorted(SEEDS)
        self._states = []
        for seed in SEEDS.values():
            self.path.write_bytes(seed)
            self._states.append(_state(HashIndex.load(self.path, backend="numpy")))
            self.path.unlink()

    def make(self, rng: random.Random, number: int) -> tuple[bytes, bool]:
        """Changes of a seed; half with checksums made right, half of these with a field of the header changed."""
        seed = SEEDS[self._names[number % len(self._names)]]
        if rng.random() < 0.5:
            return changed(rng, seed, list(SEEDS.values()), head=storage.HEADER_SIZE), False
        data = bytearray(seed)
        if rng.random() < 0.5:
            place, size = rng.choice(_FIELDS)
            value = rng.choice((*INTERESTING, rng.randrange(1 << 63), 64, 128, 3, 4, 5)) % (1 << 8 * size)
            data[place : place + size] = value.to_bytes(size, "little")
        else:
            for _ in range(rng.randint(1, 3)):
                place = rng.randrange(storage.HEADER_SIZE, len(data)) if len(data) > storage.HEADER_SIZE else 0
                data[place] = rng.randrange(256)
        if rng.random() < 0.2:
            data += rng.randbytes(rng.choice((1, 8, 64)))
        return repair(bytes(data)), True

    def outcome(self, data: bytes, repaired: bool) -> str:
        """Loaded, and mapped with its checks."""
        index = HashIndex.load(self.path, backend="numpy")
        if not repaired:
            if _state(index) not in self._states:
                raise AssertionError("a damaged file gave an index that was never saved")
            return "as saved"
        view = HashIndex.view(self.path, check=True, backend="numpy")
        if _state(view) != _state(index):
            raise AssertionError("loaded and mapped differ")
        if len(index):
            hits = index.search(index.codes[:2], 3).of(0)
            if not hits or hits[0][1] != 0:
                raise AssertionError(f"a code is not found in its own index: {hits[:1]}")
            found = index.search_windows(np.concatenate([index.codes[:1], index.windows[0]]), 3)
            if found.distances[0] != 0:
                raise AssertionError(f"a set of codes is {found.distances[0]} bits from its own index")
        return "forged and sound"


def _state(index: HashIndex) -> tuple[bytes, bytes, list[object]]:
    return np.ascontiguousarray(index.codes).tobytes(), index.windows.tobytes(), list(index.ids.tolist())
