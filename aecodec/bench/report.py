"""A report of runs: one page that needs no network, or a table, or a plot."""

from __future__ import annotations

import base64
import csv
import io
import json
import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..contracts import MissingDependencyError, UsageError
from ..data.files import write_atomic
from ..data.outputs import check_output, identities, input_below
from ..metrics import METRICS, BdRateError, BjontegaardMissingError, Curve, bd_rate
from .crops import ORIGINAL
from .measurements import RunError
from .plot import axis_label, curves_of, draw, lines_of
from .results import CodecResult, Results, read_by, read_runs
from .summary import bd_text
from .tables import Point, compared_columns, curve, number_text, pooled_psnr_of

FORMATS = ("html", "md", "csv", "png")
_AFTER_SCORES = ("encode_s", "decode_s", "encode_cpu_s", "decode_cpu_s", "peak_mib")
_PAGE = Path(__file__).with_name("page.html")
_PLACE = "{{DATA}}"
_PNG = b"\x89PNG\r\n\x1a\n"


def write_report(
    runs: Sequence[Path], out: Path, kind: str | None = None, *, anchor: str | None = None, overwrite: bool = False
) -> None:
    """Read the runs and write one file. kind: one of FORMATS, or None: the file's ending.

    Raises UsageError for another format, RunError for a folder without a run, OutputExistsError.
    """
    kind = kind or out.suffix.lower().lstrip(".")
    if kind not in FORMATS:
        raise UsageError(f"{out}: a report is one of {', '.join(FORMATS)}; use --format or such an ending")
    read = [path for run in runs for path in read_by(run)]
    check_output(out, overwrite=overwrite, inputs=identities(read))
    results = read_runs(runs, anchor)
    makers: dict[str, Callable[[Results], bytes]] = {
        "html": lambda r: page(r).encode(),
        "md": lambda r: markdown(r).encode(),
        "csv": lambda r: table_csv(r).encode(),
        "png": picture,
    }
    try:
        content = makers[kind](results)
    except BjontegaardMissingError as error:
        raise MissingDependencyError(str(error)) from error
    write_atomic(out, content, overwrite=overwrite, sources=read)


# -- points as tables --------------------------------------------------------------------------------


@dataclass(frozen=True)
class ScoreColumn:
    """A column of scores in a report. axis: what a curve of it is called, "" for one that is not drawn."""

    key: str
    label: str
    digits: int
    axis: str


def score_columns() -> list[ScoreColumn]:
    """Every metric of METRICS, after PSNR the pooled one, and after a ratio the decibels that it is drawn in."""
    found = []
    for name, metric in METRICS.items():
        axis = "" if metric.decibels else axis_label(metric)
        found.append(ScoreColumn(name, metric.label, metric.digits, axis))
        if name == "psnr":
            found.append(ScoreColumn("pooled_psnr", f"pooled {metric.label}", metric.digits, f"pooled {axis}"))
        if metric.decibels:
            formula = "\N{MINUS SIGN}10 log₁₀(1 \N{MINUS SIGN} x) (dB)"
            found.append(ScoreColumn(f"{name}_db", f"{metric.label} (dB)", 2, f"{metric.label}, {formula}"))
    return found


def columns() -> tuple[str, ...]:
    """The columns of the tables of points."""
    return ("codec", "quality", "images", "bpp", *(column.key for column in score_columns()), *_AFTER_SCORES)


def point_record(codec: CodecResult, point: Point) -> dict[str, Any]:
    """A point with what is derived from its rows: pooled PSNR, ratios in dB, megapixels, the highest memory peak."""
    rows = [row for row in codec.rows if row.quality == point.quality]
    decibels = {f"{name}_db": metric.drawn(point.scores[name]) for name, metric in METRICS.items() if metric.decibels}
    return {
        "codec": codec.name,
        "quality": point.quality,
        "images": point.images,
        "bpp": point.bpp,
        **point.scores,
        **decibels,
        "pooled_psnr": pooled_psnr_of(rows),
        "encode_s": point.encode_s,
        "decode_s": point.decode_s,
        "encode_cpu_s": point.encode_cpu_s,
        "decode_cpu_s": point.decode_cpu_s,
        "peak_mib": max(row.peak_mib for row in rows),
        "megapixels": sum(row.width * row.height for row in rows) / len(rows) / 1e6,
    }


def _table(results: Results) -> list[list[str]]:
    """A line of names, and one for each codec and quality."""
    records = [point_record(codec, point) for codec in results.codecs for point in codec.points]
    return [list(columns()), *([number_text(record[name]) for name in columns()] for record in records)]


def table_csv(results: Results) -> str:
    """A line for each codec and quality."""
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(_table(results))
    return buffer.getvalue()


