"""Files with a filter of their decoded picture: of least squares, worth its bits, the same block by block."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import natural_picture
from extras import needs
from scenes import scene

from aecodec.codec.codec import Codec
from aecodec.codec.decoder import TileDecoder
from aecodec.codec.post_filter import CHOICES, fit, with_post_filter
from aecodec.codec.refine import file_cost
from aecodec.coding import container
from aecodec.coding.post_filter import PAIRS, REACH, SIDE, PostFilter
from aecodec.contracts import BitstreamError
from aecodec.data.images import Picture
from aecodec.data.tiling import Window
from aecodec.engine import filtering


@pytest.fixture(scope="module")
def codec() -> Codec:
    return Codec.from_pretrained("photo", precision="float32", tile=256)


def a_filter(planes: int, seed: int = 0, spread: float = 0.05) -> PostFilter:
    rng = np.random.default_rng(seed)
    taps, own = (rng.normal(0, spread * 1024, shape) for shape in ((planes, planes, PAIRS), (planes, planes)))
    return PostFilter(np.rint(taps).astype(np.int32), np.rint(own).astype(np.int32), (10, 10))


def with_filter(data: bytes, found: PostFilter) -> bytes:
    parsed = container.parse(data)
    return container.write(parsed.header, parsed.tiles, {**parsed.side, "post_filter": found})


def pixels_of(codec: Codec, data: bytes) -> np.ndarray:
    return codec.decode_picture(data).pixels


def slowly(planes: np.ndarray, found: PostFilter) -> np.ndarray:
    """(C, h, w) -> the sum that the format names, place by place."""
    taps, own = (part * 2.0**-e for part, e in zip((found.taps, found.own), found.exponents, strict=True))
    height, width = planes.shape[1:]
    p = np.pad(planes.astype(np.float64), ((0, 0), (REACH, REACH), (REACH, REACH)), mode="edge")
    result = planes.astype(np.float64)
    for row in range(height):
        for column in range(width):
            seen = p[:, row : row + SIDE, column : column + SIDE].reshape(len(p), -1)
            middle = planes[:, row, column].astype(np.float64)
            result[:, row, column] += own @ (middle - 0.5)
            pairs = seen[:, :PAIRS] + seen[:, : -PAIRS - 1 : -1] - 2 * middle[:, None]
            result[:, row, column] += (taps * pairs[None]).sum(axis=(1, 2))
    return result


@pytest.mark.parametrize("planes", [1, 3])
@pytest.mark.parametrize("size", [(1, 1), (2, 9), (13, 5)])
def test_the_filter_at_work_is_the_sum_that_the_format_names(monkeypatch, planes, size):
    monkeypatch.setattr(filtering, "BAND", 16)
    picture = np.random.default_rng(0).random((planes, *size), np.float32)
    found = a_filter(planes)
    whole = filtering.surroundings(picture, Window(0, 0, *size))
    assert np.allclose(filtering.filtered(whole, found), slowly(picture, found), atol=1e-5)


def test_a_filter_is_nearly_the_least_squares_of_what_it_may_use():
    """Where bits cost next to nothing: against the solution by all equations at once, which is not rounded."""
    rng = np.random.default_rng(0)
    pixels = natural_picture(48, 64)
    noisy = np.clip(pixels @ (np.eye(3) + rng.normal(0, 0.05, (3, 3))) + rng.normal(0, 9, pixels.shape), 0, 255)
    levels = np.rint(noisy).astype(np.uint8)
    found = fit([(pixels, levels)], price=1e15)
    planes, target = (np.moveaxis(each, -1, 0).astype(np.float64) / 255 for each in (levels, pixels))
    shown = filtering.filtered(filtering.surroundings(planes.astype(np.float32), Window(0, 0, 48, 64)), found)
    p = np.pad(planes, ((0, 0), (REACH, REACH), (REACH, REACH)), mode="edge")
    seen = [p[:, row : row + 48, column : column + 64] for row in range(SIDE) for column in range(SIDE)]
    inputs = [seen[k] + seen[-1 - k] - 2 * planes for k in range(PAIRS)] + [planes - 0.5]
    equations = np.stack(inputs, axis=-1).transpose(1, 2, 0, 3).reshape(48 * 64, -1)
    off = (target - planes).reshape(3, -1).T
    least = np.square(off - equations @ np.linalg.lstsq(equations, off, rcond=None)[0]).mean()
    assert least < 0.8 * np.square(off).mean()
    assert least * (1 - 1e-5) <= np.square(target - shown).mean() <= least * 1.002


def test_bits_that_buy_nothing_are_not_spent():
    pixels = natural_picture(32, 32)
    levels = np.clip(pixels.astype(int) + np.random.default_rng(0).integers(-3, 4, pixels.shape), 0, 255).astype(
        np.uint8
    )
    assert fit([(pixels, levels)], price=0.0) is None
    assert fit([(pixels, pixels)], price=1e12) is None
    flat = np.full((8, 8, 3), 90, np.uint8)
    assert fit([(flat, flat + 1)], price=1e3) is None
    dear, cheap = (fit([(pixels, levels)], price) for price in (3e5, 1e9))
    assert cheap is not None
    assert dear is None or len(dear.pack()) < len(cheap.pack())
    assert CHOICES[0] == list(range(PAIRS))


@pytest.mark.parametrize("grey", [False, True])
def test_effort_gives_files_a_filter_where_that_costs_less(codec, grey):
    """A picture in colours that the model was never shown: what it makes of them is the same error everywhere."""
    pixels = scene(200, 300, grey=grey)
    source = Picture(pixels if grey else pixels[..., [2, 0, 1]] // 2 + np.uint8(100))
    data = codec.encode_picture(source, quality=90, effort=1).data
    assert container.parse(data).post_filter is None
    better = with_post_filter(codec.engine, source, data, map)
    parsed = container.parse(better)
    assert parsed.tiles == container.parse(data).tiles
    assert parsed.post_filter is not None
    assert parsed.post_filter.planes == (1 if grey else 3)
    assert file_cost(codec.engine, source, better) < file_cost(codec.engine, source, data)
    refined = codec.encode_picture(source, quality=90, effort=2).data
    assert container.parse(refined).post_filter is not None


def test_a_model_tuned_for_eyes_has_files_without():
    codec, source = Codec.from_pretrained("photo-visual"), Picture(scene(64, 96)[..., [2, 0, 1]])
    data = codec.encode_picture(source, quality=90, effort=2).data
    assert container.parse(data).post_filter is None
    assert with_post_filter(codec.engine, source, data, map) == data


def test_a_large_picture_is_judged_by_a_few_of_its_blocks(codec, monkeypatch):
    source = Picture(scene(600, 900))
    data = codec.encode_picture(source, quality=90, effort=1).data
    looked_at = []
    pixels = TileDecoder.pixels
    monkeypatch.setattr(TileDecoder, "pixels", lambda self, area=None: looked_at.append(area) or pixels(self, area))
    better = with_post_filter(codec.engine, source, data, map)
    assert len(looked_at) == 4 == len({*looked_at})
    assert container.parse(better).post_filter is not None


@pytest.mark.parametrize("grey", [False, True])
def test_blocks_and_crops_of_a_filtered_file_are_those_of_its_whole(codec, grey):
    """The filter looks across their borders: pixels do not depend on which blocks are decoded with them."""
    source = Picture(scene(520, 600, grey=grey))
    plain = codec.encode_picture(source, quality=60, effort=1).data
    data = with_filter(plain, a_filter(1 if grey else 3))
    whole = pixels_of(codec, data)
    assert not np.array_equal(whole, pixels_of(codec, plain))
    for box in [Window(200, 250, 320, 350), Window(0, 0, 256, 256), Window(450, 500, 520, 600)]:
        crop = codec.decode_container(container.parse(data), box).pixels
        rows, columns = box.slices
        assert np.array_equal(crop, whole[rows, columns])


def test_tiles_of_any_side_show_the_same_filtered_picture(codec):
    """One tile and six: latents differ a little near the borders, pixels by a level or two, and no seam is seen."""
    source = Picture(scene(256, 700))
    large = Codec(codec.engine, tile=1024)
    found = a_filter(3, spread=0.02)
    a, b = (
        pixels_of(each, with_filter(each.encode_picture(source, quality=60, effort=1).data, found)).astype(int)
        for each in (codec, large)
    )
    assert np.abs(a - b).mean() < 1


@needs("torch")
def test_both_engines_filter_alike(codec):
    source = Picture(scene(300, 280))
    data = with_filter(codec.encode_picture(source, quality=70, effort=1).data, a_filter(3))
    with_torch = Codec.from_pretrained("photo", precision="float32", engine="torch")
    assert np.abs(pixels_of(codec, data).astype(int) - pixels_of(with_torch, data)).max() <= 1


def test_a_filter_for_other_planes_is_refused(codec):
    data = codec.encode_picture(Picture(scene(64, 64)), quality=50, effort=1).data
    with pytest.raises(BitstreamError, match="is for 1 planes, the picture has 3"):
        pixels_of(codec, with_filter(data, a_filter(1)))


def test_a_damaged_filter_costs_the_filter_and_no_tile(codec):
    data = codec.encode_picture(Picture(scene(64, 64)), quality=50, effort=1).data
    filtered = with_filter(data, a_filter(3))
    (chunk,) = (chunk for chunk in container.parse(filtered).chunks if chunk.type == b"F")
    torn = bytearray(filtered)
    torn[chunk.offset + 7] ^= 1
    with pytest.raises(BitstreamError):
        pixels_of(codec, bytes(torn))
    parsed = container.parse(bytes(torn), partial=True)
    assert any("damaged" in notice for notice in parsed.notices)
    assert np.array_equal(codec.decode_container(parsed).pixels, pixels_of(codec, data))
