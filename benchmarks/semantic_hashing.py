"""Retrieval by learned binary codes against LSH, PCA-sign and ITQ, on labelled sets of small pictures.

    python benchmarks/semantic_hashing.py mnist=MNIST.npz fashion-mnist=FASHION.npz cifar10=CIFAR.npz \\
        cifar10-lite0=CIFAR_LITE0.npz --out benchmarks/results/hashing --runs runs/hashing

An .npz holds x_train, y_train, x_test and y_test; CIFAR-10 is packed by `scripts/pack_labelled.py`. Items are pictures,
or features of pictures (`benchmarks/backbone_features.py`), with the weights of what they come from beside the pack.
With --taught a hasher on patches is trained instead, by the recipe of that name, on what `scripts/teach_neighbours.py`
makes of x_train, a file for each seed where the name holds {seed}; pictures are hashed as such.

Protocol. The database is the training set, queries are drawn from the test set with a fixed seed; a picture of the same
class is relevant. Labels score and do nothing else. mAP@1000: ties by row, the database shuffled with a fixed seed,
divided by the relevant pictures among the first 1000. mAP@all: the expectation over ties. Linear methods are fitted to
the first 10,000 of the shuffled training items, raw pixels or features of unit length; the family `semantic-hash` is
trained on all, one nested model per seed, by the recipe in `benchmarks/recipes`, and its shorter codes are the
beginnings of the longest.

Training goes on where it was (a run's folder keeps its state); --max-seconds ends a call early and cleanly.
"""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import click
import numpy as np
import torch
from linear_hashers import LINEAR_HASHERS, principal_axes

from aecodec import Hasher, checkpoint
from aecodec.bench import provenance
from aecodec.contracts import AecodecError, ImageReadError
from aecodec.data.arrays import read_array
from aecodec.data.files import make_folder, write_atomic
from aecodec.index.codes import hamming_distances
from aecodec.metrics import average_precision, precision_within
from aecodec.train.config import resolve
from aecodec.train.loop import AUTO, CHECKPOINT_FILE, fit

FAMILY = "semantic-hash"
ON_PATCHES = "semantic-hash on patches"
RECIPES = Path(__file__).parent / "recipes"
BITS = (16, 32, 64)
RANKED = 1000
RADIUS = 2
#: Training pictures that linear methods are fitted to.
FITTED = 10_000
#: Queries that are ranked at once.
BLOCK = 250
RESULTS = "semantic_hashing"

Encode = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Score:
    """A row of semantic_hashing.csv. seconds: of training or fitting."""

    dataset: str
    method: str
    bits: int
    seed: int
    queries: int
    database: int
    map_1000: float
    map_all: float
    precision_radius_2: float
    seconds: float
    model: str

    @property
    def key(self) -> tuple[str, str, int, int, int, str]:
        return self.dataset, self.method, self.bits, self.seed, self.queries, self.model


@dataclass(frozen=True)
class Dataset:
    """database, queries: pictures (n, C, H, W) uint8, or features (n, D) float32.

    relevant: (Q, N) bool, from the labels, for scoring.
    """

    name: str
    path: Path
    database: np.ndarray
    queries: np.ndarray
    relevant: np.ndarray

    @classmethod
    def open(cls, name: str, path: Path, queries: int, limit: int | None) -> Dataset:
        """Raises ImageReadError."""
        database, tests = read_array(f"{path}:x_train"), read_array(f"{path}:x_test")
        with np.load(path) as pack:
            if "y_train" not in pack or "y_test" not in pack:
                raise ImageReadError(f"{path}: holds no labels y_train and y_test to score with")
            labels, asked = pack["y_train"], pack["y_test"]
        rng = np.random.default_rng(0)
        rows, columns = rng.permutation(len(database))[:limit], rng.permutation(len(tests))[:queries]
        relevant = asked[columns][:, None] == labels[rows][None, :]
        return cls(name, path, database[rows], tests[columns], relevant)

    @property
    def holds_features(self) -> bool:
        return self.database.ndim == 2

    def vectors(self) -> tuple[np.ndarray, np.ndarray]:
        """Database and queries as linear methods take them, (n, D) float32: pixels in [0, 1], or directions."""
        if self.holds_features:
            return directions(self.database), directions(self.queries)
        database, queries = (x.reshape(len(x), -1).astype(np.float32) / 255.0 for x in (self.database, self.queries))
        return database, queries


def directions(features: np.ndarray) -> np.ndarray:
    """(n, D) float32 -> unit vectors; one without length stays as it is."""
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    return features / np.where(lengths > 0, lengths, 1.0)


