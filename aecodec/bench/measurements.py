"""One picture through one codec at one quality: what is measured, and the CSV files it is kept in."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..contracts import AecodecError
from ..data.files import write_atomic
from ..data.folders import Walk
from ..data.formats import picture_suffixes
from ..data.images import read_picture
from ..metrics import METRICS
from .codecs import FileCodec, Stopwatch, watching
from .memory import forget_peak, peak_bytes


class RunError(AecodecError):
    """A folder holds no run, or one of its files is damaged."""


@dataclass(frozen=True)
class Measurement:
    """A row of a result file; the fields and the scores are its columns.

    version: the codec's library versions, or the model's fingerprint. bytes: length of the whole file, header
    included. bpp: 8 bytes / (width height). scores: column -> score for every metric of METRICS, NaN where it was not
    asked for or does not exist for so small a picture. *_s: wall-clock seconds; *_cpu_s: CPU seconds of all threads.
    entropy_decode_s: wall-clock seconds of decode_s spent in the entropy decoder, NaN where the codec does not tell.
    peak_mib: the most memory that the measuring process held while encoding and decoding, its libraries and weights
    included; NaN where the system does not tell.
    """

    codec: str
    version: str
    quality: float
    image: str
    width: int
    height: int
    bytes: int
    bpp: float
    scores: Mapping[str, float]
    encode_s: float
    decode_s: float
    encode_cpu_s: float
    decode_cpu_s: float
    entropy_decode_s: float
    peak_mib: float = math.nan

    @property
    def key(self) -> tuple[str, str, float, str]:
        """What a measurement is of: (codec, version, quality, image)."""
        return self.codec, self.version, self.quality, self.image


_BEFORE_SCORES = ("codec", "version", "quality", "image", "width", "height", "bytes", "bpp")
_AFTER_SCORES = ("encode_s", "decode_s", "encode_cpu_s", "decode_cpu_s", "entropy_decode_s", "peak_mib")
#: Metrics of the first result files; later ones stand at the end of a line, so that older columns keep their places.
_FIRST_METRICS = ("psnr", "ms_ssim")
_TEXT = {"codec", "version", "image"}
_INTEGER = {"width", "height", "bytes"}
#: Columns without which a file is no result; older files lack others.
_REQUIRED = {*_BEFORE_SCORES, *_AFTER_SCORES, "psnr"} - {"peak_mib"}


def with_scores(before: Iterable[str], after: Iterable[str]) -> tuple[str, ...]:
    """The columns of a table of scores: those before, the first metrics, those after, all other metrics."""
    first = [name for name in METRICS if name in _FIRST_METRICS]
    return (*before, *first, *after, *(name for name in METRICS if name not in first))


def columns() -> tuple[str, ...]:
    """The columns of a result file."""
    return with_scores(_BEFORE_SCORES, _AFTER_SCORES)


def write_records(path: Path, columns: Sequence[str], records: Iterable[Mapping[str, Any]], digits: int = 4) -> None:
    """A table of figures as CSV: a row for each record, floats of so many significant digits, "" what a record lacks.

    Raises ValueError for a record with a key that is none of the columns.
    """
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, columns, lineterminator="\n")
    writer.writeheader()
    for record in records:
        writer.writerow({key: f"{v:.{digits}g}" if isinstance(v, float) else v for key, v in record.items()})
    write_atomic(path, buffer.getvalue().encode(), overwrite=True)


def pictures_in(folder: Path, limit: int | None = None, walk: Walk | None = None) -> list[Path]:
    """The pictures of a folder itself by name, at most ``limit`` of them. walk: told of what else there is."""
    walk = Walk(picture_suffixes(), recursive=False) if walk is None else walk
    return [one.path for one in walk.files(folder)][:limit]


def read_rgb(path: Path) -> Image.Image:
    """A picture as 8-bit RGB, read as every command reads pictures. Raises ImageReadError."""
    return Image.fromarray(read_picture(path).pixels).convert("RGB")


def measure(
    codec: FileCodec, path: Path, quality: float, *, metrics: tuple[str, ...] = ("psnr", "ms_ssim")
) -> Measurement:
    """Encode to real bytes, decode them, compare by the metrics of METRICS that are named, psnr among them.

    Raises what the codec raises, ValueError if it changed the size.
    """
    original = read_rgb(path)
    encoding, decoding, entropy_s = Stopwatch(), Stopwatch(), math.nan
    forget_peak()
    with encoding.running():
        data = codec.encode(original, quality)
    if codec.tile_codec is None:
        with decoding.running():
            decoded = codec.decode(data)
    else:
        with watching(codec.tile_codec) as watch, decoding.running():
            decoded = codec.decode(data)
        entropy_s = watch.stopwatch.wall
    peak = peak_bytes()
    a, b = np.asarray(original), np.asarray(decoded)
    return Measurement(
        codec=codec.name,
        version=codec.version,
        quality=float(quality),
        image=path.stem,
        width=original.width,
        height=original.height,
        bytes=len(data),
        bpp=8 * len(data) / (original.width * original.height),
        scores={name: METRICS[name].score(a, b) if name in metrics else math.nan for name in METRICS},
        encode_s=encoding.wall,
        decode_s=decoding.wall,
        encode_cpu_s=encoding.cpu,
        decode_cpu_s=decoding.cpu,
        entropy_decode_s=entropy_s,
        peak_mib=math.nan if peak is None else peak / 2**20,
    )


def lacks(row: Measurement, metrics: tuple[str, ...]) -> bool:
    """Whether a row was measured without one of these metrics, though the picture is large enough for it."""
    side = min(row.width, row.height)
    return any(math.isnan(row.scores[name]) and side >= METRICS[name].smallest_side for name in metrics)


def _to_text(name: str, value: object) -> str:
    if isinstance(value, float):
        if math.isnan(value):
            return ""
        return f"{value:.6g}" if name.endswith(("_s", "quality", "_mib")) else f"{value:.8g}"
    return str(value)


def _from_text(name: str, text: str) -> Any:
    if name in _TEXT:
        return text
    if name in _INTEGER:
        return int(text)
    return float(text) if text else math.nan


def _cells(row: Measurement) -> list[str]:
    """A line of a result file."""
    values = {**vars(row), **row.scores}
    return [_to_text(name, values[name]) for name in columns()]


def _from_cells(cells: dict[str, str]) -> Measurement:
    values = {name: _from_text(name, text) for name, text in cells.items()}
    scores = {name: values.pop(name, math.nan) for name in METRICS}
    return Measurement(**values, scores=scores)


def _check(row: Measurement) -> None:
    """Raises ValueError for a row of figures that no run can give; a score or a time may be unknown, NaN."""
    if not (min(row.width, row.height) >= 1 and max(row.width, row.height, row.bytes) <= 1 << 53 and row.bytes >= 0):
        raise ValueError(f"{row.width} x {row.height} pixels in {row.bytes} bytes")
    if not math.isfinite(row.quality) or not math.isfinite(row.bpp) or row.bpp < 0:
        raise ValueError(f"quality {row.quality} at {row.bpp} bpp")
    if any(math.isinf(value) for name, value in vars(row).items() if name in _AFTER_SCORES):
        raise ValueError("a time or a memory peak without end")


def write_rows(path: Path, rows: Iterable[Measurement]) -> None:
    """Replace a result file by these rows, in order of quality and picture. Raises OutputError."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(columns())
    writer.writerows(_cells(row) for row in sorted(rows, key=lambda row: (row.quality, row.image)))
    write_atomic(path, buffer.getvalue().encode(), overwrite=True)


