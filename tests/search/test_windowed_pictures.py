"""Codes of windows: of the very pixels of each, in one batch; distances by the one rule."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from block_hasher import BlockHasher
from conftest import natural_picture
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from aecodec.coding.container import SemanticHash
from aecodec.contracts import IndexFileError, UsageError
from aecodec.data.images import Picture
from aecodec.data.reduced import read_reduced
from aecodec.index.hash_index import HashIndex
from aecodec.index.windows import LAYOUT, LAYOUTS, WHOLE, Window, apart
from aecodec.search import building, duplicates
from aecodec.search.duplicates import groups
from aecodec.search.pictures import CodeReader, read_any
from aecodec.search.windows import cut, distances, picture_codes


def test_each_code_is_that_of_the_pixels_of_its_window():
    class Batches(BlockHasher):
        def hash_pixels(self, pictures, bits=None):
            assert self.hashed == 0
            return super().hash_pixels(pictures, bits)

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
    assert np.array_equal(picture_codes(BlockHasher(), pictures, bits=32), sets[..., :4])


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
    for query, row in zip(sets, found, strict=True):
        assert row.tolist() == apart(query, sets[:, 0], sets[:, 1:]).distances.tolist()
    assert distances(sets[:0], sets).shape == (0, 4)
    wholes = np.ascontiguousarray(sets[:, :1])
    assert distances(wholes, wholes)[0, 1] == np.unpackbits(sets[0, 0] ^ sets[1, 0]).sum()


# -- indexes of folders ------------------------------------------------------------------------------


def windowed(**options) -> CodeReader:
    return CodeReader(BlockHasher(), layout=LAYOUT, **options)


def picture(path: Path, seed: int, second: int = 0) -> None:
    Image.fromarray(natural_picture(64, 96, seed)).save(path)
    os.utime(path, ns=(0, second * 10**9))


def expected(folder: Path) -> dict[str, list]:
    """Every picture's set, from its pixels made small."""
    small = {path.name: read_reduced(path, 3 * BlockHasher.side).pixels for path in folder.glob("*.png")}
    return {name: picture_codes(BlockHasher(), [pixels])[0].tolist() for name, pixels in small.items()}


def held(index: HashIndex) -> dict[str, list]:
    sets = np.concatenate([index.codes[:, None], index.windows], axis=1)
    return dict(zip(index.ids.tolist(), sets.tolist(), strict=True))


def test_an_index_with_windows_keeps_them_in_whatever_is_done_to_it(tmp_path):
    folder, out = tmp_path / "photos", tmp_path / "a.hix"
    folder.mkdir()
    for number in range(4):
        picture(folder / f"{number}.png", number)
    index, report = building.build(folder, out, windowed(), jobs=2)
    assert (report.added, index.layout) == (4, LAYOUT)
    assert held(index) == held(HashIndex.load(out)) == expected(folder)
    picture(folder / "1.png", 11, 5)
    picture(folder / "new.png", 12)
    (folder / "2.png").unlink()
    again = windowed()
    report = building.sync(index, again)
    assert (report.added, report.changed, report.removed) == (1, 1, 1)
    assert again.hasher.hashed == 2 * again.count
    assert held(index) == expected(folder)
    picture(tmp_path / "outside.png", 20)
    assert building.add(index, [tmp_path / "outside.png"], windowed()).added == 1
    assert len(index.windows) == 5
    building.remove(index, [str(tmp_path / "outside.png")])
    assert held(index) == expected(folder)


def test_an_unfinished_index_without_windows_is_not_gone_on_with(tmp_path):
    folder, out = tmp_path / "photos", tmp_path / "a.hix"
    folder.mkdir()
    picture(folder / "a.png", 1)
    left, _ = building.folder_index(folder, CodeReader(BlockHasher()))
    left.save(building.partial_of(out))
    index, report = building.build(folder, out, windowed())
    assert (report.added, held(index)) == (1, expected(folder))
    assert HashIndex.load(building.partial_of(out)).layout == 0


def test_aec_files_are_decoded_for_their_windows(tmp_path, small_codec):
    carried = SemanticHash("blocks", b"\x01" * 8, bytes(range(4)))
    pixels = natural_picture(64, 96, 1)
    (tmp_path / "a.aec").write_bytes(small_codec.encode_picture(Picture(pixels), semantic_hash=carried).data)

    def decode(data: bytes) -> np.ndarray:
        return small_codec.decode_picture(data).pixels

    reader = building.fitted(windowed(decode=decode), tmp_path)
    assert reader.n_bits == 64
    index, _ = building.folder_index(tmp_path, reader)
    back = read_any(tmp_path / "a.aec", reader.least, decode).pixels
    assert held(index)["a.aec"] == picture_codes(BlockHasher(), [back])[0].tolist()


