"""Rate against distortion: our codec and its classical peers over a folder of pictures, from real files.

    python benchmarks/rate_distortion.py PICTURES --out benchmarks/results/kodak --anchors ANCHORS
    python benchmarks/rate_distortion.py PICTURES --out benchmarks/results/kodak --anchors ANCHORS --resume \
        --codecs jpeg,webp-default,jpeg2000-ffmpeg,jxl,heic,mozjpeg,vvc      # the rest, where they are installed

Leaves in the output folder, for each codec, CODEC.csv (a row per picture and quality) and CODEC.json (where it comes
from), and over all codecs of the folder summary.csv, agreement.md, bd_rate.md, rd.png and rd_ms_ssim.png.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path

import click

from aecodec.bench.anchors import COMPRESSAI, KODAK, PUBLISHED, Anchors, agreement_table, load_anchors
from aecodec.bench.measurements import holds_rows, pictures_in, read_rows
from aecodec.bench.opening import CodecSpec, metric_columns
from aecodec.bench.peers import PEERS
from aecodec.bench.peers.aec import QUALITIES
from aecodec.bench.plot import Line, curves_of, draw
from aecodec.bench.runs import Runner
from aecodec.bench.tables import Point, bd_table, curve, summarise, write_summary
from aecodec.contracts import AecodecError
from aecodec.metrics import BjontegaardMissingError, Curve, ratio_decibels

#: Codecs of Pillow, which every installation has, less the variants that only repeat another benchmark's settings.
BUILT_IN = ["jpeg420", "jpeg444", "webp", "avif", "jpeg2000"]
_DRAWN_PUBLISHED = ("vtm", "bpg_444_x265_ycbcr")


def _say(text: str) -> None:
    click.echo(text, err=True)


# -- reporting -----------------------------------------------------------------------------------


def read_results(out: Path, pictures: list[Path]) -> dict[str, list[Point]]:
    """Points of every codec in the folder over these pictures, less those that no codec could take; ours first."""
    names = {picture.stem for picture in pictures}
    rows = {path.stem: read_rows(path) for path in sorted(out.glob("*.csv")) if holds_rows(path)}
    rows = {name: [row for row in group if row.image in names] for name, group in rows.items()}
    measured = {row.image for group in rows.values() for row in group}
    found = {}
    for name, group in rows.items():
        if {row.image for row in group} != measured:
            _say(f"{name}: left out of the tables, it lacks pictures that other codecs have")
            continue
        found[name] = summarise(group)
        missing = sorted({row.quality for row in group} - {point.quality for point in found[name]})
        if missing:
            _say(f"{name}: qualities {missing} lack pictures and are left out of the tables")
    order = [*sorted(name for name in found if name not in PEERS), *(name for name in PEERS if name in found)]
    return {name: found[name] for name in order}


def report(out: Path, pictures: list[Path], anchors: Path | None) -> bool:
    """Write and print the tables and the plots -> whether every codec agrees with its anchor."""
    results = read_results(out, pictures)
    write_summary(out / "summary.csv", [point for points in results.values() for point in points])
    count = max((point.images for points in results.values() for point in points), default=0)
    is_kodak = {picture.stem for picture in pictures} == KODAK and count == len(KODAK)
    known = load_anchors(anchors) if anchors and is_kodak else Anchors({}, {}, {})
    if anchors and not is_kodak:
        _say("the anchors are of the 24 Kodak pictures: left out")
    checks = known.checks(results)
    if checks:
        text = "## agreement\n\nOur points against those that others measured with the same settings.\n\n"
        _publish(out / "agreement.md", text + agreement_table(checks))
    # Variants that only repeat another benchmark's settings would crowd tables and hide curves.
    results = {name: points for name, points in results.items() if name not in COMPRESSAI}
    curves = {name: curve(points) for name, points in results.items()}
    ours = {name: curves[name] for name in results if name not in PEERS}
    peers = {name: curves[name] for name in results if name in PEERS}
    references = {**peers, **{PUBLISHED[key]: curve_ for key, curve_ in known.published.items()}}
    text = (
        f"## BD-rate\n\nPSNR-based, means over {count} pictures, piecewise cubic (PCHIP), over the range of "
        "PSNR that both curves reach. Negative: fewer bits than the row's codec.\n\n"
    )
    # Without a model of ours the peers are compared with each other.
    _publish(out / "bd_rate.md", text + bd_table(ours or peers, references))
    _draw_all(out, results, known.published, f"mean over {count} pictures of {pictures[0].parent.name}")
    return all(check.holds for check in checks)


def _publish(path: Path, text: str) -> None:
    path.write_text(text + "\n", encoding="utf-8")
    click.echo(text + "\n")


def _draw_all(out: Path, results: dict[str, list[Point]], published: dict[str, Curve], of: str) -> None:
    curves = dict(zip(results, curves_of(results), strict=True))

    def line(name: str, points: list[Point], quality: list[float]) -> Line:
        label = PEERS[name].label if name in PEERS else name
        return Line(label, [p.bpp for p in points], quality, curves[name], name not in PEERS)

    lines = [line(name, points, [p.scores["psnr"] for p in points]) for name, points in results.items()]
    for key in _DRAWN_PUBLISHED:
        if key in published:
            known = published[key]
            lines.append(Line(PUBLISHED[key], known.rates, known.qualities))
    draw(out / "rd.png", lines, "psnr", title=f"Rate and distortion, {of}")
    similar = []
    for name, points in results.items():
        known_points = [p for p in points if not math.isnan(p.scores["ms_ssim"])]
        similar.append(line(name, known_points, [ratio_decibels(p.scores["ms_ssim"]) for p in known_points]))
    draw(out / "rd_ms_ssim.png", similar, "ms_ssim", title=f"Rate and structural similarity, {of}")


# -- the command ---------------------------------------------------------------------------------


def _qualities(_: click.Context, __: click.Parameter, text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise click.BadParameter(f"expected numbers separated by commas, found {text!r}") from None


def _codec_names(_: click.Context, __: click.Parameter, text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(part.strip() for part in text.split(",")))
    unknown = [name for name in names if name not in PEERS]
    if unknown:
        raise click.BadParameter(f"no codec {', '.join(unknown)}; there are: {', '.join(PEERS)}")
    return names


@click.command(help=__doc__.split("\n\n")[0])
@click.argument("pictures", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--out", required=True, type=click.Path(file_okay=False, path_type=Path), help="Folder of the results.")
@click.option("--model", "models", multiple=True, help="Our model by name or path; may be repeated.")
@click.option("--device", default="cpu", show_default=True, help="Where our model runs.")
@click.option(
    "--qualities",
    default=",".join(f"{q:g}" for q in QUALITIES),
    show_default=True,
    callback=_qualities,
    help="Quality points of our codec.",
)
@click.option("--codecs", default=",".join(["aec", *BUILT_IN]), show_default=True, callback=_codec_names)
@click.option(
    "--anchors",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder with kodak_classical.json and kodak_anchors.json.",
)
@click.option("--limit", type=click.IntRange(min=1), help="Only the first so many pictures.")
@click.option("--metrics", default="psnr,ms-ssim,ssimulacra2", show_default=True)
@click.option("-j", "--jobs", type=click.IntRange(min=1), default=1, show_default=True, help="Processes.")
@click.option("--resume", is_flag=True, help="Keep what an earlier run measured with the same versions.")
def main(
    pictures: Path,
    out: Path,
    models: tuple[str, ...],
    device: str,
    qualities: tuple[float, ...],
    codecs: tuple[str, ...],
    anchors: Path | None,
    limit: int | None,
    metrics: str,
    jobs: int,
    resume: bool,
) -> None:
    found = pictures_in(pictures, limit)
    if not found:
        raise click.UsageError(f"{pictures}: no pictures in it")
    out.mkdir(parents=True, exist_ok=True)
    columns = metric_columns(metrics)
    ours = [f"aec:{model}" if model else "aec" for model in models or (None,)] if "aec" in codecs else []
    specs = [CodecSpec(name, device, qualities) for name in ours]
    specs += [CodecSpec(name) for name in codecs if name != "aec"]
    failures = 0
    runner = Runner(out, columns, resume=resume, jobs=jobs, say=_say)
    try:
        for spec in specs:
            codec = spec.open()
            failures += runner.run(spec, codec, found)
            _say(f"{codec.name}: done")
        agrees = report(out, found, anchors)
    except (AecodecError, BjontegaardMissingError) as error:
        raise click.ClickException(str(error)) from error
    if failures or not agrees:
        _say(f"{failures} measurements failed; agreement with the anchors: {'yes' if agrees else 'NO'}")
        sys.exit(1)


if __name__ == "__main__":
    main()
