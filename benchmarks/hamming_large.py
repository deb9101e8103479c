"""A large index: built, saved, mapped into memory and searched, with seconds and bytes for each step.

    python benchmarks/hamming_large.py FOLDER [--codes 100000000] [--bits 64] [--out benchmarks/results/hamming]

Random codes from a fixed seed under ids 0, 1, 2 ... The file is mapped by `HashIndex.view`, nothing read before the
first search; the first search after mapping is told apart from the later ones, of which the best counts. Memory is
what the process held at most during a step, above what it held before the codes were made, over the codes; pages of the
mapped file count as held, though the system may take them back. 3 of the queries are checked against NumPy.
"""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
from hamming import make_codes

from aecodec.bench import provenance
from aecodec.bench.memory import forget_peak, held_bytes, peak_bytes
from aecodec.contracts import AecodecError
from aecodec.data.files import make_folder, write_atomic
from aecodec.index.hash_index import HashIndex
from aecodec.index.native import NativeScanner
from aecodec.index.oracle import NumpyScanner

BATCHES = (1, 100, 1000)
K = 10


class Steps:
    """Seconds and the most memory of each step, in order."""

    def __init__(self, codes_bytes: int) -> None:
        self.rows: list[tuple[str, float, float | None]] = []
        self._bytes, self._held = codes_bytes, held_bytes() or 0

    def run(self, name: str, call: Callable[[], Any], repeats: int = 1) -> Any:
        """The call's result; of several repeats the shortest counts."""
        forget_peak()
        seconds = []
        for _ in range(repeats):
            start = time.perf_counter()
            result = call()
            seconds.append(time.perf_counter() - start)
        peak = peak_bytes()
        self.rows.append((name, min(seconds), (peak - self._held) / self._bytes if peak else None))
        return result


def build(path: Path, count: int, bits: int, steps: Steps) -> None:
    """The index and its file; nothing of it stays in memory."""
    index = HashIndex(hasher="random", fingerprint=bytes(8), n_bits=bits)
    codes = steps.run("make codes", lambda: make_codes(count, bits, 0))
    steps.run("build", lambda: index.add(None, codes))
    steps.run("save", lambda: index.save(path, overwrite=True))


def measure(folder: Path, count: int, bits: int, repeats: int) -> Steps:
    """Runs every step. The file stays in the folder."""
    path, steps = folder / f"{count}x{bits}.hix", Steps(count * bits // 8)
    build(path, count, bits, steps)
    mapped = steps.run("map", lambda: HashIndex.view(path))
    queries = make_codes(max(BATCHES), bits, 1)
    NativeScanner(queries).search(queries[:1], 1)  # compiles, if that was not done
    steps.run("first search", lambda: mapped.search(queries[:1], K))
    for batch in BATCHES:
        steps.run(f"search, {batch}", lambda batch=batch: mapped.search(queries[:batch], K), repeats)
    steps.run("read the codes", NativeScanner(mapped.codes, engine_name="c").read, repeats)
    rows, distances = NumpyScanner(mapped.codes).search(queries[:3], K)
    hits = mapped.search(queries[:3], K)
    if not (np.array_equal(hits.ids, rows) and np.array_equal(hits.distances, distances)):
        raise click.ClickException("the hits are not NumPy's")
    return steps


@click.command(help=__doc__.split("\n\n")[0])
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--codes", "count", type=click.IntRange(min=max(BATCHES)), default=100_000_000, show_default=True)
@click.option("--bits", type=click.Choice(["32", "64", "128", "256", "512"]), default="64", show_default=True)
@click.option("--repeats", type=click.IntRange(min=1), default=5, show_default=True)
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Folder to keep the figures in.")
def main(folder: Path, count: int, bits: str, repeats: int, out: Path | None) -> None:
    try:
        steps = measure(folder, count, int(bits), repeats)
    except AecodecError as error:
        raise click.ClickException(str(error)) from error
    lines = [f"{count:,} codes of {bits} bits, k = {K}", "", "| step | seconds | memory over codes |", "|---|---|---|"]
    for name, seconds, memory in steps.rows:
        lines.append(f"| {name} | {seconds:.4f} | {'' if memory is None else f'{memory:.2f}'} |")
    click.echo("\n".join(lines))
    if out:
        make_folder(out)
        with (out / "large.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["codes", "bits", "step", "seconds", "memory"])
            for name, seconds, memory in steps.rows:
                writer.writerow([count, bits, name, f"{seconds:.6g}", "" if memory is None else f"{memory:.4g}"])
        content = json.dumps(provenance.collect(k=K, repeats=repeats), indent=1, ensure_ascii=False) + "\n"
        write_atomic(out / "large.json", content.encode(), overwrite=True)


if __name__ == "__main__":
    main()
