"""How far apart copies may be: what `aecodec dedup` groups wrongly, and which copies it finds, at each distance.

    python benchmarks/group_distances.py --classes 101_ObjectCategories --leave-out Faces \\
        --leave-out BACKGROUND_Google --queries KODAK --queries RD_TEST2 --out benchmarks/results/hashing

Protocol. Wrong members: the pictures of the largest class folders, 5,000 altogether, are grouped; every picture in a
group but its first counts as wrong. That is more than there are, because some collections hold copies. Left out of
Caltech-101 are `Faces`, the very pictures of `Faces_easy`, and the folder that is no kind of thing. Copies found: the
share of changed pictures, of the query folders, that are within the distance of their original, on average over the
changes of `transformations.USUAL` of one kind.

With ``--windows`` all pictures have codes of windows as well. Wholes are then at most `duplicates.near` apart, as
`aecodec dedup --windows` has it, and the distances of the table are those of a whole and a window. Its other columns
are of pairs of pictures of different classes, how many in a million are near each other, and of the changes of `CROPS`,
how many are near their originals.
"""

from __future__ import annotations

import json
from pathlib import Path

import click
import numpy as np
from fingerprints import read
from transformations import USUAL, transform

from aecodec import Hasher
from aecodec.bench import provenance
from aecodec.contracts import AecodecError
from aecodec.data.files import make_folder, write_atomic
from aecodec.data.folders import list_photos
from aecodec.data.reduced import read_reduced
from aecodec.index.hash_index import HashIndex
from aecodec.index.windows import LAYOUT, apart
from aecodec.search.duplicates import groups, near
from aecodec.search.pictures import CodeReader
from aecodec.search.windows import picture_codes

#: Kind of change -> the changes that are none of the others.
KINDS = {
    "scaled, recompressed, blurred": ("resize-50", "resize-25", "stretch-125", "jpeg-50", "jpeg-10", "webp-20", "blur"),
    "toned, grey, marked": ("brighter", "darker", "contrast-up", "contrast-down", "grey", "watermark"),
    "cropped or turned": (
        "crop-80",
        "crop-60",
        "crop-60-sides",
        "rotate-3",
        "rotate-5-cut",
        "crop-80-jpeg-30-brighter",
    ),
}
#: Changes that leave a part of a picture, from the largest to the smallest.
CROPS = ("crop-80", "crop-60", "crop-60-sides", "crop-30")
#: Distances as shares of 64 bits of code.
STEPS = (0, 0.5, 1, 1.5, 2, 2.5, 3, 3.5, 4, 4.5, 5, 5.5, 6, 8)
#: The same by windows: crops lie farther from their originals.
WINDOW_STEPS = (1, 2, 3, 4, 5, 5.5, 6, 7, 8, 9, 10, 12)
_BATCH = 16


def largest_classes(folder: Path, count: int, left_out: tuple[str, ...]) -> list[Path]:
    """The first so many pictures of the class folders, the largest folder first."""
    by_class: dict[str, list[Path]] = {}
    for path in list_photos(folder):
        by_class.setdefault(path.parent.name, []).append(path)
    kept = sorted((item for item in by_class.items() if item[0] not in left_out), key=lambda item: -len(item[1]))
    return [path for _, paths in kept for path in paths][:count]


def index_of(hasher: Hasher, paths: list[Path], sets: np.ndarray, layout: int) -> HashIndex:
    """An index of the pictures with their sizes, as of `aecodec index build`. sets: (N, 1 + W, bytes) uint8."""
    bits = 8 * sets.shape[2]
    index = HashIndex(hasher=hasher.name, fingerprint=hasher.fingerprint, n_bits=bits, paths=True, layout=layout)
    stamps = np.array([(0, path.stat().st_size) for path in paths])
    names = [str(path.resolve()) for path in paths]
    index.add(names, np.ascontiguousarray(sets[:, 0]), windows=sets[:, 1:], stamps=stamps)
    return index


def sets_of(hasher: Hasher, paths: list[Path], layout: int) -> np.ndarray:
    """The codes of files, (N, 1 + W, bytes) uint8, read small as `aecodec index build` does."""
    reader = CodeReader(hasher, layout=layout)
    starts = range(0, len(paths), _BATCH)
    small = ([read_reduced(path, reader.least).pixels for path in paths[start : start + _BATCH]] for start in starts)
    return np.concatenate([reader.sets(batch) for batch in small])


def changed_sets(hasher: Hasher, originals: list[Path], layout: int) -> dict[str, np.ndarray]:
    """Change -> the codes of all originals after it; those of the originals themselves under no name at all."""
    images = [read(path) for path in originals]
    found = {"": np.concatenate([picture_codes(hasher, [np.asarray(image)], layout) for image in images])}
    for name in CROPS if layout else USUAL:
        changed = (np.asarray(transform(image, name, number)) for number, image in enumerate(images))
        found[name] = np.concatenate([picture_codes(hasher, [pixels], layout) for pixels in changed])
    return found


