"""How long `aecodec info` takes, as a ratio to `python -c "import PIL"` in the same run.

python benchmarks/info_time.py [--runs 25] [--out FOLDER]
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click

from aecodec.bench import provenance
from aecodec.coding.container import Header, SemanticHash, write

COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    'python -c "import PIL"': [sys.executable, "-c", "import PIL"],
    'python -c "import PIL.Image"': [sys.executable, "-c", "import PIL.Image"],
    "aecodec info": [sys.executable, "-m", "aecodec", "info"],
}


def sample() -> bytes:
    """A file of twelve megapixels as to its chunks: 12 tiles of 50 kB, a profile, Exif and a semantic hash."""
    header = Header(4000, 3000, 3, 500, "photo-tiny", bytes(8))
    semantic = SemanticHash("hash-tiny", bytes(8), bytes(16))
    return write(
        header, [bytes(range(250)) * 200] * 12, {"icc": bytes(3000), "exif": bytes(9000), "semantic_hash": semantic}
    )


def measure(runs: int) -> dict[str, list[float]]:
    """Seconds of each command, the commands taking turns."""
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "sample.aec"
        path.write_bytes(sample())
        for _ in range(runs):
            for name, command in COMMANDS.items():
                arguments = [*command, str(path)] if name == "aecodec info" else command
                begin = time.perf_counter()
                subprocess.run(arguments, check=True, stdout=subprocess.DEVNULL)
                times[name].append(time.perf_counter() - begin)
    return times


def table(times: dict[str, list[float]]) -> str:
    """Markdown: median and best of each command, and the ratio of medians to `import PIL`."""
    base = statistics.median(times['python -c "import PIL"'])
    lines = ["| command | median | best | ratio |", "|---|---|---|---|"]
    for name, values in times.items():
        middle = statistics.median(values)
        lines.append(f"| `{name}` | {1000 * middle:.0f} ms | {1000 * min(values):.0f} ms | {middle / base:.2f} |")
    return "\n".join(lines)


@click.command(help=__doc__.split("\n\n")[0])
@click.option("--runs", type=click.IntRange(1), default=25, show_default=True)
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Folder to keep the figures in.")
def main(runs: int, out: Path | None) -> None:
    text = table(measure(runs))
    click.echo(text)
    if out:
        out.mkdir(parents=True, exist_ok=True)
        (out / "info_time.md").write_text(text + "\n")
        (out / "info_time.json").write_text(json.dumps(provenance.collect(runs=runs), indent=1) + "\n")


if __name__ == "__main__":
    main()
