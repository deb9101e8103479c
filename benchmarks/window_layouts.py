"""Which windows of a picture are worth their codes: how surely crops find their originals with each of some layouts.

    python benchmarks/window_layouts.py PICTURES --out benchmarks/results/hashing

Protocol. PICTURES is a folder of photographs that the hasher was not trained on, and that no result is reported on. The
first of them, in a seeded order, are queries, cut to a window anywhere in the picture of so much of each side ("free":
50 to 100 % of each, independently); all are the database, of whole pictures with the windows of each layout. Pictures
are as far apart as `aecodec.index.windows` says, the windows of a query by the same layout. For each layout, the
threshold is the largest distance that fewer than 1e-5 of the pairs of a query and a picture that it was not cut from
reach, over all cuts together; recall is the share of originals within it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
from fingerprints import read
from PIL import Image

from aecodec import Hasher
from aecodec.bench import provenance
from aecodec.contracts import AecodecError
from aecodec.data.files import make_folder, write_atomic
from aecodec.data.folders import list_photos
from aecodec.index.windows import WHOLE, Window, corners, grid
from aecodec.search.windows import cut, distances

FALSE_POSITIVES = 1e-5
#: Pictures are made no larger than that, as those are that indexes read.
LARGEST = 640
#: Name of a cut -> the share of each side that is left; None: any.
CUTS = {"80 % of the area": 0.894, "60 % of the area": 0.775, "60 % of the sides": 0.6, "45 % of the sides": 0.45}
FREE = "free"
#: Parts of layouts by name.
PARTS = {
    "whole": (WHOLE,),
    "5 at 85 %": corners(0.85),
    "5 at 80 %": corners(0.8),
    "9 at 80 %": grid(0.8, 3),
    "9 at 70 %": grid(0.7, 3),
    "9 at 65 %": grid(0.65, 3),
    "9 at 60 %": grid(0.6, 3),
    "16 at 60 %": grid(0.6, 4),
    "16 at 50 %": grid(0.5, 4),
}
LAYOUTS = (
    (),
    ("5 at 80 %",),
    ("9 at 60 %",),
    ("16 at 60 %",),
    ("5 at 80 %", "9 at 65 %"),
    ("5 at 80 %", "9 at 60 %"),
    ("5 at 85 %", "16 at 60 %"),
    ("5 at 80 %", "16 at 60 %"),
    ("9 at 80 %", "16 at 60 %"),
    ("9 at 70 %", "16 at 50 %"),
    ("5 at 80 %", "9 at 60 %", "16 at 50 %"),
)


def windows_of(name: str, rng: np.random.Generator) -> Window:
    """Where a cut of that name is made, drawn at random."""
    width, height = rng.uniform(0.5, 1.0, 2) if name == FREE else (CUTS[name], CUTS[name])
    return Window(rng.uniform(0, 1 - width), rng.uniform(0, 1 - height), width, height)


def codes_of(hasher: Hasher, paths: list[Path], queries: int, seed: int) -> dict[str, np.ndarray]:
    """The codes of all `PARTS` of each picture under no name at all, and of the cuts of queries: (N, parts, bytes)."""
    rng, found = np.random.default_rng(seed), {name: [] for name in ("", *CUTS, FREE)}
    parts = [part for group in PARTS.values() for part in group]

    def describe(pixels: np.ndarray) -> np.ndarray:
        return hasher.hash_pixels([cut(pixels, part) for part in parts])

    for number, path in enumerate(paths):
        image = read(path)
        image.thumbnail((LARGEST, LARGEST), Image.Resampling.LANCZOS)
        pixels = np.asarray(image)
        found[""].append(describe(pixels))
        for name in (*CUTS, FREE) if number < queries else ():
            found[name].append(describe(np.ascontiguousarray(cut(pixels, windows_of(name, rng)))))
    return {name: np.stack(rows) for name, rows in found.items()}


def chosen(layout: tuple[str, ...]) -> list[int]:
    """Which of the parts a layout takes, the whole first."""
    starts = dict(zip(PARTS, np.cumsum([0, *map(len, PARTS.values())]), strict=False))
    return [int(starts[name]) + n for name in ("whole", *layout) for n in range(len(PARTS[name]))]


def recalls(codes: dict[str, np.ndarray], select: Callable[[np.ndarray], np.ndarray]) -> tuple[int, dict[str, float]]:
    """Threshold and recall of each cut. select: (N, parts, bytes) -> the sets of a layout and a length."""
    apart = {name: distances(select(rows), select(codes[""])) for name, rows in codes.items() if name}
    queries, count = next(iter(apart.values())).shape
    own = np.eye(queries, count, dtype=bool)
    false = np.concatenate([found[~own] for found in apart.values()])
    allowed = int(np.ceil(FALSE_POSITIVES * len(false))) - 1
    limit = int(np.partition(false, allowed)[allowed]) - 1
    return limit, {name: float((found[own] <= limit).mean()) for name, found in apart.items()}


def table(hasher: Hasher, codes: dict[str, np.ndarray]) -> str:
    """Markdown: a row for each length and layout."""
    names = [*CUTS, FREE]
    lines = [
        "| bits | windows | codes of a picture | threshold | " + " | ".join(names) + " | mean |",
        "|---" * (5 + len(names)) + "|",
    ]
    for bits in hasher.lengths:
        for layout in LAYOUTS:
            parts = chosen(layout)
            limit, found = recalls(codes, lambda rows, parts=parts, bits=bits: rows[:, parts, : bits // 8])
            cells = [str(bits), " and ".join(layout) or "none", str(len(parts)), str(limit)]
            cells += [f"{found[name]:.2f}" for name in names]
            lines.append("| " + " | ".join([*cells, f"{np.mean(list(found.values())):.3f}"]) + " |")
    return "\n".join(lines) + "\n"


@click.command(help=__doc__.split("\n\n")[0])
@click.argument("pictures", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--count", type=click.IntRange(min=2), default=1000, show_default=True, help="Pictures of the database.")
@click.option("--queries", type=click.IntRange(min=1), default=200, show_default=True)
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--hasher", "hasher_name", help="Hasher by name or path.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Folder to keep the figures in.")
def main(pictures: Path, count: int, queries: int, seed: int, hasher_name: str | None, out: Path | None) -> None:
    try:
        hasher, paths = Hasher.from_pretrained(hasher_name), list_photos(pictures)
        order = np.random.default_rng(seed).permutation(len(paths))[:count]
        codes = codes_of(hasher, [paths[place] for place in order], queries, seed)
        text = table(hasher, codes)
    except AecodecError as error:
        raise click.ClickException(str(error)) from error
    click.echo(text)
    if out:
        make_folder(out)
        write_atomic(out / "window_layouts.md", text.encode(), overwrite=True)
        content = provenance.collect(
            hasher=hasher.name,
            fingerprint=hasher.fingerprint.hex(),
            pictures=len(order),
            queries=min(queries, len(order)),
        )
        record = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
        write_atomic(out / "window_layouts.json", record.encode(), overwrite=True)


if __name__ == "__main__":
    main()
