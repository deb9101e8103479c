"""What search that may miss hits, and tables for small radii, gain over an exact scan, on clustered codes.

    python benchmarks/hamming_recall.py PICTURES.npz [--codes 500000] [--out benchmarks/results/hamming]
    python benchmarks/hamming_recall.py PICTURES.npz --codes 10000000 --method multi-index --name radius

Codes: hashes of 64 bits of the training pictures (x_train of the .npz; ITQ fitted to 10,000 of them), then copies of
random ones with every bit flipped with probability 0.05, until there are as many as asked for. Queries: 1,000 hashes of
x_test. Every method has one thread; faiss is called as its documentation does. Recall is the share of the k hits that
are not farther than the true k-th. Radius searches are exact; the native scan answers the same radii. Queries are sent
in one batch, and 200 of them one by one; seconds are of CPU time, which other programs stretch least.
"""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import click
import numpy as np
from hamming import timed
from linear_hashers import LINEAR_HASHERS

from aecodec.bench import provenance
from aecodec.contracts import AecodecError
from aecodec.data.arrays import read_array
from aecodec.data.files import make_folder, write_atomic
from aecodec.index.multi_index import MultiIndexScanner
from aecodec.index.native import NativeScanner

BITS, K = 64, 10
FITTED, QUERIES, ALONE = 10_000, 1_000, 200
FLIPPED = 0.05
#: Seconds for which a call is repeated; the shortest counts.
REPEATED = 0.5
METHODS = ("faiss-ivf", "faiss-hnsw", "multi-index")
#: Links of a node of the graph, and the breadth of the search while it is built.
LINKS, EFFORT = 32, 80
PROBES, BREADTHS, RADII = (1, 4, 16, 64), (16, 64, 256), (0, 2, 4, 6, 8, 10)


@dataclass
class Row:
    """A method at one setting. recall: at k, or 1 for an exact radius search; found: hits per query."""

    method: str
    setting: str
    recall: float
    found: float
    batch_queries_per_s: float
    single_queries_per_s: float
    build_s: float


def real_codes(pictures: Path, count: int) -> tuple[np.ndarray, np.ndarray]:
    """(count, 8) and (QUERIES, 8) uint8."""
    rng = np.random.default_rng(0)
    train, test = (read_array(f"{pictures}:{member}") for member in ("x_train", "x_test"))
    hasher = LINEAR_HASHERS["ITQ"](train[rng.permutation(len(train))[:FITTED]], BITS, 0)
    codes, queries = hasher.hash(train), hasher.hash(test[rng.permutation(len(test))[:QUERIES]])
    more = max(count - len(codes), 0)
    copies = codes[rng.integers(0, len(codes), more)]
    for start in range(0, more, 1 << 16):
        part = copies[start : start + (1 << 16)]
        part ^= np.packbits(rng.random((len(part), BITS)) < FLIPPED, axis=1)
    return np.concatenate([codes, copies])[:count], queries


def speeds(call: Callable[[np.ndarray, int], Any], queries: np.ndarray, number: int) -> tuple[float, float]:
    """Queries a CPU second in one batch, and one by one. number: k, or the radius."""
    whole = len(queries) / timed(lambda: call(queries, number), REPEATED)[1]
    alone = timed(lambda: [call(queries[i : i + 1], number) for i in range(ALONE)], REPEATED)[1]
    return whole, ALONE / alone


