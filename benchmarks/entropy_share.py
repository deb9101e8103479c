"""How much of decoding is entropy decoding, and how far real files are from the ideal code length of their symbols.

    python benchmarks/entropy_share.py PICTURES [--model NAME_OR_PATH] [--qualities 15,45,75] [--out FOLDER]

The coder is what turns bytes into symbols; entropy decoding is all that `decode_tile` does, that is the coder and the
exact arithmetic that picks its tables. Shares are of CPU seconds, which do not depend on how many cores the transforms
are spread over, and of wall-clock seconds with the threads at hand.
"""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass, field
from pathlib import Path

import click

from aecodec.bench import provenance
from aecodec.bench.codecs import FileCodec, Stopwatch, watching
from aecodec.bench.measurements import pictures_in, read_rgb
from aecodec.bench.peers.aec import open_aec
from aecodec.coding.rans import PlaneDecoder
from aecodec.contracts import AecodecError


@dataclass
class Share:
    """Sums over the pictures at one quality; ideal_bits is under the frozen tables."""

    quality: float
    pictures: int = 0
    decoding: Stopwatch = field(default_factory=Stopwatch)
    entropy: Stopwatch = field(default_factory=Stopwatch)
    coder: Stopwatch = field(default_factory=Stopwatch)
    file_bytes: int = 0
    payload_bytes: int = 0
    ideal_bits: float = 0.0

    @property
    def payload_excess(self) -> float:
        """Entropy-coded payload over its ideal code length, less 1."""
        return 8 * self.payload_bytes / self.ideal_bits - 1

    @property
    def file_excess(self) -> float:
        """Whole files, headers and checksums included, over the ideal code length, less 1."""
        return 8 * self.file_bytes / self.ideal_bits - 1


def measure_share(codec: FileCodec, pictures: list[Path], quality: float) -> Share:
    """Encode and decode each picture once; the codec must be ours (its `tile_codec` tells its symbols)."""
    share = Share(quality)
    for path in pictures:
        data = codec.encode(read_rgb(path), quality)
        with watching(codec.tile_codec) as watch, share.decoding.running():
            codec.decode(data)
        share.pictures += 1
        share.entropy.wall += watch.stopwatch.wall
        share.entropy.cpu += watch.stopwatch.cpu
        share.file_bytes += len(data)
        for payload, code in watch.tiles:
            share.payload_bytes += len(payload)
            planes = codec.tile_codec.symbol_planes(code)
            with share.coder.running():
                decoder = PlaneDecoder(payload)
                for plane, tables in planes:
                    decoder.pop(plane.tables, tables)
            share.ideal_bits += sum(tables.bits(plane.symbols, plane.tables) for plane, tables in planes)
    return share


def table(shares: list[Share]) -> str:
    """Markdown, a line for each quality and one over all of them."""
    lines = [
        "| quality | decode (wall / CPU s) | coder (wall / CPU s) | coder's share (wall / CPU) "
        "| with table choice (wall / CPU) | payload over ideal bits | file over ideal bits |",
        "|---|---|---|---|---|---|---|",
    ]
    for s in shares:
        n = s.pictures
        lines.append(
            f"| {s.quality:g} | {s.decoding.wall / n:.4f} / {s.decoding.cpu / n:.4f} "
            f"| {s.coder.wall / n:.4f} / {s.coder.cpu / n:.4f} | {_share([s], 'coder')} | {_share([s], 'entropy')} "
            f"| {s.payload_excess:+.3%} | {s.file_excess:+.3%} |"
        )
    lines.append(f"| all | | | {_share(shares, 'coder')} | {_share(shares, 'entropy')} | | |")
    return "\n".join(lines)


def _share(shares: list[Share], part: str) -> str:
    """A part's share of decoding over some qualities, wall-clock / CPU."""
    of = [
        sum(getattr(getattr(s, part), clock) for s in shares) / sum(getattr(s.decoding, clock) for s in shares)
        for clock in ("wall", "cpu")
    ]
    return f"{of[0]:.1%} / {of[1]:.1%}"


def keep(folder: Path, codec: FileCodec, shares: list[Share]) -> None:
    """entropy_share.csv and entropy_share.json (where it comes from)."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "entropy_share.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        parts = [(part, clock) for part in ("decoding", "entropy", "coder") for clock in ("wall", "cpu")]
        seconds = [f"{part}_{clock}_s" for part, clock in parts]
        writer.writerow(["quality", "pictures", *seconds, "file_bytes", "payload_bytes", "ideal_bits"])
        for s in shares:
            times = [f"{getattr(getattr(s, part), clock):.6g}" for part, clock in parts]
            writer.writerow(
                [f"{s.quality:g}", s.pictures, *times, s.file_bytes, s.payload_bytes, f"{s.ideal_bits:.1f}"]
            )
    content = provenance.collect(codec=codec.name, settings=codec.settings, version=codec.version)
    text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
    (folder / "entropy_share.json").write_text(text, encoding="utf-8")


@click.command(help=__doc__.split("\n\n")[0])
@click.argument("pictures", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--model", help="Our model by name or path.")
@click.option("--device", default="cpu", show_default=True)
@click.option("--qualities", default="10,30,50", show_default=True, help="Numbers from 0 to 100, with commas.")
@click.option("--limit", type=click.IntRange(min=1), help="Only the first so many pictures.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Folder to keep the figures in.")
def main(pictures: Path, model: str | None, device: str, qualities: str, limit: int | None, out: Path | None) -> None:
    found = pictures_in(pictures, limit)
    if not found:
        raise click.UsageError(f"{pictures}: no pictures in it")
    try:
        points = tuple(float(part) for part in qualities.split(","))
    except ValueError:
        raise click.BadParameter(f"expected numbers separated by commas, found {qualities!r}") from None
    try:
        codec = open_aec(model or "", device)
        codec.decode(codec.encode(read_rgb(found[0]), points[0]))  # warm-up: the first call allocates
        shares = [measure_share(codec, found, quality) for quality in points]
    except AecodecError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{codec.name} ({codec.version}), {len(found)} pictures, {codec.settings}\n")
    click.echo(table(shares))
    if out:
        keep(out, codec, shares)


if __name__ == "__main__":
    main()
