"""A picture in all its turns: each another one, the first the picture itself, and codes for all of them."""

from __future__ import annotations

import numpy as np
from block_hasher import BlockHasher
from conftest import natural_picture
from PIL import Image

from aecodec.search.building import folder_index
from aecodec.search.duplicates import groups
from aecodec.search.pictures import CodeReader
from aecodec.search.turning import TURNS, turned_index, turned_way


def test_the_turns_are_the_eight_that_a_rectangle_has_and_are_named_for_what_they_do():
    pixels = np.arange(6, dtype=np.uint8).reshape(2, 3)
    ways = [turned_way(pixels, turn) for turn in range(8)]
    assert len({(way.shape, way.tobytes()) for way in ways}) == 8 == len(TURNS)
    assert ways[0].tolist() == pixels.tolist()
    assert ways[1].tolist() == [[2, 5], [1, 4], [0, 3]]
    assert ways[4].tolist() == [[2, 1, 0], [5, 4, 3]]
    assert all(way.flags.c_contiguous for way in ways)


def test_turned_copies_are_found_with_their_turn(tmp_path):
    pixels = natural_picture(64, 96, 3)
    Image.fromarray(pixels).save(tmp_path / "0.png")
    for turn in range(1, 8):
        Image.fromarray(turned_way(pixels, turn)).resize((48, 48)).save(tmp_path / f"{turn}.png")
    Image.fromarray(natural_picture(64, 96, 9)).save(tmp_path / "other.png")
    reader = CodeReader(BlockHasher())
    index, _ = folder_index(tmp_path, reader)
    codes = turned_index(index, reader, None, jobs=2)
    assert codes.shape == (9, 8, 8)
    assert np.array_equal(codes[:, 0], index.codes)
    assert groups(index, 4) == []
    (found,) = groups(index, 4, turned=[codes])
    assert [(member.path.name, member.turn) for member in sorted(found, key=lambda m: m.id)] == [
        (f"{turn}.png", turn) for turn in range(8)
    ]


def test_a_file_that_is_gone_has_the_code_of_the_index_in_all_turns(tmp_path):
    Image.fromarray(natural_picture(64, 96, 3)).save(tmp_path / "a.png")
    reader = CodeReader(BlockHasher())
    index, _ = folder_index(tmp_path, reader)
    (tmp_path / "a.png").unlink()
    assert np.array_equal(turned_index(index, reader, None)[0], np.repeat(index.codes, 8, axis=0))
