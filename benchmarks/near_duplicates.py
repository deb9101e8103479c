"""How surely a changed copy of a photograph finds its original, and what else comes with it.

    python benchmarks/near_duplicates.py --queries KODAK --queries MORE --distractors CALTECH --cache CACHE \\
        --out benchmarks/results/hashing
    python benchmarks/near_duplicates.py --windows ...

Protocol. The database holds the untouched query pictures and all distractors. Each query picture is changed by each
entry of `transformations.TRANSFORMATIONS`, and by compression to .aec, and is then searched for.

- recall at 1: the original is strictly nearer than every other picture; a tie is a miss.
- threshold: for each method, the largest distance that fewer than 1e-6 of all false pairs reach, over all
  transformations together. Recall at 1 within it asks that the original is nearest and not farther than that; precision
  and false-positive rate count all pairs not farther than it.
- false pairs are those of a changed picture and a distractor. Distractors that are copies of each other are never a
  pair, and query pictures, some of which show one scene, are none of each other. Distractors that could be copies of a
  query picture are those that two hashes of different kinds, the first hasher's longest and pHash's, bring within a
  quarter of their bits: they are listed, to be looked at, and ``--leave-out`` takes away those that are.

With ``--windows`` the hashers are compared with themselves by windows, as indexes that have them do, and with nothing
else. A picture then costs as many times more as it has windows.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import click
import numpy as np
from fingerprints import Description, describe, describe_files, listing, make_descriptions, ours, read, with_windows
from PIL import Image
from transformations import TRANSFORMATIONS, USUAL, transform

from aecodec import Codec, Hasher
from aecodec.bench import provenance
from aecodec.contracts import AecodecError
from aecodec.data.files import make_folder, write_atomic
from aecodec.data.folders import list_photos

FALSE_POSITIVES = 1e-6
#: Quality at which pictures go through .aec files.
AEC_QUALITIES = (7,)
#: Share of the bits within which two hashes must bring a distractor and a query for it to be looked at.
SUSPECT = 0.25
ALL = "all"

Change = Callable[[Image.Image, int], Image.Image]


def through_aec(codec: Codec, quality: float) -> Change:
    return lambda image, _: codec.decode(codec.encode(image, quality=quality, effort=1)).convert("RGB")


def all_changes(codec: Codec) -> dict[str, Change]:
    """Name -> change(picture, seed): our own files, and the tables of transformations, the usual ones first."""
    tables = {name: (lambda image, seed, name=name: transform(image, name, seed)) for name in TRANSFORMATIONS}
    ours = {f"aec-{quality}": through_aec(codec, quality) for quality in AEC_QUALITIES}
    usual = {name: tables.pop(name) for name in USUAL}
    return {**usual, **ours, **tables}


# -- near duplicates -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Found:
    """A row of near_duplicates.csv. queries: the folder's name, or all of them."""

    method: str
    bits: int
    transformation: str
    queries: str
    count: int
    recall_at_1: float
    threshold: float
    recall_at_1_within: float
    precision_within: float
    false_positive_rate: float


@dataclass
class Search:
    """Distances of one method's changed pictures to the database: own (Q,) to the original, false (Q, D) to the
    distractors, nearest (Q,) to the nearest picture but the original."""

    own: dict[str, np.ndarray] = field(default_factory=dict)
    false: dict[str, np.ndarray] = field(default_factory=dict)
    nearest: dict[str, np.ndarray] = field(default_factory=dict)

    def add(self, change: str, distances: np.ndarray) -> None:
        """distances: (Q, Q + D), the original of query i in column i, distractors from column Q on."""
        count = len(distances)
        self.own[change] = np.diagonal(distances).copy()
        self.false[change] = distances[:, count:].copy()
        others = distances.astype(np.float32)
        np.fill_diagonal(others, np.inf)
        self.nearest[change] = others.min(1)

    def threshold(self) -> float:
        """The largest distance at most which fewer than FALSE_POSITIVES of the false pairs lie; -1 if there is none."""
        pooled = np.concatenate([distances.ravel() for distances in self.false.values()])
        allowed = int(np.ceil(FALSE_POSITIVES * len(pooled))) - 1
        return float(np.partition(pooled, allowed)[allowed]) - 1

    def score(self, method: str, bits: int, change: str, which: np.ndarray, queries: str, limit: float) -> Found:
        own, others = self.own[change][which], self.false[change][which]
        first, near = own < self.nearest[change][which], own <= limit
        false = int((others <= limit).sum())
        found = int(near.sum())
        return Found(
            method,
            bits,
            change,
            queries,
            len(own),
            float(first.mean()),
            limit,
            float((first & near).mean()),
            found / max(found + false, 1),
            false / others.size,
        )


