"""What a file of a picture is told to be bad at, and that photographs are not even asked."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from conftest import natural_picture, written_picture
from PIL import Image
from places import SAMPLES

from aecodec.codec.codec import Codec
from aecodec.codec.fidelity import EDGE, POOR, SQUARE, SUSPICIOUS, Survey, doubt, survey
from aecodec.codec.files import encode_source
from aecodec.codec.options import EncodeOptions
from aecodec.data.images import Picture, read_picture
from aecodec.data.tiling import Window
from aecodec.metrics.psnr import psnr


def stripes(height: int, width: int) -> np.ndarray:
    """Red and blue columns."""
    picture = np.zeros((height, width, 3), np.uint8)
    picture[:, ::2, 0] = picture[:, 1::2, 2] = 255
    return picture


def slow_busiest(pixels: np.ndarray) -> float:
    """The same by its definition."""
    found = [0.0]
    for top in range(0, pixels.shape[0], SQUARE):
        rows = pixels[top : top + SQUARE : 4].astype(int)
        for left in range(0, pixels.shape[1] - 1, SQUARE):
            part = rows[:, left : left + SQUARE + 1]
            colour = part[..., [0, 2]] - part[..., [1]]
            found.append(float(np.abs(np.diff(colour, axis=1)).sum(axis=2).mean()))
    return max(found)


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (5, 7), (128, 129), (130, 300), (257, 128)])
def test_the_square_is_where_the_definition_says(size):
    rng = np.random.default_rng(size[1])
    pixels = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
    found = survey(pixels)
    assert found.change == pytest.approx(slow_busiest(pixels))
    assert found.place == found.place.clipped(*size)
    assert min(found.place.size) >= 1


def test_the_square_lies_on_the_detail():
    pixels = natural_picture(300, 400)
    pixels[140:250, 270:380] = stripes(110, 110)
    place = survey(pixels).place
    assert (place.top, place.left) == (128, 256)


def test_photographs_and_grey_are_not_decoded(monkeypatch, small_codec):
    monkeypatch.setattr(Codec, "decode_container", None)
    for path in sorted(SAMPLES.glob("*.png")):
        picture = read_picture(path)
        assert survey(picture.pixels).change < SUSPICIOUS
        assert doubt(small_codec, picture, b"never parsed") is None
    grey = np.repeat(stripes(64, 64)[..., :1], 3, axis=2)
    assert survey(grey).change == survey(grey[..., 0]).change == 0


@pytest.mark.parametrize("windowed", [False, True])
def test_coloured_stripes_are_told_with_what_was_measured(windowed, tmp_path):
    Image.fromarray(stripes(100, 150)).save(tmp_path / "x.png")
    codec = Codec.from_pretrained()
    picture = read_picture(tmp_path / "x.png", windowed=windowed)
    data = codec.encode_picture(picture, quality=50).data
    place = survey(picture.pixels).place
    measured = psnr(stripes(100, 150)[place.slices], codec.decode_picture(data).pixels[place.slices])
    assert measured < POOR
    assert f"({measured:.0f} dB" in (doubt(codec, picture, data) or "")


def test_detail_under_full_transparency_is_nobodys_loss(small_codec):
    clear = Picture(stripes(64, 64), alpha=np.zeros((64, 64), np.uint8))
    assert "lost" not in (doubt(small_codec, clear, small_codec.encode_picture(clear).data) or "")


def slow_shares(pixels: np.ndarray) -> tuple[float, float]:
    """The shares of equal neighbours, and of edges among the others, by their definition."""
    steps = []
    for top in range(0, pixels.shape[0], SQUARE):
        for row in pixels[top : top + SQUARE : 4].reshape(-1, pixels.shape[1], pixels[0, 0].size).astype(int):
            steps += [int(np.abs(b - a).max()) for a, b in pairwise(row)]
    unequal = [step for step in steps if step]
    return 1 - len(unequal) / len(steps), sum(step >= EDGE for step in unequal) / max(len(unequal), 1)


@pytest.mark.parametrize("shape", [(1, 2), (9, 7), (9, 7, 3), (130, 140), (257, 131, 3)])
def test_the_shares_are_those_of_the_definition(shape):
    rng = np.random.default_rng(len(shape))
    pixels = rng.choice(np.array([0, 20, 100], np.uint8), shape, p=(0.7, 0.2, 0.1))
    found = survey(pixels)
    assert (found.equal, found.edges) == pytest.approx(slow_shares(pixels))


def test_a_grey_picture_is_looked_at_like_the_same_in_rgb():
    grey = written_picture(96, 128)[..., 0]
    one, three = survey(grey), survey(grey[..., None].repeat(3, 2))
    assert (one.equal, one.edges) == (three.equal, three.edges)


@pytest.mark.parametrize("windowed", [False, True])
def test_a_drawing_is_told_and_a_photograph_of_the_same_size_is_not(windowed, tmp_path, small_codec):
    Image.fromarray(written_picture(96, 128)).save(tmp_path / "x.png")
    Image.fromarray(natural_picture(96, 128)).save(tmp_path / "y.png")
    for name, said in (("x.png", 1), ("y.png", 0)):
        picture = read_picture(tmp_path / name, windowed=windowed)
        text = doubt(small_codec, picture, small_codec.encode_picture(picture).data) or ""
        assert text.count("looks drawn, not photographed") == said
        assert "\n" not in text


def test_one_thing_is_said_of_a_picture_that_is_drawn_and_loses_detail(tmp_path):
    """The one that was measured."""
    pixels = np.full((128, 128, 3), 255, np.uint8)
    pixels[:40, :60] = stripes(40, 60)
    assert survey(pixels).drawn
    assert survey(pixels).change > SUSPICIOUS
    codec = Codec.from_pretrained()
    picture = Picture(pixels)
    text = doubt(codec, picture, codec.encode_picture(picture, quality=20).data) or ""
    assert "looks drawn" in text or "fine coloured detail is lost" in text
    assert ("looks drawn" in text) != ("fine coloured detail is lost" in text)


def test_pictures_of_one_colour_and_one_column_are_no_drawings():
    for pixels in (np.zeros((9, 1, 3), np.uint8), np.zeros((9, 1), np.uint8), np.full((40, 40, 3), 7, np.uint8)):
        assert not survey(pixels).drawn
    assert survey(np.zeros((9, 1), np.uint8)) == Survey(0.0, Window(0, 0, 9, 1), 0.0, 0.0)


def test_a_file_larger_than_its_picture_is_told(tmp_path, small_codec):
    Image.new("RGB", (4, 4)).save(tmp_path / "x.png")
    encoded, notices = encode_source(tmp_path / "x.png", small_codec, EncodeOptions())
    size = (tmp_path / "x.png").stat().st_size
    assert len(encoded.data) > size
    assert notices == (
        f"{tmp_path / 'x.png'}: the .aec file is larger than the picture: {len(encoded.data)} bytes for {size}",
    )
    Image.fromarray(natural_picture(96, 96)).save(tmp_path / "y.png")
    assert encode_source(tmp_path / "y.png", small_codec, EncodeOptions())[1] == ()