def inverted_lists(codes: np.ndarray) -> Any:
    """faiss IndexBinaryIVF: only the codes of the lists whose centroids are nearest are looked at."""
    import faiss

    bits, lists = 8 * codes.shape[1], max(min(4 * int(len(codes) ** 0.5), len(codes) // 39), 1)
    index = faiss.IndexBinaryIVF(faiss.IndexBinaryFlat(bits), bits, lists)
    index.cp.min_points_per_centroid = 1  # keeps k-means from complaining about few codes
    index.train(codes)
    index.add(codes)
    return index


def graph(codes: np.ndarray) -> Any:
    """faiss IndexBinaryHNSW (Malkov and Yashunin 2018): a walk through a graph of neighbours."""
    import faiss

    index = faiss.IndexBinaryHNSW(8 * codes.shape[1], LINKS)
    index.hnsw.efConstruction = EFFORT
    index.add(codes)
    return index


def nearest(codes: np.ndarray, queries: np.ndarray, methods: tuple[str, ...]) -> Iterator[Row]:
    """The K nearest by the exact scan, and by faiss at each breadth of its search."""
    native = NativeScanner(codes, threads=1)
    last = native.search(queries, K)[1][:, -1:]
    yield Row("native", "exact", 1.0, K, *speeds(native.search, queries, K), 0.0)
    for name, build, breadths in (("faiss-ivf", inverted_lists, PROBES), ("faiss-hnsw", graph, BREADTHS)):
        if name not in methods:
            continue
        import faiss

        faiss.omp_set_num_threads(1)
        start = time.process_time()
        index = build(codes)
        seconds = time.process_time() - start
        for breadth in breadths:
            if name == "faiss-ivf":
                index.nprobe, setting = min(breadth, index.nlist), f"{breadth} lists"
            else:
                index.hnsw.efSearch, setting = breadth, f"breadth {breadth}"
            recall = float((index.search(queries, K)[0] <= last).mean())
            yield Row(name, setting, recall, K, *speeds(index.search, queries, K), seconds)


def within_radii(codes: np.ndarray, queries: np.ndarray) -> Iterator[Row]:
    """All hits within each radius by the exact scan and by tables."""
    start = time.process_time()
    tables = MultiIndexScanner(codes, threads=1)
    seconds = time.process_time() - start
    for radius in RADII:
        for name, scanner, build_s in (
            ("native", NativeScanner(codes, threads=1), 0.0),
            ("multi-index", tables, seconds),
        ):
            found = scanner.range_search(queries, radius)[0][-1] / len(queries)
            both = speeds(scanner.range_search, queries, radius)
            yield Row(name, f"radius {radius}", 1.0, float(found), *both, build_s)


def table(rows: list[Row]) -> str:
    lines = [
        "| method | setting | recall | hits | queries/CPU s in a batch | one by one | build CPU s |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {r.method} | {r.setting} | {r.recall:.4f} | {r.found:,.1f} | {r.batch_queries_per_s:,.0f} "
        f"| {r.single_queries_per_s:,.0f} | {r.build_s:.1f} |"
        for r in rows
    ]
    return "\n".join(lines)


@click.command(help=__doc__.split("\n\n")[0])
@click.argument("pictures", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--method", "methods", type=click.Choice(METHODS), multiple=True, default=METHODS, help="Repeatable.")
@click.option("--codes", "count", type=click.IntRange(min=K), default=500_000, show_default=True)
@click.option("--name", default="recall", show_default=True, help="Of the files of figures.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Folder to keep the figures in.")
def main(pictures: Path, methods: tuple[str, ...], count: int, name: str, out: Path | None) -> None:
    try:
        codes, queries = real_codes(pictures, count)
        rows = list(nearest(codes, queries, methods))
        rows += within_radii(codes, queries) if "multi-index" in methods else ()
    except AecodecError as error:
        raise click.ClickException(str(error)) from error
    click.echo(
        f"{len(codes):,} codes of {BITS} bits from {pictures.name}, {len(queries)} queries, k = {K}, one thread\n"
    )
    click.echo(table(rows))
    if out:
        make_folder(out)
        with (out / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow([f.name for f in fields(Row)])
            writer.writerows([f"{v:.6g}" if isinstance(v, float) else v for v in asdict(row).values()] for row in rows)
        write_atomic(out / f"{name}.md", f"{table(rows)}\n".encode(), overwrite=True)
        content = provenance.collect(pictures=pictures.name, codes=len(codes), k=K)
        text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
        write_atomic(out / f"{name}.json", text.encode(), overwrite=True)


if __name__ == "__main__":
    main()
