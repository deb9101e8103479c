"""Exact Hamming search: queries a second of every backend, held against the speed at which memory can be read.

    python benchmarks/hamming.py [--case 10000000x64 ...] [--batches 1,100,1000] [--out benchmarks/results/hamming]
    python benchmarks/hamming.py --device cuda

Random codes from a fixed seed. Every method answers in every round, one after another, and the best of its rounds
counts: all have had the same chances of a quiet machine. A method that would take longer than --patience gets fewer
queries of a batch; how many stands in the file. Share of bandwidth is bytes of codes over seconds, over the speed at
which the same cores read the same codes and do nothing else. The same by CPU seconds of all threads says what a method
costs where other programs compete for the cores (not for a CUDA device). Memory is the most that the process held above
what it held before the method was built, and the codes, over the codes. Every exact answer's distances are compared.
"""

from __future__ import annotations

import csv
import gc
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import click
import hamming_peers as machine
import numpy as np
from hamming_peers import Peer, Search

from aecodec.bench import provenance
from aecodec.bench.memory import forget_peak, held_bytes, peak_bytes
from aecodec.contracts import AecodecError
from aecodec.data.files import make_folder, write_atomic

CASES = {
    "cpu": ("10000000x64", "1000000x256"),
    "cuda": ("1000000x64", "100000000x64", "1000000000x64", "100000000x256"),
}
BATCHES = {"cpu": "1,100,1000", "cuda": "1,64,4096"}
#: A method takes part in a batch with at least so many queries.
LEAST = 4
#: Seconds for which short calls are repeated in a round.
REPEATED = 0.25


@dataclass
class Row:
    """One method, case and batch. asked: queries of the batch that were really sent; seconds: for those, the best."""

    codes: int
    bits: int
    batch: int
    method: str
    asked: int
    seconds: float
    queries_per_s: float
    distances_per_s: float
    share_of_bandwidth: float
    queries_per_cpu_s: float | None
    share_of_cpu_bandwidth: float | None
    build_s: float
    memory: float | None


@dataclass
class Entrant:
    """A peer that was built. memory: the most it held, codes included, over the codes."""

    peer: Peer
    search: Search
    build_s: float
    memory: float | None = None


