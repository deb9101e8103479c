"""Reading pictures: every mode Pillow knows, every kind of damage; writing them without losing any."""

import io

import numpy as np
import pytest
from PIL import Image

from aecodec.contracts import ImageReadError, UsageError
from aecodec.data.images import Picture, encode_picture, read_picture


def encoded(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def gradient(mode: str = "RGB", size: tuple[int, int] = (40, 30)) -> Image.Image:
    ramp = np.add.outer(np.arange(size[1]), 4 * np.arange(size[0])).astype(np.uint8)
    return Image.fromarray(np.stack([ramp, 255 - ramp, ramp // 2], axis=2)).convert(mode)


@pytest.mark.parametrize(("mode", "channels"), [("L", 1), ("1", 1), ("RGB", 3), ("P", 3), ("CMYK", 3), ("YCbCr", 3)])
def test_modes_become_grey_or_rgb(mode, channels):
    picture = read_picture(gradient(mode))
    assert picture.channels == channels
    assert picture.pixels.dtype == np.uint8
    assert picture.pixels.shape[:2] == (30, 40)


def test_sixteen_bits_are_reduced_with_a_notice():
    values = np.linspace(0, 65535, 1200).astype(np.uint16).reshape(30, 40)
    picture = read_picture(encoded(Image.fromarray(values)))
    assert np.array_equal(picture.pixels, np.rint(values / 257.0).astype(np.uint8))
    assert picture.notices


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha_is_kept_where_it_is_used_and_dropped_where_it_is_not(mode):
    image = gradient(mode)
    assert read_picture(image).alpha is None
    image.putalpha(gradient("L"))
    picture = read_picture(encoded(image))
    assert picture.channels == len(mode)
    assert np.array_equal(picture.alpha, np.asarray(gradient("L")))
    back = read_picture(encode_picture(picture, ".png")[0])
    assert np.array_equal(back.alpha, picture.alpha)
    with pytest.raises(UsageError, match="transparency"):
        encode_picture(picture, ".jpg")


def test_palette_transparency_becomes_alpha():
    image = gradient("P")
    picture = read_picture(encoded(image, transparency=int(np.asarray(image)[0, 0])))
    assert picture.channels == 4
    assert picture.alpha[0, 0] == 0


def test_orientation_is_applied_and_forgotten():
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = read_picture(encoded(gradient(), "JPEG", exif=exif))
    assert picture.pixels.shape == (40, 30, 3)
    back = Image.open(io.BytesIO(encode_picture(picture, ".png")[0]))
    assert back.getexif().get(0x0112, 1) == 1


def test_profiles_travel():
    data = encoded(gradient(), icc_profile=b"a profile")
    assert Image.open(io.BytesIO(encode_picture(read_picture(data), ".png")[0])).info["icc_profile"] == b"a profile"


@pytest.mark.parametrize("cut", [1, 8, 20, 33, 60, 80])
def test_truncated_png_is_named(cut):
    with pytest.raises(ImageReadError):
        read_picture(encoded(gradient())[:cut], "photo.png")


def test_what_is_no_picture_is_named(tmp_path):
    for content in (b"hello", b"\0" * 100, b""):
        path = tmp_path / "x.png"
        path.write_bytes(content)
        with pytest.raises(ImageReadError, match=r"x\.png"):
            read_picture(path)
    with pytest.raises(ImageReadError, match="directory"):
        read_picture(tmp_path)
    with pytest.raises(ImageReadError, match="no such file"):
        read_picture(tmp_path / "none.png")


def test_pixel_limit_is_honoured(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(ImageReadError):
        read_picture(encoded(gradient()))


def test_a_suffix_without_a_writer_is_a_usage_error():
    with pytest.raises(UsageError):
        encode_picture(Picture(np.zeros((2, 2), np.uint8)), ".xyz")
