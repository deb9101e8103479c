"""`aecodec bench` and `aecodec report` on tiny pictures: real files, resuming, failures, errors, the page."""

from __future__ import annotations

import csv
import json
import math
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from browser import rendered
from conftest import natural_picture
from extras import needs
from PIL import Image

from aecodec.bench import runs
from aecodec.bench.codecs import FileCodec
from aecodec.bench.complexity import kmac_per_pixel
from aecodec.bench.crops import detailed_window
from aecodec.bench.measurements import measure, read_rgb, read_rows
from aecodec.bench.opening import open_codec
from aecodec.bench.tables import pooled_psnr_of
from aecodec.cli import run
from aecodec.metrics import pooled_psnr, ratio_decibels

QUALITIES = "20,50,80,90"


@pytest.fixture(scope="module")
def finished(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two codecs."""
    pytest.importorskip("bjontegaard")
    out = tmp_path_factory.mktemp("runs") / "rd"
    arguments = ["bench", pictures, "--codecs", "jpeg420,webp", "--qualities", QUALITIES, "-o", out]
    assert run([str(a) for a in arguments]) == 0
    return out


def _bench(pictures: Path, out: Path, *more: object) -> int:
    return run(["bench", str(pictures), "-o", str(out), *(str(m) for m in more)])


def test_a_run_keeps_rows_provenance_and_tables(finished: Path, pictures: Path) -> None:
    rows = read_rows(finished / "jpeg420.csv")
    assert {(row.quality, row.image) for row in rows} == {(q, p) for q in (20, 50, 80, 90) for p in ("p0", "p1")}
    sidecar = json.loads((finished / "jpeg420.json").read_text())
    assert "libjpeg-turbo" in sidecar["version"]
    assert sidecar["runs"][0]["rows"] == 8
    text = (finished / "bd_rate.md").read_text()
    assert text.count("| against | webp | jpeg420 |") == 2, "by PSNR and by MS-SSIM"
    assert "## BD-rate by MS-SSIM\n\nBits at equal MS-SSIM as -10 log10(1 - x) in dB, means over 2 pictures" in text


def test_crops_are_of_files_no_larger_than_the_size_named(finished: Path) -> None:
    found = sorted(finished.glob("crops/*/crops.json"))
    assert len(found) == 2
    for path in found:
        content = json.loads(path.read_text())
        assert {crop["codec"] for crop in content["crops"]} == {"jpeg420", "webp"}
        assert all(crop["bytes"] <= content["target_bytes"] for crop in content["crops"])
        sizes = {Image.open(path.parent / crop["file"]).size for crop in content["crops"]}
        assert sizes == {Image.open(path.parent / "original.png").size}


def test_nothing_is_overwritten_and_resume_measures_what_is_missing(
    finished: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "rd"
    shutil.copytree(finished, out)
    arguments = ("--codecs", "jpeg420,webp", "--qualities", QUALITIES, "--crops", 0)
    assert _bench(pictures, out, *arguments) == 5
    assert "--resume" in capsys.readouterr().err
    lines = (out / "webp.csv").read_text().splitlines()
    (out / "webp.csv").write_text("\n".join([*lines[:3], lines[-1][:30]]))
    assert _bench(pictures, out, *arguments, "--resume") == 0
    assert len(read_rows(out / "webp.csv")) == 8
    assert [r["rows"] for r in json.loads((out / "webp.json").read_text())["runs"]] == [8, 6]
    assert len(json.loads((out / "jpeg420.json").read_text())["runs"]) == 1


def test_several_processes_measure_the_same_files(finished: Path, pictures: Path, tmp_path: Path) -> None:
    arguments = (
        "--codecs",
        "jpeg420,webp",
        "--qualities",
        QUALITIES,
        "--metrics",
        "psnr,ssimulacra2",
        "--crops",
        0,
        "-j",
        2,
    )
    assert _bench(pictures, tmp_path / "rd", *arguments) == 0
    one, two = (read_rows(folder / "webp.csv") for folder in (finished, tmp_path / "rd"))
    assert [(a.key, a.bytes, a.scores["psnr"]) for a in one] == [(b.key, b.bytes, b.scores["psnr"]) for b in two]
    assert all(math.isnan(row.scores["ms_ssim"]) and row.scores["ssimulacra2"] < 100 for row in two)
    assert all(math.isnan(row.scores["ssimulacra2"]) for row in one)


def test_resuming_measures_again_what_lacks_a_metric_that_is_asked_for(
    finished: Path, pictures: Path, tmp_path: Path
) -> None:
    out = tmp_path / "rd"
    shutil.copytree(finished, out)
    arguments = ("--codecs", "webp", "--qualities", QUALITIES, "--crops", 0, "--resume")
    assert _bench(pictures, out, *arguments, "--metrics", "psnr,ssimulacra2") == 0
    assert all(row.scores["ssimulacra2"] < 100 for row in read_rows(out / "webp.csv"))
    assert [r["rows"] for r in json.loads((out / "webp.json").read_text())["runs"]] == [8]


def test_resuming_at_some_qualities_keeps_the_rows_of_others(finished: Path, pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "rd"
    shutil.copytree(finished, out)
    arguments = ("--codecs", "webp", "--qualities", "20,90", "--crops", 0, "--resume")
    assert _bench(pictures, out, *arguments, "--metrics", "psnr,ssimulacra2") == 0
    before, after = (read_rows(folder / "webp.csv") for folder in (finished, out))
    assert [row.key for row in after] == [row.key for row in before]
    assert {row.quality for row in after if not math.isnan(row.scores["ssimulacra2"])} == {20.0, 90.0}
    kept = [[(row.bytes, row.scores["ms_ssim"]) for row in rows if row.quality in (50, 80)] for rows in (before, after)]
    assert kept[0] == kept[1]


def test_an_unreadable_picture_is_reported_and_does_not_end_the_run(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(pictures, tmp_path / "data")
    (tmp_path / "data" / "zz.png").write_bytes(b"no picture")
    arguments = ("--codecs", "jpeg420", "--qualities", "20,50", "--crops", 0)
    assert _bench(tmp_path / "data", tmp_path / "rd", *arguments) == 1
    said = capsys.readouterr().err
    assert "jpeg420 quality 20, zz.png: FAILED: " in said
    assert "zz.png: not a picture" in said
    assert {row.image for row in read_rows(tmp_path / "rd" / "jpeg420.csv")} == {"p0", "p1"}


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--codecs", "gif"], 2, "no codec 'gif'; there are: aec[:NAME_OR_PATH], "),
        (["--codecs", "aec:nothing-of-the-kind"], 2, "no model 'nothing-of-the-kind'"),
        (["--codecs", "webp", "--metrics", "psnr,beauty"], 2, "no metric 'beauty'"),
        (["--codecs", "webp", "--qualities", "1,x"], 2, "numbers separated by commas"),
        (["--codecs", "webp", "--qualities", "101"], 2, "webp: quality goes from 0 to 100"),
        (["--codecs", "webp", "--qualities", "avif=10"], 2, "avif, which is not among the codecs"),
        (["--codecs", "webp", "--anchor", "avif"], 2, "the anchor 'avif' is not among the codecs"),
    ],
)
def test_wrong_arguments_are_one_clear_line(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, message: str
) -> None:
    assert _bench(pictures, tmp_path / "rd", *arguments) == code
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "rd").exists()


@pytest.mark.parametrize(("make", "message"), [(False, "no such folder"), (True, "no pictures in it")])
def test_a_bad_folder_is_one_clear_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], make: bool, message: str
) -> None:
    if make:
        (tmp_path / "data").mkdir()
    assert _bench(tmp_path / "data", tmp_path / "rd", "--codecs", "webp") == 2
    assert message in capsys.readouterr().err


def test_bpp_is_of_the_very_bytes_that_were_decoded(pictures: Path) -> None:
    """A codec that hands over fewer bytes than it needs cannot be measured, and the count is of what was decoded."""
    base = open_codec("webp")
    seen: list[bytes] = []

    def decode(data: bytes) -> Image.Image:
        seen.append(data)
        return base.decode(data)

    row = measure(replace(base, decode=decode), pictures / "p0.png", 50)
    assert [len(data) for data in seen] == [row.bytes]
    assert row.bpp == 8 * row.bytes / (164 * 176)
    cheat = replace(base, encode=lambda image, quality: base.encode(image, quality)[:-200])
    result = runs._measure(cheat, 50, pictures / "p0.png", ("psnr",))
    assert result.row is None
    assert result.error


@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_what_is_measured_is_the_picture_as_people_see_it(orientation: int, tmp_path: Path) -> None:
    """Upright before any codec sees it: one of them applies an orientation and another does not."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = natural_picture(64, 96)
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    upright = np.rot90(pixels, {1: 0, 3: 2, 6: -1}[orientation])
    assert np.array_equal(np.asarray(read_rgb(tmp_path / "a.png")), upright)
    for name in ("aec", "jpeg420"):
        codec = open_codec(name)
        row = measure(codec, tmp_path / "a.png", codec.qualities[-1])
        assert (row.width, row.height) == upright.shape[1::-1]
        assert row.scores["psnr"] > 25


def test_sixteen_bits_are_measured_as_the_picture_and_not_as_white(tmp_path: Path) -> None:
    grey = natural_picture(64, 96)[..., 0]
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "a.png")
    assert np.array_equal(np.asarray(read_rgb(tmp_path / "a.png")), grey[..., None].repeat(3, 2))