def markdown(results: Results) -> str:
    """BD-rates, and a table of all points."""
    head, *rows = ["| " + " | ".join(cells) + " |" for cells in _table(results)]
    lines = [head, "|---" * len(columns()) + "|", *rows]
    return f"{bd_text(results)}\n\n## Points\n\n" + "\n".join(lines) + "\n"


def picture(results: Results) -> bytes:
    """The PSNR curves as PNG."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "rd.png")
        title = f"Rate and distortion, mean over {len(results.pictures)} pictures of {results.data}"
        draw(path, lines_of(results.codecs, "psnr"), "psnr", title=title)
        return path.read_bytes()


# -- the page ----------------------------------------------------------------------------------------


def page(results: Results) -> str:
    """The whole HTML page: a template and its data. Loads nothing from anywhere."""
    # NaN and infinity are no JSON; "<" could end the script element that the data stands in.
    text = json.dumps(_finite(_page_data(results)), ensure_ascii=False, allow_nan=False).replace("<", "\\u003c")
    return _PAGE.read_text(encoding="utf-8").replace(_PLACE, text)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _page_data(results: Results) -> dict[str, Any]:
    anchor, looks = results.reference, curves_of(codec.codec for codec in results.codecs)
    codecs = [
        {
            "name": codec.name,
            "label": codec.label,
            "learned": codec.learned,
            "colour": colour,
            "marker": marker,
            "settings": codec.sidecar.get("settings", ""),
            "version": codec.sidecar.get("version", ""),
            "kmac": codec.kmac,
            "bd": _bd(curve(anchor.points), curve(codec.points)),
            "points": [point_record(codec, point) for point in codec.points],
        }
        for codec, (colour, marker) in zip(results.codecs, looks, strict=True)
    ]
    return {
        "data": results.data,
        "pictures": results.pictures,
        "anchor": anchor.name,
        "scores": [asdict(column) for column in score_columns()],
        "codecs": codecs,
        "matrices": [_matrix(results, column) for column in compared_columns(own.points for own in results.codecs)],
        "images": [_image_record(results, name) for name in results.pictures],
        "crops": [_crop_record(entry) for entry in results.crops if entry["image"] in results.pictures],
        "origin": _origin(results),
    }


def _matrix(results: Results, column: str) -> dict[str, Any]:
    """BD-rates by a metric, of every codec (columns) against every codec (rows)."""
    curves = [curve(codec.points, column) for codec in results.codecs]
    rows = [[_bd(reference, tested) for tested in curves] for reference in curves]
    return {"key": column, "label": METRICS[column].label, "rows": rows}


def _bd(reference: Curve, tested: Curve) -> float | None:
    """BD-rate in per cent, None where it does not exist."""
    try:
        return bd_rate(reference, tested)
    except BdRateError:
        return None


def _image_record(results: Results, image: str) -> dict[str, Any]:
    """One picture: the BD-rate of each codec against the anchor on it alone."""
    own = {codec.name: [row for row in codec.rows if row.image == image] for codec in results.codecs}
    reference = curve(own[results.anchor])
    bd = {codec.name: _bd(reference, curve(own[codec.name])) for codec in results.codecs}
    size = own[results.anchor][0]
    return {"image": image, "width": size.width, "height": size.height, "bd": bd}


def _crop_record(entry: dict[str, Any]) -> dict[str, Any]:
    folder: Path = entry["folder"]
    crops = [{**crop, "uri": _data_uri(folder, str(crop["file"]))} for crop in entry["crops"]]
    original = _data_uri(folder, ORIGINAL)
    return {"image": entry["image"], "target": entry["target_bytes"], "original": original, "crops": crops}


def _data_uri(folder: Path, name: str) -> str:
    """A PNG right in a folder of crops. Runs are passed on, so a name in one may lead nowhere else."""
    path = input_below(folder, name, RunError)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise RunError(f"{path}: cannot be read ({error.strerror})") from error
    if not data.startswith(_PNG):
        raise RunError(f"{path}: is no PNG file, as crops are")
    return f"data:image/png;base64,{base64.b64encode(data).decode('ascii')}"


def _origin(results: Results) -> list[dict[str, Any]]:
    """The last run of each codec, as its sidecar tells."""
    origins = []
    for codec in results.codecs:
        run = (codec.sidecar.get("runs") or [{}])[-1]
        machine = run.get("machine", {})
        origins.append(
            {
                "label": codec.label,
                "settings": codec.sidecar.get("settings", ""),
                "version": codec.sidecar.get("version", ""),
                "date": run.get("date", ""),
                "commit": _short(run.get("commit") or ""),
                "machine": f"{machine.get('cpu', '')}, {machine.get('cores', '?')} cores" if machine else "",
            }
        )
    return origins


def _short(commit: str) -> str:
    """A commit for people; that the tree differed from it is not left out."""
    head, dirty, _ = commit.partition("-dirty")
    return head[:12] + dirty
