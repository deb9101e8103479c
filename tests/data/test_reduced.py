"""Pictures read small: the same picture as read whole and averaged, turned and named alike."""

from __future__ import annotations

import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from conftest import natural_picture
from PIL import Image

from aecodec.contracts import ImageReadError
from aecodec.data.images import read_picture
from aecodec.data.reduced import read_reduced, reduce_pixels


def averaged(pixels: np.ndarray, factor: int) -> np.ndarray:
    """Means of squares, float64, by the definition; sides must be multiples."""
    height, width = pixels.shape[:2]
    return pixels.reshape(height // factor, factor, width // factor, factor, -1).mean(axis=(1, 3)).squeeze()


@pytest.mark.parametrize("grey", [False, True])
def test_each_pixel_is_the_mean_of_a_square(grey):
    pixels = natural_picture(96, 160)
    pixels = pixels[..., 0] if grey else pixels
    small = reduce_pixels(pixels, 24)
    assert np.abs(small - averaged(pixels, 4)).max() <= 0.5 + 1e-9
    assert reduce_pixels(pixels, 49) is pixels


@pytest.mark.parametrize(
    ("ending", "options"), [("png", {}), ("jpg", {"quality": 95, "subsampling": 0}), ("webp", {"quality": 95})]
)
def test_reading_small_is_reading_whole_and_averaging(tmp_path, ending, options):
    pixels = natural_picture(256, 384)
    path = tmp_path / f"a.{ending}"
    Image.fromarray(pixels).save(path, **options)
    found = read_reduced(path, 32)
    assert (found.width, found.height, found.pixels.shape) == (384, 256, (32, 48, 3))
    whole = averaged(read_picture(path).pixels, 8)
    assert np.abs(found.pixels - whole).mean() < (1.5 if ending == "jpg" else 0.5)
    assert read_reduced(path, 1000).pixels.shape == (256, 384, 3)


def test_sides_keep_at_least_what_was_asked(tmp_path):
    for height, width in ((100, 100), (127, 300), (65, 64), (64, 1000), (33, 7)):
        Image.fromarray(natural_picture(height, width)).save(tmp_path / "a.jpg")
        found = read_reduced(tmp_path / "a.jpg", 32)
        assert min(found.pixels.shape[:2]) >= min(32, height, width)
        assert (found.height, found.width) == (height, width)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("mode", ["RGB", "CMYK"])
def test_pictures_are_turned_upright(tmp_path, orientation, mode):
    exif = Image.Exif()
    exif[0x112] = orientation
    Image.fromarray(natural_picture(96, 96)[:, :64]).convert(mode).save(tmp_path / "a.jpg", exif=exif, quality=95)
    found, whole = read_reduced(tmp_path / "a.jpg", 16), read_picture(tmp_path / "a.jpg").pixels
    assert (found.height, found.width) == whole.shape[:2]
    assert np.abs(found.pixels - averaged(whole, 4)).mean() < 2


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "I;16", "CMYK"])
def test_every_mode_comes_as_grey_or_rgb(tmp_path, mode):
    image = Image.fromarray(natural_picture(64, 64))
    if mode == "I;16":
        image = Image.fromarray(np.arange(4096, dtype=np.uint16).reshape(64, 64) * 15)
    else:
        image = image.convert(mode)
    path = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    image.save(path)
    found = read_reduced(path, 16)
    assert found.pixels.shape[:2] == (16, 16)
    assert found.pixels.dtype == np.uint8
    assert found.pixels.ndim == read_picture(path).pixels.ndim


def test_what_is_no_picture_is_named(tmp_path, monkeypatch):
    path = tmp_path / "a.jpg"
    Image.fromarray(natural_picture(64, 64)).save(path)
    whole = path.read_bytes()
    for data, message in ((whole[: len(whole) // 2], "truncated"), (b"text", "not a picture"), (b"", "empty")):
        path.write_bytes(data)
        with pytest.raises(ImageReadError, match=message):
            read_reduced(path, 16)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 64 * 64 - 1)
    path.write_bytes(whole)
    with pytest.raises(ImageReadError, match="4096 pixels exceed the limit of 4095"):
        read_reduced(path, 16)


def test_reading_in_threads_leaves_the_filters_of_warnings_alone(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(natural_picture(32, 32)).save(path)
    before = list(warnings.filters)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: read_reduced(path, 16), range(200)))
    assert warnings.filters == before
