"""Why our faiss backend answers each query with one thread: latency of OpenMP threads against threads of our own.

    python benchmarks/faiss_threads.py [--rows 10000000] [--bits 64] [--busy 0] [--out FOLDER]

OpenMP threads that share a query wait for each other at barriers; when another program holds a core, all of them wait
for the one that was put off. `--busy` starts so many programs that do nothing but compute.
"""

from __future__ import annotations

import csv
import json
import multiprocessing
import time
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np

from aecodec.bench import provenance
from aecodec.index import INDEXES

K = 10
_COLUMNS = ("method", "queries", "median_ms", "worst_ms", "busy")


def milliseconds(work: Callable[[], object], rounds: int) -> tuple[float, float]:
    """Median and worst of some rounds, after one that warms up."""
    work()
    taken = []
    for _ in range(rounds):
        began = time.perf_counter()
        work()
        taken.append(1000 * (time.perf_counter() - began))
    return float(np.median(taken)), max(taken)


def measure(codes: np.ndarray, queries: np.ndarray, rounds: int, threads: int) -> list[tuple[str, int, float, float]]:
    """(method, queries at once, median and worst ms): faiss by itself with one thread and with several, and ours."""
    import faiss

    plain = faiss.IndexBinaryFlat(8 * codes.shape[1])
    plain.add(codes)
    ours = INDEXES["faiss"].load()(codes, threads=threads)
    rows = []
    before = faiss.omp_get_max_threads()
    try:
        for count in (1, len(queries)):
            asked = queries[:count]
            for number in (1, threads):
                faiss.omp_set_num_threads(number)
                rows.append(
                    (f"faiss, {number} OpenMP", count, *milliseconds(lambda q=asked: plain.search(q, K), rounds))
                )
            rows.append((f"ours, {threads} threads", count, *milliseconds(lambda q=asked: ours.search(q, K), rounds)))
    finally:
        faiss.omp_set_num_threads(before)
    return rows


def _spin() -> None:
    while True:
        pass


def table(rows: list[tuple[str, int, float, float]]) -> str:
    """Markdown."""
    lines = ["| method | queries at once | median ms | worst ms |", "|---|---|---|---|"]
    return "\n".join([*lines, *(f"| {name} | {count} | {mid:.1f} | {worst:.1f} |" for name, count, mid, worst in rows)])


def keep(folder: Path, rows: list[tuple[str, int, float, float]], busy: int, size: str) -> None:
    """faiss_threads.csv and faiss_threads.json (where it comes from)."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "faiss_threads.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(_COLUMNS)
        writer.writerows([name, count, f"{mid:.6g}", f"{worst:.6g}", busy] for name, count, mid, worst in rows)
    import faiss

    content = provenance.collect(faiss=faiss.__version__, codes=size, busy_programs=busy)
    (folder / "faiss_threads.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


@click.command(help=__doc__.split("\n\n")[0])
@click.option("--rows", type=click.IntRange(min=1), default=10_000_000, show_default=True)
@click.option("--bits", type=click.IntRange(min=8), default=64, show_default=True)
@click.option("--queries", type=click.IntRange(min=2), default=32, show_default=True)
@click.option("--threads", type=click.IntRange(min=1), default=2, show_default=True)
@click.option("--rounds", type=click.IntRange(min=1), default=7, show_default=True)
@click.option("--busy", type=click.IntRange(min=0), default=0, show_default=True, help="Programs that compete.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Folder to keep the figures in.")
def main(rows: int, bits: int, queries: int, threads: int, rounds: int, busy: int, out: Path | None) -> None:
    rng = np.random.default_rng(0)
    codes = np.frombuffer(rng.bytes(rows * bits // 8), np.uint8).reshape(rows, bits // 8)
    asked = np.frombuffer(rng.bytes(queries * bits // 8), np.uint8).reshape(queries, bits // 8)
    spinning = [multiprocessing.Process(target=_spin, daemon=True) for _ in range(busy)]
    for process in spinning:
        process.start()
    try:
        found = measure(codes, asked, rounds, threads)
    finally:
        for process in spinning:
            process.terminate()
    if out:
        keep(out, found, busy, f"{rows} x {bits} bits")
    click.echo(table(found))


if __name__ == "__main__":
    main()
