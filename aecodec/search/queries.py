"""Pictures as queries: their codes, mirrored and turned on request, and what an index holds near them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..contracts import AecodecError, IndexFileError, error_of
from ..data.files import write_atomic
from ..data.images import read_bytes
from ..data.outputs import check_output, identities, input_below, output_in
from ..index.hash_index import HashIndex, Hits, RangeHits
from .pictures import CodeReader, Decode, check_picture, path_of, stack
from .turning import turned_codes


@dataclass(frozen=True)
class Hit:
    """A picture of the index and its distance in bits."""

    id: str
    path: Path
    distance: int


@dataclass(frozen=True)
class Answer:
    """The hits of one query, by distance, then by id; or the error that says why there are none."""

    query: Path
    hits: list[Hit]
    error: AecodecError | None = None


def answer(
    index: HashIndex,
    reader: CodeReader,
    queries: Sequence[Path],
    *,
    k: int | None = 10,
    max_distance: int | None = None,
    turned: bool = False,
    decode: Decode | None = None,
) -> Iterator[Answer]:
    """Search an index of paths for pictures. k: at most so many hits (None: all within ``max_distance``).

    turned: each query also mirrored and turned by quarters; a hit's distance is the least of the eight. Raises
    UsageError for k < 1 or a negative distance; a query that cannot be read has its error in its answer.
    """
    for query in queries:
        try:
            codes = turned_codes(reader, query, decode) if turned else _code(reader, query)
        except Exception as fault:
            yield Answer(query, [], error_of(str(query), fault))
            continue
        yield Answer(query, _hits(index, codes, k, max_distance))


def _code(reader: CodeReader, query: Path) -> np.ndarray:
    code = reader.codes([query])[0]
    if isinstance(code, AecodecError):
        raise code
    return stack([code], reader.count, reader.n_bits)[0]


def _hits(index: HashIndex, codes: np.ndarray, k: int | None, max_distance: int | None) -> list[Hit]:
    """The hits of the least distance to any of the codes."""
    found: Hits | RangeHits
    if k is not None:
        found = index.search(codes, k)
    elif max_distance is not None:
        found = index.range_search(codes, max_distance)
    else:
        found = index.search(codes, max(len(index), 1))
    least: dict[str, int] = {}
    for number in range(len(codes)):
        for name, distance in found.of(number):
            least[name] = min(distance, least.get(name, distance))
    ranked = sorted((distance, os.fsencode(name), name) for name, distance in least.items())
    within = [
        Hit(name, path_of(name, index.root), d) for d, _, name in ranked if max_distance is None or d <= max_distance
    ]
    return within[:k]


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
