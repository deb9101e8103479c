"""HashIndex: codes with their ids, searched by Hamming distance, kept in one file."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..contracts import IndexFileError, Scanner, UsageError
from ..parallel import Lock
from . import backend as find_backend
from . import content, storage
from .codes import check_codes, check_k, check_queries, check_radius
from .description import Description
from .hits import Hits, RangeHits, WindowHits
from .ids import Numbers, Paths
from .merging import Batch
from .postgres.address import Address, is_address, parse_address
from .postgres.conditions import parse_condition
from .rows import Rows, Searched
from .windows import LAYOUTS, apart, check_set, nearest_rows, rows_within

if TYPE_CHECKING:
    from .postgres.table import TableIndex


class HashIndex:
    """Binary codes of one hasher under integer ids or paths; of pictures, perhaps with those of their windows.

    Rows are kept in ascending order of ids (paths: of their bytes), whatever the order of adding, so that ties go to
    the lowest id. ``codes``, ``windows``, ``ids`` and ``stamps`` are what is held, to be read and not written to.

    Threads may search while others add, remove or change the backend: a search answers from the rows that were there
    when it began. What needs several looks at the same rows takes a `snapshot`.
    """

    def __init__(
        self,
        *,
        hasher: str,
        fingerprint: bytes,
        n_bits: int,
        paths: bool = False,
        root: str | os.PathLike[str] = "",
        layout: int = 0,
        backend: str = "auto",
        **options: Any,
    ) -> None:
        """An empty index.

        hasher, fingerprint (8 bytes), n_bits (a multiple of 8): of the codes to come. paths: ids are paths, relative
        ones below ``root``. layout: of the windows that have codes as well, a number of `windows.LAYOUTS`; 0 for none.
        backend: a name of `INDEXES`; options are its own. Raises UsageError or UnknownName.
        """
        if not storage.is_hasher_name(hasher):
            raise UsageError(
                f"a hasher's name is 1 to {storage.MAX_NAME} letters, digits, '-', '_', '.', got {hasher!r}"
            )
        if len(fingerprint) != 8:
            raise UsageError(f"a fingerprint has 8 bytes, got {len(fingerprint)}")
        if n_bits % 8 or not 8 <= n_bits <= storage.MAX_BITS:
            raise UsageError(f"codes have a multiple of 8 bits, 8 to {storage.MAX_BITS}, got {n_bits}")
        if len(os.fsencode(root)) >= storage.MAX_ROOT or (root and not paths):
            raise UsageError(f"the root of paths is shorter than {storage.MAX_ROOT} bytes, and only paths have one")
        self.hasher, self.fingerprint, self.n_bits = hasher, bytes(fingerprint), int(n_bits)
        if layout not in LAYOUTS:
            raise UsageError(f"layouts of windows are {', '.join(map(str, LAYOUTS))}, got {layout}")
        self.root, self.layout = os.fsdecode(root), int(layout)
        empty = np.empty((0, n_bits // 8), np.uint8)
        windows = np.empty((0, len(LAYOUTS[layout]), n_bits // 8), np.uint8)
        stamps = np.empty((0, 2), np.int64) if paths else None
        rows = Rows(Paths() if paths else Numbers(), empty, windows, stamps)
        self._held = Searched(rows, find_backend(backend), options)
        self._changing = Lock()

    @classmethod
    def of(cls, description: Description, blocks: Iterable[Rows], **how: Any) -> HashIndex:
        """An index of rows that come in any order; of those with one id the latest counts. how: backend and options."""
        index = cls(
            hasher=description.hasher,
            fingerprint=description.fingerprint,
            n_bits=description.n_bits,
            paths=description.has_paths,
            root=os.fsdecode(description.root),
            layout=description.layout,
            **how,
        )
        if batches := [Batch.of_rows(rows) for rows in blocks]:
            index._held = index._held.of(Batch.joined(batches).in_order())
        return index

    def snapshot(self) -> HashIndex:
        """The rows of this moment as an index of their own, nothing copied: what changes here leaves it as it is."""
        return copy.copy(self)

    def use(self, backend: str, **options: Any) -> None:
        """Search with another backend from now on. Raises UnknownName."""
        with self._changing:
            self._held = Searched(self._held.rows, find_backend(backend), options)

    def _checked(self) -> Searched:
        """What is held now. Raises IndexFileError if it is a memory map of a file that was changed."""
        held = self._held
        held.rows.check()
        return held

    def __len__(self) -> int:
        return len(self._held.rows.codes)

    @property
    def has_paths(self) -> bool:
        """Whether ids are paths."""
        return isinstance(self._held.rows.ids, Paths)

    @property
    def codes(self) -> np.ndarray:
        """(N, n_bits / 8) uint8, in the order of the ids."""
        return self._checked().rows.codes

    @property
    def windows(self) -> np.ndarray:
        """(N, W, n_bits / 8) uint8: the codes of each row's windows, in the order of the layout; W is 0 without."""
        return self._checked().rows.windows

    @property
    def stamps(self) -> np.ndarray | None:
        """(N, 2) int64 of paths, modification time in ns and size in bytes; else None."""
        return self._checked().rows.stamps

    @property
    def ids(self) -> np.ndarray:
        """All ids, ascending: (N,) int64 or an array of str."""
        ids = self._checked().rows.ids
        return ids.take(np.arange(len(ids)))

    def ids_of(self, rows: Any) -> np.ndarray:
        """The ids of some rows. Raises IndexError for a row that there is not."""
        return self._checked().rows.ids.take(rows)

    def check_hasher(self, hasher: str, fingerprint: bytes) -> None:
        """Raises IndexFileError, naming both, if the index was built with another hasher."""
        if (hasher, fingerprint) != (self.hasher, self.fingerprint):
            raise IndexFileError(
                f"the index was built with hasher {self.hasher} {self.fingerprint.hex()}; "
                f"this is {hasher} {fingerprint.hex()}"
            )

    # -- changing --------------------------------------------------------------------------------

    def add(
        self,
        ids: Iterable[Any] | None,
        codes: np.ndarray,
        *,
        windows: np.ndarray | None = None,
        stamps: np.ndarray | None = None,
        replace: bool = False,
    ) -> None:
        """Add rows. ids: as many as codes, in any order; None (integer ids only): those after the last.

        codes: (M, n_bits / 8) uint8. windows: (M, W, n_bits / 8) uint8, of an index with windows. stamps: (M, 2) int64
        for paths, modification time in ns and size in bytes; zeros unless given. replace: an id that is there gets the
        new code. Raises UsageError otherwise, and for ids that are given twice, of the wrong kind or number.
        """
        codes = check_queries(codes, self.n_bits // 8)
        shape = (len(codes), len(LAYOUTS[self.layout]), self.n_bits // 8)
        windows = np.empty((len(codes), 0, shape[2]), np.uint8) if windows is None else windows
        if windows.shape != shape or windows.dtype != np.uint8:
            raise UsageError(f"codes of windows are {shape} uint8 in this index, got {windows.shape} {windows.dtype}")
        windows = np.ascontiguousarray(windows)
        with self._changing:
            held = self._checked()
            self._held = held.of(self._added(held.rows, ids, codes, windows, stamps, replace))

    def _added(
        self,
        rows: Rows,
        ids: Iterable[Any] | None,
        codes: np.ndarray,
        windows: np.ndarray,
        stamps: np.ndarray | None,
        replace: bool,
    ) -> Rows:
        """Rows and new ones; see `add`."""
        if ids is None and stamps is None:
            return rows.extended(codes, windows)
        new: Any = rows.ids.read(() if ids is None else ids)
        if len(new) != len(codes):
            raise UsageError(f"{len(new)} ids for {len(codes)} codes")
        if stamps is not None and (rows.stamps is None or stamps.shape != (len(codes), 2)):
            raise UsageError("stamps are for paths: two integers, time and size, for each")
        present = rows.ids.rows_of(new)
        present = present[present >= 0]
        if len(present) and not replace:
            raise UsageError(f"id {rows.ids.take(present[:1])[0]} is in the index already")
        return rows.without(present).merged(new, codes, windows, stamps)

    def remove(self, ids: Iterable[Any]) -> None:
        """Remove rows. Raises UsageError, naming the first, if an id is not there; then none is removed."""
        wanted: Any = list(ids) if not isinstance(ids, np.ndarray) else ids
        with self._changing:
            held = self._checked()
            keys: Any = held.rows.ids.read(wanted)
            places = held.rows.ids.rows_of(keys)
            if (places < 0).any():
                raise UsageError(f"id {wanted[int(np.flatnonzero(places < 0)[0])]} is not in the index")
            self._held = held.of(held.rows.without(places))

    # -- searching -------------------------------------------------------------------------------

    @property
    def scanner(self) -> Scanner:
        """The backend over the present codes; built when first needed. Raises what the backend raises."""
        return self._checked().scanner

    def scanner_of(self, codes: np.ndarray) -> Scanner:
        """This index's backend over other codes, (M, n_bits / 8) uint8."""
        return self._held.scanner_of(codes)

    def search(self, queries: np.ndarray, k: int) -> Hits:
        """The k nearest: (Q, n_bits / 8) uint8 -> hits (Q, min(k, N)). Raises UsageError for another width or k < 1."""
        held = self._checked()
        rows, distances = held.scanner.search(check_queries(queries, self.n_bits // 8), k)
        hits = Hits(held.rows.ids.take(rows), distances)
        held.rows.check()  # what was read while the file changed is no answer
        return hits

    def range_search(self, queries: np.ndarray, radius: int) -> RangeHits:
        """All within a radius of at least 0. Raises UsageError for another width or a negative radius."""
        held = self._checked()
        limits, rows, distances = held.scanner.range_search(check_queries(queries, self.n_bits // 8), radius)
        hits = RangeHits(limits, held.rows.ids.take(rows), distances)
        held.rows.check()
        return hits

    def search_windows(self, codes: np.ndarray, k: int | None = None, radius: int | None = None) -> WindowHits:
        """The pictures nearest to one by its set of codes, (1 + W, n_bits / 8) uint8, as of `windows.apart`.

        k: at most so many; radius: only those at most so far; all without either. An index without windows takes a set
        of one. Raises UsageError for another set, k < 1 or a negative radius.
        """
        codes = check_set(codes, self.layout, self.n_bits // 8)
        held = self._checked()
        shown = held.rows.windows.shape[1]
        if k is None:
            rows = rows_within(
                codes, held.scanner, held.window_scanner, shown, self.n_bits if radius is None else radius
            )
        else:
            rows = nearest_rows(codes, held.scanner, held.window_scanner, shown, check_k(k))
        found = apart(codes, held.rows.codes[rows], held.rows.windows[rows])
        order = np.lexsort((rows, found.distances))
        if radius is not None:
            order = order[found.distances[order] <= check_radius(radius, self.n_bits // 8)]
        order = order[:k]
        hits = WindowHits(
            held.rows.ids.take(rows[order]), found.distances[order], found.own[order], found.theirs[order]
        )
        held.rows.check()
        return hits

    # -- files -----------------------------------------------------------------------------------

    def save(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Write the file of `storage`, atomically. Raises OutputExistsError or OutputError."""
        rows = self._checked().rows
        held = content.Content(
            self.hasher,
            self.fingerprint,
            self.n_bits,
            rows.codes,
            rows.windows,
            rows.ids,
            self.layout,
            rows.stamps,
            os.fsencode(self.root),
        )
        content.write(Path(path), held, overwrite=overwrite)

    @classmethod
    def open(
        cls, source: str | Path | Address, *, where: Iterable[str] = (), approximate: bool = False, **how: Any
    ) -> HashIndex | TableIndex:
        """A file, as `load` reads it, or a table of PostgreSQL by its URL, which is searched there.

        where: of a table, only the rows that meet these conditions, see `conditions.parse_condition`; approximate: its
        HNSW index may answer. how: the backend and its options, of a file. Raises what `load` or `TableIndex` raises,
        and UsageError for options of a table that are given for a file.
        """
        if isinstance(source, str) and is_address(source):
            source = parse_address(source)
        if isinstance(source, Address):
            from .postgres.table import TableIndex

            return TableIndex(source, where=[parse_condition(text) for text in where], approximate=approximate)
        if list(where) or approximate:
            raise UsageError(f"{os.fspath(source)}: conditions and approximate search are for tables of a database")
        return cls.load(source, **how)

    @classmethod
    def load(cls, path: str | Path, *, backend: str = "auto", **options: Any) -> HashIndex:
        """Read a file into memory, every checksum verified. Raises IndexFileError."""
        return cls._of(content.read(Path(path)), backend, options)

    @classmethod
    def view(cls, path: str | Path, *, check: bool = False, backend: str = "auto", **options: Any) -> HashIndex:
        """Map a file into memory, nothing copied; adding and removing make copies. Raises IndexFileError.

        check: verify the checksums of all blocks, which reads the file once. A file that is replaced, as `save` does,
        goes on being searched as it was. One that is changed or cut in place is no longer searched: everything then
        raises IndexFileError.
        """
        return cls._of(content.read(Path(path), mapped=True, check=check), backend, options)

    @classmethod
    def _of(cls, held: content.Content, backend: str, options: dict[str, Any]) -> HashIndex:
        index = cls(
            hasher=held.hasher,
            fingerprint=held.fingerprint,
            n_bits=held.n_bits,
            paths=isinstance(held.ids, Paths),
            root=os.fsdecode(held.root),
            layout=held.layout,
            backend=backend,
            **options,
        )
        rows = Rows(held.ids, check_codes(held.codes), held.windows, held.stamps, held.mapped)
        index._held = index._held.of(rows)
        return index