def near_duplicates(
    descriptions: Sequence[Description],
    database: dict[str, np.ndarray],
    queries: dict[str, list[Path]],
    codec: Codec,
    cache: Path | None = None,
    only: Sequence[str] = (),
) -> Iterator[Found]:
    """Rows for every method, transformation and set of queries. database: what `describe_files` gives for all queries
    and the distractors after them. cache: as of `describe`. only: names of transformations, all unless given."""
    originals = [path for paths in queries.values() for path in paths]
    sets = np.repeat(np.array(list(queries)), [len(paths) for paths in queries.values()])
    asked = f"{codec.fingerprint.hex()}:{listing(originals)}"
    changed = {
        name: describe(
            descriptions,
            [
                lambda path=path, number=number, change=change: change(read(path), number)
                for number, path in enumerate(originals)
            ],
            cache,
            f"{name}:{asked}",
        )
        for name, change in all_changes(codec).items()
        if not only or name in only
    }
    for one in descriptions:
        for method, bits in one.lengths.items():
            search = Search()
            for name, rows in changed.items():
                search.add(name, one.distances(method, rows[one.key], database[one.key]))
            limit = search.threshold()
            for name in search.own:
                yield search.score(method, bits, name, np.ones(len(originals), bool), ALL, limit)
                for queried in queries if len(queries) > 1 else ():
                    yield search.score(method, bits, name, sets == queried, queried, limit)


def suspects(descriptions: Sequence[Description], database: dict[str, np.ndarray], count: int) -> list[tuple[int, int]]:
    """Pairs of an original and a distractor, as numbers in the database, that two hashes take for one picture; by
    windows, where pHash is not computed, none."""
    both = np.ones((count, len(next(iter(database.values()))) - count), bool)
    second = next((one for one in descriptions if "phash-256" in one.lengths), None)
    if second is None:
        return []
    for one in (descriptions[0], second):
        method, bits = list(one.lengths.items())[-1]
        rows = database[one.key]
        both &= one.distances(method, rows[:count], rows[count:]) <= SUSPECT * bits
    return [(int(query), count + int(distractor)) for query, distractor in np.argwhere(both)]


# -- output --------------------------------------------------------------------------------------


def table(rows: list[Found], column: str) -> str:
    """Markdown: transformations down, methods across, and the mean."""
    kept = [row for row in rows if row.queries == ALL]
    methods = list(dict.fromkeys(row.method for row in kept))
    value = {(row.transformation, row.method): getattr(row, column) for row in kept}
    lines = ["| " + " | ".join(["", *methods]) + " |", "|---|" + "---|" * len(methods)]
    names = list(dict.fromkeys(row.transformation for row in kept))
    for name in names:
        lines.append("| " + " | ".join([name, *(f"{value[name, m]:.3f}" for m in methods)]) + " |")
    usual = [name for name in names if name in USUAL or name.startswith("aec-")]
    for label, counted in (("mean of the usual", usual), ("mean of all", names)):
        if not counted:
            continue
        means = [np.mean([value[name, m] for name in counted]) for m in methods]
        lines.append("| " + " | ".join([f"**{label}**", *(f"**{mean:.4f}**" for mean in means)]) + " |")
    return "\n".join(lines)


