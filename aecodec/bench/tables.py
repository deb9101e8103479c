"""From measurements to tables: means and BD-rates."""

from __future__ import annotations

import csv
import io
import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..data.files import write_atomic
from ..metrics import METRICS, BdRateError, Curve, bd_rate, common_range
from .measurements import Measurement, with_scores

_TIMES = ("encode_s", "decode_s", "encode_cpu_s", "decode_cpu_s", "entropy_decode_s")


@dataclass(frozen=True)
class Point:
    """A codec at one quality over a set of pictures: means of bpp and scores, medians of the times.

    scores: column -> score for every metric of METRICS, NaN if a picture has none.
    """

    codec: str
    quality: float
    images: int
    bpp: float
    scores: Mapping[str, float]
    encode_s: float
    decode_s: float
    encode_cpu_s: float
    decode_cpu_s: float
    entropy_decode_s: float


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
        scores = {name: statistics.fmean(row.scores[name] for row in group) for name in METRICS}
        times = {name: statistics.median(getattr(row, name) for row in group) for name in _TIMES}
        bpp = statistics.fmean(row.bpp for row in group)
        points.append(Point(group[0].codec, quality, len(group), bpp, scores, **times))
    return points


def curve(entries: Iterable[Point | Measurement]) -> Curve:
    """bpp against PSNR, of points or of the rows of one picture."""
    entries = list(entries)
    return Curve([entry.bpp for entry in entries], [entry.scores["psnr"] for entry in entries])


def write_summary(path: Path, points: Iterable[Point]) -> None:
    """One line for each codec and quality. Raises OutputError."""
    columns = with_scores(("codec", "quality", "images", "bpp"), _TIMES)
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(columns)
    for point in points:
        values = {**vars(point), **point.scores}
        writer.writerow([number_text(values[name]) for name in columns])
    write_atomic(path, buffer.getvalue().encode(), overwrite=True)


def number_text(value: object) -> str:
    """A cell of a table: floats with six digits, empty what is not known."""
    if not isinstance(value, float):
        return str(value)
    return "" if math.isnan(value) else f"{value:.6g}"


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
    error = sum(10 ** (-row.scores["psnr"] / 10) * row.width * row.height for row in rows)
    pixels = sum(row.width * row.height for row in rows)
    return 10 * math.log10(pixels / error) if error else math.inf
