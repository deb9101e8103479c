"""The rows of the autoencoders' benchmark on a handful of digits: columns, provenance, pictures, runs used again."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmark_scripts import load_script
from click.testing import CliRunner
from PIL import Image


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Any:
    return load_script(monkeypatch, "autoencoders", "matplotlib")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder with 60 and 40 squares and crosses as digits."""
    rng = np.random.default_rng(0)
    x = np.zeros((100, 28, 28), np.uint8)
    for number, picture in enumerate(x):
        top, left = rng.integers(2, 14, 2)
        if number % 2:
            picture[top : top + 10, left : left + 10] = 200
        else:
            picture[top + 5, left : left + 11] = picture[top : top + 11, left + 5] = 250
    (tmp_path / "data" / "small").mkdir(parents=True)
    y = np.arange(100) % 2
    np.savez(tmp_path / "data" / "small" / "mnist.npz", x_train=x[:60], y_train=y[:60], x_test=x[60:], y_test=y[60:])
    return tmp_path / "data"


def test_a_row_leaves_its_figures_where_they_come_from_and_a_picture(script, data, tmp_path):
    row, columns = "vae-plane", {"minus_elbo_nats", "neighbours_mse"}
    command = [row, "--data", str(data), "--runs", str(tmp_path / "runs"), "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(script.main, [*command, "--shorten", "1000"])
    assert result.exit_code == 0, result.output
    with (tmp_path / "out" / f"{row}.csv").open() as file:
        records = list(csv.DictReader(file))
    assert columns <= records[0].keys()
    assert all(np.isfinite(float(record[column])) for record in records for column in columns)
    origin = json.loads((tmp_path / "out" / f"{row}.json").read_text())
    assert origin["row"] == row
    assert origin["versions"]["torch"]
    assert Image.open(tmp_path / "out" / f"{row}.png").size[0] > 50
    before = (tmp_path / "out" / f"{row}.csv").read_text()
    again = CliRunner().invoke(script.main, [*command, "--shorten", "1000"])
    assert again.exit_code == 0, again.output
    assert (tmp_path / "out" / f"{row}.csv").read_text() == before, "a trained model is used again"


def test_every_row_says_what_it_shows(script):
    for name, row in script.ROWS.items():
        assert row.__doc__, name


def test_a_missing_data_set_is_one_clear_line(script, tmp_path):
    (tmp_path / "empty").mkdir()
    result = CliRunner().invoke(script.main, ["shapes", "--data", str(tmp_path / "empty"), "--runs", str(tmp_path)])
    assert result.exit_code == 1
    assert result.output.splitlines()[-1].startswith("Error: ")