def test_pooled_psnr_of_rows_is_that_of_the_pictures(pictures: Path) -> None:
    codec = open_codec("jpeg420")
    rows = [measure(codec, path, 40) for path in sorted(pictures.iterdir())]
    pairs = []
    for path in sorted(pictures.iterdir()):
        original = Image.open(path).convert("RGB")
        pairs.append((np.asarray(original), np.asarray(codec.decode(codec.encode(original, 40)))))
    assert pooled_psnr_of(rows) == pytest.approx(pooled_psnr(pairs), abs=1e-9)
    assert ratio_decibels(0.99) == pytest.approx(20)
    assert math.isinf(ratio_decibels(1.0))


@needs("torch")
def test_multiply_accumulates_of_one_convolution_are_counted() -> None:
    import torch

    layer = torch.nn.Conv2d(3, 4, 5, stride=2, padding=2)

    def encode(image: Image.Image, quality: float) -> bytes:
        layer(torch.zeros(1, 3, image.height, image.width))
        return b""

    codec = FileCodec("net", "", "1", (1.0,), encode, lambda data: Image.new("RGB", (1, 1)), learned=True)
    counts = kmac_per_pixel(codec, Image.new("RGB", (64, 32)))
    assert counts == {"encode": pytest.approx(3 * 4 * 25 / 4 / 1000), "decode": 0.0}
    assert kmac_per_pixel(open_codec("webp"), Image.new("RGB", (64, 32))) == {}


