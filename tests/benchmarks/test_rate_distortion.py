"""The benchmark of rate and distortion on tiny pictures: what it leaves, resuming, failures, the agreement check."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from benchmark_scripts import load_script, rows_of, run
from places import BENCHMARKS

from aecodec.bench.tables import Point

HEADER = (
    "codec,version,quality,image,width,height,bytes,bpp,psnr,ms_ssim,"
    "encode_s,decode_s,encode_cpu_s,decode_cpu_s,entropy_decode_s,peak_mib,ssimulacra2,cvvdp"
)
QUALITIES = ["5", "10", "15", "20", "30", "45", "60", "75", "85"]


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Any:
    return load_script(monkeypatch, "rate_distortion", "matplotlib", "bjontegaard")


def test_a_quick_run_keeps_rows_provenance_tables_and_plots(script: Any, pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "results"
    result = run(script.main, pictures, "--out", out, "--codecs", "jpeg420")
    assert result.exit_code == 0, result.output
    rows = rows_of(out / "jpeg420.csv")
    assert ",".join(rows[0]) == HEADER
    assert len(rows) == 2 * 9
    for row in rows:
        pixels = int(row["width"]) * int(row["height"])
        assert pixels == {"p0": 164 * 176, "p1": 180 * 170}[row["image"]]
        assert float(row["bpp"]) == pytest.approx(8 * int(row["bytes"]) / pixels, rel=1e-7)
        assert row["entropy_decode_s"] == ""
    sidecar = json.loads((out / "jpeg420.json").read_text())
    assert "4:2:0" in sidecar["settings"]
    assert sidecar["runs"][0]["rows"] == 18
    assert {"date", "command", "commit", "versions", "machine"} <= sidecar["runs"][0].keys()
    assert [row["quality"] for row in rows_of(out / "summary.csv")] == QUALITIES
    kept = {"jpeg420.csv", "jpeg420.json", "summary.csv", "bd_rate.md", "rd.png"}
    assert {path.name for path in out.iterdir() if path.stat().st_size} == kept


def test_resume_measures_only_what_is_missing(script: Any, pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "results"
    arguments = (pictures, "--out", out, "--codecs", "jpeg420", "--resume")
    run(script.main, *arguments)
    path = out / "jpeg420.csv"
    lines = path.read_text().splitlines()
    # The second row is gone, the third is of another version, the last line was torn by a crash.
    version = rows_of(path)[0]["version"]
    lines = [*lines[:2], lines[3].replace(version, "Pillow 1.0"), *lines[4:], lines[-1][:20]]
    path.write_text("\n".join(lines) + "\n")
    assert run(script.main, *arguments).exit_code == 0
    assert {(row["quality"], row["image"]) for row in rows_of(path)} == {
        (quality, name) for quality in QUALITIES for name in ("p0", "p1")
    }
    assert {row["version"] for row in rows_of(path)} == {version}
    assert [entry["rows"] for entry in json.loads((out / "jpeg420.json").read_text())["runs"]] == [18, 2]


def test_a_failing_picture_is_reported_and_does_not_end_the_run(script: Any, pictures: Path, tmp_path: Path) -> None:
    shutil.copytree(pictures, tmp_path / "data")
    (tmp_path / "data" / "broken.png").write_bytes(b"no picture")
    out = tmp_path / "results"
    result = run(script.main, tmp_path / "data", "--out", out, "--codecs", "jpeg420")
    assert result.exit_code == 1
    assert "broken.png: FAILED" in result.output
    assert {row["image"] for row in rows_of(out / "jpeg420.csv")} == {"p0", "p1"}
    assert {row["images"] for row in rows_of(out / "summary.csv")} == {"2"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--codecs", "gif"], "no codec 'gif'"),
        (["--qualities", "1,x"], "numbers separated by commas"),
        (["--metrics", "ms-ssim"], "must include psnr"),
    ],
)
def test_wrong_arguments_are_usage_errors(
    script: Any, pictures: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    result = run(script.main, pictures, "--out", tmp_path / "results", *arguments)
    assert result.exit_code == 2
    assert message in result.output
    assert not (tmp_path / "results").exists()


def test_our_own_codec_is_measured_with_its_entropy_decoder(
    script: Any, pictures: Path, tmp_path: Path, model_file: Path
) -> None:
    out, ours = tmp_path / "results", f"aec:{model_file}"
    result = run(
        script.main, pictures, "--out", out, "--codecs", f"{ours},jpeg420", "--qualities", f"{ours}=0,30,60,100"
    )
    assert result.exit_code == 0, result.output
    rows = rows_of(out / "aec-small.csv")
    assert len(rows) == 2 * 4
    assert {len(row["version"]) for row in rows} == {16}
    assert all(0 < float(row["entropy_decode_s"]) <= float(row["decode_s"]) for row in rows)
    assert "| against | aec-small |" in (out / "bd_rate.md").read_text()
    # A table and a picture for each metric that both were measured by.
    for suffix, label in (("_ms_ssim", "MS-SSIM"), ("_ssimulacra2", "SSIMULACRA2")):
        assert f"Bits at equal {label}" in (out / f"bd_rate{suffix}.md").read_text()
        assert (out / f"rd{suffix}.png").stat().st_size


def test_there_is_no_table_by_a_metric_that_no_peer_was_measured_by(
    script: Any, pictures: Path, tmp_path: Path, model_file: Path
) -> None:
    out, ours, short = tmp_path / "results", f"aec:{model_file}", ("--limit", 1, "--qualities", "20,80")
    run(script.main, pictures, "--out", out, "--codecs", ours, "--metrics", "psnr,ssimulacra2", *short)
    (out / "aec-other.csv").write_text((out / "aec-small.csv").read_text().replace("aec-small", "aec-other"))
    run(script.main, pictures, "--out", out, "--codecs", "jpeg420", "--metrics", "psnr", *short)
    assert "| against | aec-other | aec-small |" in (out / "bd_rate.md").read_text()
    assert {path.name for path in out.glob("bd_rate*.md")} == {"bd_rate.md"}
    run(script.main, pictures, "--out", out, "--codecs", "webp", "--metrics", "psnr,ssimulacra2", *short)
    assert {path.name for path in out.glob("bd_rate*.md")} == {"bd_rate.md", "bd_rate_ssimulacra2.md"}
    assert "| webp |" in (out / "bd_rate_ssimulacra2.md").read_text()
    assert "| jpeg420 |" not in (out / "bd_rate_ssimulacra2.md").read_text()


def test_the_tables_of_kodak_are_made_again_from_its_rows(
    script: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = BENCHMARKS / "results" / "kodak"
    shutil.copytree(kept, tmp_path / "kodak")
    drawn = []
    monkeypatch.setattr(script, "draw", lambda path, lines, column, title: drawn.append((path.name, len(lines))))
    assert script.report(tmp_path / "kodak", [Path("kodak", f"kodim{k:02d}.png") for k in range(1, 25)], None)
    assert (tmp_path / "kodak" / "summary.csv").read_bytes() == (kept / "summary.csv").read_bytes()
    # Without the anchors the published curves are missing.
    lines = (kept / "bd_rate.md").read_text().splitlines()
    again = (tmp_path / "kodak" / "bd_rate.md").read_text().splitlines()
    assert again == lines[: len(again)]
    assert len(lines) - len(again) == 5
    tables = {path.name for path in kept.glob("bd_rate_*.md")}
    assert tables, "other metrics"
    assert {path.name for path in (tmp_path / "kodak").glob("bd_rate_*.md")} == tables
    for name in tables:
        assert (tmp_path / "kodak" / name).read_bytes() == (kept / name).read_bytes()
    assert drawn[0][0] == "rd.png"
    assert {name for name, _ in drawn[1:]} == {f"rd{name[len('bd_rate') : -len('.md')]}.png" for name in tables}
    assert capsys.readouterr().err == ""


def test_a_codec_that_lacks_pictures_is_left_out_and_named(
    script: Any, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "results"
    run(script.main, pictures, "--out", out, "--codecs", "jpeg420", "--metrics", "psnr")
    result = run(script.main, pictures, "--out", out, "--codecs", "webp", "--metrics", "psnr", "--limit", 1)
    assert result.exit_code == 0, result.output
    assert {row["codec"] for row in rows_of(out / "summary.csv")} == {"jpeg420", "webp"}, "both have the one picture"
    assert script.report(out, sorted(pictures.iterdir()), None)
    assert {row["codec"] for row in rows_of(out / "summary.csv")} == {"jpeg420"}
    assert "webp: left out of the tables" in capsys.readouterr().err


def test_agreement_flags_a_deviation(monkeypatch: pytest.MonkeyPatch) -> None:
    anchors = load_script(monkeypatch, "anchors")
    base = Point("webp", 30.0, 24, 0.5, {"psnr": 31.0}, *([0.01] * 4), math.nan)
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
