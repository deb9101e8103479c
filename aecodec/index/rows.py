"""Ids, codes and stamps that belong together. Rows are never changed, only replaced, so a search keeps those it began
with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..contracts import Scanner
from ..parallel import Lock
from . import Backend
from .codes import select
from .ids import Numbers, Paths
from .storage import Mapped


@dataclass(frozen=True)
class Rows:
    """codes: (N, B) uint8; ids: of as many; stamps: (N, 2) int64 for paths, else None; mapped: the file that these are
    a memory map of, if they are."""

    ids: Numbers | Paths
    codes: np.ndarray
    stamps: np.ndarray | None = None
    mapped: Mapped | None = None

    def check(self) -> None:
        """Raises IndexFileError if the file below a memory map is not what it was: its pages may be gone."""
        if self.mapped is not None:
            self.mapped.check()

    def extended(self, codes: np.ndarray) -> Rows:
        """These, then others under the numbers after the last. Raises UsageError for paths."""
        return Rows(self.ids.extended(len(codes)), _joined(self.codes, codes, None))

    def merged(self, ids: Any, codes: np.ndarray, stamps: np.ndarray | None) -> Rows:
        """These and others under ids that are not here. stamps: zeros unless given."""
        merged, order = self.ids.merged(ids)
        if self.stamps is None:
            return Rows(merged, _joined(self.codes, codes, order))
        fresh = np.zeros((len(codes), 2), np.int64) if stamps is None else np.asarray(stamps, np.int64)
        return Rows(merged, _joined(self.codes, codes, order), _joined(self.stamps, fresh, order))

    def without(self, rows: np.ndarray) -> Rows:
        """These but some."""
        if not len(rows):
            return self
        keep = np.ones(len(self.codes), bool)
        keep[rows] = False
        stamps = None if self.stamps is None else select(self.stamps, keep)
        return Rows(self.ids.kept(keep), select(self.codes, keep), stamps)


class Searched:
    """Rows with the backend that searches them, which is built when it is first needed."""

    def __init__(self, rows: Rows, backend: Backend, options: dict[str, Any]) -> None:
        self.rows, self.backend, self.options = rows, backend, options
        self._scanner: Scanner | None = None
        self._building = Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        """Without what the backend has built, which may belong to this process."""
        return Searched, (self.rows, self.backend, self.options)

    def of(self, rows: Rows) -> Searched:
        """The same backend for other rows."""
        return Searched(rows, self.backend, self.options)

    @property
    def scanner(self) -> Scanner:
        """The backend over these rows' codes. Raises what the backend raises."""
        with self._building:
            if self._scanner is None:
                self._scanner = self.scanner_of(self.rows.codes)
            return self._scanner

    def scanner_of(self, codes: np.ndarray) -> Scanner:
        """The backend over other codes."""
        scanner: Scanner = self.backend.load()(codes, **self.options)
        return scanner


def _joined(old: np.ndarray, new: np.ndarray, order: np.ndarray | None) -> np.ndarray:
    """Old rows and new, in an order (None: one after another)."""
    both = np.concatenate([old, new]) if len(old) else np.array(new, order="C")
    return both if order is None else select(both, order)
