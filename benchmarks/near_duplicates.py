"""How surely a changed copy of a photograph finds its original, and what else comes with it.

    python benchmarks/near_duplicates.py --queries KODAK --queries MORE --distractors TRAIN --distractors CALTECH \\
        --classes CALTECH --out benchmarks/results/hashing

Protocol. The database holds the untouched query pictures and all distractors. Each query picture is changed by each
entry of `transformations.TRANSFORMATIONS`, and by compression to .aec, and is then searched for. A pair of a changed
picture and any database picture but its original is a false pair.

- recall at 1: the original is strictly nearer than every other picture; a tie is a miss.
- threshold: for each method, the largest distance that fewer than 1e-4 of all false pairs reach, over all
  transformations together. Recall at 1 within it asks that the original is nearest and not farther than that; precision
  and false-positive rate count all pairs not farther than it.
- looks-alike: each picture of a class with at least 30 pictures searches all others of the class folders; mean average
  precision over the whole ranking, the expectation over ties, averaged within each class and then over classes.
"""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

import click
import imagehash
import numpy as np
from PIL import Image
from transformations import TRANSFORMATIONS, transform

from aecodec import Codec, Hasher
from aecodec.bench import provenance
from aecodec.contracts import AecodecError
from aecodec.data.files import make_folder, write_atomic
from aecodec.data.folders import list_photos
from aecodec.data.images import read_picture
from aecodec.index.codes import hamming_distances
from aecodec.metrics import average_precision

FALSE_POSITIVES = 1e-4
#: Quality at which pictures go through .aec files.
AEC_QUALITIES = (7,)
SMALLEST_CLASS = 30
ALL = "all"

Fingerprint = Callable[[np.ndarray], np.ndarray]


@dataclass
class Method:
    """One way to describe a picture. fingerprint: (H, W, 3) uint8 -> a row; distances: rows, rows -> matrix."""

    name: str
    bits: int
    fingerprint: Fingerprint
    distances: Callable[[np.ndarray, np.ndarray], np.ndarray] = hamming_distances
    seconds: float = 0.0
    pictures: int = 0

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        begin = time.process_time()
        row = self.fingerprint(pixels)
        self.seconds += time.process_time() - begin
        self.pictures += 1
        return row


