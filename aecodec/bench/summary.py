"""The beginning and the end of `aecodec bench`: what is to be run, and the tables a run leaves."""

from __future__ import annotations

import json
from pathlib import Path

from ..contracts import MissingDependencyError, UnknownName
from ..data.files import write_atomic
from ..data.outputs import output_in
from ..metrics import BjontegaardMissingError
from .codecs import FileCodec
from .crops import crop_files
from .opening import CodecSpec
from .results import CROPS_FOLDER, RUN_FILE, Results, read_runs
from .tables import bd_heading, bd_table, compared_columns, curve, write_summary

SUMMARY_FILE, BD_FILE = "summary.csv", "bd_rate.md"


def check_anchor(anchor: str | None, specs: list[CodecSpec], opened: list[FileCodec]) -> str:
    """The anchor as results call it; None is the last codec. Raises UnknownName if it is not among the codecs."""
    known = {spec.name: codec.name for spec, codec in zip(specs, opened, strict=True)}
    known.update({codec.name: codec.name for codec in opened})
    if anchor is None:
        return opened[-1].name
    if anchor not in known:
        raise UnknownName(
            f"the anchor {anchor!r} is not among the codecs; there are: {', '.join(spec.name for spec in specs)}"
        )
    return known[anchor]


def run_files(out: Path, codecs: list[FileCodec], cropped: list[Path]) -> list[Path]:
    """Everything that a run writes. cropped: the pictures that crops are kept of. Raises OutputError for a codec after
    which no file can be named."""
    tables = [out / name for name in (RUN_FILE, SUMMARY_FILE, BD_FILE)]
    rows = [output_in(out, f"{codec.name}{suffix}") for codec in codecs for suffix in (".csv", ".json")]
    return [*tables, *rows, *crop_files(codecs, cropped, out / CROPS_FOLDER)]


def keep_settings(out: Path, data: Path, anchor: str) -> None:
    """run.json: what a report needs to know besides the rows."""
    content = {"schema_version": 1, "data": data.resolve().name, "anchor": anchor}
    write_atomic(out / RUN_FILE, (json.dumps(content, indent=1) + "\n").encode(), overwrite=True)


def summarise_run(out: Path) -> str:
    """Write summary.csv and bd_rate.md of a run -> the BD-rate tables as Markdown. Raises RunError."""
    results = read_runs([out])
    write_summary(out / SUMMARY_FILE, [point for codec in results.codecs for point in codec.points])
    text = bd_text(results)
    write_atomic(out / BD_FILE, f"{text}\n".encode(), overwrite=True)
    return text


def bd_text(results: Results) -> str:
    """Markdown: every codec against every codec, a table for each metric that they can be compared by.

    Raises MissingDependencyError without the package bjontegaard.
    """
    sections = []
    for column in compared_columns(codec.points for codec in results.codecs):
        found = {codec.name: curve(codec.points, column) for codec in results.codecs}
        curves = {name: own for name, own in found.items() if own.rates}
        try:
            table = bd_table(curves, curves, column)
        except BjontegaardMissingError as error:
            raise MissingDependencyError(str(error)) from error
        heading = bd_heading(column, len(results.pictures), results.data)
        sections.append(
            f"{heading} Negative: the column's codec needs fewer bits than the row's. The anchor is "
            f"{results.anchor}.\n\n{table}"
        )
    return "\n\n".join(sections)
