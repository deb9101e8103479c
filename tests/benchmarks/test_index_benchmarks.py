"""The benchmarks of indexing on a few small files: what they print and keep."""

from __future__ import annotations

import csv
import importlib
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from conftest import natural_picture
from PIL import Image
from places import BENCHMARKS


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch, block_hasher: None) -> Any:
    """Import a benchmark as it is when run as a script, with a hasher that needs no model."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_indexing_is_timed_beside_imagehash(module, monkeypatch, tmp_path):
    pytest.importorskip("imagehash")
    (tmp_path / "photos").mkdir()
    for number in range(2):
        Image.fromarray(natural_picture(440, 600, number)).save(tmp_path / "photos" / f"{number}.png")
    script, out = module("indexing"), tmp_path / "results"
    monkeypatch.setattr(script, "COPY_BITS", 32)
    arguments = [str(tmp_path / "photos"), "--count", "3", "--rounds", "1", "--threads", "1", "--out", str(out)]
    done = CliRunner().invoke(script.main, arguments)
    assert done.exit_code == 0, done.output
    rows = rows_of(out / "indexing.csv")
    assert [row["method"] for row in rows] == [
        "index build",
        "index build --bits 32",
        "index build --windows",
        "index build --bits 32 --windows",
        "reading alone",
        "imagehash pHash",
    ]
    for row in rows:
        assert float(row["pictures_per_second"]) == pytest.approx(3 / float(row["seconds"]), rel=1e-4)
        assert row["method"] in done.output
    origin = json.loads((out / "indexing.json").read_text())
    assert origin["hasher"] == "blocks"
    assert "1152 x 864" in origin["files"]
    assert "1.00x" in done.output
    small = tmp_path / "small"
    small.mkdir()
    Image.fromarray(natural_picture(40, 60)).save(small / "a.png")
    done = CliRunner().invoke(script.main, [str(small)])
    assert done.exit_code == 1
    assert "no picture has at least 576 x 432 pixels" in done.output


def test_threads_of_faiss_are_compared(module, tmp_path):
    pytest.importorskip("faiss")
    arguments = ["--rows", "1000", "--queries", "3", "--rounds", "2", "--busy", "1", "--out", str(tmp_path)]
    done = CliRunner().invoke(module("faiss_threads").main, arguments)
    assert done.exit_code == 0, done.output
    rows = rows_of(tmp_path / "faiss_threads.csv")
    assert [(row["method"], row["queries"]) for row in rows] == [
        (name, count) for count in ("1", "3") for name in ("faiss, 1 OpenMP", "faiss, 2 OpenMP", "ours, 2 threads")
    ]
    assert all(0 < float(row["median_ms"]) <= float(row["worst_ms"]) for row in rows)
    assert done.output.count("\n") == 8
    assert json.loads((tmp_path / "faiss_threads.json").read_text())["codes"] == "1000 x 64 bits"
