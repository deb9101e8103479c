"""What a file of a picture is told to be bad at, and that photographs are not even asked."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import natural_picture
from PIL import Image
from places import SAMPLES

from aecodec.codec.codec import Codec
from aecodec.codec.fidelity import POOR, SQUARE, SUSPICIOUS, busiest_square, lost_detail
from aecodec.codec.files import encode_source
from aecodec.codec.options import EncodeOptions
from aecodec.data.images import Picture, read_picture
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
    change, place = busiest_square(pixels)
    assert change == pytest.approx(slow_busiest(pixels))
    assert place == place.clipped(*size)
    assert min(place.size) >= 1


def test_the_square_lies_on_the_detail():
    pixels = natural_picture(300, 400)
    pixels[140:250, 270:380] = stripes(110, 110)
    place = busiest_square(pixels)[1]
    assert (place.top, place.left) == (128, 256)


def test_photographs_and_grey_are_not_decoded(monkeypatch, small_codec):
    monkeypatch.setattr(Codec, "decode_container", None)
    for path in sorted(SAMPLES.glob("*.png")):
        picture = read_picture(path)
        assert busiest_square(picture.pixels)[0] < SUSPICIOUS
        assert lost_detail(small_codec, picture, b"never parsed") is None
    grey = np.repeat(stripes(64, 64)[..., :1], 3, axis=2)
    assert busiest_square(grey)[0] == busiest_square(grey[..., 0])[0] == 0


@pytest.mark.parametrize("windowed", [False, True])
def test_coloured_stripes_are_told_with_what_was_measured(windowed, tmp_path):
    Image.fromarray(stripes(100, 150)).save(tmp_path / "x.png")
    codec = Codec.from_pretrained()
    picture = read_picture(tmp_path / "x.png", windowed=windowed)
    data = codec.encode_picture(picture, quality=50).data
    place = busiest_square(picture.pixels)[1]
    measured = psnr(stripes(100, 150)[place.slices], codec.decode_picture(data).pixels[place.slices])
    assert measured < POOR
    assert f"({measured:.0f} dB" in (lost_detail(codec, picture, data) or "")


def test_detail_under_full_transparency_is_nobodys_loss(small_codec):
    clear = Picture(stripes(64, 64), alpha=np.zeros((64, 64), np.uint8))
    assert lost_detail(small_codec, clear, small_codec.encode_picture(clear).data) is None


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
