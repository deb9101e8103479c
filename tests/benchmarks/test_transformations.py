"""Laws of the table of transformations: repeatable, each does what its name says, and none loses the picture."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import natural_picture
from PIL import Image
from transformations import TRANSFORMATIONS, transform

SIZES = {
    "resize-50": (0.5, 0.5),
    "resize-25": (0.25, 0.25),
    "stretch-125": (1.25, 1.0),
    "crop-80": (0.894, 0.894),
    "crop-60": (0.775, 0.775),
    "crop-60-sides": (0.6, 0.6),
    "crop-80-jpeg-30-brighter": (0.894, 0.894),
    "crop-30": (0.548, 0.548),
    "border": (1 + 2 * 12 / 180, 1.2),
    "screenshot": (1.0, 1 / 0.7),
    "collage": (1.0, 2.0),
}


@pytest.fixture(scope="module")
def image() -> Image.Image:
    return Image.fromarray(natural_picture(120, 180, seed=4))


@pytest.mark.parametrize("name", sorted(TRANSFORMATIONS))
def test_every_change_is_repeatable_and_visible(image, name):
    changed, again = transform(image, name, 3), transform(image, name, 3)
    assert changed.mode == "RGB"
    assert np.array_equal(np.asarray(changed), np.asarray(again))
    assert changed.size != image.size or not np.array_equal(np.asarray(changed), np.asarray(image))


@pytest.mark.parametrize("name", sorted(set(TRANSFORMATIONS) - {"rotate-5-cut"}))
def test_sizes_are_what_the_names_say(image, name):
    width, height = SIZES.get(name, (1.0, 1.0))
    assert transform(image, name, 0).size == pytest.approx((180 * width, 120 * height), abs=1)


@pytest.mark.parametrize("seed", range(5))
def test_a_crop_is_a_part_of_the_picture(image, seed):
    whole, part = np.asarray(image), np.asarray(transform(image, "crop-60", seed))
    height, width = part.shape[:2]
    places = [
        (top, left)
        for top in range(121 - height)
        for left in range(181 - width)
        if np.array_equal(whole[top : top + height, left : left + width], part)
    ]
    assert places


def test_tone_and_grey(image):
    mean = np.asarray(image).mean()
    assert np.asarray(transform(image, "darker", 0)).mean() == pytest.approx(0.6 * mean, rel=0.02)
    assert np.asarray(transform(image, "brighter", 0)).mean() > mean
    assert np.asarray(transform(image, "contrast-down", 0)).std() < np.asarray(image).std()
    grey = np.asarray(transform(image, "grey", 0))
    assert np.array_equal(grey[..., 0], grey[..., 2])


def test_a_cut_rotation_has_no_black_corners():
    white = Image.new("RGB", (200, 120), "white")
    assert np.asarray(transform(white, "rotate-3", 1)).min() == 0
    assert np.asarray(transform(white, "rotate-5-cut", 1)).min() == 255


def test_a_watermark_covers_a_small_part(image):
    changed = np.any(np.asarray(transform(image, "watermark", 0)) != np.asarray(image), axis=2)
    assert 0.01 < changed.mean() < 0.25


@pytest.mark.parametrize("name", ["border", "screenshot", "collage"])
@pytest.mark.parametrize("seed", range(3))
def test_what_is_put_around_a_picture_leaves_it_whole(image, name, seed):
    """The very pixels stand somewhere in the result, once."""
    whole, changed = np.asarray(image), np.asarray(transform(image, name, seed))
    height, width = whole.shape[:2]
    places = [
        (top, left)
        for top in range(changed.shape[0] - height + 1)
        for left in range(changed.shape[1] - width + 1)
        if np.array_equal(changed[top : top + height, left : left + width], whole)
    ]
    assert len(places) == 1


def test_an_overlay_covers_a_fifth(image):
    changed = np.any(np.asarray(transform(image, "overlay", 0)) != np.asarray(image), axis=2)
    assert changed.mean() == pytest.approx(0.2, abs=0.02)


def test_colours_and_sides(image):
    whole = np.asarray(image)
    assert np.array_equal(np.asarray(transform(image, "mirrored", 0))[:, ::-1], whole)
    white = Image.new("RGB", (8, 8), "white")
    assert np.asarray(transform(white, "sepia", 0))[0, 0].tolist() == [255, 255, 239]
    red = Image.new("RGB", (8, 8), (255, 0, 0))
    turned = np.asarray(transform(red, "hue-90", 0))[0, 0]
    assert turned.max() == 255
    assert turned.min() == 0
    assert 100 < np.median(turned) < 150
