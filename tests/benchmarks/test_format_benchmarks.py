"""The benchmarks of the file format on small things: they measure what they say."""

from __future__ import annotations

import importlib
import subprocess
import sys

import numpy as np
import pytest
from conftest import natural_picture
from extras import needs
from PIL import Image
from places import GOLDEN, ROOT

from aecodec.codec.codec import Codec

FLAGSHIP = GOLDEN / "v1" / "exact-hyperprior.safetensors"


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module


def test_info_time_measures_every_command(module, tmp_path):
    info_time = module("info_time")
    times = info_time.measure(1)
    assert set(times) == set(info_time.COMMANDS)
    assert min(min(values) for values in times.values()) > 0
    assert info_time.table({name: [2.0] for name in times}).count("| 1.00 |") == len(times)


def test_the_band_is_what_lies_beside_borders(module):
    seams = module("seams")
    band = seams.band(600, 520, 256)
    assert band[256 - 8 : 256 + 8].all()
    assert band[:, 512 - 8 : 512 + 8].all()
    assert not band[:248, :248].any()
    assert not seams.band(256, 256, 256).any()


@needs("torch")  # for the golden checkpoint, which holds no graphs
def test_seams_compare_the_band_with_the_rest_and_with_no_borders(module):
    seams = module("seams")
    codec = Codec.from_pretrained(FLAGSHIP, precision="float32")
    for pixels in (seams.smooth(512), seams.textured(512)):
        assert pixels.std() > 10
        inside, outside, whole = seams.measure([pixels], 256, 50.0, codec)
        assert abs(inside - outside) < 1.0
        assert abs(inside - whole) < 0.2


def test_the_embedded_model_leaves_no_seam(module):
    """Beside borders of tiles the PSNR is within 0.05 dB of the rest, and of the same pixels without borders."""
    seams = module("seams")
    inside, outside, whole = seams.measure([seams.textured(768)], 256, 50.0, Codec.from_pretrained())
    assert abs(inside - outside) < 0.05
    assert abs(inside - whole) < 0.05


def test_a_mosaic_is_written_row_by_row(module, tmp_path):
    photos = [natural_picture(40, 60, seed) for seed in range(3)]
    module("large_picture").write_mosaic(photos, 150, 90, tmp_path / "x.ppm")
    found = np.asarray(Image.open(tmp_path / "x.ppm"))
    assert found.shape == (90, 150, 3)
    assert any(np.array_equal(found[:40, :60], photo) for photo in photos)
    assert any(np.array_equal(found[80:, 120:], photo[:10, :30]) for photo in photos)


def test_large_picture_and_targets_run(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    Image.fromarray(natural_picture(64, 96)).save(folder / "a.png")
    for script, arguments in (("large_picture", [str(folder), "200"]), ("targets", [str(folder)])):
        command = [
            sys.executable,
            str(ROOT / "benchmarks" / f"{script}.py"),
            *arguments,
            "--out",
            str(tmp_path / "out"),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("|")
    assert {path.suffix for path in (tmp_path / "out").iterdir()} == {".md", ".json"}
