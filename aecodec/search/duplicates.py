"""Groups of pictures that lie close to the first of them: found by range search, by default the largest file first."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..contracts import IndexFileError, Scanner, UsageError
from ..index.hash_index import HashIndex
from ..index.windows import WHOLE, Apart, Window, apart, window_of
from .looks import Looks
from .pictures import path_of

#: Codes of one range search.
_BATCH = 1024
#: Bits of the codes by which a folder's copies are told from what only looks alike: those of `photo-hash` beyond them
#: tell kinds of things.
COPY_BITS = 128
#: Bits of a code -> how far apart two copies of a picture may be. Of 5,000 pictures of 35 kinds of things, fewer than
#: 1 % are put into a group by `photo-hash` within it (benchmarks/group_distances.py).
NEAR = {64: 1, 128: 5, 256: 14}
#: The same of a whole and a window: fewer than 2 % are put into a group, and of pairs of pictures of different kinds
#: fewer than one in a million is within it.
NEAR_BY_WINDOWS = {64: 2, 128: 10, 256: 24}


def near(n_bits: int, *, windows: bool = False) -> int:
    """The distance within which pictures, or a picture and a window of another, are taken for copies, for codes of any
    length."""
    table = NEAR_BY_WINDOWS if windows else NEAR
    known = max((length for length in table if length <= n_bits), default=0)
    return table[known] * n_bits // known if known else 0


@dataclass(frozen=True)
class Member:
    """A picture of a group.

    source: 0 or 1, which of two indexes it is from; size: bytes of its file, modified: its time in ns, both when it was
    indexed; distance: in bits, to the group's first member; turn: 0 to 7, how that one is turned to look like it, as
    `turning.TURNS` counts; part, first_part: of this picture and of the first one, the parts that look alike.
    """

    source: int
    id: str
    path: Path
    size: int
    distance: int
    modified: int = 0
    turn: int = 0
    part: Window = WHOLE
    first_part: Window = WHOLE


#: Pictures -> the key of each, the lowest of which comes first, or None for one that is to be in no group.
Rank = Callable[[Sequence[Member]], Sequence[Any]]


def groups(
    index: HashIndex,
    radius: int,
    other: HashIndex | None = None,
    looks: Looks | None = None,
    *,
    rank: Rank | None = None,
    turned: Sequence[np.ndarray] | None = None,
    windows: int | None = None,
) -> list[list[Member]]:
    """Groups of at least two pictures of an index of paths, all within ``radius`` bits of the group's first.

    From the largest file to the smallest, or as ``rank`` orders them, each that is in no group yet gathers those of the
    rest that are near it and, by ``looks``, do not differ from it in what a code does not see. So there are no chains:
    a picture that is near a member and not near the first is not in its group, and no picture is in two. other: groups
    must have members of both indexes. A file that has several names, or is in both indexes, is named once and no
    duplicate of itself.

    rank: is asked once, for all pictures that are near another one and in no order. turned: for each index, the codes
    of its pictures in all `turning.TURNS`, (N, 8, n_bits / 8) uint8; a first one then gathers what is near it in any.
    windows: a whole and a window of the other may be so many bits apart, at least ``radius``; unless given they are not
    compared. Those of a turned picture do not count.

    The first is followed by the others by distance to it, then by path; the groups are in the order of their first
    member's path. Raises UsageError for a negative radius, or one of windows that is smaller than it, IndexFileError if
    the other index is of another hasher or length, or windows are asked for that one of them does not have.
    """
    indexes = [index] if other is None else [index, other]
    if other is not None:
        other.check_hasher(index.hasher, index.fingerprint)
        if other.n_bits != index.n_bits:
            raise IndexFileError(f"the indexes have codes of {index.n_bits} and {other.n_bits} bits")
    layout = 0 if windows is None else index.layout
    if windows is not None and (not layout or {one.layout for one in indexes} != {layout}):
        raise IndexFileError("there are no windows in the index, or not the same in both: build it with --windows")
    if windows is not None and windows < radius:
        raise UsageError(f"windows may be at least as far apart as wholes, {radius} bits; got {windows}")
    rows = _Rows(indexes, turned, layout, radius, radius if windows is None else windows)
    scanners = rows.scanners(index)
    looks = Looks() if looks is None else looks
    free = np.ones(len(rows.paths), bool)
    order = np.arange(len(free)) if rank is None else _ranked(rows, scanners, rank, free)
    found = []
    for first, near_it in _neighbours(rows, scanners, free, order):
        free[first] = False
        near = np.array(near_it, int)
        turns = rows.apart(first, near_it)[1].tolist()
        alike = looks.alike(rows.paths[first], [rows.paths[row] for row in near_it], turns)
        members = [first, *near[alike].tolist()]
        named: dict[Hashable, int] = {}
        for row in members:
            named.setdefault(looks.identity(rows.paths[row]) if len(members) > 1 else row, row)
        if len(named) < 2 or (other is not None and len({rows.source[row] for row in members}) < 2):
            continue
        free[members] = False
        found.append(rows.group(list(named.values())))
    return sorted(found, key=lambda members: (members[0].id, members[0].source))


class _Rows:
    """The rows of one or two indexes, from the largest file to the smallest, then by id."""

    def __init__(
        self,
        indexes: list[HashIndex],
        turned: Sequence[np.ndarray] | None,
        layout: int,
        radius: int,
        window_radius: int,
    ) -> None:
        self.layout, self.radius, self.window_radius = layout, radius, window_radius
        listed = []
        for source, index in enumerate(indexes):
            stamps = [(0, 0)] * len(index) if index.stamps is None else index.stamps.tolist()
            listed += [
                (-size, name, source, row, modified)
                for row, ((modified, size), name) in enumerate(zip(stamps, index.ids.tolist(), strict=True))
            ]
        listed.sort()
        self.sizes = [-size for size, *_ in listed]
        self.modified = [modified for *_, modified in listed]
        self.ids = [name for _, name, *_ in listed]
        self.source = [source for _, _, source, *_ in listed]
        self.paths = [path_of(name, indexes[source].root) for _, name, source, *_ in listed]
        offsets = [0, len(indexes[0])]
        order = [offsets[source] + row for _, _, source, row, _ in listed]
        codes = np.concatenate([index.codes for index in indexes])[order]
        #: Distinct codes, and which of them each row has: a thousand copies of a picture are one code to compare.
        self.distinct, kind = np.unique(codes, axis=0, return_inverse=True) if len(codes) else (codes, np.empty(0, int))
        self.kind = kind.reshape(-1)
        by_kind = np.argsort(self.kind, kind="stable")
        self.of_kind = np.split(by_kind, np.cumsum(np.bincount(self.kind, minlength=len(self.distinct)))[:-1])
        #: Codes of windows, (rows, W, bytes); W is 0 where they do not count.
        self.windows = np.concatenate([one.windows for one in indexes])[order] if layout else codes[:, None][:, :0]
        #: What is searched for: (M, turns, bytes), and which of them each row asks for.
        self.asked, self.query = self.distinct[:, None], self.kind
        if turned is not None or layout:
            self.asked = codes[:, None] if turned is None else np.concatenate(list(turned))[order]
            self.query = np.arange(len(listed))

    def member(self, row: int, *how: Any) -> Member:
        """A row as a picture of a group. how: distance, turn, and the parts that are alike, for all but the first."""
        distance, turn, *parts = how or (0, 0)
        path, size, modified = self.paths[row], self.sizes[row], self.modified[row]
        return Member(self.source[row], self.ids[row], path, size, distance, modified, turn, *parts)

    def apart(self, first: int, others: list[int]) -> tuple[Apart, np.ndarray]:
        """How far some rows are from the first one, turned in the way that brings each nearest, and which."""
        wholes, windows = self.distinct[self.kind[others]], self.windows[others]
        asked, own = self.asked[self.query[first]], self.windows[first]
        # only the first of the turns has windows
        sets = [np.concatenate([whole[None], own if not turn else own[:0]]) for turn, whole in enumerate(asked)]
        each = [apart(codes, wholes, windows, self.radius) for codes in sets]
        turns = np.stack([one.distances for one in each]).argmin(0)
        columns = (np.stack([getattr(one, name) for one in each]) for name in ("distances", "own", "theirs"))
        return Apart(*(column[turns, np.arange(len(others))] for column in columns)), turns

    def group(self, members: list[int]) -> list[Member]:
        """Rows, the first one first -> the group."""
        first, *others = members
        far, turns = self.apart(first, others)
        made = [
            self.member(row, distance, turn, window_of(self.layout, theirs), window_of(self.layout, own))
            for row, distance, turn, theirs, own in zip(
                others, far.distances.tolist(), turns.tolist(), far.theirs.tolist(), far.own.tolist(), strict=True
            )
        ]
        return [self.member(first), *sorted(made, key=lambda one: (one.distance, one.id, one.source))]

    def scanners(self, index: HashIndex) -> _Scanners:
        """This index's backend over the distinct codes, and over those of the windows if there are any."""
        windows = self.windows.reshape(-1, self.windows.shape[2]) if self.layout else None
        return _Scanners(
            index.scanner_of(np.ascontiguousarray(self.distinct)),
            None if windows is None else index.scanner_of(windows),
        )

    def search(self, scanners: _Scanners, rows: np.ndarray) -> dict[int, np.ndarray]:
        """Of the first rows, as many as are searched at a time: what they ask for -> the rows near it."""
        ways, shown = self.asked.shape[1], self.windows.shape[1]
        queries = self.query[rows[: 4 * _BATCH]]
        wanted = queries[np.sort(np.unique(queries, return_index=True)[1])][: max(1, _BATCH // (ways + shown))]
        asked = self.asked[wanted]
        found = [self._kinds(_ranges(scanners.wholes, asked, self.radius))]
        if scanners.windows is not None:
            found.append(self._kinds(_ranges(scanners.wholes, self.windows[wanted], self.window_radius)))
            found.append([hits // shown for hits in _ranges(scanners.windows, asked, self.window_radius)])
        near = (np.unique(np.concatenate(parts)) for parts in zip(*found, strict=True))
        return dict(zip(wanted.tolist(), near, strict=True))

    def _kinds(self, parts: list[np.ndarray]) -> list[np.ndarray]:
        """Distinct codes -> all rows that have them."""
        nothing = np.empty(0, int)
        return [np.concatenate([nothing, *(self.of_kind[kind] for kind in np.unique(part))]) for part in parts]


@dataclass(frozen=True)
class _Scanners:
    """Over the distinct codes of the wholes, and over those of all windows, row by row."""

    wholes: Scanner
    windows: Scanner | None


def _ranges(scanner: Scanner, sets: np.ndarray, radius: int) -> list[np.ndarray]:
    """(M, count, B) -> for each of M, what a scanner has near any of its codes, with repetitions."""
    count, width = sets.shape[1:]
    limits, hits, _ = scanner.range_search(np.ascontiguousarray(sets).reshape(-1, width), radius)
    return np.split(hits, limits[::count][1:-1])


def _ranked(rows: _Rows, scanners: _Scanners, rank: Rank, free: np.ndarray) -> np.ndarray:
    """The rows that are near another one, as they are ranked. What is to be in no group is free no more."""
    near = np.zeros(len(free), bool)
    for row, near_it in _neighbours(rows, scanners, free, np.arange(len(free))):
        near[near_it] = True
        near[row] |= bool(near_it)
    candidates = np.flatnonzero(near).tolist()
    keys = rank([rows.member(row) for row in candidates])
    kept = sorted((key, row) for key, row in zip(keys, candidates, strict=True) if key is not None)
    free[:] = False
    free[[row for _, row in kept]] = True
    return np.array([row for _, row in kept], int)


def _neighbours(
    rows: _Rows, scanners: _Scanners, free: np.ndarray, order: np.ndarray
) -> Iterator[tuple[int, list[int]]]:
    """Each row that is free when its turn comes, and the other free rows at most a radius away, ascending.

    Searched a batch of codes at a time. free: (rows,) bool, looked at anew for each row. order: of turns.
    """
    held: dict[int, np.ndarray] = {}
    for turn, row in enumerate(order.tolist()):
        if not free[row]:
            continue
        query = int(rows.query[row])
        if query not in held:
            ahead = order[turn:]
            held = rows.search(scanners, ahead[free[ahead]])
        near_it = held[query]
        yield row, near_it[free[near_it] & (near_it != row)].tolist()
