"""The benchmark of the viewer on tiny pictures: every decoder in one run, and a picture made of several."""

from __future__ import annotations

import json

import pytest
from benchmark_scripts import load_script, rows_of, run
from conftest import natural_picture
from PIL import Image


def test_every_decoder_is_measured_in_one_run(monkeypatch: pytest.MonkeyPatch, site, tmp_path):
    script = load_script(monkeypatch, "viewer")
    monkeypatch.setattr(script, "DIST", site.folder)
    pictures = [tmp_path / "first.png", tmp_path / "second.png"]
    for number, path in enumerate(pictures):
        Image.fromarray(natural_picture(48, 64, number)).save(path)
    result = run(script.main, *pictures, "--runs", 1, "--wall", "100x90", "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    rows = rows_of(tmp_path / "out" / "viewer.csv")
    assert [(row["picture"], row["decoder"]) for row in rows] == [
        (name, decoder) for name in ("first", "wall") for decoder in script.DECODERS
    ]
    assert all(float(row[key]) > 0 for row in rows for key in ("wall_s", "cpu_s", "peak_mib", "bytes"))
    assert len((tmp_path / "out" / "viewer.md").read_text().splitlines()) == 2 + len(rows)
    assert "Chrom" in json.loads((tmp_path / "out" / "viewer.json").read_text())["browser"]


def test_a_wall_is_made_of_its_pictures(monkeypatch: pytest.MonkeyPatch, tmp_path):
    script = load_script(monkeypatch, "viewer")
    for number, colour in enumerate(("red", "blue")):
        Image.new("RGB", (4, 3), colour).save(tmp_path / f"{number}.png")
    wall = script.wall_of([tmp_path / "0.png", tmp_path / "1.png"], 10, 5)
    seen = [wall.getpixel(place) for place in ((0, 0), (5, 0), (9, 2), (0, 4), (4, 4))]
    assert seen == [(255, 0, 0), (0, 0, 255), (255, 0, 0), (0, 0, 255), (255, 0, 0)]
