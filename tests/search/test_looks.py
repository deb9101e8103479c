"""What a code does not see keeps pictures apart: transparency and frames. Names of one file do not make two."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from block_hasher import BlockHasher
from conftest import natural_picture
from PIL import Image, ImageDraw

from aecodec.data.images import Picture
from aecodec.search.building import folder_index
from aecodec.search.duplicates import groups
from aecodec.search.looks import Looks, look_of
from aecodec.search.pictures import CodeReader

SHAPES = ("ellipse", "rectangle", "cross", "ring")


def glyph(shape: str, side: int = 64) -> Image.Image:
    """White everywhere; only its transparency tells it from others."""
    alpha = Image.new("L", (128, 128))
    pen = ImageDraw.Draw(alpha)
    if shape == "cross":
        pen.line((20, 20, 108, 108), 255, 16)
        pen.line((108, 20, 20, 108), 255, 16)
    elif shape == "ring":
        pen.ellipse((20, 20, 108, 108), None, 255, 16)
    else:
        getattr(pen, shape)((20, 20, 108, 108), 255)
    image = Image.new("RGB", (side, side), "white")
    image.putalpha(alpha.resize((side, side), Image.Resampling.LANCZOS))
    return image


def grouped(folder: Path) -> list[set[str]]:
    index, report = folder_index(folder, CodeReader(BlockHasher()))
    assert not report.failures
    return [{member.id for member in members} for members in groups(index, 0)]


def test_glyphs_that_differ_in_transparency_alone_are_no_duplicates(tmp_path):
    for shape in SHAPES:
        glyph(shape).save(tmp_path / f"{shape}.png")
    assert grouped(tmp_path) == []
    for shape in SHAPES[:2]:
        for side, ending in ((32, "webp"), (16, "tga")):
            glyph(shape, side).save(tmp_path / f"{shape}{side}.{ending}")
    expected = [{f"{shape}.png", f"{shape}32.webp", f"{shape}16.tga"} for shape in SHAPES[:2]]
    assert sorted(grouped(tmp_path), key=min) == sorted(expected, key=min)


def test_an_opaque_picture_is_no_duplicate_of_a_transparent_one(tmp_path):
    image = Image.fromarray(natural_picture(32, 32))
    image.save(tmp_path / "opaque.png")
    image.convert("RGBA").save(tmp_path / "with-a-channel.png")
    assert grouped(tmp_path) == [{"opaque.png", "with-a-channel.png"}]
    image.putalpha(128)
    image.save(tmp_path / "faint.png")
    assert grouped(tmp_path) == [{"opaque.png", "with-a-channel.png"}]


def test_an_animation_is_no_duplicate_of_its_first_frame(tmp_path):
    first, second = (Image.fromarray(natural_picture(32, 32, seed)) for seed in (0, 1))
    first.save(tmp_path / "still.png")
    first.save(tmp_path / "moving.png", save_all=True, append_images=[second])
    first.save(tmp_path / "moving.webp", save_all=True, append_images=[second], lossless=True)
    assert grouped(tmp_path) == [{"moving.png", "moving.webp"}]


@pytest.mark.parametrize("kind", ["hard", "symbolic"])
def test_names_of_one_file_are_one_picture_in_an_index_that_holds_both(tmp_path, kind):
    Image.fromarray(natural_picture(32, 32)).save(tmp_path / "a.png")
    Image.fromarray(natural_picture(32, 32)).save(tmp_path / "copy.png")
    index, _ = folder_index(tmp_path, CodeReader(BlockHasher()))
    (os.link if kind == "hard" else os.symlink)(tmp_path / "a.png", tmp_path / "b.png")
    row = index.ids.tolist().index("a.png")
    index.add(["b.png"], index.codes[[row]], stamps=index.stamps[[row]])
    assert [[m.id for m in members] for members in groups(index, 0)] == [["a.png", "copy.png"]]
    index.remove(["copy.png"])
    assert groups(index, 0) == []
    assert grouped(tmp_path) == [{"a.png", "copy.png"}]


def test_aec_files_show_their_transparency_without_being_decoded(tmp_path, small_codec):
    image = glyph("cross", 64)
    pixels, alpha = np.asarray(image.convert("RGB")), np.asarray(image.getchannel("A"))
    (tmp_path / "a.aec").write_bytes(small_codec.encode_picture(Picture(pixels, alpha=alpha)).data)
    (tmp_path / "b.aec").write_bytes(small_codec.encode_picture(Picture(pixels)).data)
    image.save(tmp_path / "a.png")
    names = [tmp_path / name for name in ("a.png", "b.aec")]
    assert Looks().alike(tmp_path / "a.aec", names).tolist() == [True, False]


def test_what_cannot_be_read_is_like_anything(tmp_path):
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (tmp_path / "broken.aec").write_bytes(b"AEC\0")
    glyph("ring").save(tmp_path / "ring.png")
    for name in ("broken.png", "broken.aec", "none.png"):
        assert look_of(tmp_path / name) is None
        assert Looks().alike(tmp_path / "ring.png", [tmp_path / name]).tolist() == [True]
        assert Looks().alike(tmp_path / name, [tmp_path / "ring.png"]).tolist() == [True]
