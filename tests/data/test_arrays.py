"""Laws of arrays as training data: items come back whole, what is kept aside is never drawn, bad files are named."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch

from aecodec.contracts import BatchSource, ImageReadError
from aecodec.data.arrays import ArraySet, read_array, split_key
from aecodec.data.batches import CropPlan, PhotoCrops, open_batches

CPU = torch.device("cpu")


@pytest.fixture
def digits(tmp_path):
    """Twenty grey items, each of one level that tells its number; ten test items of colour."""
    path = tmp_path / "digits.npz"
    items = np.repeat(np.arange(20, dtype=np.uint8), 12).reshape(20, 3, 4)
    np.savez(
        path,
        x_train=items,
        colours=np.zeros((5, 6, 7, 3), np.uint8),
        points=np.zeros((4, 9, 3), np.float16),
        labels=np.arange(20),
        x_test=items[:7] + 100,
    )
    return path


def test_items_are_drawn_whole_and_repeatably(digits):
    source = open_batches(digits, CPU, CropPlan(64))
    assert isinstance(source, ArraySet)
    assert isinstance(source, BatchSource)
    assert source.shape == (1, 3, 4)
    assert len(source) == 20
    batch, again = (source.draw(50, torch.Generator().manual_seed(1)) for _ in range(2))
    assert torch.equal(batch, again)
    assert batch.dtype == torch.float32
    levels = (batch * 255).round()
    assert torch.equal(levels.amin((1, 2, 3)), levels.amax((1, 2, 3)))
    assert set(levels.flatten().tolist()) <= set(range(20))


def test_what_is_kept_aside_is_never_drawn(digits):
    source = open_batches(digits, CPU, CropPlan(64, hold_out=5))
    held = {int(v) for v in (source.held_out()[0][:, 0, 0, 0] * 255).round().tolist()}
    drawn = {int(v) for v in (source.draw(500, torch.Generator().manual_seed(0))[:, 0, 0, 0] * 255).round().tolist()}
    assert len(held) == 5
    assert held | drawn == set(range(20))
    assert not held & drawn


def test_an_evaluation_array_takes_the_place_of_items_kept_aside(digits):
    source = open_batches(digits, CPU, CropPlan(64, hold_out=5), f"{digits}:x_test")
    assert len(source) == 20
    assert source.held_out()[0].shape == (7, 1, 3, 4)
    with pytest.raises(ImageReadError, match="shape"):
        open_batches(digits, CPU, CropPlan(64), f"{digits}:colours")


def test_a_key_names_one_array_and_layouts_are_put_in_order(digits):
    assert split_key(f"{digits}:colours") == (digits, "colours")
    assert split_key("folder") == (split_key("folder")[0], None)
    assert read_array(f"{digits}:colours").shape == (5, 3, 6, 7)
    points = open_batches(f"{digits}:points", CPU, CropPlan(64))
    assert points.shape == (9, 3)
    assert points.draw(3, torch.Generator().manual_seed(0)).shape == (3, 9, 3)


@pytest.mark.parametrize(("source", "message"), [(":nothing", "holds"), (":labels", "no items|expected uint8")])
def test_what_is_no_item_is_refused(digits, source, message):
    with pytest.raises(ImageReadError, match=message):
        read_array(f"{digits}{source}")


def test_a_damaged_file_and_a_bare_array_are_refused(digits):
    bare = io.BytesIO()
    np.save(bare, np.zeros(3))
    for content in (digits.read_bytes()[:100], bare.getvalue()):
        digits.write_bytes(content)
        with pytest.raises(ImageReadError, match="not a readable"):
            read_array(f"{digits}:x_train")


def test_late_crops_are_larger_and_fewer(photo_folder):
    source = open_batches(photo_folder, CPU, CropPlan(64, late_size=128, late_from=0.5))
    assert isinstance(source, PhotoCrops)
    assert isinstance(source, BatchSource)
    rng = torch.Generator().manual_seed(0)
    assert source.draw(8, rng, 0.4).shape == (8, 3, 64, 64)
    assert source.draw(8, rng, 0.5).shape == (2, 3, 128, 128)
