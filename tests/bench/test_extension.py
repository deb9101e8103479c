"""A peer is a file and a row, a metric is a file and a row: newcomers go through benchmark and reports unaided."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from aecodec.bench.codecs import FileCodec
from aecodec.bench.measurements import read_rows
from aecodec.bench.peers import PEERS, Peer
from aecodec.bench.peers.pillow_format import decode_with_pillow, saved
from aecodec.bench.plot import draw, lines_of
from aecodec.bench.results import read_runs
from aecodec.cli import run
from aecodec.metrics import METRICS, Metric


def open_levels() -> FileCodec:
    """What a peer's file holds: PNG of so many levels a channel."""

    def encode(image: Image.Image, levels: float) -> bytes:
        return saved(image.point(lambda value: round(round(value * levels / 255) * 255 / levels)), "PNG")

    return FileCodec(
        "levels", "PNG of few levels", "1", (3, 5, 9, 17), encode, decode_with_pillow, scale="levels", limits=(1, 255)
    )


def nearness(original: np.ndarray, decoded: np.ndarray) -> float:
    """What a metric's file holds: 1 for equal pictures, 0 for opposite ones."""
    return 1 - float(np.abs(original.astype(float) - decoded).mean()) / 255


@pytest.fixture
def peer(monkeypatch: pytest.MonkeyPatch) -> None:
    row = Peer(f"{__name__}:open_levels", "Few levels", "#123456", "p", "PNG of so many levels")
    monkeypatch.setitem(PEERS, "levels", row)


@pytest.fixture
def metric(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(METRICS, "mean_nearness", Metric(nearness, "Nearness", "1 for equal pictures", digits=4))


def _bench(pictures: Path, out: Path, *more: str) -> int:
    return run(
        ["bench", str(pictures), "--codecs", "levels,webp", "--qualities", "webp=20,50,80,90", "-o", str(out), *more]
    )


def _page_data(path: Path) -> dict:
    text = path.read_text(encoding="utf-8").partition('id="data">')[2].partition("</script>")[0]
    return json.loads(text)


@pytest.mark.usefixtures("peer")
def test_a_new_peer_is_measured_tabulated_drawn_and_listed(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("bjontegaard")
    assert _bench(pictures, tmp_path / "rd") == 0
    assert {row.quality for row in read_rows(tmp_path / "rd" / "levels.csv")} == {3, 5, 9, 17}
    assert "| against | webp | levels |" in (tmp_path / "rd" / "bd_rate.md").read_text()
    assert len(list(tmp_path.glob("rd/crops/*/levels.png"))) == 2
    for ending in ("html", "md", "csv"):
        assert run(["report", str(tmp_path / "rd"), "-o", str(tmp_path / f"rd.{ending}")]) == 0
    shown = {codec["name"]: codec for codec in _page_data(tmp_path / "rd.html")["codecs"]}["levels"]
    assert (shown["label"], shown["colour"], shown["marker"]) == ("Few levels", "#123456", "p")
    assert len(shown["points"]) == 4
    assert "| levels | 17 | 2 |" in (tmp_path / "rd.md").read_text().replace("| 17.0 |", "| 17 |")
    assert _bench(pictures, tmp_path / "other", "--qualities", "levels=256") == 2
    assert "levels: levels goes from 1 to 255, got 256" in capsys.readouterr().err
    assert run(["bench", "--help"]) == 0
    assert "PNG of so many levels" in capsys.readouterr().out


@pytest.mark.usefixtures("metric")
def test_a_new_metric_is_measured_tabulated_drawn_and_listed(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    out, arguments = tmp_path / "rd", ["--codecs", "jpeg420,webp", "--qualities", "20,50,80,90", "--crops", "0"]
    assert run(["bench", str(pictures), "-o", str(out), *arguments]) == 0
    assert run(["bench", str(pictures), "-o", str(out), *arguments, "--resume", "--metrics", "psnr,mean-nearness"]) == 0
    rows = read_rows(out / "webp.csv")
    assert len(rows) == 8
    assert all(0.9 < row.scores["mean_nearness"] < 1 for row in rows), "measured again, since it was missing"
    assert run(["report", str(out), "-o", str(tmp_path / "rd.csv")]) == 0
    assert run(["report", str(out), "-o", str(tmp_path / "rd.html")]) == 0
    for path in (out / "webp.csv", out / "summary.csv", tmp_path / "rd.csv"):
        with path.open(newline="") as file:
            assert all(0.9 < float(row["mean_nearness"]) < 1 for row in csv.DictReader(file))
    data = _page_data(tmp_path / "rd.html")
    assert {"key": "mean_nearness", "label": "Nearness", "digits": 4, "axis": "Nearness"} in data["scores"]
    assert all(0.9 < point["mean_nearness"] < 1 for codec in data["codecs"] for point in codec["points"])
    matrices = {matrix["key"]: matrix for matrix in data["matrices"]}
    assert list(matrices) == ["psnr", "mean_nearness"]
    rows = matrices["mean_nearness"]["rows"]
    assert matrices["mean_nearness"]["label"] == "Nearness"
    assert rows[0][0] == rows[1][1] == pytest.approx(0.0, abs=1e-9)
    assert (rows[0][1] > 0) != (rows[1][0] > 0)
    lines = lines_of(read_runs([out]).codecs, "mean_nearness")
    assert [len(line.quality) for line in lines] == [4, 4]
    draw(tmp_path / "rd.png", lines, "mean_nearness", title="Rate and nearness")
    assert (tmp_path / "rd.png").read_bytes()[:4] == b"\x89PNG"
    assert run(["bench", "--help"]) == 0
    assert "mean-nearness  1 for equal pictures" in capsys.readouterr().out


def test_results_with_a_metric_that_is_gone_are_refused_not_cut(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["bench", str(pictures), "-o", str(tmp_path / "rd"), "--codecs", "webp", "--qualities", "20,50"]
    with monkeypatch.context() as patch:
        patch.setitem(METRICS, "gone", Metric(nearness, "Gone", "gone"))
        assert run([*arguments, "--metrics", "psnr,gone", "--crops", "0"]) == 0
    before = (tmp_path / "rd" / "webp.csv").read_bytes()
    assert run([*arguments, "--resume", "--crops", "0"]) == 1
    assert "expected the columns" in capsys.readouterr().err
    assert (tmp_path / "rd" / "webp.csv").read_bytes() == before
