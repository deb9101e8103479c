"""The benchmark scripts on tiny pictures: columns, real file bytes, resuming, failures, the agreement check."""

from __future__ import annotations

import csv
import importlib
import json
import math
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image
from places import BENCHMARKS

COLUMNS = [
    "codec",
    "version",
    "quality",
    "image",
    "width",
    "height",
    "bytes",
    "bpp",
    "psnr",
    "ms_ssim",
    "encode_s",
    "decode_s",
    "encode_cpu_s",
    "decode_cpu_s",
    "entropy_decode_s",
    "peak_mib",
    "ssimulacra2",
]
QUALITIES = ["5", "10", "15", "20", "30", "45", "60", "75", "85"]


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Import a benchmark file as it is when run as a script: its own folder first on the path."""
    pytest.importorskip("matplotlib")
    pytest.importorskip("bjontegaard")
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder with two synthetic pictures of 170 x 164 pixels."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    x, y = np.meshgrid(np.linspace(0, 8, 170), np.linspace(0, 6, 164))
    for name, phase in (("one", 0.0), ("two", 2.0)):
        waves = [np.sin(x + phase), np.cos(y - phase), np.sin(x * y / 4)]
        noise = np.random.default_rng(3).normal(0, 4, (164, 170, 3))
        pixels = np.clip(128 + 90 * np.stack(waves, axis=-1) + noise, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{name}.png")
    return folder


def _run(script: ModuleType, *arguments: object) -> Result:
    return CliRunner().invoke(script.main, [str(a) for a in arguments])


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_quick_run_keeps_rows_provenance_tables_and_plots(module: Any, pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "results"
    result = _run(module("rate_distortion"), pictures, "--out", out, "--codecs", "jpeg420")
    assert result.exit_code == 0, result.output
    rows = _rows(out / "jpeg420.csv")
    assert list(rows[0]) == COLUMNS
    assert len(rows) == 2 * 9
    for row in rows:
        pixels = int(row["width"]) * int(row["height"])
        assert pixels == 170 * 164
        assert float(row["bpp"]) == pytest.approx(8 * int(row["bytes"]) / pixels, rel=1e-7)
        assert row["entropy_decode_s"] == ""
    sidecar = json.loads((out / "jpeg420.json").read_text())
    assert "4:2:0" in sidecar["settings"]
    assert sidecar["runs"][0]["rows"] == 18
    assert {"date", "command", "commit", "versions", "machine"} <= sidecar["runs"][0].keys()
    assert [row["quality"] for row in _rows(out / "summary.csv")] == QUALITIES
    for name in ("bd_rate.md", "rd.png", "rd_ms_ssim.png"):
        assert (out / name).stat().st_size > 0


def test_bytes_are_those_of_a_real_file(module: Any, pictures: Path) -> None:
    codec = module("aecodec.bench.opening").open_codec("jpeg420")
    row = module("aecodec.bench.measurements").measure(codec, pictures / "one.png", 75)
    with Image.open(pictures / "one.png") as image:
        image.save(pictures / "one.out", "JPEG", quality=75, subsampling="4:2:0", optimize=True)
    assert row.bytes == (pictures / "one.out").stat().st_size
    assert 25 < row.scores["psnr"] < 50
    assert 0.9 < row.scores["ms_ssim"] < 1


def test_resume_measures_only_what_is_missing(module: Any, pictures: Path, tmp_path: Path) -> None:
    script, out = module("rate_distortion"), tmp_path / "results"
    arguments = (pictures, "--out", out, "--codecs", "jpeg420", "--resume")
    _run(script, *arguments)
    path = out / "jpeg420.csv"
    lines = path.read_text().splitlines()
    # The second row is gone, the third is of another version, the last line was torn by a crash.
    version = _rows(path)[0]["version"]
    lines = [*lines[:2], lines[3].replace(version, "Pillow 1.0"), *lines[4:], lines[-1][:20]]
    path.write_text("\n".join(lines) + "\n")
    assert _run(script, *arguments).exit_code == 0
    assert {(row["quality"], row["image"]) for row in _rows(path)} == {
        (quality, name) for quality in QUALITIES for name in ("one", "two")
    }
    assert {row["version"] for row in _rows(path)} == {version}
    assert [run["rows"] for run in json.loads((out / "jpeg420.json").read_text())["runs"]] == [18, 2]


def test_a_failing_picture_is_reported_and_does_not_end_the_run(module: Any, pictures: Path, tmp_path: Path) -> None:
    (pictures / "broken.png").write_bytes(b"no picture")
    out = tmp_path / "results"
    result = _run(module("rate_distortion"), pictures, "--out", out, "--codecs", "jpeg420")
    assert result.exit_code == 1
    assert "broken.png: FAILED" in result.output
    assert {row["image"] for row in _rows(out / "jpeg420.csv")} == {"one", "two"}
    assert {row["images"] for row in _rows(out / "summary.csv")} == {"2"}


@pytest.mark.parametrize(
    ("arguments", "message"), [(["--codecs", "gif"], "no codec gif"), (["--qualities", "1,x"], "expected numbers")]
)
def test_wrong_arguments_are_usage_errors(
    module: Any, pictures: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    result = _run(module("rate_distortion"), pictures, "--out", tmp_path, *arguments)
    assert result.exit_code == 2
    assert message in result.output


def test_agreement_flags_a_deviation(module: Any) -> None:
    tables, anchors = module("aecodec.bench.tables"), module("aecodec.bench.anchors")
    base = tables.Point("webp", 30.0, 24, 0.5, {"psnr": 31.0}, *([0.01] * 4), math.nan)
    points = [base, replace(base, quality=50.0, bpp=0.7, scores={"psnr": 33.0})]

    def check(bpp: float, psnr: float) -> Any:
        known = [{"q": 30, "bpp": 0.5, "psnr": 31.0}, {"q": 50, "bpp": bpp, "psnr": psnr}]
        return anchors.agreement("webp", "others", points, known, anchors.SAME_LIBRARY)

    assert check(0.7, 33.0).holds
    assert check(0.7 * 1.004, 33.04).holds
    assert not check(0.7 * 1.006, 33.0).holds
    assert not check(0.7, 33.06).holds
    elsewhere = [{"q": 99, "bpp": 1.0, "psnr": 40.0}]
    assert not anchors.agreement("webp", "others", points, elsewhere, anchors.SAME_LIBRARY).holds, "nothing compared"
    assert "**NO**" in anchors.agreement_table([check(0.8, 33.0)])


def test_points_that_lack_pictures_are_left_out(module: Any, pictures: Path) -> None:
    measurements, tables = module("aecodec.bench.measurements"), module("aecodec.bench.tables")
    codec = module("aecodec.bench.opening").open_codec("jpeg420")
    rows = [measurements.measure(codec, path, q) for q in (20, 60) for path in measurements.pictures_in(pictures)]
    points = tables.summarise(rows[:-1])
    assert [(p.quality, p.images) for p in points] == [(20.0, 2)]
    assert points[0].bpp == pytest.approx((rows[0].bpp + rows[1].bpp) / 2)


def test_bd_table_names_why_a_cell_is_empty(module: Any) -> None:
    tables = module("aecodec.bench.tables")
    rates, decibels = [0.1, 0.2, 0.4, 0.8], [28.0, 30.0, 33.0, 36.0]
    reference, better = tables.Curve(rates, decibels), tables.Curve([0.8 * r for r in rates], decibels)
    text = tables.bd_table({"ours": better}, {"same shape": reference, "far": tables.Curve(rates, [50, 51, 52, 53])})
    assert "| same shape | -20.0 % (28.0 to 36.0 dB) |" in text
    assert "| far | n/a: the curves share no quality" in text


@pytest.fixture
def untrained(tmp_path: Path) -> Path:
    """A checkpoint of random weights, small enough to make in a moment."""
    torch = pytest.importorskip("torch")
    from aecodec import checkpoint

    torch.manual_seed(0)
    config = {"channels": 16, "latents": 16, "hyper_latents": 8, "analysis_blocks": 1, "synthesis_blocks": 1}
    model = checkpoint.build("exact-hyperprior", {**config, "features": 8, "scale_hidden": 8})
    path = tmp_path / "untrained.safetensors"
    checkpoint.save(model, path, name="untrained", family_name="exact-hyperprior", card={})
    return path


def test_our_own_codec_is_measured_with_its_entropy_decoder(
    module: Any, pictures: Path, tmp_path: Path, untrained: Path
) -> None:
    out = tmp_path / "results"
    result = _run(
        module("rate_distortion"),
        pictures,
        "--out",
        out,
        "--codecs",
        "aec,jpeg420",
        "--model",
        untrained,
        "--qualities",
        "0,30,60,100",
    )
    assert result.exit_code == 0, result.output
    rows = _rows(out / "aec-untrained.csv")
    assert len(rows) == 2 * 4
    assert {len(row["version"]) for row in rows} == {16}
    assert all(0 < float(row["entropy_decode_s"]) <= float(row["decode_s"]) for row in rows)
    assert "| against | aec-untrained |" in (out / "bd_rate.md").read_text()


def test_entropy_share_is_a_share_and_files_are_near_their_ideal_size(
    module: Any, pictures: Path, tmp_path: Path, untrained: Path
) -> None:
    result = _run(module("entropy_share"), pictures, "--model", untrained, "--qualities", "30,90", "--out", tmp_path)
    assert result.exit_code == 0, result.output
    for row in _rows(tmp_path / "entropy_share.csv"):
        assert 0 < float(row["entropy_wall_s"]) < float(row["decoding_wall_s"])
        assert 0 < float(row["coder_wall_s"]) < float(row["decoding_wall_s"])
        assert float(row["ideal_bits"]) < 8 * int(row["payload_bytes"]) < 8 * int(row["file_bytes"])
        # An entropy coder that wastes more than a few words per tile is broken.
        assert 8 * int(row["payload_bytes"]) < float(row["ideal_bits"]) * 1.01 + 2 * 3 * 32


def test_effort_is_measured_from_real_files_and_goes_on_where_it_was(
    module: Any, pictures: Path, tmp_path: Path, untrained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = module("effort")
    monkeypatch.setitem(script.STEPS, 3, 2)
    arguments = (pictures, "--model", untrained, "--efforts", "1,3", "--qualities", "0,30,60,90", "--limit", 1, "--out")
    result = _run(script, *arguments, tmp_path)
    assert result.exit_code == 0, result.output
    rows = _rows(tmp_path / "effort.csv")
    assert sorted({row["codec"] for row in rows}) == ["aec-untrained-effort1", "aec-untrained-effort3"]
    assert len(rows) == 2 * 4
    assert "| 3 | 2 | " in (tmp_path / "effort.md").read_text()
    assert "commit" in json.loads((tmp_path / "effort.json").read_text())
    (tmp_path / "effort.csv").write_text("\n".join((tmp_path / "effort.csv").read_text().splitlines()[:-2]) + "\n")
    again = _run(script, *arguments, tmp_path)
    assert len([line for line in again.output.splitlines() if line.startswith("effort ")]) == 2
    kept = [{k: row[k] for k in ("codec", "quality", "bytes", "psnr")} for row in _rows(tmp_path / "effort.csv")]
    assert kept == [{k: row[k] for k in ("codec", "quality", "bytes", "psnr")} for row in rows]
    assert _run(script, pictures, "--efforts", "1,10").exit_code == 2


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (["benchmarks/x.py", "/home/somebody/kodak", "--out", "results"], "python benchmarks/x.py kodak --out results"),
        (["/opt/aecodec/__main__.py", "bench", "kodak"], "python -m aecodec bench kodak"),
        (["x.py", "mnist=/home/somebody/mnist.npz", "--set", "a=b"], "python x.py mnist=mnist.npz --set a=b"),
    ],
)
def test_provenance_tells_the_command_and_no_place(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], shown: str
) -> None:
    from aecodec.bench import provenance

    monkeypatch.setattr("sys.argv", arguments)
    assert provenance.collect()["command"] == shown
