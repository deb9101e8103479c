"""Measurements, their files, and the tables made of them."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from PIL import Image
from places import BENCHMARKS

from aecodec.bench import provenance
from aecodec.bench.measurements import RunError, append_row, columns, measure, pictures_in, read_rows, write_rows
from aecodec.bench.opening import open_codec
from aecodec.bench.tables import Point, bd_heading, bd_table, compared_columns, curve, summarise
from aecodec.metrics import METRICS, Curve


def test_bytes_are_those_of_a_real_file(pictures: Path, tmp_path: Path) -> None:
    codec = open_codec("jpeg420")
    row = measure(codec, pictures / "p0.png", 75)
    with Image.open(pictures / "p0.png") as image:
        image.save(tmp_path / "one.jpg", "JPEG", quality=75, subsampling="4:2:0", optimize=True)
    assert row.bytes == (tmp_path / "one.jpg").stat().st_size
    assert 25 < row.scores["psnr"] < 50
    assert 0.9 < row.scores["ms_ssim"] < 1


@pytest.mark.parametrize("name", ["aec-photo", "webp", "effort"])
def test_kept_results_are_read_and_written_as_they_were(tmp_path: Path, name: str) -> None:
    kept = BENCHMARKS / "results" / "kodak" / f"{name}.csv"
    rows = read_rows(kept)
    write_rows(tmp_path / "again.csv", rows)
    assert (tmp_path / "again.csv").read_bytes() == kept.read_bytes()
    write_rows(tmp_path / "line by line.csv", [])
    for row in rows:
        append_row(tmp_path / "line by line.csv", row)
    assert (tmp_path / "line by line.csv").read_bytes() == kept.read_bytes()


def test_columns_are_found_by_name_and_later_ones_may_be_missing(pictures: Path, tmp_path: Path) -> None:
    row = measure(open_codec("webp"), pictures / "p0.png", 50, metrics=("psnr", "ms_ssim"))
    write_rows(tmp_path / "rows.csv", [row])
    head, line = ((tmp_path / "rows.csv").read_text().splitlines()[k].replace(", lib", "; lib") for k in (0, 1))
    cells = dict(zip(head.split(","), line.replace('"', "").split(","), strict=True))
    kept = [name for name in reversed(cells) if name not in ("ssimulacra2", "cvvdp", "peak_mib", "ms_ssim")]
    (tmp_path / "old.csv").write_text(f"{','.join(kept)}\n{','.join(cells[name] for name in kept)}\n")
    old = read_rows(tmp_path / "old.csv")[0]
    assert old.scores["psnr"] == pytest.approx(row.scores["psnr"], rel=1e-7)
    assert set(old.scores) == set(METRICS)
    assert all(math.isnan(value) for value in (old.scores["ssimulacra2"], old.scores["ms_ssim"], old.peak_mib))
    for wrong in ([name for name in kept if name != "psnr"], [*kept, "beauty"], [*kept, "psnr"]):
        (tmp_path / "wrong.csv").write_text(",".join(wrong) + "\n")
        with pytest.raises(RunError, match="expected the columns"):
            read_rows(tmp_path / "wrong.csv")
    assert set(columns()) == set(cells)


def test_points_that_lack_pictures_are_left_out(pictures: Path) -> None:
    codec = open_codec("jpeg420")
    rows = [measure(codec, path, q) for q in (20, 60) for path in pictures_in(pictures)]
    points = summarise(rows[:-1])
    assert [(p.quality, p.images) for p in points] == [(20.0, 2)]
    assert points[0].bpp == pytest.approx((rows[0].bpp + rows[1].bpp) / 2)


def test_bd_table_names_why_a_cell_is_empty() -> None:
    pytest.importorskip("bjontegaard")
    rates, decibels = [0.1, 0.2, 0.4, 0.8], [28.0, 30.0, 33.0, 36.0]
    reference, better = Curve(rates, decibels), Curve([0.8 * r for r in rates], decibels)
    text = bd_table({"ours": better}, {"same shape": reference, "far": Curve(rates, [50, 51, 52, 53])})
    assert "| same shape | -20.0 % (28.0 to 36.0 dB) |" in text
    assert "| far | n/a: the curves share no quality" in text


@pytest.mark.parametrize(
    ("column", "scores", "low_to_high"),
    [
        ("psnr", [28.0, 30.0, 33.0, 36.0], "28.0 to 36.0 dB"),
        ("ms_ssim", [0.9, 0.95, 0.97, 0.99], "10.0 to 20.0 dB"),
        ("ssimulacra2", [-20.0, 10.0, 50.0, 80.0], "-20.0 to 80.0"),
        ("cvvdp", [7.5, 8.5, 9.5, 9.75], "7.50 to 9.75 JOD"),
    ],
)
def test_a_table_by_any_metric_is_that_of_its_curve_by_hand(column: str, scores: list[float], low_to_high: str) -> None:
    """Whatever the scale: a codec that needs 0.8 of the bits everywhere has -20 %, and points without a score none."""
    pytest.importorskip("bjontegaard")

    def points(codec: str, factor: float) -> list[Point]:
        known = dict.fromkeys(METRICS, math.nan)
        rates = zip([0.1, 0.2, 0.4, 0.8, 1.6], [*scores, math.nan], strict=True)
        return [
            Point(codec, rate, 1, factor * rate, {**known, column: score}, *([0.01] * 4), math.nan)
            for rate, score in rates
        ]

    codecs = {"peer": points("peer", 1.0), "ours": points("ours", 0.8)}
    assert compared_columns(codecs.values()) == list(dict.fromkeys(["psnr", column]))
    curves = {name: curve(own, column) for name, own in codecs.items()}
    assert [len(own.rates) for own in curves.values()] == [4, 4]
    assert f"| peer | same | -20.0 % ({low_to_high}) |" in bd_table(curves, curves, column)
    assert METRICS[column].label in bd_heading(column, 1)


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
    monkeypatch.setattr("sys.argv", arguments)
    assert provenance.collect()["command"] == shown
