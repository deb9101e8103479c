"""Which picture of a group is kept, by each rule; what is too flat to tell; what detail is."""

from __future__ import annotations

import os
from pathlib import Path

import click
import numpy as np
import pytest
from block_hasher import BlockHasher
from conftest import natural_picture
from PIL import Image, ImageFilter

from aecodec.cli.dedup import dedup
from aecodec.search.building import folder_index
from aecodec.search.duplicates import groups
from aecodec.search.keeping import FLAT, KEEP, Keeping, detail_of, measure
from aecodec.search.pictures import CodeReader


@pytest.fixture
def copies(tmp_path: Path) -> Path:
    """A picture among copies: smaller, larger in bytes, softened, recompressed; of times one after another."""
    image = Image.fromarray(natural_picture(192, 288, 5))
    image.save(tmp_path / "original.jpg", quality=90)
    image.resize((144, 96)).save(tmp_path / "small.png")
    image.save(tmp_path / "recompressed.jpg", quality=40)
    image.filter(ImageFilter.GaussianBlur(2)).save(tmp_path / "soft.png")
    image.resize((96, 64)).save(tmp_path / "padded.bmp")
    with open(tmp_path / "padded.bmp", "ab") as file:
        file.write(bytes(400_000))
    for seconds, name in enumerate(["small.png", "original.jpg", "soft.png", "padded.bmp", "recompressed.jpg"]):
        os.utime(tmp_path / name, (seconds, seconds))
    return tmp_path


def kept(folder: Path, rule: str) -> tuple[str, Keeping]:
    index, _ = folder_index(folder, CodeReader(BlockHasher()))
    keeping = Keeping(rule, jobs=2)
    (found,) = groups(index, 20, rank=keeping.rank)
    assert len(found) == 5
    return found[0].path.name, keeping


@pytest.mark.parametrize(
    ("rule", "name"),
    [("largest", "padded.bmp"), ("oldest", "small.png"), ("newest", "recompressed.jpg"), ("sharpest", "original.jpg")],
)
def test_each_rule_keeps_what_it_says(rule, name, copies):
    assert kept(copies, rule)[0] == name


def test_the_best_has_most_pixels_then_most_bytes_then_is_the_oldest(copies):
    (copies / "soft.png").unlink()
    (copies / "again.jpg").write_bytes((copies / "original.jpg").read_bytes())
    assert kept(copies, "best")[0] == "original.jpg"
    os.utime(copies / "again.jpg", (0, 0))
    assert kept(copies, "best")[0] == "again.jpg"


def test_the_command_has_every_rule():
    (option,) = (option for option in dedup.params if option.name == "keep")
    assert isinstance(option.type, click.Choice)
    assert list(option.type.choices) == list(KEEP)


def test_pictures_of_one_colour_are_in_no_group(tmp_path):
    rng = np.random.default_rng(0)
    for number, level in enumerate((0, 90, 255)):
        noisy = np.clip(level + rng.normal(0, 6, (128, 192, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(noisy).save(tmp_path / f"flat{number}.jpg", quality=50)
    Image.new("L", (40, 40), 7).save(tmp_path / "grey.png")
    for name in ("a.png", "b.png"):
        Image.fromarray(natural_picture(64, 96)).save(tmp_path / name)
    index, _ = folder_index(tmp_path, CodeReader(BlockHasher()))
    keeping = Keeping("best")
    (found,) = groups(index, 64, rank=keeping.rank)
    assert {one.id for one in found} == {"a.png", "b.png"}
    assert [one.id for one in keeping.flat] == ["flat0.jpg", "flat1.jpg", "flat2.jpg", "grey.png"]
    assert all(keeping.measured[one.path].deviation < FLAT / 3 for one in keeping.flat)


def test_what_cannot_be_read_comes_last(copies):
    index, _ = folder_index(copies, CodeReader(BlockHasher()))
    (copies / "padded.bmp").write_bytes(b"junk")
    keeping = Keeping("largest")
    (found,) = groups(index, 20, rank=keeping.rank)
    assert found[0].id != "padded.bmp"
    assert keeping.measured[copies / "padded.bmp"] is None


def test_detail_is_the_sum_of_squared_differences_and_does_not_grow_with_the_size():
    grey = np.random.default_rng(1).integers(0, 256, (700, 9), np.uint8)
    wide = grey.astype(int)
    assert detail_of(grey) == (np.diff(wide, axis=0) ** 2).sum() + (np.diff(wide, axis=1) ** 2).sum()
    assert detail_of(np.repeat(grey[..., None], 3, 2)) == pytest.approx(detail_of(grey), rel=1e-5)
    image = Image.fromarray(natural_picture(300, 400, 2))
    whole = detail_of(np.asarray(image))
    twice = detail_of(np.asarray(image.resize((800, 600), Image.Resampling.BICUBIC)))
    half = detail_of(np.asarray(image.resize((200, 150), Image.Resampling.LANCZOS)))
    assert half < 0.7 * whole
    assert twice < 1.1 * whole


def test_a_picture_is_measured_as_it_stands(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(natural_picture(400, 600)).save(tmp_path / "a.jpg", exif=exif)
    for detail in (False, True):
        seen = measure(tmp_path / "a.jpg", detail=detail)
        assert (seen.width, seen.height, seen.pixels) == (400, 600, 240_000)
        assert (seen.detail > 0) is detail
    assert measure(tmp_path / "none.jpg") is None
