"""The rate-distortion picture: quality against bits per pixel on a logarithmic axis, curves named at their ends."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..metrics import METRICS, Metric
from .peers import PEERS, table_name
from .results import CodecResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: For curves beyond those that the table of peers has a colour and a marker for.
SPARE_CURVES = (("#000000", "x"), ("#666600", "s"), ("#336699", "p"), ("#993333", "v"), ("#669966", "D"))
_DASHES = ((5, 2), (1.5, 1.5), (5, 2, 1.5, 2), (8, 3))
_INK = "#333333"
_HIGHEST_BPP = 2.6


@dataclass(frozen=True)
class Line:
    """A curve to draw. curve: its colour and marker, None for a published one; learned: drawn to stand out."""

    label: str
    bpp: Sequence[float]
    quality: Sequence[float]
    curve: tuple[str, str] | None = None
    learned: bool = False


def lines_of(codecs: Sequence[CodecResult], column: str) -> list[Line]:
    """The curves of codecs by a metric of METRICS, as it is drawn, without points that it does not exist for."""
    drawn, lines = METRICS[column].drawn, []
    for codec, look in zip(codecs, curves_of(c.codec for c in codecs), strict=True):
        known = [point for point in codec.points if not math.isnan(point.scores[column])]
        quality = [drawn(point.scores[column]) for point in known]
        lines.append(Line(codec.label, [point.bpp for point in known], quality, look, codec.learned))
    return lines


def axis_label(metric: Metric) -> str:
    """What the axis of a metric says."""
    if metric.decibels:
        return f"{metric.label} as $-10\\,\\log_{{10}}(1 - x)$ (dB)"
    return f"{metric.label} ({metric.unit})" if metric.unit else metric.label


def curves_of(codecs: Iterable[str]) -> list[tuple[str, str]]:
    """Colour and marker of each of these codecs, as results call them: the table's, no two alike while any are left."""
    taken: list[tuple[str, str]] = []
    for codec in codecs:
        peer = PEERS.get(table_name(codec) or "")
        own = ((peer.colour, peer.marker), *peer.more_curves) if peer else ()
        free = [curve for curve in (*own, *SPARE_CURVES) if curve not in taken]
        taken.append(free[0] if free else SPARE_CURVES[-1])
    return taken


def _style(line: Line, published: int) -> dict[str, Any]:
    """What matplotlib draws a line with. published: the number of published ones before it."""
    if line.curve is None:
        dashes = _DASHES[published % len(_DASHES)]
        return {"color": "#666666", "linewidth": 1.4, "dashes": dashes, "zorder": 2}
    colour, marker = line.curve
    if line.learned:
        return {"color": colour, "marker": marker, "linewidth": 2.8, "markersize": 6.5, "zorder": 5}
    return {"color": colour, "marker": marker, "linewidth": 1.6, "markersize": 4.5, "zorder": 3}


def _lowest_bpp(lines: Sequence[Line]) -> float:
    """A little below the smallest file measured; published curves do not stretch the axis."""
    return 0.85 * min((bpp for line in lines if line.curve for bpp in line.bpp), default=0.1)


def _within(line: Line, lowest: float) -> tuple[list[float], list[float]]:
    """The part of a curve inside the drawn range of rates, by rising rate."""
    points = sorted(p for p in zip(line.bpp, line.quality, strict=True) if lowest <= p[0] <= _HIGHEST_BPP)
    return [p[0] for p in points], [p[1] for p in points]


def _label_ends(axes: Axes, ends: list[tuple[float, float, str, dict[str, Any]]]) -> None:
    """Names right of the curves' ends, one under the other on the right edge, each tied to its curve."""
    gap = 0.036  # of the height of the axes: a line of text
    to_axes = axes.transData + axes.transAxes.inverted()
    placed = sorted(((to_axes.transform((x, y)), text, style) for x, y, text, style in ends), key=lambda e: -e[0][1])
    heights: list[float] = []
    for (_, height), _, _ in placed:
        heights.append(min(height, heights[-1] - gap) if heights else height)
    # A column that ran out of the bottom is moved up as a whole.
    shift = max(0.0, -min(heights, default=0.0))
    for ((x, y), text, style), height in zip(placed, heights, strict=True):
        bold = "bold" if style["linewidth"] > 2 else "normal"
        axes.annotate(
            text,
            xy=(x, y),
            xytext=(1.035, height + shift),
            xycoords="axes fraction",
            textcoords="axes fraction",
            color=style["color"],
            fontsize=9.5,
            fontweight=bold,
            va="center",
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": style["color"], "linewidth": 0.6, "alpha": 0.55, "shrinkB": 4},
        )


def _dress(axes: Axes, lowest: float, title: str, quality_label: str) -> None:
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    axes.set_xscale("log")
    axes.set_xlim(lowest, _HIGHEST_BPP)
    axes.xaxis.set_major_locator(FixedLocator([0.02, 0.03, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("bits per pixel, whole file (logarithmic)", color=_INK)
    axes.set_ylabel(quality_label, color=_INK)
    axes.set_title(title, loc="left", color=_INK, fontsize=12.5, fontweight="bold", pad=12)
    axes.grid(True, color="#E3E3E3", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=_INK, length=0)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color("#BBBBBB")


def draw(path: Path, lines: Sequence[Line], column: str, *, title: str) -> None:
    """Draw curves of a metric into a PNG; measured ones solid with markers, published ones grey and dashed."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(10, 6.4), dpi=150)
    lowest = _lowest_bpp(lines)
    _dress(axes, lowest, title, axis_label(METRICS[column]))
    published, ends = 0, []
    for line in lines:
        bpp, quality = _within(line, lowest)
        if not bpp:
            continue
        style = _style(line, published)
        published += line.curve is None
        axes.plot(bpp, quality, markeredgecolor="white", markeredgewidth=0.6, **style)
        ends.append((bpp[-1], quality[-1], line.label, style))
    axes.set_ylim(*axes.get_ylim())  # fixes the scale before positions are computed from it
    figure.subplots_adjust(left=0.075, right=0.78, top=0.91, bottom=0.105)
    _label_ends(axes, ends)
    if published:
        note = "solid: measured here, whole files; dashed grey: published"
        axes.text(0.985, 0.02, note, transform=axes.transAxes, ha="right", fontsize=8.5, color="#777777")
    figure.savefig(path, metadata={"Software": None})
    pyplot.close(figure)
