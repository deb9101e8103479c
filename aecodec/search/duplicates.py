"""Groups of pictures that lie close to the largest of them: found by range search, the largest first."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..contracts import IndexFileError
from ..index.codes import hamming_distances
from ..index.hash_index import HashIndex
from .looks import Looks
from .pictures import path_of

#: Codes of one range search.
_BATCH = 1024
#: Bits of a code -> how far apart two copies of a picture may be. Of 5,000 pictures of 35 kinds of things, fewer than
#: 1 % are put into a group by `photo-hash` within it (benchmarks/group_distances.py).
NEAR = {64: 1, 128: 4, 256: 10}


def near(n_bits: int) -> int:
    """The distance within which pictures are taken for copies, for codes of any length."""
    known = max((length for length in NEAR if length <= n_bits), default=0)
    return NEAR[known] * n_bits // known if known else 0


@dataclass(frozen=True)
class Member:
    """A picture of a group. source: 0 or 1, which of two indexes it is from; size: bytes of its file when it was
    indexed; distance: in bits, to the group's first member."""

    source: int
    id: str
    path: Path
    size: int
    distance: int


def groups(
    index: HashIndex, radius: int, other: HashIndex | None = None, looks: Looks | None = None
) -> list[list[Member]]:
    """Groups of at least two pictures of an index of paths, all within ``radius`` bits of the group's first.

    From the largest file to the smallest, each that is in no group yet gathers those of the rest that are near it and,
    by ``looks``, do not differ from it in what a code does not see. So there are no chains: a picture that is near a
    member and not near the first is not in its group, and no picture is in two. other: groups must have members of both
    indexes. A file that has several names, or is in both indexes, is named once and no duplicate of itself.

    The first is followed by the others by distance to it, then by path; the groups are in the order of their first
    member's path. Raises UsageError for a negative radius, IndexFileError if the other index is of another hasher or
    length.
    """
    if other is not None:
        other.check_hasher(index.hasher, index.fingerprint)
        if other.n_bits != index.n_bits:
            raise IndexFileError(f"the indexes have codes of {index.n_bits} and {other.n_bits} bits")
    rows = _Rows([index] if other is None else [index, other])
    looks = Looks() if looks is None else looks
    free = np.ones(len(rows.paths), bool)
    found = []
    for first, near_it in _neighbours(rows, radius, index, free):
        free[first] = False
        alike = looks.alike(rows.paths[first], [rows.paths[row] for row in near_it])
        members = [first, *np.array(near_it, int)[alike].tolist()]
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

    def __init__(self, indexes: list[HashIndex]) -> None:
        listed = []
        for source, index in enumerate(indexes):
            sizes = [0] * len(index) if index.stamps is None else index.stamps[:, 1].tolist()
            listed += [
                (-size, name, source, row)
                for row, (size, name) in enumerate(zip(sizes, index.ids.tolist(), strict=True))
            ]
        listed.sort()
        self.sizes = [-size for size, _, _, _ in listed]
        self.ids = [name for _, name, _, _ in listed]
        self.source = [source for _, _, source, _ in listed]
        self.paths = [path_of(name, indexes[source].root) for _, name, source, _ in listed]
        offsets = [0, len(indexes[0])]
        order = [offsets[source] + row for _, _, source, row in listed]
        codes = np.concatenate([index.codes for index in indexes])[order]
        #: Distinct codes, and which of them each row has: a thousand copies of a picture are one code to compare.
        self.distinct, kind = np.unique(codes, axis=0, return_inverse=True) if len(codes) else (codes, np.empty(0, int))
        self.kind = kind.reshape(-1)
        by_kind = np.argsort(self.kind, kind="stable")
        self.of_kind = np.split(by_kind, np.cumsum(np.bincount(self.kind, minlength=len(self.distinct)))[:-1])

    def group(self, members: list[int]) -> list[Member]:
        """Rows, the first one first -> the group."""
        codes = self.distinct[self.kind[members]]
        apart = hamming_distances(codes[:1], codes)[0].tolist()
        made = [
            Member(self.source[row], self.ids[row], self.paths[row], self.sizes[row], distance)
            for row, distance in zip(members, apart, strict=True)
        ]
        return [made[0], *sorted(made[1:], key=lambda one: (one.distance, one.id, one.source))]


def _neighbours(rows: _Rows, radius: int, index: HashIndex, free: np.ndarray) -> Iterator[tuple[int, list[int]]]:
    """Each row that is free when its turn comes, and the free rows behind it at most a radius away, in their order.

    Searched with the index's backend, a batch of codes at a time. free: (rows,) bool, looked at anew for each row.
    """
    scanner = index.scanner_of(np.ascontiguousarray(rows.distinct))
    held: dict[int, np.ndarray] = {}
    for row in range(len(free)):
        if not free[row]:
            continue
        kind = int(rows.kind[row])
        if kind not in held:
            ahead = rows.kind[row:][free[row:]]
            wanted = ahead[np.sort(np.unique(ahead[: 4 * _BATCH], return_index=True)[1])][:_BATCH]
            limits, hits, _ = scanner.range_search(np.ascontiguousarray(rows.distinct[wanted]), radius)
            held = dict(zip(wanted.tolist(), np.split(hits, limits[1:-1]), strict=True))
        near_it = np.concatenate([rows.of_kind[hit] for hit in held[kind].tolist()])
        yield row, np.sort(near_it[free[near_it] & (near_it > row)]).tolist()
