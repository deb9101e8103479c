"""Codes of windows: of the very pixels of each, in one batch; distances by the one rule."""

from __future__ import annotations

import numpy as np
import pytest
from block_hasher import BlockHasher
from conftest import natural_picture

from aecodec.index.windows import LAYOUT, LAYOUTS, WHOLE, Window, apart
from aecodec.search.windows import cut, distances, picture_codes


def test_each_code_is_that_of_the_pixels_of_its_window():
    class Batches(BlockHasher):
        def hash_pixels(self, pictures):
            assert self.hashed == 0
            return super().hash_pixels(pictures)

    pictures = [natural_picture(70, 90, 1), natural_picture(50, 120, 2)[..., 0]]
    sets = picture_codes(Batches(), pictures)
    assert sets.shape == (2, 1 + len(LAYOUTS[LAYOUT]), 8)
    for pixels, codes in zip(pictures, sets, strict=True):
        for part, code in zip((WHOLE, *LAYOUTS[LAYOUT]), codes, strict=True):
            left, top = round(part.left * pixels.shape[1]), round(part.top * pixels.shape[0])
            right = round((part.left + part.width) * pixels.shape[1])
            bottom = round((part.top + part.height) * pixels.shape[0])
            assert BlockHasher().hash_pixels([pixels[top:bottom, left:right]])[0].tolist() == code.tolist()
    assert picture_codes(BlockHasher(), []).shape == (0, 1 + len(LAYOUTS[LAYOUT]), 8)
    assert picture_codes(BlockHasher(), pictures[:1], 0).shape == (1, 1, 8)


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (3, 2), (640, 5)])
def test_windows_of_the_smallest_pictures_have_a_pixel(shape):
    pixels = np.arange(np.prod(shape)).reshape(shape)
    for part in (WHOLE, *LAYOUTS[LAYOUT], Window(0.999, 0.999, 0.001, 0.001)):
        assert cut(pixels, part).size >= 1
    assert cut(pixels, WHOLE).shape == shape


def test_distances_are_symmetric_and_those_of_the_rule():
    rng = np.random.default_rng(0)
    sets = rng.integers(0, 256, (4, 1 + len(LAYOUTS[LAYOUT]), 2), np.uint8)
    found = distances(sets, sets)
    assert found.tolist() == found.T.tolist()
    assert found.diagonal().tolist() == [0] * 4
    assert found[1].tolist() == apart(sets[1], sets[:, 0], sets[:, 1:]).distances.tolist()
    assert distances(sets[:0], sets).shape == (0, 4)
    wholes = np.ascontiguousarray(sets[:, :1])
    assert distances(wholes, wholes)[0, 1] == np.unpackbits(sets[0, 0] ^ sets[1, 0]).sum()
