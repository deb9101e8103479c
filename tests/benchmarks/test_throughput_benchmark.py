"""The throughput benchmark on a small mosaic: columns, a ratio of 1 for ours, latents compared, provenance."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmark_scripts import load_script, rows_of, run
from conftest import natural_picture
from PIL import Image
from small_models import WITHOUT_COMPRESSAI

from aecodec.zoo.registry import DEFAULT_MODEL


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Any:
    return load_script(monkeypatch, "throughput")


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    (tmp_path / "pictures").mkdir()
    for seed in range(2):
        Image.fromarray(natural_picture(90, 120, seed)).save(tmp_path / "pictures" / f"{seed}.png")
    return tmp_path / "pictures"


def test_a_mosaic_has_the_size_asked_for_and_begins_with_its_pictures(script):
    first, second = (np.full((4, 6, 3), level, np.uint8) for level in (10, 20))
    made = script.mosaic([first, second], 10, 7)
    assert made.shape == (7, 10, 3)
    assert np.array_equal(made[:4, :6], first)
    assert np.array_equal(made[:4, 6:], second[:, :4])


def test_ours_and_a_peer_are_timed_in_one_run_and_latents_compared(script, pictures, tmp_path):
    pytest.importorskip("compressai", reason=WITHOUT_COMPRESSAI)
    result = run(
        script.main,
        pictures,
        "--device",
        "cpu",
        "--sizes",
        "128x64",
        "--batches",
        "1,2",
        "--peers",
        "mbt2018-mean",
        "--seconds",
        0.01,
        "--check",
        "--check-qualities",
        "0,100",
        "--out",
        tmp_path / "out",
    )
    assert result.exit_code == 0, result.output
    rows = rows_of(tmp_path / "out" / "throughput.csv")
    assert [(row["codec"], row["batch"]) for row in rows] == [
        (DEFAULT_MODEL, "1"),
        ("compressai-mbt2018-mean", "1"),
        (DEFAULT_MODEL, "2"),
        ("compressai-mbt2018-mean", "2"),
    ]
    assert all(float(row[key]) > 0 for row in rows for key in ("encode_s", "decode_s", "bytes"))
    assert {row["encode_ratio"] for row in rows if row["codec"] == DEFAULT_MODEL} == {"1"}
    origin = json.loads((tmp_path / "out" / "throughput.json").read_text())
    assert origin["files_checked"] == 2 * 2 * 2
    assert origin["files_with_other_latents"] == 0


def test_other_latents_are_counted(script, pictures, monkeypatch):
    drawn = iter(range(100))
    monkeypatch.setattr(script, "latents", lambda codec, data: iter([np.array(next(drawn))]))
    pixels = [np.asarray(Image.open(path)) for path in sorted(pictures.iterdir())]
    assert script.check(pixels, "cpu", [50.0], None) == 4
