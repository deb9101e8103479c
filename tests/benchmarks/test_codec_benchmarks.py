"""The benchmarks of our own codec, effort and entropy coding."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from benchmark_scripts import load_script, rows_of, run


def test_entropy_share_is_a_share_and_files_are_near_their_ideal_size(
    monkeypatch: pytest.MonkeyPatch, pictures: Path, tmp_path: Path, model_file: Path
) -> None:
    script = load_script(monkeypatch, "entropy_share")
    result = run(script.main, pictures, "--model", model_file, "--qualities", "30,90", "--out", tmp_path)
    assert result.exit_code == 0, result.output
    for row in rows_of(tmp_path / "entropy_share.csv"):
        assert 0 < float(row["entropy_wall_s"]) < float(row["decoding_wall_s"])
        assert 0 < float(row["coder_wall_s"]) < float(row["decoding_wall_s"])
        assert float(row["ideal_bits"]) < 8 * int(row["payload_bytes"]) < 8 * int(row["file_bytes"])
        # An entropy coder that wastes more than a few words per tile is broken.
        assert 8 * int(row["payload_bytes"]) < float(row["ideal_bits"]) * 1.01 + 2 * 3 * 32


def test_effort_is_measured_from_real_files_and_goes_on_where_it_was(
    monkeypatch: pytest.MonkeyPatch, pictures: Path, tmp_path: Path, model_file: Path
) -> None:
    script = load_script(monkeypatch, "effort", "bjontegaard")
    monkeypatch.setitem(script.STEPS, 3, 2)
    options = ["--efforts", "1,3", "--qualities", "0,30,60,90", "--limit", "1", "--out"]
    arguments = (pictures, "--model", model_file, *options)
    result = run(script.main, *arguments, tmp_path)
    assert result.exit_code == 0, result.output
    rows = rows_of(tmp_path / "effort.csv")
    assert sorted({row["codec"] for row in rows}) == ["aec-small-effort1", "aec-small-effort3"]
    assert len(rows) == 2 * 4
    assert "| 3 | 2 | " in (tmp_path / "effort.md").read_text()
    assert "commit" in json.loads((tmp_path / "effort.json").read_text())
    (tmp_path / "effort.csv").write_text("\n".join((tmp_path / "effort.csv").read_text().splitlines()[:-2]) + "\n")
    again = run(script.main, *arguments, tmp_path)
    assert len([line for line in again.output.splitlines() if line.startswith("effort ")]) == 2
    kept = [{k: row[k] for k in ("codec", "quality", "bytes", "psnr")} for row in rows_of(tmp_path / "effort.csv")]
    assert kept == [{k: row[k] for k in ("codec", "quality", "bytes", "psnr")} for row in rows]
    assert run(script.main, pictures, "--efforts", "1,10").exit_code == 2
    assert "| webp |  | " in run(script.main, *arguments, tmp_path, "--beside", "webp").output


def test_qualities_are_measured_beside_those_that_people_know(
    monkeypatch: pytest.MonkeyPatch, pictures: Path, tmp_path: Path, model_file: Path
) -> None:
    pytest.importorskip("imagecodecs")
    script = load_script(monkeypatch, "qualities")
    monkeypatch.setattr(script, "TENS", "0,50,100")
    result = run(script.main, pictures, "--model", model_file, "--limit", "1", "--out", tmp_path)
    assert result.exit_code == 0, result.output
    rows = [line.split(" | ") for line in (tmp_path / "qualities.md").read_text().splitlines()[2:]]
    assert [row[0].strip("| ") for row in rows] == ["0", "50", "100", "AVIF, -q 60", "JPEG XL, -q 75"]
    rates = [float(row[1]) for row in rows[:3]]
    assert rates == sorted(rates)
    assert json.loads((tmp_path / "qualities.json").read_text())["pictures"] == 1
