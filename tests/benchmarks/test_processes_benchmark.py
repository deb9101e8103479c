"""The benchmark of whole processes on a tiny picture: every process and step, files of equal size, failures."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import pytest
from benchmark_scripts import load_script, rows_of, run
from conftest import natural_picture
from PIL import Image

#: Programs that copy the picture, called as the real ones are.
STAND_INS = {
    "cjxl": 'cp "$1" "$2"',
    "djxl": 'cp "$1" "$2"',
    "avifenc": 'cp "${@: -2:1}" "${@: -1}"',
    "avifdec": 'cp "${@: -2:1}" "${@: -1}"',
}


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Any:
    return load_script(monkeypatch, "processes")


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, body in STAND_INS.items():
        (folder / name).write_text(f'#!/usr/bin/env bash\n[ "$1" = --version ] && echo "{name} 1" && exit\n{body}\n')
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


@pytest.mark.usefixtures("programs")
def test_every_process_is_measured_in_one_run(script, tmp_path):
    (tmp_path / "pictures").mkdir()
    Image.fromarray(natural_picture(48, 64)).save(tmp_path / "pictures" / "tiny.png")
    out = tmp_path / "out"
    result = run(script.main, "--pictures", tmp_path / "pictures", "--runs", 1, "--out", out)
    assert result.exit_code == 0, result.output
    rows = rows_of(out / "processes.csv")
    names = ["aecodec, onnx", *(f"aecodec, onnx, effort {effort}" for effort in script.EFFORTS)]
    names += ["aecodec, torch"] if script.find_spec("torch") else []
    names += ["AVIF, Pillow", "JPEG XL, cjxl", "AVIF, avifenc"]
    assert [(row["process"], row["step"]) for row in rows] == [(name, step) for name in names for step in script.STEPS]
    assert all(float(row[key]) >= 0 for row in rows for key in ("cpu_s", "quality"))
    assert all(float(row[key]) > 0 for row in rows for key in ("wall_s", "peak_mib", "bytes"))
    text = (out / "processes.md").read_text()
    assert len(text.splitlines()) == 2 + len(rows)
    origin = json.loads((out / "processes.json").read_text())
    assert origin["programs"] == {"cjxl": "cjxl 1", "avifenc": "avifenc 1"}


def test_the_peak_is_that_of_the_process_and_not_of_this_one(script):
    ballast = bytearray(os.urandom(1)) * (200 << 20)
    small = script.run([sys.executable, "-I", "-S", "-c", "pass"])
    large = script.run([sys.executable, "-I", "-S", "-c", "bytearray(b'x') * (150 << 20)"])
    assert len(ballast) == 200 << 20
    assert small.peak_mib < 50
    assert 150 < large.peak_mib < 200


def test_the_quality_of_others_is_the_highest_that_fits(script, tmp_path):
    grows = "import sys; open(sys.argv[2], 'wb').write(bytes(int(sys.argv[3]) * 10))"
    command = (sys.executable, "-I", "-S", "-c", grows, "{source}", "{target}", "{quality}")
    process = script.Process("x", ".x", command, ())
    for limit, quality in ((737, 73), (5000, 100), (0, 0)):
        assert script.fitting(process, tmp_path, tmp_path / "x", limit) == replace(process, quality=quality)


def test_a_process_that_fails_is_told(script):
    with pytest.raises(click.ClickException, match="failed: no such picture"):
        script.run([sys.executable, "-c", "import sys; sys.exit('no such picture')"])