def append_row(path: Path, row: Measurement) -> None:
    """Add one row to a result file that has its header, so that an interrupted run loses nothing."""
    with path.open("a", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerow(_cells(row))


def read_rows(path: Path) -> list[Measurement]:
    """The rows of a result file, its columns found by their names; metrics that it lacks are NaN.

    Raises RunError if other columns are missing or there are unknown ones; a torn last line is left out.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            header, *lines = list(csv.reader(file)) or [[]]
    except (OSError, ValueError, csv.Error) as error:
        raise RunError(f"{path}: cannot be read ({error})") from error
    if not _REQUIRED <= set(header) <= set(columns()) or len(set(header)) < len(header):
        raise RunError(f"{path}: expected the columns {', '.join(columns())}; found {', '.join(header) or 'none'}")
    try:
        rows = [_from_cells(dict(zip(header, line, strict=True))) for line in lines if len(line) == len(header)]
        for row in rows:
            _check(row)
        return rows
    except ValueError as error:
        raise RunError(f"{path}: not numbers where numbers are expected ({error})") from error


def holds_rows(path: Path) -> bool:
    """Whether a CSV file is a codec's rows, judged by its first line: reports may lie beside them."""
    if not path.is_file():  # a FIFO would wait
        return False
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return file.readline().startswith(",".join(_BEFORE_SCORES[:4]) + ",")
    except OSError:
        return False