def test_the_window_of_a_crop_lies_inside() -> None:
    assert detailed_window(natural_picture(40, 300))[3] == 40
    left, top, right, bottom = detailed_window(natural_picture(400, 500))
    assert 0 <= left < right <= 500
    assert 0 <= top < bottom <= 400


# -- reports -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def page(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("page") / "rd.html"
    assert run(["report", str(finished), "-o", str(out)]) == 0
    return out


class _Strict(HTMLParser):
    """Collects addresses and complains about elements that are not closed in order."""

    VOID = frozenset({"meta", "link", "br", "img"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "action", "data")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_well_formed_and_asks_nobody(page: Path) -> None:
    parser, text = _Strict(), page.read_text()
    parser.feed(text)
    parser.close()
    assert parser.open == []
    assert all(address.startswith("data:") for address in parser.addresses)
    for word in ("@import", "url(", "fetch(", "XMLHttpRequest", "import("):
        assert word not in text
    assert text.count("http") == text.count("http://www.w3.org/2000/svg")


def test_the_page_renders_without_console_errors(page: Path, tmp_path: Path) -> None:
    text, said = rendered(page, tmp_path)
    assert said == []
    assert text.count("<polyline") == 2
    assert text.count("<figure>") == 2 * 3
    assert "Rate and distortion on pictures" in text
    assert ">MS-SSIM</button>" in text, "the matrix by another metric"


def test_tables_and_plot_of_a_run(finished: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    for ending in ("md", "csv", "png"):
        assert run(["report", str(finished), "-o", str(tmp_path / f"rd.{ending}")]) == 0
    with (tmp_path / "rd.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 4
    assert all(float(row["pooled_psnr"]) <= float(row["psnr"]) + 0.2 for row in rows)
    assert "| webp | 20 | 2 |" in (tmp_path / "rd.md").read_text().replace("| 20.0 |", "| 20 |")
    assert (tmp_path / "rd.png").read_bytes()[:4] == b"\x89PNG"


def test_reports_of_nothing_are_one_clear_line(
    finished: Path, page: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "webp.csv").write_text("codec,version,quality,image,colour\n")
    cases = [
        ([finished, "-o", page], 5, "exists"),
        ([finished, "-o", tmp_path / "rd.doc"], 2, "a report is one of html"),
        ([tmp_path / "nowhere", "-o", tmp_path / "r.html"], 2, "no such run"),
        ([tmp_path / "empty", "-o", tmp_path / "r.html"], 1, "no measurements in it"),
        ([tmp_path / "broken", "-o", tmp_path / "r.html"], 1, "expected the columns"),
        ([finished, "-o", tmp_path / "r.html", "--anchor", "avif"], 2, "no anchor 'avif'"),
    ]
    for arguments, code, message in cases:
        assert run(["report", *(str(a) for a in arguments)]) == code
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1
