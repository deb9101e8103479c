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
from ..metrics import METRICS, BdRateError, Curve, Metric, bd_rate, common_range
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


def curve(entries: Iterable[Point | Measurement], column: str = "psnr") -> Curve:
    """bpp against a metric of METRICS as it is drawn, of points or of the rows of one picture.

    Those that were not measured by it are left out.
    """
    known = [entry for entry in entries if not math.isnan(entry.scores[column])]
    drawn = METRICS[column].drawn
    return Curve([entry.bpp for entry in known], [drawn(entry.scores[column]) for entry in known])


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


def compared_columns(codecs: Iterable[Iterable[Point]]) -> list[str]:
    """The metrics of METRICS by which at least two codecs were measured, and so can be compared; PSNR in any case."""
    points = [list(own) for own in codecs]
    known = {name: sum(bool(curve(own, name).rates) for own in points) for name in METRICS}
    return [name for name in METRICS if name == "psnr" or known[name] > 1]


def bd_heading(column: str, pictures: int, of: str = "") -> str:
    """What stands above a table of BD-rates by this metric. of: the set of pictures."""
    metric = METRICS[column]
    by = f"{metric.label} as -10 log10(1 - x) in dB" if metric.decibels else metric.label
    title = "" if column == "psnr" else f" by {metric.label}"
    means = f"means over {pictures} pictures" + (f" of {of}" if of else "")
    return (
        f"## BD-rate{title}\n\nBits at equal {by}, {means}, piecewise cubic (PCHIP), over the range that both curves "
        "reach."
    )


def _bd_cell(reference: Curve, tested: Curve, metric: Metric) -> str:
    try:
        percent, (low, high) = bd_rate(reference, tested), common_range(reference, tested)
    except BdRateError as error:
        return f"n/a: {error}"
    digits = 1 if metric.decibels else metric.digits - 1
    return f"{percent:+.1f} % ({low:.{digits}f} to {high:.{digits}f}{metric.drawn_unit and ' '}{metric.drawn_unit})"


def bd_table(tested: Mapping[str, Curve], references: Mapping[str, Curve], column: str = "psnr") -> str:
    """Markdown: BD-rate of each tested codec (columns) against each reference (rows); negative is fewer bits.

    column: the metric of METRICS that the curves are by.
    """
    lines = ["| against | " + " | ".join(tested) + " |", "|---" * (len(tested) + 1) + "|"]
    for label, reference in references.items():
        cells = [
            "same" if own == label else _bd_cell(reference, curve, METRICS[column]) for own, curve in tested.items()
        ]
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