def write_rows(path: Path, rows: Sequence[Any], kind: type) -> None:
    lines = [",".join(f.name for f in fields(kind))]
    for row in rows:
        lines.append(",".join(f"{v:.6g}" if isinstance(v, float) else str(v) for v in asdict(row).values()))
    write_atomic(path, ("\n".join(lines) + "\n").encode(), overwrite=True)


def keep(folder: Path, name: str, rows: Sequence[Any], kind: type, **of: Any) -> None:
    """NAME.csv, and NAME.json with where it comes from."""
    make_folder(folder)
    write_rows(folder / f"{name}.csv", rows, kind)
    text = json.dumps(provenance.collect(**of), indent=1, ensure_ascii=False) + "\n"
    write_atomic(folder / f"{name}.json", text.encode(), overwrite=True)


_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command(help=__doc__.split("\n\n")[0])
@click.option("--queries", multiple=True, required=True, type=_FOLDER, help="Folder of originals; several add up.")
@click.option("--distractors", multiple=True, required=True, type=_FOLDER, help="Folder of others; several add up.")
@click.option("--leave-out", multiple=True, type=_FILE, help="Distractor that is a copy of an original.")
@click.option("--hasher", "hasher_names", multiple=True, help="Hasher by name or path; may be repeated.")
@click.option(
    "--windows", is_flag=True, help="The hashers alone, whole and by windows; kept as near_duplicates_windows."
)
@click.option("--only", multiple=True, help="Only this transformation; may be repeated.")
@click.option("--limit", type=click.IntRange(min=1), help="Only the first so many pictures of each folder.")
@click.option(
    "--cache", type=click.Path(file_okay=False, path_type=Path), help="Folder to keep rows in, for another run."
)
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Folder to keep the figures in.")
def main(
    queries: tuple[Path, ...],
    distractors: tuple[Path, ...],
    leave_out: tuple[Path, ...],
    hasher_names: tuple[str, ...],
    windows: bool,
    only: tuple[str, ...],
    limit: int | None,
    cache: Path | None,
    out: Path | None,
) -> None:
    try:
        hashers, codec = [Hasher.from_pretrained(name) for name in hasher_names or (None,)], Codec.from_pretrained()
        asked = {folder.name: list_photos(folder)[:limit] for folder in queries}
        others = [path for folder in distractors for path in list_photos(folder)[:limit] if path not in leave_out]
        originals = [path for paths in asked.values() for path in paths]
        both = [describe_by(hasher) for hasher in hashers for describe_by in (ours, with_windows)]
        descriptions, files = both if windows else make_descriptions(hashers), [*originals, *others]
        database = describe_files(descriptions, files, cache)
        alike = suspects(descriptions, database, len(originals))
        for query, distractor in alike:
            click.echo(f"to be looked at: {files[query]} and {files[distractor]}", err=True)
        found = list(near_duplicates(descriptions, database, asked, codec, cache, only))
    except AecodecError as error:
        raise click.ClickException(str(error)) from error
    click.echo(
        f"{len(originals)} originals among {len(files)} pictures\n\nrecall at 1\n\n{table(found, 'recall_at_1')}\n\n"
        f"recall at 1 within the threshold\n\n{table(found, 'recall_at_1_within')}\n"
    )
    times = {one.key: 1000 * one.seconds / one.pictures for one in descriptions if one.pictures}
    click.echo("CPU milliseconds per decoded picture: " + ", ".join(f"{k} {v:.2f}" for k, v in times.items()))
    if out:
        keep(
            out,
            "near_duplicates_windows" if windows else "near_duplicates",
            found,
            Found,
            hashers={hasher.name: hasher.fingerprint.hex() for hasher in hashers},
            codec=codec.name,
            originals=len(originals),
            database=len(files),
            left_out=len(leave_out),
            suspects=len(alike),
            cpu_milliseconds_per_picture=times,
        )


if __name__ == "__main__":
    main()