def ours(hasher: Hasher, bits: int) -> Method:
    short = slice(0, bits // 8)
    return Method(f"{hasher.name}-{bits}", bits, lambda pixels: hasher.hash_pixels([pixels])[0, short])


def of_imagehash(name: str, side: int) -> Method:
    """A function of the package imagehash, with side x side bits."""
    function = getattr(imagehash, name)
    return Method(
        f"{name}-{side * side}",
        side * side,
        lambda pixels: np.packbits(function(Image.fromarray(pixels), hash_size=side).hash.ravel()),
    )


def colour_histogram(pixels: np.ndarray) -> np.ndarray:
    """Shares of pixels in 8 x 8 x 8 cells of RGB, (512,) float32."""
    cells = (pixels >> 5).astype(np.int64) @ np.array([64, 8, 1])
    return (np.bincount(cells.ravel(), minlength=512) / cells.size).astype(np.float32)


def sums_of_differences(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.stack([np.abs(b - row).sum(1) for row in a])


def make_methods(hasher: Hasher, *, histogram: bool) -> list[Method]:
    methods = [ours(hasher, bits) for bits in hasher.lengths]
    methods += [of_imagehash(name, 8) for name in ("phash", "dhash", "whash")]
    methods += [of_imagehash(name, 16) for name in ("phash", "dhash")]
    if histogram:
        methods.append(Method("colour-histogram", 0, colour_histogram, sums_of_differences))
    return methods


def read(path: Path) -> Image.Image:
    return Image.fromarray(read_picture(path).pixels).convert("RGB")


def describe(methods: list[Method], images: Iterable[Image.Image]) -> dict[str, np.ndarray]:
    """Every picture by every method -> name -> rows."""
    rows: dict[str, list[np.ndarray]] = {method.name: [] for method in methods}
    for image in images:
        pixels = np.asarray(image)
        for method in methods:
            rows[method.name].append(method(pixels))
    return {name: np.stack(found) for name, found in rows.items()}


def through_aec(codec: Codec, quality: float) -> Callable[[Image.Image, int], Image.Image]:
    return lambda image, _: codec.decode(codec.encode(image, quality=quality)).convert("RGB")


def all_changes(codec: Codec) -> dict[str, Callable[[Image.Image, int], Image.Image]]:
    """Name -> change(picture, seed): the table of transformations, and our own files."""
    table = {name: (lambda image, seed, name=name: transform(image, name, seed)) for name in TRANSFORMATIONS}
    return {**table, **{f"aec-{quality}": through_aec(codec, quality) for quality in AEC_QUALITIES}}


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
    """Distances of one method's changed pictures to the database: own (Q,) to the original, other (Q, N - 1)."""

    own: dict[str, np.ndarray] = field(default_factory=dict)
    other: dict[str, np.ndarray] = field(default_factory=dict)

    def add(self, change: str, distances: np.ndarray) -> None:
        """distances: (Q, N), the original of query i in column i."""
        count = len(distances)
        self.own[change] = distances[np.arange(count), np.arange(count)].copy()
        keep = np.ones(distances.shape, bool)
        keep[np.arange(count), np.arange(count)] = False
        self.other[change] = distances[keep].reshape(count, -1)

    def threshold(self) -> float:
        """The largest distance at most which fewer than FALSE_POSITIVES of the false pairs lie; -1 if there is none."""
        pooled = np.sort(np.concatenate([d.ravel() for d in self.other.values()]))
        allowed = int(np.ceil(FALSE_POSITIVES * len(pooled))) - 1
        return float(pooled[allowed]) - 1 if allowed < len(pooled) else float(pooled[-1])

    def score(self, method: Method, change: str, which: np.ndarray, queries: str, limit: float) -> Found:
        own, other = self.own[change][which], self.other[change][which]
        first, near = own < other.min(1), own <= limit
        false = int((other <= limit).sum())
        found = int(near.sum())
        return Found(
            method.name,
            method.bits,
            change,
            queries,
            len(own),
            float(first.mean()),
            limit,
            float((first & near).mean()),
            found / max(found + false, 1),
            false / other.size,
        )


def near_duplicates(
    methods: list[Method], queries: dict[str, list[Path]], distractors: list[Path], codec: Codec
) -> Iterator[Found]:
    """Rows for every method, transformation and set of queries."""
    originals = [path for paths in queries.values() for path in paths]
    sets = np.repeat(np.array(list(queries)), [len(paths) for paths in queries.values()])
    database = describe(methods, (read(path) for path in [*originals, *distractors]))
    searches = {method.name: Search() for method in methods}
    for name, change in all_changes(codec).items():
        changed = describe(methods, (change(read(path), number) for number, path in enumerate(originals)))
        for method in methods:
            rows = method.distances(changed[method.name], database[method.name])
            searches[method.name].add(name, rows)
    for method in methods:
        search = searches[method.name]
        limit = search.threshold()
        for name in search.own:
            yield search.score(method, name, np.ones(len(originals), bool), ALL, limit)
            for queried in queries if len(queries) > 1 else ():
                yield search.score(method, name, sets == queried, queried, limit)


# -- looks-alike ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Alike:
    """A row of looks_alike.csv."""

    method: str
    bits: int
    category: str
    count: int
    map_all: float


def looks_alike(methods: list[Method], folder: Path) -> Iterator[Alike]:
    """Rows for every method and class, and their mean over classes."""
    paths = list_photos(folder)
    names = np.array([path.parent.name for path in paths])
    large = [name for name in np.unique(names) if (names == name).sum() >= SMALLEST_CLASS]
    if not large:
        raise click.ClickException(f"{folder}: no class folder of at least {SMALLEST_CLASS} pictures")
    rows = describe(methods, (read(path) for path in paths))
    for method in methods:
        scores = []
        for name in large:
            members = np.flatnonzero(names == name)
            distances = method.distances(rows[method.name][members], rows[method.name])
            others = np.arange(len(paths))[None, :] != members[:, None]
            distances = distances[others].reshape(len(members), -1)
            relevant = np.broadcast_to(names == name, others.shape)[others].reshape(len(members), -1)
            scores.append(float(average_precision(distances, relevant, ties="expected").mean()))
            yield Alike(method.name, method.bits, str(name), len(members), scores[-1])
        yield Alike(method.name, method.bits, ALL, sum((names == name).sum() for name in large), float(np.mean(scores)))


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
    means = [np.mean([value[name, m] for name in names]) for m in methods]
    lines.append("| " + " | ".join(["**mean**", *(f"**{mean:.4f}**" for mean in means)]) + " |")
    return "\n".join(lines)


def alike_table(rows: list[Alike]) -> str:
    lines = ["| method | mAP@all over classes |", "|---|---|"]
    return "\n".join(lines + [f"| {row.method} | {row.map_all:.3f} |" for row in rows if row.category == ALL])


def write_rows(path: Path, rows: list[Found] | list[Alike], kind: type) -> None:
    lines = [",".join(f.name for f in fields(kind))]
    for row in rows:
        lines.append(",".join(f"{v:.6g}" if isinstance(v, float) else str(v) for v in asdict(row).values()))
    write_atomic(path, ("\n".join(lines) + "\n").encode(), overwrite=True)


def read_rows(path: Path) -> list[dict[str, str]]:
    """A result file as dictionaries."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


@click.command(help=__doc__.split("\n\n")[0])
@click.option("--queries", multiple=True, required=True, type=_FOLDER, help="Folder of originals; several add up.")
@click.option("--distractors", multiple=True, type=_FOLDER, help="Folder of other pictures; several add up.")
@click.option("--classes", type=_FOLDER, help="Folder of class folders, for looks-alike.")
@click.option("--hasher", "hasher_name", help="Hasher by name or path.")
@click.option("--limit", type=click.IntRange(min=1), help="Only the first so many pictures of each folder.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Folder to keep the figures in.")
def main(
    queries: tuple[Path, ...],
    distractors: tuple[Path, ...],
    classes: Path | None,
    hasher_name: str | None,
    limit: int | None,
    out: Path | None,
) -> None:
    try:
        hasher, codec = Hasher.from_pretrained(hasher_name), Codec.from_pretrained()
        methods = make_methods(hasher, histogram=False)
        asked = {folder.name: list_photos(folder)[:limit] for folder in queries}
        others = [path for folder in distractors for path in list_photos(folder)[:limit]]
        found = list(near_duplicates(methods, asked, others, codec))
        count = sum(map(len, asked.values()))
        click.echo(
            f"{count} originals among {count + len(others)} pictures, hasher {hasher.name} "
            f"({hasher.fingerprint.hex()})\n\nrecall at 1\n\n{table(found, 'recall_at_1')}\n\n"
            f"recall at 1 within the threshold\n\n{table(found, 'recall_at_1_within')}\n"
        )
        times = {method.name: 1000 * method.seconds / method.pictures for method in methods}
        click.echo("CPU milliseconds per decoded picture: " + ", ".join(f"{k} {v:.2f}" for k, v in times.items()))
        alike = list(looks_alike(make_methods(hasher, histogram=True), classes)) if classes else []
        if alike:
            click.echo(f"\nlooks-alike\n\n{alike_table(alike)}")
    except AecodecError as error:
        raise click.ClickException(str(error)) from error
    if out:
        make_folder(out)
        write_rows(out / "near_duplicates.csv", found, Found)
        if alike:
            write_rows(out / "looks_alike.csv", alike, Alike)
        content = provenance.collect(
            hasher=hasher.name,
            fingerprint=hasher.fingerprint.hex(),
            codec=codec.name,
            originals=count,
            database=count + len(others),
            cpu_milliseconds_per_picture=times,
        )
        text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
        write_atomic(out / "near_duplicates.json", text.encode(), overwrite=True)


if __name__ == "__main__":
    main()
