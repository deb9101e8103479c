"""What the numbers of --quality mean: rate and distortion at each ten, beside the settings that people know of others.

python benchmarks/qualities.py PICTURES [--model photo-visual] [-j 2] [--out FOLDER]
"""

from __future__ import annotations

import json
from multiprocessing import get_context
from pathlib import Path
from statistics import fmean

import click

from aecodec.bench import provenance
from aecodec.bench.codecs import FileCodec
from aecodec.bench.measurements import Measurement, measure, pictures_in
from aecodec.bench.opening import codec_specs
from aecodec.data.files import make_folder, write_atomic
from aecodec.zoo.registry import DEFAULT_MODEL

TENS = ",".join(map(str, range(0, 101, 10)))
#: Others at the settings that our 50 is meant to be like, and what their programs call these. That of JPEG XL is the
#: Butteraugli distance which cjxl makes of a quality: 0.1 + 0.09 * (100 - q).
KNOWN = {"avif": ("60", "AVIF, -q 60"), "jxl": ("2.35", "JPEG XL, -q 75")}
METRICS = ("psnr", "ms_ssim", "ssimulacra2")


def measure_all(codec: FileCodec, pictures: list[Path]) -> list[Measurement]:
    return [measure(codec, path, quality, metrics=METRICS) for path in pictures for quality in codec.qualities]


def _share(task: tuple[str, str, list[Path]]) -> list[Measurement]:
    name, qualities, pictures = task
    (spec,) = codec_specs(name, (f"{name}={qualities}",))
    return measure_all(spec.open(), pictures)


def table(rows: list[Measurement]) -> list[str]:
    """Markdown, a line for each codec and quality with means over the pictures."""
    lines = ["| quality | bpp | PSNR (dB) | MS-SSIM | SSIMULACRA2 |", "|---|---|---|---|---|"]
    for codec, quality in dict.fromkeys((row.codec, row.quality) for row in rows):
        of = [row for row in rows if (row.codec, row.quality) == (codec, quality)]
        score = {name: fmean(row.scores[name] for row in of) for name in METRICS}
        name = KNOWN[codec][1] if codec in KNOWN else f"{quality:g}"
        lines.append(
            f"| {name} | {fmean(row.bpp for row in of):.3f} | {score['psnr']:.2f} | {score['ms_ssim']:.4f} "
            f"| {score['ssimulacra2']:.1f} |"
        )
    return lines


@click.command(help=__doc__.split("\n\n")[0])
@click.argument("pictures", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--model", default=DEFAULT_MODEL, show_default=True)
@click.option("--limit", type=click.IntRange(min=1), help="Only the first so many pictures.")
@click.option("-j", "--jobs", type=click.IntRange(1, 64), default=1, show_default=True, help="Processes.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Folder to keep the figures in.")
def main(pictures: Path, model: str, limit: int | None, jobs: int, out: Path | None) -> None:
    found = pictures_in(pictures, limit)
    wanted = {f"aec:{model}": TENS, **{name: points for name, (points, _) in KNOWN.items()}}
    tasks = [(name, points, found[part::jobs]) for name, points in wanted.items() for part in range(jobs)]
    with get_context("spawn").Pool(jobs) as pool:
        rows = [row for part in pool.map(_share, tasks, chunksize=1) for row in part]
    lines = table(rows)
    click.echo("\n".join(lines))
    if out:
        make_folder(out)
        write_atomic(out / "qualities.md", ("\n".join(lines) + "\n").encode(), overwrite=True)
        origin = provenance.collect(pictures=len(found), model=model, jobs=jobs)
        write_atomic(out / "qualities.json", (json.dumps(origin, indent=1) + "\n").encode(), overwrite=True)


if __name__ == "__main__":
    main()
