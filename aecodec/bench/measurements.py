"""One picture through one codec at one quality: what is measured, and the CSV files it is kept in."""

from __future__ import annotations

import contextlib
import csv
import math
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..contracts import AecodecError
from ..metrics import METRICS, SMALLEST_SIDES
from .codecs import FileCodec, Stopwatch, watching

PICTURE_SUFFIXES = {".png", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".jpg", ".jpeg"}


class RunError(AecodecError):
    """A folder holds no run, or one of its files is damaged."""


@dataclass(frozen=True)
class Measurement:
    """A row of a result file; the fields are its columns.

    version: the codec's library versions, or the model's fingerprint. bytes: length of the whole file, header
    included. bpp: 8 bytes / (width height). psnr: RGB, decibels. ms_ssim: NaN below 161 pixels;
    ssimulacra2: a score up to 100, NaN below 8 pixels; both NaN where not asked for. *_s: wall-clock
    seconds; *_cpu_s: CPU seconds of all threads. entropy_decode_s: wall-clock seconds of decode_s spent in the
    entropy decoder, NaN where the codec does not tell. peak_mib: the most memory that the measuring process held
    while encoding and decoding, its libraries and weights included; NaN where the system does not tell.
    """

    codec: str
    version: str
    quality: float
    image: str
    width: int
    height: int
    bytes: int
    bpp: float
    psnr: float
    ms_ssim: float
    encode_s: float
    decode_s: float
    encode_cpu_s: float
    decode_cpu_s: float
    entropy_decode_s: float
    peak_mib: float = math.nan
    ssimulacra2: float = math.nan

    @property
    def key(self) -> tuple[str, str, float, str]:
        """What a measurement is of: (codec, version, quality, image)."""
        return self.codec, self.version, self.quality, self.image


COLUMNS = tuple(field.name for field in fields(Measurement))
#: Columns that older result files lack.
LATER_COLUMNS = ("peak_mib", "ssimulacra2")
_KNOWN_COLUMNS = [COLUMNS[: len(COLUMNS) - lacking] for lacking in range(len(LATER_COLUMNS) + 1)]
_TEXT = {"codec", "version", "image"}
_WHOLE = {"width", "height", "bytes"}


def pictures_in(folder: Path, limit: int | None = None) -> list[Path]:
    """The pictures of a folder by name, at most `limit` of them."""
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() in PICTURE_SUFFIXES)
    return found[:limit]


def read_rgb(path: Path) -> Image.Image:
    """A picture as 8-bit RGB."""
    with Image.open(path) as image:
        return image.convert("RGB")


def forget_peak() -> None:
    """Start the system's record of this process's peak memory anew, where it can be done (Linux)."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_mib() -> float:
    """The most resident memory of this process since `forget_peak`, MiB; NaN where the system does not tell."""
    try:
        text = Path("/proc/self/status").read_text(encoding="utf-8")
    except OSError:
        return math.nan
    for line in text.splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return math.nan


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
    peak = peak_mib()
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
        **{"ms_ssim": math.nan, **{name: METRICS[name](a, b) for name in metrics}},
        encode_s=encoding.wall,
        decode_s=decoding.wall,
        encode_cpu_s=encoding.cpu,
        decode_cpu_s=decoding.cpu,
        entropy_decode_s=entropy_s,
        peak_mib=peak,
    )


def lacks(row: Measurement, metrics: tuple[str, ...]) -> bool:
    """Whether a row was measured without one of these metrics, though the picture is large enough for it."""
    side = min(row.width, row.height)
    return any(math.isnan(getattr(row, name)) and side >= SMALLEST_SIDES.get(name, 0) for name in metrics)


def _to_text(name: str, value: object) -> str:
    if isinstance(value, float):
        return (
            "" if math.isnan(value) else f"{value:.6g}" if name.endswith(("_s", "quality", "_mib")) else f"{value:.8g}"
        )
    return str(value)


def _from_text(name: str, text: str) -> Any:
    if name in _TEXT:
        return text
    if name in _WHOLE:
        return int(text)
    return float(text) if text else math.nan


def write_rows(path: Path, rows: Iterable[Measurement]) -> None:
    """Replace a result file by these rows, in order of quality and picture."""
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for row in sorted(rows, key=lambda row: (row.quality, row.image)):
            writer.writerow([_to_text(name, value) for name, value in asdict(row).items()])
    os.replace(temporary, path)


def append_row(path: Path, row: Measurement) -> None:
    """Add one row to a result file that has its header, so that an interrupted run loses nothing."""
    with path.open("a", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerow([_to_text(name, value) for name, value in asdict(row).items()])


def read_rows(path: Path) -> list[Measurement]:
    """The rows of a result file. Raises RunError if its columns are others; a torn last line is left out."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            lines = list(csv.reader(file))
    except (OSError, ValueError, csv.Error) as error:
        raise RunError(f"{path}: cannot be read ({error})") from error
    if not lines or tuple(lines[0]) not in _KNOWN_COLUMNS:
        found = ", ".join(lines[0]) if lines else "no line"
        raise RunError(f"{path}: expected the columns {', '.join(COLUMNS)}; found {found}")
    try:
        return [
            Measurement(**{name: _from_text(name, text) for name, text in zip(lines[0], line, strict=True)})
            for line in lines[1:]
            if len(line) == len(lines[0])
        ]
    except ValueError as error:
        raise RunError(f"{path}: not numbers where numbers are expected ({error})") from error


def holds_rows(path: Path) -> bool:
    """Whether a CSV file is a codec's rows, judged by its first line: reports may lie beside them."""
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return file.readline().startswith(",".join(COLUMNS[:4]) + ",")
    except OSError:
        return False
