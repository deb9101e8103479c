"""From measurements to tables: means and BD-rates."""

from __future__ import annotations

import csv
import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from ..metrics import BdRateError, Curve, bd_rate, common_range
from .measurements import Measurement


@dataclass(frozen=True)
class Point:
    """A codec at one quality over a set of pictures: means of bpp and the metrics, medians of the times."""

    codec: str
    quality: float
    images: int
    bpp: float
    psnr: float
    ms_ssim: float
    encode_s: float
    decode_s: float
    encode_cpu_s: float
    decode_cpu_s: float
    entropy_decode_s: float
    ssimulacra2: float = math.nan


_MEANS = ("bpp", "psnr", "ms_ssim", "ssimulacra2")
_MEDIANS = ("encode_s", "decode_s", "encode_cpu_s", "decode_cpu_s", "entropy_decode_s")


def summarise(rows: Iterable[Measurement]) -> list[Point]:
    """Rows of one codec -> its points by rising quality. Points that lack pictures which others have are left out."""
    by_quality: dict[float, list[Measurement]] = defaultdict(list)
    for row in rows:
        by_quality[row.quality].append(row)
    most = max((len(group) for group in by_quality.values()), default=0)
    points = []
    for quality, group in sorted(by_quality.items()):
        if len(group) < most:
            continue
        columns = {name: [getattr(row, name) for row in group] for name in (*_MEANS, *_MEDIANS)}
        values = {name: statistics.fmean(columns[name]) for name in _MEANS}
        values.update({name: statistics.median(columns[name]) for name in _MEDIANS})
        points.append(Point(group[0].codec, quality, len(group), **values))
    return points


def curve(points: Iterable[Point]) -> Curve:
    """Mean bpp against mean PSNR."""
    points = list(points)
    return Curve([p.bpp for p in points], [p.psnr for p in points])


def write_summary(path: Path, points: Iterable[Point]) -> None:
    """One line for each codec and quality."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([field.name for field in fields(Point)])
        for point in points:
            values = asdict(point).values()
            # NaN differs from itself: what is not known is left empty.
            writer.writerow(["" if v != v else f"{v:.6g}" if isinstance(v, float) else v for v in values])


# -- BD-rate -------------------------------------------------------------------------------------


def _bd_cell(reference: Curve, tested: Curve) -> str:
    try:
        percent, (low, high) = bd_rate(reference, tested), common_range(reference, tested)
    except BdRateError as error:
        return f"n/a: {error}"
    return f"{percent:+.1f} % ({low:.1f} to {high:.1f} dB)"


def bd_table(tested: Mapping[str, Curve], references: Mapping[str, Curve]) -> str:
    """Markdown: BD-rate of each tested codec (columns) against each reference (rows); negative is fewer bits."""
    lines = ["| against | " + " | ".join(tested) + " |", "|---" * (len(tested) + 1) + "|"]
    for label, reference in references.items():
        cells = ["same" if own == label else _bd_cell(reference, curve) for own, curve in tested.items()]
        lines.append(f"| {label} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


# -- other scales --------------------------------------------------------------------------------


def pooled_psnr_of(rows: Iterable[Measurement]) -> float:
    """PSNR of several pictures as if they were one, from their own: `metrics.pooled_psnr` without the pictures.

    A picture's mean squared error is 255^2 10^(-PSNR/10), weighted by its pixels. Decibels, `inf` if all are equal.
    """
    rows = list(rows)
    error = sum(10 ** (-row.psnr / 10) * row.width * row.height for row in rows)
    pixels = sum(row.width * row.height for row in rows)
    return 10 * math.log10(pixels / error) if error else math.inf


def ratio_decibels(ms_ssim: float) -> float:
    """MS-SSIM on a scale that spreads good pictures: -10 log10(1 - x) (Ballé et al. 2018, appendix), `inf` at 1."""
    if math.isnan(ms_ssim):
        return math.nan
    return -10 * math.log10(1 - ms_ssim) if ms_ssim < 1 else math.inf
