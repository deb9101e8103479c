"""The benchmarks of what the codec was not made for: drawn pictures, what they cost, and who is warned."""

from __future__ import annotations

import io

import numpy as np
import pytest
from benchmark_scripts import load_script, run
from conftest import natural_picture, written_picture
from PIL import Image

from aecodec.bench.opening import open_codec
from aecodec.bench.peers.aec import file_codec
from aecodec.codec.fidelity import survey
from aecodec.metrics import psnr


@pytest.fixture
def cases(monkeypatch):
    return load_script(monkeypatch, "failure_cases")


@pytest.fixture
def unlike(monkeypatch):
    return load_script(monkeypatch, "unlike_photographs")


def test_drawn_pictures_are_those_of_their_seed(monkeypatch):
    drawn_pictures = load_script(monkeypatch, "drawn_pictures")
    for kind in drawn_pictures.KINDS:
        one, again, other = (drawn_pictures.drawn(kind, seed, 70, 90) for seed in (1, 1, 2))
        assert one.shape == (70, 90, 3)
        assert one.dtype == np.uint8
        assert np.array_equal(one, again)
        assert not np.array_equal(one, other)


def test_the_cases_are_written_and_a_portrait_and_a_night_are_among_them(cases, tmp_path):
    done = run(cases.main, "--pictures", tmp_path / "cases")
    assert done.exit_code == 0, done.output
    found = {path.stem: Image.open(path).size for path in (tmp_path / "cases").iterdir()}
    assert found["portrait"] == (256, 256)
    assert found["night"] == found["text"] == (cases.WIDTH, cases.HEIGHT)


def test_a_row_tells_of_the_two_files(cases, small_codec):
    image = Image.fromarray(natural_picture(96, 128))
    ours, webp = file_codec(small_codec), open_codec("webp")
    both = cases.pair(ours, webp, image, 50)
    data = ours.encode(image, 50)
    assert both[0].bpp == 8 * len(data) / (96 * 128)
    sizes = [8 * len(webp.encode(image, quality)) / (96 * 128) for quality in range(101)]
    assert both[1].bpp == min(sizes, key=lambda size: abs(size - both[0].bpp))
    cells = [cell.strip() for cell in cases.row("x", image, 50, both).strip("|").split("|")]
    assert cells[:3] == ["x", "50", f"{both[0].bpp:.3f}"]
    assert cells[3] == f"{psnr(np.asarray(image), np.asarray(ours.decode(data))):.2f}"
    assert len(cells) == cases._HEAD.count("|") - 1
    shown = cases.sheet([("x", image, both)])
    assert np.array_equal(np.asarray(shown)[cases.WORDS : cases.WORDS + 96, :128], np.asarray(image))


def test_who_is_beaten_and_who_is_warned(unlike, small_codec):
    """Against the definition: what is no larger than the file and better, whoever made it."""
    for pixels, warned in ((written_picture(64, 96), True), (natural_picture(64, 96), False)):
        found = unlike.judged(small_codec, pixels, 50)
        assert found.warned == warned
        image = Image.fromarray(pixels)
        data = small_codec.encode(image, quality=50)
        ours = psnr(pixels, np.asarray(small_codec.decode(data)))
        beaten = False
        for options in ({"lossless": True}, *({"quality": quality, "method": 6} for quality in range(101))):
            buffer = io.BytesIO()
            image.save(buffer, "WEBP", **options)
            beaten |= len(buffer.getvalue()) <= len(data) and psnr(pixels, np.asarray(Image.open(buffer))) > ours
        assert found.beaten == beaten


def test_photographs_are_counted_and_rows_of_the_same_name_replaced(unlike, small_codec, tmp_path):
    (tmp_path / "in" / "deep").mkdir(parents=True)
    Image.fromarray(written_picture(64, 96)).save(tmp_path / "in" / "deep" / "a.png")
    Image.fromarray(natural_picture(64, 96)).save(tmp_path / "in" / "b.png")
    count, asked = unlike.of_photographs(small_codec, tmp_path / "in", 50)
    assert count == 2
    assert [one.warned for one in asked] == [True]
    assert survey(written_picture(64, 96)).drawn
    table = tmp_path / "t.md"
    unlike.kept(table, unlike.PHOTOS, ["| a | 1 | 0 | 0 |", "| b | 2 | 1 | 1 |"])
    unlike.kept(table, unlike.PHOTOS, ["| a | 3 | 0 | 0 |"])
    assert table.read_text().splitlines()[2:] == ["| b | 2 | 1 | 1 |", "| a | 3 | 0 | 0 |"]
