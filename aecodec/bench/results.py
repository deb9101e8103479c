"""What one or several runs hold, read back: rows, points, provenance and crops of codecs over the same pictures."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..contracts import UnknownName, UsageError
from ..data.records import Kind, either, flag, integer, listing, mapping, number, read_object, record, text
from .measurements import Measurement, RunError, holds_rows, read_rows
from .peers import PEERS
from .tables import Point, summarise

_SIZE = 1 << 53
_PHRASE = text(10_000)
_NAME = text(500)
#: What the JSON files of a run hold, as far as a report reads it: of the run, of a codec, of a picture's crops.
RUN = {"data": _NAME, "anchor": either(_NAME, Kind("null", lambda value: value is None))}
SIDECAR = {
    "learned": flag(),
    "settings": _PHRASE,
    "version": _PHRASE,
    "runs": listing(
        record(
            {},
            {
                "kmac_per_pixel": either(mapping(number(0, 1e15)), Kind("null", lambda value: value is None)),
                "machine": record({}, {"cpu": _NAME, "cores": either(integer(1, _SIZE), _NAME)}),
                "date": _NAME,
                "commit": either(_NAME, Kind("null", lambda value: value is None)),
            },
        )
    ),
}
CROPS = {
    "image": _NAME,
    "target_bytes": integer(0, _SIZE),
    "crops": listing(
        record(
            {
                "codec": _NAME,
                "file": Kind("a file's name", lambda value: isinstance(value, str) and Path(value).name == value),
                "quality": number(-1e9, 1e9),
                "bytes": integer(0, _SIZE),
                "bpp": number(0, 1e9),
                "psnr": number(-1e9, 1e9),
            }
        )
    ),
}
#: Written by a run, read by a report.
RUN_FILE = "run.json"
#: The folder of crops in a run's.
CROPS_FOLDER = "crops"


@dataclass(frozen=True)
class CodecResult:
    """One codec of a run. name: the codec's own, with the run where several have it; sidecar: its provenance."""

    name: str
    rows: list[Measurement]
    points: list[Point]
    sidecar: dict[str, Any] = field(default_factory=dict)

    @property
    def codec(self) -> str:
        """The name that the codec gave itself."""
        return self.rows[0].codec

    @property
    def images(self) -> set[str]:
        """Names of the pictures that it was measured on."""
        return {row.image for row in self.rows}

    @property
    def label(self) -> str:
        """The name for people; a network is called by its model."""
        peer = PEERS.get(self.codec)
        return self.name.replace(self.codec, peer.label, 1) if peer else self.name

    @property
    def learned(self) -> bool:
        """Whether it is a network, ours or another; a sidecar may be missing, then a stranger counts as one."""
        return bool(self.sidecar.get("learned", self.codec not in PEERS))

    @property
    def kmac(self) -> dict[str, float]:
        """kMAC per pixel as last counted, {} if nobody did."""
        counts = [run["kmac_per_pixel"] for run in self.sidecar.get("runs", []) if run.get("kmac_per_pixel")]
        return counts[-1] if counts else {}


@dataclass(frozen=True)
class Results:
    """Codecs over the same pictures, networks first, and what else the runs say. crops: crops.json's, with paths."""

    codecs: list[CodecResult]
    pictures: list[str]
    data: str
    anchor: str
    crops: list[dict[str, Any]] = field(default_factory=list)

    @property
    def reference(self) -> CodecResult:
        """The anchor."""
        return next(codec for codec in self.codecs if codec.name == self.anchor)