def distances_to_originals(changed: dict[str, np.ndarray], bits: int, within: int | None) -> dict[str, np.ndarray]:
    """Change -> (N,) bits between each original and its changed copy, by the first bits of the codes. within: as of
    `index.windows.apart`."""
    short = {name: np.ascontiguousarray(sets[..., : bits // 8]) for name, sets in changed.items()}
    originals = short.pop("")
    found = {}
    for name, sets in short.items():
        pairs = zip(sets, originals, strict=True)
        far = [apart(copy, one[:1], one[None, 1:], within).distances[0] for copy, one in pairs]
        found[name] = np.array(far)
    return found


def pairs_of_kinds(index: HashIndex, within: int, limit: int) -> np.ndarray:
    """Of pairs of pictures of different classes, the share that is near by windows so far apart, for 0 ... limit bits;
    or by wholes, which are at most ``within`` apart."""
    kinds = np.unique([str(Path(name).parent) for name in index.ids.tolist()], return_inverse=True)[1]
    count, shown, width = index.windows.shape
    nearest = np.full((count, count), limit + 1, np.int32)
    windows = index.scanner_of(index.windows.reshape(-1, width))
    for scanner, radius, apiece in ((windows, limit, shown), (index.scanner, within, 1)):
        limits, rows, found = scanner.range_search(index.codes, radius)
        pairs = np.repeat(np.arange(count), np.diff(limits)), rows // apiece
        np.minimum.at(nearest, pairs, found if apiece > 1 else 0)
    differ = np.triu(kinds[:, None] != kinds[None, :])
    found = np.minimum(nearest, nearest.T)[differ]
    return np.cumsum(np.bincount(found, minlength=limit + 1)[: limit + 1]) / max(len(found), 1)


def table(hasher: Hasher, paths: list[Path], originals: list[Path], layout: int) -> str:
    """Markdown: a row for each length and distance."""
    sets, changed = sets_of(hasher, paths, layout), changed_sets(hasher, originals, layout)
    more = ("wrong pairs in a million", *CROPS) if layout else KINDS
    names = ("bits", "distance", "wrong members", "largest group", *more)
    lines = ["| " + " | ".join(names) + " |", "|---" * len(names) + "|"]
    for bits in hasher.lengths:
        index = index_of(hasher, paths, np.ascontiguousarray(sets[..., : bits // 8]), layout)
        within = near(bits) if layout else None
        limits = sorted({int(step * bits / 64) for step in (WINDOW_STEPS if layout else STEPS)})
        limits = [distance for distance in limits if within is None or distance >= within]
        far = distances_to_originals(changed, bits, within)
        pairs = None if within is None else pairs_of_kinds(index, within, limits[-1])
        for distance in limits:
            found = groups(index, distance) if within is None else groups(index, within, windows=distance)
            wrong = sum(len(members) - 1 for members in found) / len(paths)
            largest = max(map(len, found), default=0)
            cells = [str(bits), str(distance), f"{wrong:.2%}".replace("%", " %"), str(largest)]
            recalls = {name: (found <= distance).mean() for name, found in far.items()}
            if pairs is None:
                cells += [f"{np.mean([recalls[name] for name in names]):.2f}" for names in KINDS.values()]
            else:
                cells += [f"{1e6 * pairs[distance]:.2f}", *(f"{recalls[name]:.2f}" for name in CROPS)]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


@click.command(help=__doc__.split("\n\n")[0])
@click.option("--classes", required=True, type=_FOLDER, help="Folder of class folders.")
@click.option("--leave-out", multiple=True, help="Class folder that is not taken; may be repeated.")
@click.option("--pictures", type=click.IntRange(min=2), default=5000, show_default=True, help="How many are grouped.")
@click.option("--queries", multiple=True, required=True, type=_FOLDER, help="Folder of originals; several add up.")
@click.option("--hasher", "hasher_name", help="Hasher by name or path.")
@click.option("--windows", is_flag=True, help="By windows as well; kept as group_distances_windows.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Folder to keep the figures in.")
def main(
    classes: Path,
    leave_out: tuple[str, ...],
    pictures: int,
    queries: tuple[Path, ...],
    hasher_name: str | None,
    windows: bool,
    out: Path | None,
) -> None:
    try:
        hasher = Hasher.from_pretrained(hasher_name)
        paths = largest_classes(classes, pictures, leave_out)
        originals = [path for folder in queries for path in list_photos(folder)]
        text = table(hasher, paths, originals, LAYOUT if windows else 0)
    except AecodecError as error:
        raise click.ClickException(str(error)) from error
    kinds = len({path.parent for path in paths})
    click.echo(f"{len(paths)} pictures of {kinds} kinds, {len(originals)} originals, hasher {hasher.name}\n\n{text}")
    if out:
        make_folder(out)
        name = "group_distances_windows" if windows else "group_distances"
        write_atomic(out / f"{name}.md", text.encode(), overwrite=True)
        content = provenance.collect(
            hasher=hasher.name,
            fingerprint=hasher.fingerprint.hex(),
            pictures=len(paths),
            kinds=kinds,
            originals=len(originals),
            layout=LAYOUT if windows else 0,
        )
        record = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
        write_atomic(out / f"{name}.json", record.encode(), overwrite=True)


if __name__ == "__main__":
    main()
