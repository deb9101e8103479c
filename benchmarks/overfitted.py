"""What files of `overfitted` cost and take: BD-rate against other codecs' kept points of the same pictures, at levels
of effort, with the CPU seconds of both ways and the bytes of the networks.

    python benchmarks/overfitted.py PICTURES [--only kodim01,kodim09] [--efforts 1,3] [--qualities 10,25,40,60]
        [--peers benchmarks/results/kodak/avif.csv ...] [--out FOLDER] [--name overfitted] [--plot]

An interrupted run goes on where it was: rows in FOLDER/NAME.csv of the same format, quality, level and picture stay.
Peers are compared on the pictures that were measured here, not on all of theirs: by BD-rate where there are four
points, and by the cost that fits lower, bits per pixel + lambda x squared error. --plot draws that cost over the one of
the first peer, against iterations.
"""

from __future__ import annotations

import json
import math
import statistics
from pathlib import Path
from typing import Any

import click
from effort import numbers_in

from aecodec.bench import provenance
from aecodec.bench.codecs import FileCodec
from aecodec.bench.measurements import Measurement, append_row, measure, pictures_in, read_rows, write_rows
from aecodec.bench.peers.aec import file_codec
from aecodec.bench.tables import curve, summarise
from aecodec.codec.overfitted import OverfittedCodec, trade_of
from aecodec.codec.quality import step_of
from aecodec.coding import container
from aecodec.contracts import AecodecError
from aecodec.metrics import BdRateError, bd_rate
from aecodec.metrics.bd_rate import FEWEST_POINTS
from aecodec.overfitted.fitting import ITERATIONS
from aecodec.overfitted.weights import unpack


def at_level(effort: int, qualities: tuple[float, ...], taken: list[int]) -> FileCodec:
    """The family at one level of effort, which notes what the networks of each file take."""
    codec = OverfittedCodec()

    def encode(image: Any, quality: float) -> bytes:
        data = codec.encode(image, quality=quality, effort=effort)
        taken.append(sum(unpack(tile)[1] for tile in container.parse(data).tiles))
        return data

    base = file_codec(codec)
    settings = f"{base.settings}, effort {effort}"
    name = f"overfitted-effort{effort}"
    return FileCodec(name, settings, base.version, qualities, encode, base.decode, integer=False)


def key_of(row: Measurement) -> str:
    """What the bytes of a file's networks are kept under."""
    return f"{row.codec} {row.quality:g} {row.image}"


def keep(record: Path, codec: FileCodec, networks: dict[str, int]) -> None:
    """Where the figures come from, and the bytes of the networks."""
    content = provenance.collect(
        codec="overfitted", settings=codec.settings, version=codec.version, network_bytes=networks
    )
    record.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def run(
    levels: list[FileCodec], pictures: list[Path], path: Path | None, taken: list[int], networks: dict[str, int]
) -> list[Measurement]:
    """Measure what the result file lacks, row by row -> the rows of these levels, qualities and pictures."""
    rows: dict[tuple, Measurement] = {}
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = {row.key: row for row in read_rows(path)} if path.exists() else {}
        write_rows(path, rows.values())
    wanted = []
    for codec in levels:
        for picture in pictures:
            for quality in codec.qualities:
                key = (codec.name, codec.version, quality, picture.stem)
                wanted.append(key)
                if key in rows:
                    continue
                rows[key] = measure(codec, picture, quality)
                networks[key_of(rows[key])] = taken[-1]
                if path is not None:
                    append_row(path, rows[key])
                    keep(path.with_suffix(".json"), codec, networks)
                click.echo(f"{codec.name}, {quality:g}, {picture.stem}: {rows[key].bytes} bytes", err=True)
    return [rows[key] for key in wanted]


def against(mine: list[Measurement], peer: Path) -> str:
    """The BD-rate against a codec whose points of the same pictures are kept."""
    pictures = {row.image for row in mine}
    theirs = [row for row in read_rows(peer) if row.image in pictures]
    try:
        return f"{bd_rate(curve(summarise(theirs)), curve(summarise(mine))):+.1f} %"
    except BdRateError as error:
        return f"n/a: {error}"


def share_of_networks(rows: list[Measurement], networks: dict[str, int]) -> str:
    """Of all bytes of the files whose networks are known."""
    known = [row for row in rows if key_of(row) in networks]
    if not known:
        return "n/a"
    return f"{sum(networks[key_of(row)] for row in known) / sum(row.bytes for row in known):.0%}"