def score(data: Dataset, database: np.ndarray, queries: np.ndarray) -> dict[str, float]:
    """Packed codes of both -> the figures of a Score."""
    sums = np.zeros(3)
    for start in range(0, len(queries), BLOCK):
        part = slice(start, start + BLOCK)
        distances, relevant = hamming_distances(queries[part], database), data.relevant[part]
        sums += [
            average_precision(distances, relevant, k=RANKED).sum(),
            average_precision(distances, relevant, ties="expected").sum(),
            precision_within(distances, relevant, RADIUS).sum(),
        ]
    map_1000, map_all, precision = (sums / len(queries)).tolist()
    return {"map_1000": map_1000, "map_all": map_all, "precision_radius_2": precision}


def linear_scores(data: Dataset, seeds: range, done: set[tuple]) -> Iterator[Score]:
    """Rows of the linear methods; those that no seed changes have one."""
    flat = data.vectors()
    fitted = flat[0][:FITTED]
    reduced: list[np.ndarray] = []
    for name, fit_linear in LINEAR_HASHERS.items():
        for seed in seeds if name != "PCA-sign" else seeds[:1]:
            for bits in BITS:
                key = (data.name, name, bits, seed, len(data.queries), "")
                if key in done:
                    continue
                if name != "LSH" and not reduced:
                    # PCA and ITQ see principal components only: they are found once, not for every length and seed.
                    mean = fitted.mean(0)
                    axes = principal_axes(fitted - mean, min(max(BITS), fitted.shape[1]))
                    reduced = [(x - mean) @ axes for x in flat]
                inputs = flat if name == "LSH" else reduced
                begin = time.process_time()
                hasher = fit_linear(inputs[0][:FITTED], bits, seed)
                seconds = time.process_time() - begin
                figures = score(data, hasher.hash(inputs[0]), hasher.hash(inputs[1]))
                yield Score(
                    data.name,
                    name,
                    bits,
                    seed,
                    len(data.queries),
                    len(data.database),
                    **figures,
                    seconds=seconds,
                    model="",
                )


def train_hasher(
    data: Dataset, taught: Path | None, seed: int, folder: Path, max_seconds: float | None, settings: list[str]
) -> float:
    """Train by the dataset's recipe, or go on -> seconds of training. Raises click.ClickException if it is not over.

    taught: items of scripts/teach_neighbours.py, made of the database, to train on in place of its pictures.
    """
    source = f"{data.path}:x_train"
    if data.holds_features:
        settings = [f"model.backbone_weights={data.path.with_suffix('.safetensors')}", *settings]
    elif taught:
        source, weights = str(taught), taught.with_suffix(".safetensors")
        settings = [f"model.patch_weights={weights}", f"model.shape={list(data.database.shape[1:])}", *settings]
    recipe = f"{FAMILY}-{data.name}{'-patches' if taught else ''}.yaml"
    config = resolve(FAMILY, RECIPES / recipe, [*settings, f"seed={seed}"])
    outcome = fit(config, source, folder, resume=AUTO, max_seconds=max_seconds)
    if not outcome.finished:
        raise click.ClickException(f"{folder}: stopped at step {outcome.step}; call again to go on")
    return outcome.elapsed


def codes_of_features(path: Path) -> Encode:
    """What a trained hasher makes of features that its backbone gave before: (n, D) float32 -> packed codes."""
    head = checkpoint.load(path).module.head

    @torch.no_grad()
    def encode(features: np.ndarray) -> np.ndarray:
        return np.packbits(head(torch.from_numpy(features)).numpy() >= 0, axis=1)

    return encode