# -- duplicates --------------------------------------------------------------------------------------


def index_of(sets: np.ndarray, first: int = 0, layout: int = LAYOUT, backend: str = "numpy") -> HashIndex:
    index = HashIndex(
        hasher="a", fingerprint=bytes(8), n_bits=16, paths=True, root="/r", layout=layout, backend=backend
    )
    sizes = np.random.default_rng(len(sets)).integers(0, 5, (len(sets), 2))
    names = [f"{first + n:03d}" for n in range(len(sets))]
    index.add(names, sets[:, 0], windows=sets[:, 1:] if layout else None, stamps=sizes)
    return index


def gathered(sets: np.ndarray, turned: np.ndarray, sizes: list[int], radius: int, more: int) -> dict[int, dict]:
    """Groups by their definition: from the largest file down, each free row gathers the free ones near it -> the first
    of each with the distances of the others. Wholes in any turn may be a radius apart, a whole and a window more."""

    def far(first: int, row: int) -> int:
        def bits(a: np.ndarray, b: np.ndarray) -> int:
            return int(np.unpackbits(a ^ b).sum())

        wholes = min(bits(whole, sets[row, 0]) for whole in turned[first])
        windows = [bits(whole, window) for whole in turned[first] for window in sets[row, 1:]]
        windows += [bits(window, sets[row, 0]) for window in sets[first, 1:]]
        found = [wholes] * (wholes <= radius) + [min(windows)] * (min(windows) <= more)
        return min(found, default=99)

    free, groups_of = set(range(len(sets))), {}
    for first in sorted(free, key=lambda row: (-sizes[row], row)):
        if first not in free:
            continue
        free.remove(first)
        near = {row: distance for row in sorted(free) if (distance := far(first, row)) < 99}
        if near:
            groups_of[first] = near
            free -= set(near)
    return groups_of


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 9999),
    count=st.integers(0, 12),
    radius=st.integers(0, 4),
    more=st.integers(0, 2),
    bits=st.sampled_from([7, 63]),
    backend=st.sampled_from(["numpy", "native", "multi-index"]),
    turn=st.booleans(),
)
def test_groups_by_windows_are_what_their_definition_says(seed, count, radius, more, bits, backend, turn):
    rng = np.random.default_rng(seed)
    sets = rng.integers(0, 256, (count, 1 + len(LAYOUTS[LAYOUT]), 2), np.uint8)
    sets[:, :1] &= np.uint8(bits)
    turned = rng.integers(0, 256, (count, 8, 2), np.uint8) if turn else sets[:, :1]
    turned[:, 0] = sets[:, 0]
    index = index_of(sets, backend=backend)
    found = groups(index, radius, windows=radius + more, turned=[turned] if turn else None)
    expected = gathered(sets, turned, index.stamps[:, 1].tolist(), radius, radius + more)
    assert {int(m[0].id): {int(x.id): x.distance for x in m[1:]} for m in found} == expected


def test_groups_tell_which_parts_are_alike():
    sets = np.full((3, 1 + len(LAYOUTS[LAYOUT]), 2), 255, np.uint8)
    sets[0] = 0
    sets[0, 9] = sets[1, 0] = 90
    sets[2] = 15
    index = index_of(sets)
    found = groups(index, 0, windows=0)
    assert [{m.id for m in members} for members in found] == [{"000", "001"}]
    parts = {found[0][1].part, found[0][1].first_part}
    assert parts == {WHOLE, LAYOUTS[LAYOUT][8]}
    other = index_of(sets[1:2], 1)
    assert len(groups(index_of(sets[:1]), 0, other, windows=0)) == 1
    assert groups(index, 0) == []
    for left, right in ((index_of(sets, layout=0), None), (index, index_of(sets, layout=0))):
        with pytest.raises(IndexFileError, match="build it with --windows"):
            groups(left, 0, right, windows=0)
    with pytest.raises(UsageError, match="at least as far apart as wholes, 3 bits; got 2"):
        groups(index, 3, windows=2)


def test_many_groups_by_windows_are_found_batch_by_batch(monkeypatch):
    sets = np.random.default_rng(0).integers(0, 256, (60, 1 + len(LAYOUTS[LAYOUT]), 2), np.uint8)
    whole = groups(index_of(sets), 1, windows=2)
    monkeypatch.setattr(duplicates, "_BATCH", 3)
    assert groups(index_of(sets), 1, windows=2) == whole
    assert len(whole) > 3
