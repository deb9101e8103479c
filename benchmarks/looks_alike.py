"""How well pictures of one kind of thing stand together: rankings by hashes that are meant for copies.

    python benchmarks/looks_alike.py --classes CALTECH --out benchmarks/results/hashing

Protocol. Each picture of a class with at least 30 pictures searches all others of the class folders; mean average
precision over the whole ranking, the expectation over ties, averaged within each class and then over classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
from fingerprints import Description, colour_histogram, describe_files, make_descriptions
from near_duplicates import ALL, keep

from aecodec import Hasher
from aecodec.contracts import AecodecError
from aecodec.data.folders import list_photos
from aecodec.metrics import average_precision

SMALLEST_CLASS = 30


@dataclass(frozen=True)
class Alike:
    """A row of looks_alike.csv."""

    method: str
    bits: int
    category: str
    count: int
    map_all: float


def looks_alike(
    descriptions: Sequence[Description], paths: Sequence[Path], cache: Path | None = None
) -> Iterator[Alike]:
    """Rows for every method and class, and their mean over classes. paths: in class folders."""
    names = np.array([path.parent.name for path in paths])
    large = [name for name in np.unique(names) if (names == name).sum() >= SMALLEST_CLASS]
    if not large:
        raise click.ClickException(f"no class folder of at least {SMALLEST_CLASS} pictures")
    rows = describe_files(descriptions, paths, cache)
    for one in descriptions:
        for method, bits in one.lengths.items():
            scores = []
            for name in large:
                members = np.flatnonzero(names == name)
                distances = one.distances(method, rows[one.key][members], rows[one.key])
                others = np.arange(len(paths))[None, :] != members[:, None]
                distances = distances[others].reshape(len(members), -1)
                relevant = np.broadcast_to(names == name, others.shape)[others].reshape(len(members), -1)
                scores.append(float(average_precision(distances, relevant, ties="expected").mean()))
                yield Alike(method, bits, str(name), len(members), scores[-1])
            yield Alike(method, bits, ALL, sum((names == name).sum() for name in large), float(np.mean(scores)))


def table(rows: list[Alike]) -> str:
    lines = ["| method | mAP@all over classes |", "|---|---|"]
    return "\n".join(lines + [f"| {row.method} | {row.map_all:.3f} |" for row in rows if row.category == ALL])


@click.command(help=__doc__.split("\n\n")[0])
@click.option(
    "--classes",
    required=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of class folders.",
)
@click.option("--hasher", "hasher_names", multiple=True, help="Hasher by name or path; may be repeated.")
@click.option("--cache", type=click.Path(file_okay=False, path_type=Path), help="Folder to keep the pictures' rows in.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Folder to keep the figures in.")
def main(classes: Path, hasher_names: tuple[str, ...], cache: Path | None, out: Path | None) -> None:
    try:
        hashers = [Hasher.from_pretrained(name) for name in hasher_names or (None,)]
        paths = list_photos(classes)
        rows = list(looks_alike([*make_descriptions(hashers), colour_histogram()], paths, cache))
    except AecodecError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{len(paths)} pictures\n\n{table(rows)}")
    if out:
        prints = {hasher.name: hasher.fingerprint.hex() for hasher in hashers}
        keep(out, "looks_alike", rows, Alike, hashers=prints, pictures=len(paths))


if __name__ == "__main__":
    main()
