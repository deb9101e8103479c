"""Ids, codes, windows and stamps that belong together. Rows are never changed, only replaced: a search keeps those it
began with."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..contracts import Scanner
from ..parallel import Lock
from . import Backend
from .codes import select
from .ids import Numbers, Paths
from .mapped import Mapped


@dataclass(frozen=True)
class Rows:
    """codes: (N, B) uint8; windows: (N, W, B) uint8, W may be 0; ids: of as many; stamps: (N, 2) int64 for paths, else
    None; mapped: the file that these are a memory map of, if they are."""

    ids: Numbers | Paths
    codes: np.ndarray
    windows: np.ndarray
    stamps: np.ndarray | None = None
    mapped: Mapped | None = None

    def check(self) -> None:
        """Raises IndexFileError if the file below a memory map is not what it was: its pages may be gone."""
        if self.mapped is not None:
            self.mapped.check()

    def extended(self, codes: np.ndarray, windows: np.ndarray) -> Rows:
        """These, then others under the numbers after the last. Raises UsageError for paths."""
        ids = self.ids.extended(len(codes))
        return Rows(ids, _joined(self.codes, codes, None), _joined(self.windows, windows, None))

    def merged(self, ids: Any, codes: np.ndarray, windows: np.ndarray, stamps: np.ndarray | None) -> Rows:
        """These and others under ids that are not here. stamps: zeros unless given."""
        merged, order = self.ids.merged(ids)
        codes, windows = _joined(self.codes, codes, order), _joined(self.windows, windows, order)
        if self.stamps is None:
            return Rows(merged, codes, windows)
        fresh = np.zeros((len(ids), 2), np.int64) if stamps is None else np.asarray(stamps, np.int64)
        return Rows(merged, codes, windows, _joined(self.stamps, fresh, order))

    def without(self, rows: np.ndarray) -> Rows:
        """These but some."""
        if not len(rows):
            return self
        keep = np.ones(len(self.codes), bool)
        keep[rows] = False
        stamps = None if self.stamps is None else _chosen(self.stamps, keep)
        return Rows(self.ids.kept(keep), _chosen(self.codes, keep), _chosen(self.windows, keep), stamps)


class Searched:
    """Rows with the backend that searches them, which is built when it is first needed."""

    def __init__(self, rows: Rows, backend: Backend, options: dict[str, Any]) -> None:
        self.rows, self.backend, self.options = rows, backend, options
        self._scanner: Scanner | None = None
        self._window_scanner: Scanner | None = None
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

    @property
    def window_scanner(self) -> Scanner | None:
        """The backend over the codes of these rows' windows, row by row; None if they have none."""
        windows = self.rows.windows
        if not windows.shape[1]:
            return None
        with self._building:
            if self._window_scanner is None:
                self._window_scanner = self.scanner_of(windows.reshape(-1, windows.shape[2]))
            return self._window_scanner

    def scanner_of(self, codes: np.ndarray) -> Scanner:
        """The backend over other codes."""
        scanner: Scanner = self.backend.load()(codes, **self.options)
        return scanner


def _joined(old: np.ndarray, new: np.ndarray, order: np.ndarray | None) -> np.ndarray:
    """Old rows and new, in an order (None: one after another)."""
    both = np.concatenate([old, new]) if len(old) else np.array(new, order="C")
    return both if order is None else _chosen(both, order)


def _chosen(rows: np.ndarray, which: np.ndarray) -> np.ndarray:
    """Some rows of a C-contiguous array of two or three axes; see `codes.select`."""
    inside = rows.shape[1:]
    flat = rows.reshape(len(rows), math.prod(inside))
    chosen = select(flat, which) if flat.shape[1] else flat[which]
    return chosen.reshape(len(chosen), *inside)