def learned_scores(
    data: Dataset, method: str, seed: int, path: Path, seconds: float, done: set[tuple]
) -> Iterator[Score]:
    """Rows of one trained model, a row for each of its lengths."""
    hasher = Hasher.from_pretrained(path)
    model = hasher.fingerprint.hex()
    if all((data.name, method, bits, seed, len(data.queries), model) in done for bits in hasher.lengths):
        return
    encode = codes_of_features(path) if data.holds_features else hasher.hash
    database, queries = encode(data.database), encode(data.queries)
    for bits in hasher.lengths:
        figures = score(data, database[:, : bits // 8], queries[:, : bits // 8])
        yield Score(
            data.name,
            method,
            bits,
            seed,
            len(data.queries),
            len(data.database),
            **figures,
            seconds=seconds,
            model=model,
        )


# -- output --------------------------------------------------------------------------------------


def read_scores(path: Path) -> list[Score]:
    if not path.exists():
        return []
    kinds = {f.name: {"int": int, "float": float}.get(str(f.type), str) for f in fields(Score)}
    with path.open(newline="", encoding="utf-8") as file:
        return [Score(**{key: kinds[key](value) for key, value in row.items()}) for row in csv.DictReader(file)]


def write_scores(path: Path, scores: list[Score]) -> None:
    lines = [",".join(f.name for f in fields(Score))]
    for row in scores:
        lines.append(",".join(f"{v:.6g}" if isinstance(v, float) else str(v) for v in asdict(row).values()))
    write_atomic(path, ("\n".join(lines) + "\n").encode(), overwrite=True)


def table(scores: list[Score]) -> str:
    """Markdown: a line for each dataset and method; mean and, over several seeds, the largest deviation from it."""
    columns = [f"{name} {bits}" for name in ("mAP@1000", "mAP@all", "precision r≤2") for bits in BITS]
    lines = ["| dataset | method | seeds | " + " | ".join(columns) + " |", "|---" * (3 + len(columns)) + "|"]
    groups = dict.fromkeys((s.dataset, s.method) for s in scores)
    for dataset, method in groups:
        rows = [s for s in scores if (s.dataset, s.method) == (dataset, method)]
        cells = []
        for column in ("map_1000", "map_all", "precision_radius_2"):
            for bits in BITS:
                values = np.array([getattr(s, column) for s in rows if s.bits == bits])
                spread = f" ±{np.abs(values - values.mean()).max():.3f}" if len(values) > 1 else ""
                cells.append(f"{values.mean():.3f}{spread}" if len(values) else "")
        seeds = len({s.seed for s in rows})
        lines.append(f"| {dataset} | {method} | {seeds} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def parse_sources(sources: tuple[str, ...], seeds: range = range(1), suffix: str = "") -> dict[str, list[Path]]:
    """``name=path`` -> a file for each seed, by name; its recipe has a suffix. Raises click.BadParameter."""
    found = {}
    for source in sources:
        name, mark, path = source.partition("=")
        paths = [Path(path.replace("{seed}", str(seed))) for seed in seeds]
        if not mark or not all(each.is_file() for each in paths):
            raise click.BadParameter(f"expected NAME=FILE.npz of a file that exists, got {source!r}")
        if not (RECIPES / f"{FAMILY}-{name}{suffix}.yaml").exists():
            known = ", ".join(sorted(p.stem.removeprefix(f"{FAMILY}-") for p in RECIPES.glob(f"{FAMILY}-*.yaml")))
            raise click.BadParameter(f"no recipe for {name + suffix!r}; there are: {known}")
        found[name] = paths
    return found


@click.command(help=__doc__.split("\n\n")[0])
@click.argument("sources", nargs=-1, required=True, metavar="NAME=FILE.npz...")
@click.option(
    "--taught", multiple=True, metavar="NAME=FILE.npz", help="Items to train on, of scripts/teach_neighbours.py."
)
@click.option("--seeds", default=3, show_default=True, type=click.IntRange(min=1))
@click.option("--queries", default=1000, show_default=True, type=click.IntRange(min=1))
@click.option("--limit", type=click.IntRange(min=64), help="Only so many pictures in the database.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="A setting of the training, for a trial.")
@click.option("--runs", default=Path("runs/hashing"), type=click.Path(path_type=Path), help="Folder of training runs.")
@click.option("--max-seconds", type=click.FloatRange(0, min_open=True), help="End training after this long.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Folder to keep the figures in.")
def main(
    sources: tuple[str, ...],
    taught: tuple[str, ...],
    seeds: int,
    queries: int,
    limit: int | None,
    settings: tuple[str, ...],
    runs: Path,
    max_seconds: float | None,
    out: Path | None,
) -> None:
    asked, items = parse_sources(sources), parse_sources(taught, range(seeds), "-patches")
    scores = read_scores(out / f"{RESULTS}.csv") if out else []

    def keep(rows: Iterator[Score]) -> None:
        for row in rows:
            scores[:] = [s for s in scores if s.key[:4] != row.key[:4]] + [row]
            if out:
                make_folder(out)
                write_scores(out / f"{RESULTS}.csv", scores)

    try:
        for name, (path,) in asked.items():
            data = Dataset.open(name, path, queries, limit)
            done = {s.key for s in scores}
            keep(linear_scores(data, range(seeds), done))
            for seed in range(seeds):
                made = items[name][seed] if name in items else None
                method, folder = (ON_PATCHES, f"{name}-patches-{seed}") if made else (FAMILY, f"{name}-{seed}")
                seconds = train_hasher(data, made, seed, runs / folder, max_seconds, list(settings))
                keep(learned_scores(data, method, seed, runs / folder / CHECKPOINT_FILE, seconds, done))
    except AecodecError as error:
        raise click.ClickException(str(error)) from error
    scores.sort(key=lambda s: (s.dataset, s.method, s.bits, s.seed))
    click.echo(table(scores))
    if out:
        write_scores(out / f"{RESULTS}.csv", scores)
        write_atomic(out / f"{RESULTS}.md", (table(scores) + "\n").encode(), overwrite=True)
        text = json.dumps(provenance.collect(seeds=seeds, queries=queries), indent=1, ensure_ascii=False) + "\n"
        write_atomic(out / f"{RESULTS}.json", text.encode(), overwrite=True)


if __name__ == "__main__":
    main()
