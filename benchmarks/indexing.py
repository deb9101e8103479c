"""How fast a folder of one-megapixel JPEG files is indexed, beside the pHash of the package imagehash in the same run.

    python benchmarks/indexing.py PICTURES [--hasher NAME_OR_PATH] [--count 400] [--rounds 3] [--out FOLDER]

The files are mosaics of four crops of the pictures at their own resolution, so that they hold as much detail per pixel
as photographs do. Methods take turns, round by round; the best round of each counts, since other programs only
ever slow one down. Pictures per CPU second hardly depend on how many cores are free.
"""

from __future__ import annotations

import csv
import json
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import click
import numpy as np
from PIL import Image

from aecodec.bench import provenance
from aecodec.bench.measurements import read_rgb
from aecodec.contracts import AecodecError
from aecodec.data.folders import list_photos
from aecodec.data.reduced import read_reduced
from aecodec.index.windows import LAYOUT
from aecodec.search import building
from aecodec.search.duplicates import COPY_BITS
from aecodec.search.pictures import CodeReader
from aecodec.search.windows import PictureHasher

WIDTH, HEIGHT, QUALITY = 1152, 864, 90
_COLUMNS = ("method", "threads", "pictures", "seconds", "pictures_per_second", "cpu_seconds", "pictures_per_cpu_second")


@dataclass(frozen=True)
class Rate:
    """The best of some rounds of one method."""

    method: str
    threads: int
    pictures: int
    seconds: float
    cpu_seconds: float

    @property
    def per_second(self) -> float:
        return self.pictures / self.seconds

    @property
    def per_cpu_second(self) -> float:
        return self.pictures / self.cpu_seconds


def make_files(pictures: list[Path], folder: Path, count: int, seed: int = 0) -> list[Path]:
    """JPEG files of WIDTH x HEIGHT pixels, each of four crops of pictures drawn at random."""
    rng = np.random.default_rng(seed)
    height, width = HEIGHT // 2, WIDTH // 2
    whole = [
        pixels
        for pixels in map(np.asarray, map(read_rgb, pictures))
        if pixels.shape[0] >= height and pixels.shape[1] >= width
    ]
    if not whole:
        raise click.ClickException(f"no picture has at least {width} x {height} pixels")
    paths = []
    for number in range(count):
        canvas = np.empty((HEIGHT, WIDTH, 3), np.uint8)
        for top in (0, height):
            for left in (0, width):
                pixels = whole[rng.integers(len(whole))]
                y, x = (int(rng.integers(pixels.shape[axis] - side + 1)) for axis, side in ((0, height), (1, width)))
                canvas[top : top + height, left : left + width] = pixels[y : y + height, x : x + width]
        paths.append(folder / f"{number:04d}.jpg")
        Image.fromarray(canvas).save(paths[-1], quality=QUALITY)
    return paths


def methods(hasher: PictureHasher, paths: list[Path], threads: int) -> dict[str, Callable[[], None]]:
    """What is timed, each over all files."""
    import imagehash

    folder, readers = paths[0].parent, {"index build": CodeReader(hasher)}
    if COPY_BITS in hasher.lengths and hasher.n_bits > COPY_BITS:
        readers[f"index build --bits {COPY_BITS}"] = CodeReader(hasher, COPY_BITS)
    windowed = {f"{name} --windows": CodeReader(hasher, one.n_bits, layout=LAYOUT) for name, one in readers.items()}

    def in_threads(work: Callable[[Path], object]) -> None:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(work, paths))

    def phash(path: Path) -> object:
        with Image.open(path) as image:
            return imagehash.phash(image)

    def build(reader: CodeReader) -> None:
        with tempfile.TemporaryDirectory() as out:
            building.build(folder, Path(out, "a.hix"), reader, jobs=threads)

    return {
        **{name: partial(build, one) for name, one in (readers | windowed).items()},
        "reading alone": lambda: in_threads(lambda path: read_reduced(path, readers["index build"].least)),
        "imagehash pHash": lambda: in_threads(phash),
    }


def measure(hasher: PictureHasher, paths: list[Path], threads: int, rounds: int) -> list[Rate]:
    """The best round of every method by wall-clock time, and by CPU time."""
    times: dict[str, list[tuple[float, float]]] = {}
    todo = methods(hasher, paths, threads)
    for _ in range(rounds):
        for name, work in todo.items():
            wall, cpu = time.perf_counter(), time.process_time()
            work()
            times.setdefault(name, []).append((time.perf_counter() - wall, time.process_time() - cpu))
    return [
        Rate(name, threads, len(paths), min(wall for wall, _ in found), min(cpu for _, cpu in found))
        for name, found in times.items()
    ]


def table(rates: list[Rate]) -> str:
    """Markdown."""
    peer = next(rate for rate in rates if rate.method.startswith("imagehash"))
    lines = ["| method | threads | pictures/s | pictures per CPU second | against imagehash |", "|---|---|---|---|---|"]
    for r in rates:
        ratio = f"{r.per_second / peer.per_second:.2f}x, CPU {r.per_cpu_second / peer.per_cpu_second:.2f}x"
        lines.append(f"| {r.method} | {r.threads} | {r.per_second:.0f} | {r.per_cpu_second:.0f} | {ratio} |")
    return "\n".join(lines)


def keep(folder: Path, rates: list[Rate], hasher: PictureHasher, paths: list[Path]) -> None:
    """indexing.csv and indexing.json (where it comes from)."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "indexing.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(_COLUMNS)
        for r in rates:
            figures = (r.seconds, r.per_second, r.cpu_seconds, r.per_cpu_second)
            writer.writerow([r.method, r.threads, r.pictures, *(f"{figure:.6g}" for figure in figures)])
    import imagehash

    size = sum(path.stat().st_size for path in paths) / len(paths)
    content = provenance.collect(
        hasher=hasher.name,
        fingerprint=hasher.fingerprint.hex(),
        imagehash=imagehash.__version__,
        files=f"{len(paths)} JPEG of {WIDTH} x {HEIGHT} pixels, quality {QUALITY}, {size:.0f} bytes on average",
    )
    (folder / "indexing.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def open_hasher(name: str | None) -> PictureHasher:
    """A hasher that computes with one thread, as the commands have it: each of theirs hashes pictures of its own."""
    from aecodec.engine.opening import limit_threads
    from aecodec.hasher import Hasher

    limit_threads(1)
    return Hasher.from_pretrained(name)


@click.command(help=__doc__.split("\n\n")[0])
@click.argument("pictures", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--hasher", help="Our hasher by name or path.")
@click.option("--count", type=click.IntRange(min=1), default=400, show_default=True, help="Files to index.")
@click.option("--threads", type=click.IntRange(min=1), default=2, show_default=True)
@click.option("--rounds", type=click.IntRange(min=1), default=3, show_default=True)
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Folder to keep the figures in.")
def main(pictures: Path, hasher: str | None, count: int, threads: int, rounds: int, out: Path | None) -> None:
    try:
        opened = open_hasher(hasher)
        with tempfile.TemporaryDirectory() as folder:
            paths = make_files(list_photos(pictures)[:400], Path(folder), count)
            rates = measure(opened, paths, threads, rounds)
            if out:
                keep(out, rates, opened, paths)
    except AecodecError as error:
        raise click.ClickException(str(error)) from error
    click.echo(table(rates))


if __name__ == "__main__":
    main()
