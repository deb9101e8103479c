"""Tiles cover a picture once, and windows cut out what they say."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from aecodec.data.tiling import Window, cut_padded, tiles

sides = st.integers(1, 70)


@given(height=sides, width=sides, side=st.integers(1, 40))
def test_tiles_cover_every_pixel_exactly_once(height, width, side):
    covered = np.zeros((height, width), int)
    for window in tiles(height, width, side):
        covered[window.slices] += 1
        assert max(window.size) <= side
    assert (covered == 1).all()


@given(height=sides, width=sides, side=st.integers(1, 40), margin=st.integers(0, 20))
def test_a_window_within_its_grown_self_is_the_same_rectangle(height, width, side, margin):
    whole = np.arange(height * width).reshape(height, width)
    for window in tiles(height, width, side):
        grown = window.grown(margin, height, width)
        assert np.array_equal(whole[grown.slices][window.within(grown).slices], whole[window.slices])


def test_units_can_be_changed_and_changed_back():
    window = Window(16, 32, 64, 48)
    assert window.divided(16) == Window(1, 2, 4, 3)
    assert window.divided(16).times(16) == window


def test_what_reaches_below_or_right_repeats_the_edges():
    pixels = np.arange(15, dtype=np.uint8).reshape(3, 5)
    padded = cut_padded(pixels, Window(0, 0, 4, 8))
    assert padded.shape == (4, 8)
    assert np.array_equal(padded[:3, :5], pixels)
    assert (padded[3] == padded[2]).all()
    assert (padded[:, 5:] == padded[:, 4:5]).all()
    assert np.array_equal(cut_padded(pixels, Window(1, 3, 4, 8)), padded[1:, 3:])


@given(height=sides, width=sides, side=st.integers(12, 40), margin=st.integers(0, 20))
def test_intersections_of_neighbours_make_up_a_grown_tile(height, width, side, margin):
    """What the decoder pieces together from a tile and those around it."""
    for tile in tiles(height, width, side):
        grown = tile.grown(margin, height, width)
        shared = [other.intersection(grown) for other in tiles(height, width, side) if other.touches(grown)]
        assert sum(part.size[0] * part.size[1] for part in shared) == grown.size[0] * grown.size[1]
