"""Rate against distortion: our codec and its classical peers over a folder of pictures, beside what others published.

    python benchmarks/rate_distortion.py PICTURES --out benchmarks/results/kodak --anchors ANCHORS
    python benchmarks/rate_distortion.py PICTURES --out benchmarks/results/kodak --anchors ANCHORS --resume \
        --codecs jpeg,webp-default,jpeg2000-ffmpeg,jxl,heic,mozjpeg,vvc      # the rest, where they are installed

Measures as `aecodec bench` does, whose names of codecs, qualities and metrics it takes. Leaves in the output folder,
for each codec, CODEC.csv (a row per picture and quality) and CODEC.json (where it comes from), and over all codecs of
the folder summary.csv, agreement.md, bd_rate.md and rd.png, by other metrics bd_rate_METRIC.md and rd_METRIC.png. An
empty --codecs measures nothing, and makes these anew.
"""

from __future__ import annotations

import sys
from pathlib import Path

import click
from anchors import COMPRESSAI, KODAK, PUBLISHED, Anchors, agreement_table, load_anchors

from aecodec.bench.opening import codec_specs, metric_columns
from aecodec.bench.peers import PEERS, table_name
from aecodec.bench.plot import Line, draw, lines_of
from aecodec.bench.results import CodecResult, read_runs
from aecodec.bench.runs import Runner, find_pictures
from aecodec.bench.tables import bd_heading, bd_table, compared_columns, curve, write_summary
from aecodec.contracts import AecodecError
from aecodec.data.files import make_folder, write_atomic
from aecodec.metrics import METRICS, BjontegaardMissingError

#: What every installation has, less the variants that only repeat another benchmark's settings.
BUILT_IN = "aec,jpeg420,jpeg444,webp,avif,jpeg2000"
_DRAWN_PUBLISHED = ("vtm", "bpg_444_x265_ycbcr")


def _say(text: str) -> None:
    click.echo(text, err=True)


def _in_order(codec: CodecResult) -> tuple[int, str]:
    """As the table of peers has them; strangers first."""
    name = table_name(codec.codec)
    return list(PEERS).index(name) if name else -1, codec.name


def report(out: Path, pictures: list[Path], anchors: Path | None) -> bool:
    """Write and print the tables and the plots -> whether every codec agrees with its anchor."""
    names = {picture.stem for picture in pictures}
    results = read_runs([out], pictures=names, say=_say)
    codecs, count = sorted(results.codecs, key=_in_order), len(results.pictures)
    write_summary(out / "summary.csv", [point for codec in codecs for point in codec.points])
    is_kodak = names == KODAK and count == len(KODAK)
    known = load_anchors(anchors) if anchors and is_kodak else Anchors({}, {}, {})
    if anchors and not is_kodak:
        _say("the anchors are of the 24 Kodak pictures: left out")
    checks = known.checks({codec.name: codec.points for codec in codecs})
    if checks:
        text = "## agreement\n\nOur points against those that others measured with the same settings.\n\n"
        _publish(out / "agreement.md", text + agreement_table(checks))
    # Variants that only repeat another benchmark's settings would crowd tables and hide curves.
    codecs = [codec for codec in codecs if codec.name not in COMPRESSAI]
    for column in _columns(codecs):
        _publish(out / f"bd_rate{_suffix(column)}.md", _bd_rates(codecs, known, count, column))
        _draw(out, codecs, known, f"mean over {count} pictures of {pictures[0].parent.name}", column)
    return all(check.holds for check in checks)


def _publish(path: Path, text: str) -> None:
    write_atomic(path, f"{text}\n".encode(), overwrite=True)
    click.echo(text + "\n")


def _columns(codecs: list[CodecResult]) -> list[str]:
    """The metrics that there are tables of: PSNR, and those by which something to compare with was measured."""
    peers = [codec for codec in codecs if not codec.learned]
    measured = compared_columns(codec.points for codec in codecs)
    return [name for name in measured if name == "psnr" or any(curve(codec.points, name).rates for codec in peers)]


def _suffix(column: str) -> str:
    """What names of files add for a metric; the one of every table adds nothing."""
    return "" if column == "psnr" else f"_{column}"


def _bd_rates(codecs: list[CodecResult], known: Anchors, count: int, column: str) -> str:
    """Markdown: networks against the other codecs and published curves, or all against each other without networks.

    The codecs are those that were measured by the metric; what was published is PSNR.
    """
    curves = [(codec, curve(codec.points, column)) for codec in codecs]
    networks = {codec.name: own for codec, own in curves if own.rates and codec.learned}
    peers = {codec.name: own for codec, own in curves if own.rates and not codec.learned}
    published = known.published if column == "psnr" else {}
    references = {**peers, **{PUBLISHED[key]: their for key, their in published.items()}}
    table = bd_table(networks or peers, references, column)
    return f"{bd_heading(column, count)} Negative: fewer bits than the row's codec.\n\n{table}"


def _draw(out: Path, codecs: list[CodecResult], known: Anchors, of: str, column: str) -> None:
    lines = [line for line in lines_of(codecs, column) if line.bpp]
    if column == "psnr":
        published = [(PUBLISHED[key], known.published[key]) for key in _DRAWN_PUBLISHED if key in known.published]
        lines += [Line(label, curve.rates, curve.qualities) for label, curve in published]
    quality = {"psnr": "distortion", "ms_ssim": "structural similarity"}.get(column, METRICS[column].label)
    draw(out / f"rd{_suffix(column)}.png", lines, column, title=f"Rate and {quality}, {of}")


@click.command(help=__doc__.split("\n\n")[0])
@click.argument("pictures", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--out", required=True, type=click.Path(file_okay=False, path_type=Path), help="Folder of the results.")
@click.option("--codecs", default=BUILT_IN, show_default=True, help="Names, with commas, as in `aecodec bench`.")
@click.option("--qualities", multiple=True, metavar="[CODEC=]Q,Q,...", help="As in `aecodec bench`; may be repeated.")
@click.option(
    "--anchors",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder with kodak_classical.json and kodak_anchors.json.",
)
@click.option("--device", default="cpu", show_default=True, help="Where our models run.")
@click.option("--limit", type=click.IntRange(min=1), help="Only the first so many pictures.")
@click.option("--metrics", default="psnr,ms-ssim,ssimulacra2", show_default=True, help="As in `aecodec bench`.")
@click.option("-j", "--jobs", type=click.IntRange(min=1), default=1, show_default=True, help="Processes.")
@click.option("--resume", is_flag=True, help="Keep what an earlier run measured with the same versions.")
def main(
    pictures: Path,
    out: Path,
    codecs: str,
    qualities: tuple[str, ...],
    anchors: Path | None,
    device: str,
    limit: int | None,
    metrics: str,
    jobs: int,
    resume: bool,
) -> None:
    try:
        found = find_pictures(pictures, limit)
        runner = Runner(out, metric_columns(metrics), resume=resume, jobs=jobs, say=_say)
        specs = codec_specs(codecs, qualities, device) if codecs else []
        opened = [spec.open() for spec in specs]
        make_folder(out)
        failures = sum(runner.run(spec, codec, found) for spec, codec in zip(specs, opened, strict=True))
        agrees = report(out, found, anchors)
    except (AecodecError, BjontegaardMissingError) as error:
        failed = click.ClickException(str(error))
        failed.exit_code = getattr(error, "exit_code", 1)
        raise failed from error
    if failures or not agrees:
        _say(f"{failures} measurements failed; agreement with the anchors: {'yes' if agrees else 'NO'}")
        sys.exit(1)


if __name__ == "__main__":
    main()
