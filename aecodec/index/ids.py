"""What rows are called: integers or paths, kept in ascending order, so that the lowest row has the lowest id."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from ..contracts import UsageError


class Numbers:
    """Integer ids in [0, 2^63), ascending. Ids 0 ... N - 1 take no memory."""

    def __init__(self, count: int = 0, values: np.ndarray | None = None) -> None:
        """values: (count,) int64, strictly ascending; None is 0 ... count - 1."""
        self._count, self.values = count, values if count else None

    def __len__(self) -> int:
        return self._count

    def take(self, rows: np.ndarray) -> np.ndarray:
        """Rows, any shape -> ids int64."""
        rows = np.asarray(rows, np.int64)
        return rows.copy() if self.values is None else self.values[rows]

    def rows_of(self, ids: np.ndarray) -> np.ndarray:
        """Ids -> rows, -1 for one that is not there."""
        if self.values is None:
            return np.where(ids < len(self), ids, -1)
        places = np.searchsorted(self.values, ids)
        there = self.values[np.minimum(places, len(self) - 1)] == ids if len(self) else np.zeros(len(ids), bool)
        return np.where(there, places, -1)

    def extended(self, count: int) -> Numbers:
        """These and the ``count`` numbers after the last."""
        if self.values is None:
            return Numbers(len(self) + count)
        after = int(self.values[-1]) + 1 + np.arange(count, dtype=np.int64)
        if count and after[-1] < 0:
            raise UsageError("an id is an integer below 2^63")
        return Numbers(len(self) + count, np.concatenate([self.values, after]))

    def read(self, ids: Iterable[int]) -> np.ndarray:
        """What a caller gave -> int64, distinct. Raises UsageError."""
        found = np.asarray(ids if isinstance(ids, np.ndarray) else list(ids))
        if found.size == 0:
            found = found.astype(np.int64)
        if found.ndim != 1 or found.dtype.kind not in "iu" or (found.size and int(found.min()) < 0):
            raise UsageError("this index has integer ids of at least 0")
        if found.size and int(found.max()) >= 1 << 63:
            raise UsageError("an id is an integer below 2^63")
        found = found.astype(np.int64)
        ordered = found if _ascending(found) else np.sort(found)
        if (ordered[1:] == ordered[:-1]).any():
            raise UsageError(f"id {int(ordered[1:][ordered[1:] == ordered[:-1]][0])} is given twice")
        return found

    def merged(self, ids: np.ndarray) -> tuple[Numbers, np.ndarray | None]:
        """These and new ones -> all, and where each row comes from among the old rows followed by the new.

        None instead of an order: all new ids come after the old ones, in ascending order.
        """
        total = len(self) + len(ids)
        if _ascending(ids) and (not len(self) or not len(ids) or ids[0] > self.take(np.array([len(self) - 1]))[0]):
            if self.values is None and (not len(ids) or ids[-1] == total - 1):
                return Numbers(total), None
            return Numbers(total, np.concatenate([self.take(np.arange(len(self))), ids])), None
        values = np.concatenate([self.take(np.arange(len(self))), ids])
        order = np.argsort(values, kind="stable")
        values = values[order]
        return Numbers(total, None if values[-1] == total - 1 else values), order

    def kept(self, keep: np.ndarray) -> Numbers:
        """The ids of the rows where ``keep`` is true."""
        rows = np.flatnonzero(keep)
        if self.values is None and (not len(rows) or rows[-1] == len(rows) - 1):
            return Numbers(len(rows))
        return Numbers(len(rows), self.take(rows))


class Paths:
    """Paths as ids, in ascending order of their bytes, held as one block of bytes: no Python object per row."""

    def __init__(self, text: np.ndarray | None = None, offsets: np.ndarray | None = None) -> None:
        """text: uint8, all paths one after another; offsets: (N + 1,) int64, where each begins, and the end."""
        self.text = np.empty(0, np.uint8) if text is None else text
        self.offsets = np.zeros(1, np.int64) if offsets is None else offsets

    @classmethod
    def of(cls, ordered: Sequence[bytes]) -> Paths:
        """From paths in ascending order."""
        offsets = np.zeros(len(ordered) + 1, np.int64)
        np.cumsum([len(path) for path in ordered], out=offsets[1:])
        return cls(np.frombuffer(b"".join(ordered), np.uint8), offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def raw(self, row: int) -> bytes:
        """The bytes of one path."""
        return self.text[self.offsets[row] : self.offsets[row + 1]].tobytes()

    def every(self) -> list[bytes]:
        """The bytes of all paths."""
        whole, limits = self.text.tobytes(), self.offsets.tolist()
        return [whole[start:end] for start, end in pairwise(limits)]

    def take(self, rows: np.ndarray) -> np.ndarray:
        """Rows, any shape -> paths, an array of str of the same shape."""
        rows = np.asarray(rows, np.int64)
        found = np.empty(rows.shape, object)
        for place, row in np.ndenumerate(rows):
            found[place] = os.fsdecode(self.raw(int(row)))
        return found

    def rows_of(self, ids: Sequence[bytes]) -> np.ndarray:
        """Paths -> rows, -1 for one that is not there."""
        return np.array([self._find(path) for path in ids], np.int64)

    def _find(self, path: bytes) -> int:
        low, high = 0, len(self)
        while low < high:
            middle = (low + high) // 2
            if self.raw(middle) < path:
                low = middle + 1
            else:
                high = middle
        return low if low < len(self) and self.raw(low) == path else -1

    def extended(self, count: int) -> Paths:
        """There are no paths after the last: raises UsageError."""
        raise UsageError(f"this index has paths as ids: {count} paths are needed")

    def read(self, ids: Iterable[Any]) -> list[bytes]:
        """What a caller gave -> bytes of distinct paths. Raises UsageError."""
        given = list(ids)
        if not all(isinstance(path, (str, os.PathLike)) and os.fspath(path) for path in given):
            raise UsageError("this index has paths as ids: non-empty text or path objects")
        found = [os.fsencode(path) for path in given]
        seen: set[bytes] = set()
        for path in found:
            if path in seen:
                raise UsageError(f"path {os.fsdecode(path)} is given twice")
            seen.add(path)
        return found

    def merged(self, ids: Sequence[bytes]) -> tuple[Paths, np.ndarray | None]:
        """See `Numbers.merged`."""
        everything = [*self.every(), *ids]
        order = sorted(range(len(everything)), key=everything.__getitem__)
        return Paths.of([everything[place] for place in order]), np.array(order, np.int64)

    def kept(self, keep: np.ndarray) -> Paths:
        """See `Numbers.kept`."""
        return Paths.of([path for path, stays in zip(self.every(), keep.tolist(), strict=True) if stays])


def _ascending(values: np.ndarray) -> bool:
    return bool((values[1:] > values[:-1]).all())