def make_codes(count: int, bits: int, seed: int) -> np.ndarray:
    """(count, bits / 8) uint8, every bit a fair coin."""
    rng = np.random.Generator(np.random.SFC64(seed))
    whole = -(-count * bits // 64)
    return rng.integers(0, 1 << 64, whole, np.uint64).view(np.uint8)[: count * bits // 8].reshape(count, bits // 8)


def enter(peer: Peer, codes: np.ndarray, queries: np.ndarray, k: int) -> Entrant:
    """Builds a peer and asks it once. A few codes go first: libraries are loaded and kernels compiled by then."""
    peer.build(codes[:1000])(queries[:1], 1)
    gc.collect()
    forget_peak()
    held = held_bytes()
    start = time.perf_counter()
    search = peer.build(codes)
    entrant = Entrant(peer, search, time.perf_counter() - start)
    search(queries[:1], k)
    peak = peak_bytes()
    entrant.memory = 1 + max(peak - held, 0) / codes.nbytes if peak and held else None
    return entrant


def timed(call: Callable[[], object], least: float = 0.0) -> tuple[float, float]:
    """Shortest seconds, and CPU seconds of all threads, of a call that is repeated for so many seconds at least."""
    best, best_cpu, end = np.inf, np.inf, time.perf_counter() + least
    while True:
        start, start_cpu = time.perf_counter(), time.process_time()
        call()
        best_cpu = min(best_cpu, time.process_time() - start_cpu)
        now = time.perf_counter()
        best = min(best, now - start)
        if now >= end:
            return float(best), float(best_cpu)


def agree(entrants: list[Entrant], queries: np.ndarray, k: int) -> None:
    """Raises ClickException if two methods give different distances."""
    answers = {e.peer.name: np.asarray(e.search(queries, k)[1]).astype(np.int64) for e in entrants}
    first, expected = next(iter(answers.items()))
    for name, found in answers.items():
        if not np.array_equal(found, expected):
            raise click.ClickException(f"{name} and {first} give different distances")


def run_case(device: str, count: int, bits: int, batches: list[int], k: int, rounds: int, patience: float) -> list[Row]:
    """All methods on codes of one size."""
    codes, queries = make_codes(count, bits, 0), make_codes(max(batches), bits, 1)
    bandwidth = machine.reading(codes) if device == "cpu" else None
    read, multiplied = (0.0, 0.0) if bandwidth else machine.device_floors(codes.nbytes)
    entrants = [enter(peer, codes, queries, k) for peer in machine.peers(device)]
    reference = [enter(Peer("native", machine.ours("native")), codes, queries, k)] if device == "cuda" else []
    agree([*reference, *entrants], queries[:LEAST], k)
    asked, best = {}, {}
    for entrant in entrants:
        each = timed(lambda entrant=entrant: entrant.search(queries[:LEAST], k))[0] / LEAST
        for batch in batches:
            # a device answers a batch at once: a part of it would tell nothing of the whole
            most = int(patience / each) if each * batch > patience and device == "cpu" else batch
            asked[entrant.peer.name, batch] = min(batch, max(most, LEAST))
    read_cpu = 0.0
    for turn in range(rounds):
        if bandwidth:
            both = timed(bandwidth, REPEATED)
            read, read_cpu = max(read, codes.nbytes / both[0]), max(read_cpu, codes.nbytes / both[1])
        for batch in batches:
            for entrant in entrants:
                key = entrant.peer.name, batch
                if turn and best[key][0] * (turn + 1) > 4 * patience:
                    continue  # slow ones need no further rounds
                part = queries[: asked[key]]
                both = timed(lambda entrant=entrant, part=part: entrant.search(part, k), REPEATED)
                before = best.get(key, (np.inf, np.inf))
                best[key] = min(before[0], both[0]), min(before[1], both[1])
    rows = [
        _row(count, bits, batch, "reading memory", batch, count * bits / 8 / read, None, read, None) for batch in (1,)
    ]
    if bandwidth:
        rows[0].queries_per_cpu_s, rows[0].share_of_cpu_bandwidth = read_cpu / codes.nbytes, 1.0
    if multiplied:
        rows += [
            _row(count, bits, b, "tensor cores", b, 2 * count * bits * b / multiplied, None, read, None)
            for b in batches
        ]
    for batch in batches:
        for entrant in entrants:
            n, (seconds, cpu) = asked[entrant.peer.name, batch], best[entrant.peer.name, batch]
            row = _row(count, bits, batch, entrant.peer.name, n, seconds, cpu if bandwidth else None, read, read_cpu)
            row.build_s, row.memory = entrant.build_s, entrant.memory
            rows.append(row)
    return rows


def _row(
    count: int,
    bits: int,
    batch: int,
    name: str,
    asked: int,
    seconds: float,
    cpu: float | None,
    read: float,
    read_cpu: float | None,
) -> Row:
    nbytes = count * bits / 8
    return Row(
        count,
        bits,
        batch,
        name,
        asked,
        seconds,
        asked / seconds,
        count * asked / seconds,
        nbytes / seconds / read,
        asked / cpu if cpu else None,
        nbytes / cpu / read_cpu if cpu and read_cpu else None,
        0.0,
        1.0,
    )


def table(rows: list[Row]) -> str:
    """Markdown; ratios are of queries a second, and a CPU second, to the best faiss of the same case and batch."""
    lines = [
        "| codes | batch | method | queries/s | distances/s | of bandwidth (CPU) | over best faiss (CPU) | build s "
        "| memory |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for r in rows:
        peers = [
            o for o in rows if (o.codes, o.bits, o.batch) == (r.codes, r.bits, r.batch) and o.method.startswith("faiss")
        ]
        ratio = f"{r.queries_per_s / max(o.queries_per_s for o in peers):.2f}" if peers else ""
        if peers and r.queries_per_cpu_s:
            ratio += f" ({r.queries_per_cpu_s / max(o.queries_per_cpu_s or 0 for o in peers):.2f})"
        memory = f"{r.memory:.2f}" if r.memory is not None else ""
        share = f"{r.share_of_bandwidth:.1%}" if r.batch == 1 else ""
        if share and r.share_of_cpu_bandwidth:
            share += f" ({r.share_of_cpu_bandwidth:.1%})"
        lines.append(
            f"| {r.codes:.0e} x {r.bits} | {r.batch} | {r.method} | {r.queries_per_s:,.1f} | {r.distances_per_s:.3g} "
            f"| {share} | {ratio} | {r.build_s:.2f} | {memory} |"
        )
    return "\n".join(lines)


def keep(folder: Path, device: str, rows: list[Row], options: dict[str, object]) -> None:
    """DEVICE.csv, DEVICE.md and DEVICE.json (where they come from)."""
    make_folder(folder)
    text = folder / f"{device}.csv"
    with text.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([f.name for f in fields(Row)])
        for row in rows:
            writer.writerow([f"{v:.6g}" if isinstance(v, float) else v for v in asdict(row).values()])
    write_atomic(folder / f"{device}.md", f"{table(rows)}\n".encode(), overwrite=True)
    content = json.dumps(provenance.collect(device=describe(device), **options), indent=1, ensure_ascii=False) + "\n"
    write_atomic(folder / f"{device}.json", content.encode(), overwrite=True)


def describe(device: str) -> str:
    """The device's name, for a CUDA device as the driver tells it."""
    if device == "cpu":
        return f"{machine.cores()} cores"
    import torch

    return str(torch.cuda.get_device_name())


def parse_case(text: str) -> tuple[int, int]:
    """ "10000000x64" -> codes, bits."""
    try:
        count, bits = (int(part) for part in text.lower().split("x"))
    except ValueError:
        raise click.BadParameter(f"expected CODESxBITS, got {text!r}") from None
    if count < 1 or bits < 8 or bits % 8:
        raise click.BadParameter(f"at least one code of a multiple of 8 bits, got {text!r}")
    return count, bits


@click.command(help=__doc__.split("\n\n")[0])
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True)
@click.option("--case", "cases", multiple=True, help="CODESxBITS; repeatable.")
@click.option("--batches", help="Queries at a time, with commas.")
@click.option("-k", type=click.IntRange(min=1), default=10, show_default=True)
@click.option("--rounds", type=click.IntRange(min=1), default=7, show_default=True)
@click.option("--patience", type=float, default=3.0, show_default=True, help="Seconds that one batch may take.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Folder to keep the figures in.")
def main(
    device: str, cases: tuple[str, ...], batches: str | None, k: int, rounds: int, patience: float, out: Path | None
) -> None:
    try:
        sizes = [int(part) for part in (batches or BATCHES[device]).split(",")]
    except ValueError:
        raise click.BadParameter(f"expected numbers separated by commas, got {batches!r}") from None
    rows: list[Row] = []
    try:
        for count, bits in [parse_case(text) for text in cases or CASES[device]]:
            rows += run_case(device, count, bits, sizes, k, rounds, patience)
            if out:
                keep(out, device, rows, {"k": k, "rounds": rounds, "patience_s": patience})
    except AecodecError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{describe(device)}, k = {k}, best of {rounds} rounds\n")
    click.echo(table(rows))


if __name__ == "__main__":
    main()
