"""What `--effort` gains and what it takes: BD-rate against the lowest level, and seconds to encode, from real files.

    python benchmarks/effort.py PICTURES [--efforts 1,2,5,7] [--qualities 15,40,65,90] [--metric ssimulacra2]
        [--engine onnx] [--beside avif] [--threads 1] [--limit 4] [--out FOLDER]

An interrupted run goes on where it was: rows in FOLDER/effort.csv of the same model, quality, level and picture are
kept. Seconds are CPU seconds of all threads, which other programs on the machine stretch little, and wall-clock
seconds. The decoder does not know of levels, so decoding is timed once, over all of them.
"""

from __future__ import annotations

import json
import statistics
from dataclasses import replace
from pathlib import Path

import click

from aecodec.bench import provenance
from aecodec.bench.codecs import FileCodec
from aecodec.bench.measurements import Measurement, append_row, measure, pictures_in, read_rgb, read_rows, write_rows
from aecodec.bench.opening import codec_specs
from aecodec.bench.peers.aec import file_codec
from aecodec.bench.tables import curve, summarise
from aecodec.codec.codec import Codec
from aecodec.codec.refine import STEPS
from aecodec.contracts import AecodecError
from aecodec.engine.opening import limit_threads
from aecodec.metrics import METRICS, BdRateError, Curve, bd_rate


def at_level(codec: Codec, effort: int, qualities: tuple[float, ...]) -> FileCodec:
    """Our codec at one level of effort, named after it."""
    return replace(
        file_codec(codec),
        name=f"aec-{codec.name}-effort{effort}",
        settings=f"aecodec, model {codec.name}, effort {effort}, engine {type(codec.engine).__name__}",
        qualities=qualities,
        encode=lambda image, quality: codec.encode(image, quality=quality, effort=effort),
    )


def run(levels: dict[str, FileCodec], pictures: list[Path], path: Path | None, metric: str) -> list[Measurement]:
    """Measure what the result file lacks, row by row -> the rows of these levels, qualities and pictures."""
    rows: dict[tuple, Measurement] = {}
    if path is not None and path.exists():
        rows = {row.key: row for row in read_rows(path)}
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_rows(path, rows.values())
    wanted = []
    for effort, codec in levels.items():
        for quality in codec.qualities:
            for picture in pictures:
                key = (codec.name, codec.version, quality, picture.stem)
                wanted.append(key)
                if key in rows:
                    continue
                rows[key] = measure(codec, picture, quality, metrics=tuple({"psnr": 0, metric: 0}))
                if path is not None:
                    append_row(path, rows[key])
                click.echo(
                    f"effort {effort}, quality {quality:g}, {picture.stem}: {rows[key].bytes} bytes, "
                    f"{rows[key].scores['psnr']:.3f} dB, {rows[key].encode_cpu_s:.1f} s",
                    err=True,
                )
    if path is not None:
        write_rows(path, rows.values())
    return [rows[key] for key in wanted]


def table(levels: dict[str, FileCodec], rows: list[Measurement], metric: str) -> str:
    """Markdown, a line for each level: BD-rate by a metric against the first, steps, seconds, memory."""
    base, curves = next(iter(levels)), dict[str, Curve]()
    lines = [
        "| effort | gradient steps | BD-rate | encode, CPU s per picture | wall s | peak MiB |",
        "|---|---|---|---|---|---|",
    ]
    for effort, codec in levels.items():
        mine = [row for row in rows if row.codec == codec.name]
        curves[effort] = curve(summarise(mine), metric)
        try:
            gain = f"{bd_rate(curves[base], curves[effort]):+.1f} %" if effort != base else "0"
        except BdRateError as error:
            gain = f"n/a: {error}"
        cpu, wall = (statistics.fmean(getattr(row, name) for row in mine) for name in ("encode_cpu_s", "encode_s"))
        peak = max(row.peak_mib for row in mine)
        steps = STEPS[int(effort)] if effort.isdigit() else ""
        lines.append(f"| {effort} | {steps} | {gain} | {cpu:.1f} | {wall:.1f} | {peak:.0f} |")
    ours = {codec.name for effort, codec in levels.items() if effort.isdigit()}
    decode = statistics.median(row.decode_cpu_s for row in rows if row.codec in ours)
    return "\n".join([*lines, "", f"Decoding takes {decode:.2f} CPU seconds a picture, whatever the level."])


def keep(folder: Path, codec: FileCodec, text: str) -> None:
    """effort.md (the table) and effort.json (where it comes from), beside effort.csv."""
    (folder / "effort.md").write_text(text + "\n", encoding="utf-8")
    content = provenance.collect(codec=codec.name, settings=codec.settings, version=codec.version)
    (folder / "effort.json").write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def numbers_in(text: str) -> tuple[float, ...]:
    """Numbers separated by commas. Raises click.BadParameter."""
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise click.BadParameter(f"expected numbers separated by commas, found {text!r}") from None


@click.command(help=__doc__.split("\n\n")[0])
@click.argument("pictures", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--model", help="Our model by name or path.")
@click.option("--device", default="cpu", show_default=True)
@click.option("--engine", default="auto", show_default=True, help="What computes: auto, onnx or torch.")
@click.option(
    "--metric", type=click.Choice(sorted(METRICS)), default="psnr", show_default=True, help="What BD-rates are by."
)
@click.option(
    "--efforts", default="1,2,3,4,5,6,7", show_default=True, help="Levels, with commas; the first is the base."
)
@click.option("--threads", type=click.IntRange(1, 64), help="CPU threads of our networks; one per core unless given.")
@click.option("--beside", default="", help="Other codecs in the same run, as in `aecodec bench`, with commas.")
@click.option("--qualities", default="10,30,45,80", show_default=True, help="Numbers from 0 to 100, with commas.")
@click.option("--limit", type=click.IntRange(min=1), help="Only the first so many pictures.")
@click.option("--only", help="Only these pictures: names without suffix, with commas.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Folder to keep the figures in.")
def main(
    pictures: Path,
    model: str | None,
    device: str,
    engine: str,
    metric: str,
    efforts: str,
    threads: int | None,
    beside: str,
    qualities: str,
    limit: int | None,
    only: str | None,
    out: Path | None,
) -> None:
    found = pictures_in(pictures, limit)
    if only:
        found = [path for path in found if path.stem in only.split(",")]
    if not found:
        raise click.UsageError(f"{pictures}: no such pictures in it")
    try:
        if threads:
            limit_threads(threads)
        codec = Codec.from_pretrained(model, device=device, engine=engine)
        points = numbers_in(qualities)
        wanted = [int(effort) for effort in numbers_in(efforts)]
        if unknown := sorted(set(wanted) - set(STEPS)):
            raise click.BadParameter(f"efforts go from 1 to 9, found {unknown[0]}")
        levels = {str(effort): at_level(codec, effort, points) for effort in wanted}
        levels |= {spec.name: spec.open() for spec in codec_specs(beside)} if beside else {}
        codec.encode(read_rgb(found[0]))  # warm-up: the first call allocates
        rows = run(levels, found, out / "effort.csv" if out else None, metric)
    except AecodecError as error:
        raise click.ClickException(str(error)) from error
    text = f"{codec.name} ({codec.fingerprint.hex()}), pictures: {', '.join(p.stem for p in found)}; "
    text += f"qualities {qualities}; BD-rate by {METRICS[metric].label}\n\n{table(levels, rows, metric)}"
    click.echo(text)
    if out:
        base = next(iter(levels.values()))
        keep(out, replace(base, name=f"aec-{codec.name}"), text)


if __name__ == "__main__":
    main()
