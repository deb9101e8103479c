"""Time and memory of compressing and decompressing one large picture with the command line.

    python benchmarks/large_picture.py PHOTOS SIDE_IN_PIXELS [--jobs 1,2] [--threads 1] [--out FOLDER]

The picture is a mosaic of photographs, written as PPM. Memory is the peak of the whole process, the picture included
(read from /proc, so on Linux).
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
import numpy as np

from aecodec.bench import provenance
from aecodec.bench.measurements import pictures_in, read_rgb

#: The process reads its own high-water mark: what the system reports to a parent begins with the parent's own.
PROBE = """
import sys, time
from aecodec.bench.memory import peak_bytes
from aecodec.cli import run
code = run(sys.argv[1:])
print(time.process_time(), peak_bytes())
sys.exit(code)
"""


def write_mosaic(photos: list[np.ndarray], width: int, height: int, path: Path) -> None:
    """A PPM of (height, width) pixels, row of photographs by row, never whole in memory."""
    rng = np.random.default_rng(0)
    tall = min(photo.shape[0] for photo in photos)
    with path.open("wb") as file:
        file.write(b"P6\n%d %d\n255\n" % (width, height))
        for top in range(0, height, tall):
            across: list[np.ndarray] = []
            while sum(photo.shape[1] for photo in across) < width:
                across.append(photos[rng.integers(len(photos))][:tall])
            file.write(np.concatenate(across, axis=1)[: min(tall, height - top), :width].tobytes())


def run(*arguments: str) -> tuple[float, float, float]:
    """One command of ours -> seconds on the clock, of CPU, and MiB at its peak."""
    begin = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", PROBE, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise click.ClickException(f"aecodec {' '.join(arguments)} failed: {done.stderr}")
    cpu, peak = done.stdout.split()[-2:]
    return time.perf_counter() - begin, float(cpu), float(peak) / 2**20


@click.command(help=__doc__.split("\n\n")[0])
@click.argument("photos", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("side", type=click.IntRange(64))
@click.option("--jobs", default="1", show_default=True, help="Values of -j, with commas.")
@click.option("--threads", help="Value of --threads; default: torch's, or what -j leaves.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Folder to keep the figures in.")
def main(photos: Path, side: int, jobs: str, threads: str | None, out: Path | None) -> None:
    pictures = [np.asarray(read_rgb(path)) for path in pictures_in(photos, None)]
    lines = ["| megapixels | command | -j | seconds | CPU seconds | peak MiB |", "|---|---|---|---|---|---|"]
    with tempfile.TemporaryDirectory() as folder:
        source, file, back = (str(Path(folder) / name) for name in ("big.ppm", "big.aec", "big.png"))
        write_mosaic(pictures, side, side, Path(source))
        common = ["-f", "--max-pixels", str(side * side), *(["--threads", threads] if threads else [])]
        for count in jobs.split(","):
            for name, arguments in (
                ("compress", (source, "-o", file, "--effort", "1")),
                ("decompress", (file, "-o", back)),
            ):
                wall, cpu, peak = run(name, *arguments, "-j", count, *common)
                lines.append(f"| {side * side / 1e6:.0f} | {name} | {count} | {wall:.1f} | {cpu:.1f} | {peak:.0f} |")
                click.echo(lines[-1])
    if out:
        out.mkdir(parents=True, exist_ok=True)
        stem = f"large_picture_{side}"
        (out / f"{stem}.md").write_text("\n".join(lines) + "\n")
        (out / f"{stem}.json").write_text(json.dumps(provenance.collect(side=side), indent=1) + "\n")


if __name__ == "__main__":
    main()
