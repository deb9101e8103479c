"""Benchmark files as they are when run as scripts: called, and their tables read."""

from __future__ import annotations

import csv
import importlib
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from places import BENCHMARKS


def load_script(monkeypatch: pytest.MonkeyPatch, name: str, *needed: str) -> Any:
    """benchmarks/NAME.py, its own folder first on the path; skips the test where a package that it needs is missing."""
    for package in needed:
        pytest.importorskip(package)
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module(name)


def run(command: Any, *arguments: object) -> Result:
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))
