"""A report of runs: one page that needs no network, or a table, or a plot."""

from __future__ import annotations

import base64
import csv
import io
import json
import math
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ..contracts import MissingDependencyError, UsageError
from ..data.files import write_atomic
from ..metrics import BdRateError, BjontegaardMissingError, Curve, bd_rate
from .measurements import RunError
from .plot import Line, curves_of, draw
from .results import CodecResult, Results, read_runs
from .summary import bd_text
from .tables import Point, pooled_psnr_of, ratio_decibels

FORMATS = ("html", "md", "csv", "png")
_COLUMNS = (
    "codec",
    "quality",
    "images",
    "bpp",
    "psnr",
    "pooled_psnr",
    "ms_ssim",
    "ms_ssim_db",
    "ssimulacra2",
    "encode_s",
    "decode_s",
    "encode_cpu_s",
    "decode_cpu_s",
    "peak_mib",
)
_PAGE = Path(__file__).with_name("page.html")
_PLACE = "{{DATA}}"


def write_report(
    runs: Sequence[Path], out: Path, kind: str | None = None, *, anchor: str | None = None, overwrite: bool = False
) -> None:
    """Read the runs and write one file. kind: one of FORMATS, or None: the file's ending.

    Raises UsageError for another format, RunError for a folder without a run, OutputExistsError.
    """
    kind = kind or out.suffix.lower().lstrip(".")
    if kind not in FORMATS:
        raise UsageError(f"{out}: a report is one of {', '.join(FORMATS)}; use --format or such an ending")
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
    write_atomic(out, content, overwrite=overwrite)


# -- points as tables --------------------------------------------------------------------------------


def point_record(codec: CodecResult, point: Point) -> dict[str, Any]:
    """A point with what is derived from its rows: pooled PSNR, MS-SSIM in dB, megapixels, the highest memory peak."""
    rows = [row for row in codec.rows if row.quality == point.quality]
    return {
        "codec": codec.name,
        "quality": point.quality,
        "images": point.images,
        "bpp": point.bpp,
        "psnr": point.psnr,
        "pooled_psnr": pooled_psnr_of(rows),
        "ms_ssim": point.ms_ssim,
        "ms_ssim_db": ratio_decibels(point.ms_ssim),
        "ssimulacra2": point.ssimulacra2,
        "encode_s": point.encode_s,
        "decode_s": point.decode_s,
        "encode_cpu_s": point.encode_cpu_s,
        "decode_cpu_s": point.decode_cpu_s,
        "peak_mib": max(row.peak_mib for row in rows),
        "megapixels": sum(row.width * row.height for row in rows) / len(rows) / 1e6,
    }


def _records(results: Results) -> list[dict[str, Any]]:
    return [point_record(codec, point) for codec in results.codecs for point in codec.points]


def _number(value: Any) -> str:
    if not isinstance(value, float):
        return str(value)
    return f"{value:.6g}" if math.isfinite(value) else ""


def table_csv(results: Results) -> str:
    """A line for each codec and quality."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(_COLUMNS)
    writer.writerows([_number(record[name]) for name in _COLUMNS] for record in _records(results))
    return buffer.getvalue()


def markdown(results: Results) -> str:
    """BD-rates, and a table of all points."""
    lines = ["| " + " | ".join(_COLUMNS) + " |", "|---" * len(_COLUMNS) + "|"]
    lines += ["| " + " | ".join(_number(record[name]) for name in _COLUMNS) + " |" for record in _records(results)]
    return f"{bd_text(results)}\n\n## Points\n\n" + "\n".join(lines) + "\n"


def picture(results: Results) -> bytes:
    """The PSNR curves as PNG."""
    lines = [
        Line(c.label, [p.bpp for p in c.points], [p.psnr for p in c.points], curve, c.learned)
        for c, curve in zip(results.codecs, curves_of(c.codec for c in results.codecs), strict=True)
    ]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "rd.png")
        title = f"Rate and distortion, mean over {len(results.pictures)} pictures of {results.data}"
        draw(path, lines, title=title, quality_label="RGB PSNR (dB)")
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
    anchor, curves = results.reference, curves_of(codec.codec for codec in results.codecs)
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
            "bd": _bd(anchor.curve(), codec.curve()),
            "points": [point_record(codec, point) for point in codec.points],
        }
        for codec, (colour, marker) in zip(results.codecs, curves, strict=True)
    ]
    return {
        "data": results.data,
        "pictures": results.pictures,
        "anchor": anchor.name,
        "codecs": codecs,
        "matrix": [[_bd(row.curve(), column.curve()) for column in results.codecs] for row in results.codecs],
        "images": [_image_record(results, name) for name in results.pictures],
        "crops": [_crop_record(entry) for entry in results.crops if entry["image"] in results.pictures],
        "origin": _origin(results),
    }


def _bd(reference: Curve, tested: Curve) -> float | None:
    """BD-rate in per cent, None where it does not exist."""
    try:
        return bd_rate(reference, tested)
    except BdRateError:
        return None


def _image_record(results: Results, image: str) -> dict[str, Any]:
    """One picture: the BD-rate of each codec against the anchor on it alone."""
    own = {codec.name: [row for row in codec.rows if row.image == image] for codec in results.codecs}
    reference = results.reference.curve(own[results.anchor])
    bd = {codec.name: _bd(reference, codec.curve(own[codec.name])) for codec in results.codecs}
    size = own[results.anchor][0]
    return {"image": image, "width": size.width, "height": size.height, "bd": bd}


def _crop_record(entry: dict[str, Any]) -> dict[str, Any]:
    folder: Path = entry["folder"]
    crops = [{**crop, "uri": _data_uri(folder / crop["file"])} for crop in entry["crops"]]
    original = _data_uri(folder / "original.png")
    return {"image": entry["image"], "target": entry["target_bytes"], "original": original, "crops": crops}


def _data_uri(path: Path) -> str:
    try:
        return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode('ascii')}"
    except OSError as error:
        raise RunError(f"{path}: cannot be read ({error.strerror})") from error


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
