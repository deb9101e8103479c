"""Groups of pictures that lie close together: connected by range search, found by union and find."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..contracts import IndexFileError
from ..index.codes import hamming_distances
from ..index.hash_index import HashIndex
from .pictures import path_of

#: Queries of one range search.
_BATCH = 1024


@dataclass(frozen=True)
class Member:
    """A picture of a group. source: 0 or 1, which of two indexes it is from; size: bytes of its file when it was
    indexed; distance: in bits, to the group's first member."""

    source: int
    id: str
    path: Path
    size: int
    distance: int


def groups(index: HashIndex, radius: int, other: HashIndex | None = None) -> list[list[Member]]:
    """Groups of at least two pictures of an index of paths, linked by distances of at most ``radius`` bits.

    Links are followed: two members of a group may be farther apart than the radius if others lie between. other:
    only links between the two indexes count, so each group has members of both; a file that is in both is named once
    and no duplicate of itself. The largest file comes first, then
    by distance to it, then by path; the groups are in the order of their first member's path. Raises UsageError for
    a negative radius, IndexFileError if the other index is of another hasher or length.
    """
    index = index.snapshot()
    if other is not None:
        other = other.snapshot()
        other.check_hasher(index.hasher, index.fingerprint)
        if other.n_bits != index.n_bits:
            raise IndexFileError(f"the indexes have codes of {index.n_bits} and {other.n_bits} bits")
    left, left_rows = _distinct(index)
    right, right_rows = (left, left_rows) if other is None else _distinct(other)
    shift = 0 if other is None else len(left)
    parents = np.arange(shift + len(right))
    for a, b in _links(left, right, radius, index):
        _union(parents, a, b + shift)
    sources = [index] if other is None else [index, other]
    rows = [left_rows] if other is None else [left_rows, right_rows + shift]
    found: dict[int, list[tuple[int, int]]] = {}
    for source, nodes in enumerate(rows):
        for row, node in enumerate(nodes.tolist()):
            found.setdefault(_find(parents, node), []).append((source, row))
    whole = [
        _members(sources, places)
        for places in found.values()
        if len(places) > 1 and (other is None or len({source for source, _ in places}) == 2)
    ]
    several = [members for members in whole if len(members) > 1]
    return sorted(several, key=lambda members: (members[0].id, members[0].source))


def _distinct(index: HashIndex) -> tuple[np.ndarray, np.ndarray]:
    """Distinct codes, and which of them each row has: a thousand copies of a picture are one code to compare."""
    if not len(index):
        return index.codes, np.empty(0, np.int64)
    codes, rows = np.unique(index.codes, axis=0, return_inverse=True)
    return np.ascontiguousarray(codes), rows.reshape(-1)


def _links(left: np.ndarray, right: np.ndarray, radius: int, index: HashIndex) -> Iterator[tuple[int, int]]:
    """Pairs of rows at most a radius apart, searched with the index's backend."""
    scanner = index.scanner_of(right)
    for start in range(0, len(left), _BATCH):
        limits, rows, _ = scanner.range_search(left[start : start + _BATCH], radius)
        queries = np.repeat(np.arange(len(limits) - 1), np.diff(limits)) + start
        yield from zip(queries.tolist(), rows.tolist(), strict=True)


def _find(parents: np.ndarray, node: int) -> int:
    """The root of a node; the way there is halved (Tarjan and van Leeuwen 1984)."""
    while parents[node] != node:
        parents[node] = parents[parents[node]]
        node = int(parents[node])
    return node


def _union(parents: np.ndarray, a: int, b: int) -> None:
    a, b = _find(parents, a), _find(parents, b)
    parents[max(a, b)] = min(a, b)


def _members(indexes: list[HashIndex], places: list[tuple[int, int]]) -> list[Member]:
    """(index, row) of a group -> its members in their order, each file once."""
    sized, seen = [], set()
    for source, row in places:
        index = indexes[source]
        name = index.ids_of([row])[0]
        path = path_of(name, index.root)
        if path in seen:
            continue
        seen.add(path)
        size = 0 if index.stamps is None else int(index.stamps[row, 1])
        sized.append((-size, name, source, row))
    sized.sort()
    codes = np.stack([indexes[source].codes[row] for _, _, source, row in sized])
    apart = hamming_distances(codes[:1], codes)[0].tolist()
    ranked = sorted(zip(apart[1:], sized[1:], strict=True), key=lambda pair: (pair[0], pair[1][1], pair[1][2]))
    return [
        Member(source, name, path_of(name, indexes[source].root), -size, distance)
        for distance, (size, name, source, _) in [(0, sized[0]), *ranked]
    ]
