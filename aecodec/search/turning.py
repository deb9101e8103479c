"""Pictures in all eight ways that quarter turns and mirroring give, as pixels and as codes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from ..index.hash_index import HashIndex
from .pictures import CodeReader, Decode, path_of, read_any

#: What is done to a picture, in the order of its codes: mirrored left to right or not, then turned by quarters.
TURNS = (
    "",
    "turned left",
    "turned by 180°",
    "turned right",
    "mirrored",
    "mirrored, turned left",
    "mirrored, turned by 180°",
    "mirrored, turned right",
)


def turned_way(pixels: np.ndarray, turn: int) -> np.ndarray:
    """(H, W, ...) in one of the `TURNS`, contiguous."""
    side = pixels[:, ::-1] if turn >= 4 else pixels
    return np.ascontiguousarray(np.rot90(side, turn % 4))


def turned_codes(reader: CodeReader, path: Path, decode: Decode | None) -> np.ndarray:
    """(8, n_bits / 8) uint8: the codes of a file's picture in all `TURNS`. Raises as `read_any` does."""
    pixels = read_any(path, reader.least, decode).pixels
    return reader.hash([turned_way(pixels, turn) for turn in range(len(TURNS))])


def turned_index(
    index: HashIndex,
    reader: CodeReader,
    decode: Decode | None,
    *,
    jobs: int = 1,
    advance: Callable[[int, int], None] = lambda done, total: None,
) -> np.ndarray:
    """(N, 8, n_bits / 8) uint8: the codes of the pictures of an index in all `TURNS`, in the order of its rows.

    The files are read anew. The code that the index holds stands for one that is not turned; it stands for all of them
    where a file cannot be read. jobs: threads.
    """
    names: Sequence[str] = index.ids.tolist()
    codes = np.repeat(index.codes[:, None], len(TURNS), axis=1)

    def read(name: str) -> np.ndarray | None:
        try:
            return turned_codes(reader, path_of(name, index.root), decode)
        except Exception:  # whatever it is, the code in the index has to do, as for any file that is not there any more
            return None

    with ThreadPoolExecutor(jobs, "turn") as pool:
        for row, found in enumerate(pool.map(read, names)):
            if found is not None:
                codes[row, 1:] = found[1:]
            advance(row + 1, len(names))
    return codes
