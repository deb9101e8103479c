"""What compressing and decompressing a picture costs as whole processes, ours and others', in one run.

    python benchmarks/processes.py [--pictures FOLDER] [--runs 7] [--quality 50] [--out FOLDER]

A process is started for each picture and step, and reads and writes files: libraries and weights are loaded within the
time. Pictures come from PNG files and go back to PNG. Each has one thread. Files of the others are the largest that are
no larger than ours: their quality is searched before anything is timed. The processes take turns, and medians of the
rounds are kept. Peer programs are measured where they are on PATH, the engine torch where torch is installed.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click

from aecodec.bench import provenance
from aecodec.bench.measurements import pictures_in, read_rgb, write_records
from aecodec.contracts import AecodecError

SAMPLES = Path(__file__).resolve().parents[1] / "scripts" / "samples"
#: Levels that refine.
EFFORTS = (2, 3, 4, 5)
STEPS = ("encode", "decode")
COLUMNS = ("picture", "process", "step", "quality", "runs", "wall_s", "cpu_s", "peak_mib", "bytes")
#: Starts a command and tells of it: seconds on the clock, CPU seconds, bytes at its peak, exit code. A process of its
#: own, since the peak that the system reports of a child begins with that of whoever started it: this one is small.
LAUNCHER = """
import os, sys, time
begin = time.perf_counter()
child = os.posix_spawnp(sys.argv[1], sys.argv[1:], os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, 2, 1)])
_, status, used = os.wait4(child, 0)
wall = time.perf_counter() - begin
peak = used.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
print(wall, used.ru_utime + used.ru_stime, peak, os.waitstatus_to_exitcode(status))
"""
AVIF_ENCODE = """
import sys
from PIL import Image
source, target, quality = sys.argv[1:]
options = {"codec": "aom", "speed": 4, "subsampling": "4:4:4", "advanced": {"tune": "psnr"}, "max_threads": 1}
Image.open(source).save(target, quality=int(quality), **options)
"""
AVIF_DECODE = """
import sys
from PIL import AvifImagePlugin, Image
AvifImagePlugin.DEFAULT_MAX_THREADS = 1
Image.open(sys.argv[1]).save(sys.argv[2])
"""


@dataclass(frozen=True)
class Process:
    """A codec as commands. encode, decode: words, of which {source}, {target} and {quality} are filled in."""

    name: str
    suffix: str
    encode: tuple[str, ...]
    decode: tuple[str, ...]
    quality: int = 50

    def command(self, step: str, source: Path, target: Path) -> list[str]:
        """The words of a step."""
        filled = {"{source}": str(source), "{target}": str(target), "{quality}": str(self.quality)}
        return [filled.get(word, word) for word in getattr(self, step)]


def ours(engine: str, effort: int = 1) -> Process:
    """The command line with an engine and a level of effort."""
    command = (sys.executable, "-m", "aecodec")
    common = ("{source}", "-o", "{target}", "--engine", engine, "--device", "cpu", "--threads", "1", "-f")
    return Process(
        f"aecodec, {engine}" + (f", effort {effort}" if effort > 1 else ""),
        ".aec",
        (*command, "compress", *common, "-q", "{quality}", "--effort", str(effort)),
        (*command, "decompress", *common),
    )


def peers() -> list[Process]:
    """Pillow's AVIF in a fresh Python, and the programs that are on PATH."""
    python = (sys.executable, "-c")
    found = [
        Process(
            "AVIF, Pillow",
            ".avif",
            (*python, AVIF_ENCODE, "{source}", "{target}", "{quality}"),
            (*python, AVIF_DECODE, "{source}", "{target}"),
        )
    ]
    cjxl = ("cjxl", "{source}", "{target}", "-q", "{quality}", "-e", "7", "--num_threads=0", "--quiet")
    avifenc = ("avifenc", "-q", "{quality}", "-s", "4", "-y", "444", "-j", "1", "{source}", "{target}")
    programs = [
        Process("JPEG XL, cjxl", ".jxl", cjxl, ("djxl", "{source}", "{target}", "--num_threads=0", "--quiet")),
        Process("AVIF, avifenc", ".avif", avifenc, ("avifdec", "-j", "1", "{source}", "{target}")),
    ]
    return found + [each for each in programs if all(shutil.which(words[0]) for words in (each.encode, each.decode))]


@dataclass(frozen=True)
class Cost:
    """Of one process: seconds on the clock, CPU seconds of it and its children, MiB at its peak."""

    wall_s: float
    cpu_s: float
    peak_mib: float