def read_runs(
    folders: Sequence[Path],
    anchor: str | None = None,
    *,
    pictures: Collection[str] | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> Results:
    """Everything of these runs.

    anchor: a codec; None is the first run's own, or the last codec. pictures: names of those that count, of which a
    codec must have all that another one has, or it is left out; None: the pictures that every codec has.
    say: told what is left out. Raises RunError, or UnknownName for an anchor that was not measured.
    """
    codecs: dict[str, CodecResult] = {}
    data, crops, chosen = "", [], anchor
    for folder in folders:
        settings = _json(folder / RUN_FILE, RUN)
        data = data or settings.get("data", folder.name)
        chosen = chosen or settings.get("anchor")
        crops.extend(_crops(folder / CROPS_FOLDER))
        for path in _row_files(folder):
            # Of its own codec alone: other tables of rows may lie beside a run.
            rows = [row for row in read_rows(path) if row.codec == path.stem]
            name = path.stem if path.stem not in codecs else f"{path.stem} ({folder.name})"
            if rows:
                codecs[name] = CodecResult(name, rows, [], _json(path.with_suffix(".json"), SIDECAR))
    if not codecs:
        raise RunError(f"{', '.join(map(str, folders))}: no measurements in it")
    taken = _taken(codecs, pictures, say)
    found = [_restricted(codec, taken, say) for codec in codecs.values() if taken <= codec.images]
    found.sort(key=lambda codec: (not codec.learned, _best_first(codec)))
    names = [codec.name for codec in found]
    if chosen and chosen not in names:
        raise UnknownName(f"no anchor {chosen!r} in the run; there are: {', '.join(names)}")
    return Results(found, sorted(taken), data, chosen or names[-1], crops)


def _taken(codecs: Mapping[str, CodecResult], pictures: Collection[str] | None, say: Callable[[str], None]) -> set[str]:
    """The pictures that tables are over. Raises RunError if there are none."""
    if pictures is None:
        taken = set.intersection(*(codec.images for codec in codecs.values()))
        if not taken:
            raise RunError("the codecs have no picture in common")
        return taken
    taken = set.union(*(codec.images for codec in codecs.values())) & set(pictures)
    complete = [name for name, codec in codecs.items() if taken <= codec.images]
    if not taken or not complete:
        raise RunError("no codec has all of the pictures")
    for name in sorted(codecs.keys() - set(complete)):
        say(f"{name}: left out of the tables, it lacks pictures that other codecs have")
    return taken


def _restricted(codec: CodecResult, pictures: set[str], say: Callable[[str], None]) -> CodecResult:
    rows = [row for row in codec.rows if row.image in pictures]
    points = summarise(rows)
    lacking = sorted({row.quality for row in rows} - {point.quality for point in points})
    if lacking:
        say(f"{codec.name}: qualities {lacking} lack pictures and are left out of the tables")
    return CodecResult(codec.name, rows, points, codec.sidecar)


def _best_first(codec: CodecResult) -> float:
    """A rough order for lists: lower is better. The rate in bpp of the point nearest to 32 dB."""
    return min((abs(p.scores["psnr"] - 32), p.bpp) for p in codec.points)[1] if codec.points else math.inf


def _row_files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such run")
    return [path for path in sorted(folder.glob("*.csv")) if holds_rows(path)]


def is_run(folder: Path) -> bool:
    """Whether a folder holds a run, perhaps an unfinished one: its settings or rows."""
    try:
        settings = _json(folder / RUN_FILE, RUN)
    except RunError:
        settings = {}  # somebody else's file of that name
    return {"data", "anchor"} <= settings.keys() or any(map(holds_rows, folder.glob("*.csv")))


def read_by(folder: Path) -> list[Path]:
    """The files of a run that `read_runs` and a report read."""
    rows = _row_files(folder)
    crops = [path for path in (folder / CROPS_FOLDER).glob("*/*") if path.is_file()]
    return [folder / RUN_FILE, *rows, *(path.with_suffix(".json") for path in rows), *crops]


def _json(path: Path, optional: Mapping[str, Kind]) -> dict[str, Any]:
    return read_object(path, RunError, optional=optional) if path.exists() else {}


def _crops(folder: Path) -> list[dict[str, Any]]:
    found = []
    for path in sorted(folder.glob("*/crops.json")):
        content = read_object(path, RunError, CROPS)
        content["folder"] = path.parent
        found.append(content)
    return found