def table(levels: dict[int, FileCodec], rows: list[Measurement], peers: list[Path], networks: dict[str, int]) -> str:
    """Markdown, a line for each level."""
    peers = peers if all(len(codec.qualities) >= FEWEST_POINTS for codec in levels.values()) else []
    heads = [f"against {peer.stem}" for peer in peers]
    columns = ["effort", "iterations", *heads, "networks", "encode, CPU s per picture", "decode, CPU s"]
    lines = [f"| {' | '.join(columns)} |", "|" + "---|" * len(columns)]
    for effort, codec in levels.items():
        mine = [row for row in rows if row.codec == codec.name]
        encode, decode = (
            statistics.median(getattr(row, name) for row in mine) for name in ("encode_cpu_s", "decode_cpu_s")
        )
        found = [against(mine, peer) for peer in peers]
        cells = [str(effort), str(ITERATIONS[effort]), *found, share_of_networks(mine, networks)]
        cells += [f"{encode:.0f}", f"{decode:.2f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def cost_of(row: Measurement, trade: float) -> float:
    """Bits per pixel + lambda x squared error."""
    return row.bpp + trade * 10.0 ** (-row.scores["psnr"] / 10.0)


def lowest_cost(peer: Path, images: list[str], trade: float) -> float:
    """Of another codec, at the best of its kept qualities for each picture: the mean. NaN for what it lacks."""
    rows = read_rows(peer)
    return statistics.fmean(
        min((cost_of(row, trade) for row in rows if row.image == image), default=math.nan) for image in images
    )


def means(codec: FileCodec, rows: list[Measurement], quality: float) -> tuple[float, float, float, list[str]]:
    """Of a level at a quality: bpp, PSNR, cost, and the pictures."""
    mine = [row for row in rows if (row.codec, row.quality) == (codec.name, quality)]
    trade = trade_of(step_of(quality))
    found = ((row.bpp, row.scores["psnr"], cost_of(row, trade)) for row in mine)
    bpp, psnr, cost = (statistics.fmean(column) for column in zip(*found, strict=True))
    return bpp, psnr, cost, [row.image for row in mine]


def points(levels: dict[int, FileCodec], rows: list[Measurement], peers: list[Path]) -> str:
    """Markdown, a line for each level and quality: means over pictures."""
    columns = [
        "effort",
        "iterations",
        "quality",
        "bpp",
        "PSNR",
        "cost",
        *(f"lowest cost of {peer.stem}" for peer in peers),
    ]
    lines = [f"| {' | '.join(columns)} |", "|" + "---|" * len(columns)]
    for effort, codec in levels.items():
        for quality in codec.qualities:
            bpp, psnr, cost, images = means(codec, rows, quality)
            costs = [cost, *(lowest_cost(peer, images, trade_of(step_of(quality))) for peer in peers)]
            cells = [str(effort), str(ITERATIONS[effort]), f"{quality:g}", f"{bpp:.3f}", f"{psnr:.2f}"]
            cells += [f"{cost:.4f}" for cost in costs]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def draw(levels: dict[int, FileCodec], rows: list[Measurement], peer: Path, out: Path) -> None:
    """The cost over that of a peer, a line for each quality, against iterations."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4.2), layout="constrained")
    for quality in next(iter(levels.values())).qualities:
        heights = []
        for codec in levels.values():
            _, _, cost, images = means(codec, rows, quality)
            heights.append(100.0 * (cost / lowest_cost(peer, images, trade_of(step_of(quality))) - 1.0))
        axes.plot([ITERATIONS[effort] for effort in levels], heights, marker="o", label=f"quality {quality:g}")
    axes.axhline(0.0, color="black", linewidth=1.0)
    axes.set(xscale="log", xlabel="iterations", ylabel=f"cost over that of {peer.stem}, %")
    axes.legend()
    figure.savefig(out, dpi=110)
    pyplot.close(figure)


@click.command(help=__doc__.split("\n\n")[0])
@click.argument("pictures", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--only", help="Only these pictures: names without suffix, with commas.")
@click.option("--efforts", default="1", show_default=True, help="Levels, with commas.")
@click.option("--qualities", default="10,25,40,60", show_default=True, help="Numbers from 0 to 100, with commas.")
@click.option(
    "--peers", multiple=True, type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Kept points."
)
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Folder to keep the figures in.")
@click.option("--name", default="overfitted", show_default=True, help="Of the files in that folder.")
@click.option("--plot", is_flag=True, help="Draw the cost against iterations.")
def main(
    pictures: Path,
    only: str | None,
    efforts: str,
    qualities: str,
    peers: tuple[Path, ...],
    out: Path | None,
    name: str,
    plot: bool,
) -> None:
    found = [path for path in pictures_in(pictures, None) if not only or path.stem in only.split(",")]
    if not found:
        raise click.UsageError(f"{pictures}: no such pictures in it")
    if plot and not (out and peers):
        raise click.UsageError("--plot needs --out and --peers")
    taken: list[int] = []
    levels = {int(effort): at_level(int(effort), numbers_in(qualities), taken) for effort in numbers_in(efforts)}
    if unknown := sorted(set(levels) - set(ITERATIONS)):
        raise click.BadParameter(f"efforts go from 1 to 9, found {unknown[0]}")
    record = out / f"{name}.json" if out else None
    networks = json.loads(record.read_text())["network_bytes"] if record and record.exists() else {}
    try:
        rows = run(list(levels.values()), found, out / f"{name}.csv" if out else None, taken, networks)
    except AecodecError as error:
        raise click.ClickException(str(error)) from error
    text = f"Pictures: {', '.join(path.stem for path in found)}; qualities {qualities}.\n\n"
    text += f"{table(levels, rows, list(peers), networks)}\n\n{points(levels, rows, list(peers))}\n"
    click.echo(text)
    if out and record:
        (out / f"{name}.md").write_text(text, encoding="utf-8")
        keep(record, levels[min(levels)], networks)
        if plot:
            draw(levels, rows, peers[0], out / f"{name}.png")


if __name__ == "__main__":
    main()