def run(command: list[str]) -> Cost:
    """Start a process and wait for it. Raises ClickException if it fails."""
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", LAUNCHER, *command],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    told = done.stdout.split()
    if done.returncode or told[-1] != "0":
        raise click.ClickException(f"{' '.join(command[:4])} failed: {done.stderr.strip()}")
    wall, cpu, peak = map(float, told[:3])
    return Cost(wall, cpu, peak / 2**20)


def fitting(process: Process, source: Path, target: Path, limit: int) -> Process:
    """With the highest quality from 0 to 100 whose file has at most so many bytes, 0 if there is none."""
    low, high = 0, 100
    while low < high:
        middle = (low + high + 1) // 2
        run(replace(process, quality=middle).command("encode", source, target))
        low, high = (middle, high) if target.stat().st_size <= limit else (low, middle - 1)
    return replace(process, quality=low)


def measure(picture: Path, quality: int, runs: int, folder: Path) -> list[dict[str, Any]]:
    """A record for each process and step on one picture, medians of the rounds. folder: for files."""
    source, file = folder / "source.png", folder / "first.aec"
    read_rgb(picture).save(source)
    mine = [ours("onnx"), *(ours("onnx", effort) for effort in EFFORTS)]
    if find_spec("torch"):
        mine.append(ours("torch"))
    mine = [replace(each, quality=quality) for each in mine]
    run(mine[0].command("encode", source, file))
    limit = file.stat().st_size
    others = [fitting(each, source, folder / f"trial{each.suffix}", limit) for each in peers()]
    costs: dict[tuple[Process, str], list[Cost]] = {}
    sizes: dict[Process, int] = {}
    for _ in range(runs):
        for number, process in enumerate([*mine, *others]):
            file, back = folder / f"{number}{process.suffix}", folder / "back.png"
            places = {"encode": (source, file), "decode": (file, back)}
            for step in STEPS:
                costs.setdefault((process, step), []).append(run(process.command(step, *places[step])))
                back.unlink(missing_ok=True)
            sizes[process] = file.stat().st_size
    return [
        {
            "picture": picture.stem,
            "process": process.name,
            "step": step,
            "quality": process.quality,
            "runs": runs,
            **{
                name: statistics.median(getattr(cost, name) for cost in found)
                for name in ("wall_s", "cpu_s", "peak_mib")
            },
            "bytes": sizes[process],
        }
        for (process, step), found in costs.items()
    ]


def table(records: list[dict[str, Any]]) -> str:
    """Markdown: a row for each process and step, means over pictures."""
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for step in STEPS:
        for record in records:
            if record["step"] == step:
                groups.setdefault((step, record["process"]), []).append(record)
    lines = ["| step | process | wall s | CPU s | peak MiB | file bytes |", "|---|---|---|---|---|---|"]
    for (step, name), rows in groups.items():
        wall, cpu, peak, size = (
            statistics.mean(float(row[key]) for row in rows) for key in ("wall_s", "cpu_s", "peak_mib", "bytes")
        )
        lines.append(f"| {step} | {name} | {wall:.2f} | {cpu:.2f} | {peak:.0f} | {size:,.0f} |")
    return "\n".join(lines)


@click.command(help=__doc__.split("\n\n")[0])
@click.option(
    "--pictures",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=SAMPLES,
    help="Folder of pictures; the samples unless given.",
)
@click.option("--runs", type=click.IntRange(1), default=7, show_default=True, help="Rounds of each picture.")
@click.option("--quality", type=click.IntRange(0, 100), default=50, show_default=True, help="Of our files.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), default=Path("benchmarks/results/processes"))
def main(pictures: Path, runs: int, quality: int, out: Path) -> None:
    records: list[dict[str, Any]] = []
    try:
        for picture in pictures_in(pictures):
            with tempfile.TemporaryDirectory() as folder:
                records += measure(picture, quality, runs, Path(folder))
    except AecodecError as error:
        raise click.ClickException(str(error)) from error
    text = table(records)
    click.echo(text)
    out.mkdir(parents=True, exist_ok=True)
    write_records(out / "processes.csv", COLUMNS, records)
    (out / "processes.md").write_text(text + "\n", encoding="utf-8")
    found = provenance.collect(runs=runs, quality=quality, threads=1, programs=programs())
    (out / "processes.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def programs() -> dict[str, str]:
    """The peer programs that were measured, with the first line of what they say of their version."""
    names = [each.encode[0] for each in peers() if each.encode[0] != sys.executable]
    said = {name: subprocess.run([name, "--version"], capture_output=True, text=True, check=False) for name in names}
    return {name: (done.stdout.strip().splitlines() or [""])[0] for name, done in said.items()}


if __name__ == "__main__":
    main()
