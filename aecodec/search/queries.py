"""Pictures as queries: their codes, mirrored and turned on request, and what an index holds near them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from ..contracts import AecodecError, IndexFileError, error_of
from ..data.files import write_atomic
from ..data.images import read_bytes
from ..data.outputs import check_output, identities, input_below, output_in
from ..index.hits import WindowHits
from ..index.windows import WHOLE, Window, window_of
from .pictures import CodeReader, Decode, carries_code, check_picture, path_of, read_any, stack
from .turning import TURNS, turned_way
from .windows import part_text


@dataclass(frozen=True)
class Hit:
    """A picture of the index and its distance in bits, and where that comes from.

    part, query_part: what is alike of the picture and of the query. turn: 0 to 7, how the query is turned to be alike,
    as `turning.TURNS` counts. stored: whether the code is the one that the picture's .aec file carries.
    """

    id: str
    path: Path
    distance: int
    part: Window = WHOLE
    query_part: Window = WHOLE
    turn: int = 0
    stored: bool = False

    @property
    def marks(self) -> list[str]:
        """What there is to say of where the hit comes from, for people; nothing of a whole like the query."""
        marks = [] if self.part == WHOLE else [f"its {part_text(self.part)}"]
        marks += [] if self.query_part == WHOLE else [f"the query's {part_text(self.query_part)}"]
        marks += [f"query {TURNS[self.turn]}"] if self.turn else []
        return [*marks, "code stored in the file"] if self.stored else marks


@dataclass(frozen=True)
class Answer:
    """The hits of one query, by distance, then by id; or the error that says why there are none."""

    query: Path
    hits: list[Hit]
    error: AecodecError | None = None


class Searchable(Protocol):
    """What is needed of an index of paths: a `HashIndex`, or a table that is searched where it is."""

    @property
    def hasher(self) -> str: ...
    @property
    def fingerprint(self) -> bytes: ...
    @property
    def n_bits(self) -> int: ...
    @property
    def layout(self) -> int: ...
    @property
    def root(self) -> str: ...
    def snapshot(self) -> Searchable:
        """The rows of this moment."""
        ...

    def search_windows(self, codes: np.ndarray, k: int | None = None, radius: int | None = None) -> WindowHits:
        """See `HashIndex.search_windows`."""
        ...


def answer(
    index: Searchable,
    reader: CodeReader,
    queries: Sequence[Path],
    *,
    k: int | None = 10,
    max_distance: int | None = None,
    turned: bool = False,
    decode: Decode | None = None,
) -> Iterator[Answer]:
    """Search an index of paths for pictures. k: at most so many hits (None: all within ``max_distance``).

    An index with windows is searched by those of the query as well, and each picture is found once, by the nearest.
    turned: each query also mirrored and turned by quarters; a hit's distance is the least of the eight. Raises
    UsageError for k < 1 or a negative distance; a query that cannot be read has its error in its answer.
    """
    for query in queries:
        try:
            sets = _turned_sets(reader, query, decode) if turned else _set(reader, query)
        except Exception as fault:
            yield Answer(query, [], error_of(str(query), fault))
            continue
        yield Answer(query, _hits(index.snapshot(), sets, k, max_distance))


def _set(reader: CodeReader, query: Path) -> np.ndarray:
    """(1, count, n_bits / 8) uint8."""
    codes = reader.codes([query])[0]
    if isinstance(codes, AecodecError):
        raise codes
    return stack([codes], reader.count, reader.n_bits)


def _turned_sets(reader: CodeReader, query: Path, decode: Decode | None) -> np.ndarray:
    """(8, count, n_bits / 8) uint8: those of a query in all `TURNS`."""
    pixels = read_any(query, reader.least, decode).pixels
    return reader.sets([turned_way(pixels, turn) for turn in range(len(TURNS))])


def _hits(index: Searchable, sets: np.ndarray, k: int | None, max_distance: int | None) -> list[Hit]:
    """The hits of the least distance to any of the sets, one for each turn."""
    nearest: dict[str, tuple[int, int, int, int]] = {}
    for turn, codes in enumerate(sets):
        found = index.search_windows(codes, k, max_distance)
        for name, distance, own, theirs in zip(
            found.ids.tolist(), found.distances.tolist(), found.own.tolist(), found.theirs.tolist(), strict=True
        ):
            if name not in nearest or distance < nearest[name][0]:
                nearest[name] = distance, turn, own, theirs
    ranked = sorted(nearest.items(), key=lambda item: (item[1][0], os.fsencode(item[0])))
    return [
        Hit(
            name,
            path := path_of(name, index.root),
            distance,
            window_of(index.layout, theirs),
            window_of(index.layout, own),
            turn,
            not index.layout and carries_code(path, index.hasher, index.fingerprint, index.n_bits),
        )
        for name, (distance, turn, own, theirs) in ranked[:k]
    ]


def copy_hits(hits: Sequence[Hit], folder: Path, root: Path | None, *, overwrite: bool = False) -> list[Path]:
    """Copy pictures as 001_d07_NAME and so on, in the order of the hits -> the copies.

    An index is a file and may have been made by anybody: a hit that does not lie below ``root``, links followed, or is
    no picture is not copied. root: the folder that was indexed; None for pictures of any place. Raises IndexFileError
    for such a hit, before anything is copied, ImageReadError or BitstreamError for one that is no picture any more,
    OutputExistsError where overwriting was not asked for.
    """
    copies = {output_in(folder, f"{n:03d}_d{hit.distance:02d}_{hit.path.name}"): hit for n, hit in enumerate(hits, 1)}
    if root is not None:
        for hit in hits:
            try:
                input_below(root, hit.id, IndexFileError)
            except IndexFileError as error:
                raise IndexFileError(f"{error}; --outside copies such pictures as well") from error
    read = identities(hit.path for hit in hits)
    for target in copies:
        check_output(target, overwrite=overwrite, inputs=read)
    for target, hit in copies.items():
        check_picture(hit.path)
        write_atomic(target, read_bytes(hit.path), overwrite=overwrite, sources=[hit.path])
    return list(copies)
