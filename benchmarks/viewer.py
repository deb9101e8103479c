"""What a picture costs in a browser, beside the same file decompressed by the command, in one run.

    scripts/build_web && python benchmarks/viewer.py PICTURE... [--runs 3] [--wall 4000x3000] [--out FOLDER]

Each picture is compressed, and then decoded in turns by `aecodec decompress` as a whole process with one thread, and
by the page of one file in Chromium without a window: once in a browser that was just started ("first": the runtime
and the model are fetched, compiled and opened within the time), and once more in the same page ("again"). The page
has one thread and no WebGPU. --wall adds a picture of that size, made of all the pictures side by side. Seconds are
those of the processors, which other programs hardly lengthen, and those on the clock, which they do; memory is the
peak of the one process that decodes. Medians of the rounds are kept. Needs Chromium and Linux.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from chromium import Browser, PageError
from PIL import Image
from processes import Cost, run
from served import served

from aecodec.bench import provenance
from aecodec.bench.measurements import write_records
from aecodec.coding.container import parse_header
from aecodec.viewer.models import decoder_part, file_name
from aecodec.zoo.registry import find_fingerprint

DIST = Path(__file__).resolve().parents[1] / "aecodec" / "web" / "dist"
COLUMNS = ("picture", "megapixels", "bytes", "decoder", "runs", "wall_s", "cpu_s", "peak_mib")
DECODERS = ("aecodec decompress", "browser, first", "browser, again")
TICKS = os.sysconf("SC_CLK_TCK")
#: No decoding takes longer, in seconds.
PATIENCE = 3600
REFUSED = "document.querySelector('[role=alert]')?.textContent ?? ''"
DONE = "document.querySelector('[role=status]').textContent.includes('decoded in')"
#: Gives the page its file once more, as if it was dropped.
AGAIN = """fetch(new URLSearchParams(location.search).get("file")).then((answer) => answer.blob()).then((file) => {
    const taken = new DataTransfer();
    taken.items.add(new File([file], "again.aec"));
    document.querySelector("[role=status]").textContent = "";
    document.body.dispatchEvent(new DragEvent("drop", { dataTransfer: taken, bubbles: true, cancelable: true }));
})"""


def wall_of(pictures: list[Path], width: int, height: int) -> Image.Image:
    """A picture of a size, made of pictures side by side, again and again, in rows as high as the first is."""
    tiles = [Image.open(path).convert("RGB") for path in pictures]
    whole = Image.new("RGB", (width, height))
    left = top = number = 0
    while top < height:
        tile = tiles[number % len(tiles)]
        whole.paste(tile, (left, top))
        left, number = left + tile.width, number + 1
        if left >= width:
            left, top = 0, top + tiles[0].height
    return whole


def family_of(process: int) -> list[int]:
    """A process and all that descend from it."""
    parents = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(folder.name)] = int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1])
        except (OSError, IndexError):
            continue
    found = [process]
    for one in found:
        found += [child for child, parent in parents.items() if parent == one]
    return found


def spent(browser: Browser) -> tuple[float, float]:
    """CPU seconds of a browser so far, and the MiB that the largest of its processes held at most."""
    seconds, peak = 0.0, 0.0
    for process in family_of(browser.process):
        try:
            fields = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
            status = Path(f"/proc/{process}/status").read_text()
        except OSError:
            continue
        seconds += (int(fields[11]) + int(fields[12])) / TICKS
        held = re.search(r"VmHWM:\s*(\d+)", status)
        peak = max(peak, int(held.group(1)) / 1024 if held else 0.0)
    return seconds, peak


def cost_of(browser: Browser, act: Callable[[], Any]) -> Cost:
    """What it costs a browser until its page has decoded what an act begins."""
    before, begin = spent(browser)[0], time.perf_counter()
    act()
    while not browser.evaluate(DONE):
        if told := browser.evaluate(REFUSED):
            raise PageError(told)
        if time.perf_counter() - begin > PATIENCE:
            raise PageError("a picture was not decoded in time")
        time.sleep(0.02)
    wall = time.perf_counter() - begin
    after, peak = spent(browser)
    return Cost(wall, after - before, peak)


def measure(picture: Path, site: Path, runs: int, quality: int) -> list[dict[str, Any]]:
    """A record for each decoder. site: a folder with what scripts/build_web made."""
    file, back = site / "picture.aec", site / "back.png"
    command = [sys.executable, "-m", "aecodec"]
    options = ["-q", str(quality), "--threads", "1", "--effort", "1", "-f"]
    run([*command, "compress", str(picture), "-o", str(file), *options])
    data = file.read_bytes()
    header, _ = parse_header(data)
    model = site / "models" / file_name(header.fingerprint)
    model.parent.mkdir(exist_ok=True)
    model.write_bytes(decoder_part(find_fingerprint(header.fingerprint, header.model)))
    costs: dict[str, list[Cost]] = {name: [] for name in DECODERS}
    for _ in range(runs):
        costs[DECODERS[0]].append(run([*command, "decompress", str(file), "-o", str(back), "--threads", "1", "-f"]))
        with tempfile.TemporaryDirectory() as profile, Browser(Path(profile)) as browser, served(site) as url:
            address = f"{url}index.html?file=picture.aec"
            costs[DECODERS[1]].append(cost_of(browser, lambda: browser.go(address)))  # noqa: B023 (called at once)
            costs[DECODERS[2]].append(cost_of(browser, lambda: browser.evaluate(AGAIN)))
    back.unlink()
    return [
        {
            "picture": picture.stem,
            "megapixels": round(header.width * header.height / 1e6, 2),
            "bytes": len(data),
            "decoder": name,
            "runs": runs,
            **{key: statistics.median(getattr(cost, key) for cost in found) for key in ("wall_s", "cpu_s", "peak_mib")},
        }
        for name, found in costs.items()
    ]


def table(records: list[dict[str, Any]]) -> str:
    """Markdown: a row for each picture and decoder."""
    lines = ["| picture | megapixels | decoder | CPU s | wall s | peak MiB |", "|---|---|---|---|---|---|"]
    for row in records:
        lines.append(
            f"| {row['picture']} | {row['megapixels']:.1f} | {row['decoder']} | {row['cpu_s']:.1f} "
            f"| {row['wall_s']:.1f} | {row['peak_mib']:.0f} |"
        )
    return "\n".join(lines)


def chromium_version() -> str:
    """What the browser calls itself."""
    with tempfile.TemporaryDirectory() as profile, Browser(Path(profile)) as browser:
        return str(browser.evaluate("navigator.userAgent.match(/Chrom\\S+/)[0]"))


@click.command(help=__doc__.split("\n\n")[0])
@click.argument("pictures", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--runs", type=click.IntRange(1), default=3, show_default=True, help="Rounds of each picture.")
@click.option("--quality", type=click.IntRange(0, 100), default=50, show_default=True, help="Of the files.")
@click.option("--wall", metavar="WIDTHxHEIGHT", help="Measure a picture made of them as well.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), default=Path("benchmarks/results/viewer"))
def main(pictures: tuple[Path, ...], runs: int, quality: int, wall: str | None, out: Path) -> None:
    if not DIST.is_dir():
        raise click.ClickException("the viewer is not built: scripts/build_web")
    chosen = list(pictures[:1] if wall else pictures)
    with tempfile.TemporaryDirectory() as folder:
        site = Path(folder) / "site"
        shutil.copytree(DIST, site)
        if wall:
            width, height = map(int, wall.split("x"))
            chosen.append(Path(folder) / "wall.png")
            wall_of(list(pictures), width, height).save(chosen[-1])
        try:
            records = [record for picture in chosen for record in measure(picture, site, runs, quality)]
        except PageError as error:
            raise click.ClickException(str(error)) from error
    text = table(records)
    click.echo(text)
    out.mkdir(parents=True, exist_ok=True)
    write_records(out / "viewer.csv", COLUMNS, records)
    (out / "viewer.md").write_text(text + "\n", encoding="utf-8")
    found = provenance.collect(runs=runs, quality=quality, threads=1, browser=chromium_version())
    (out / "viewer.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
