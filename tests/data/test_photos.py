"""Laws of training photographs: pictures stay bit for bit, a bad file costs itself only, crops are real pixels."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
from conftest import natural_picture
from PIL import Image

from aecodec.contracts import ImageReadError
from aecodec.data.folders import list_photos
from aecodec.data.photos import PhotoPack, open_photos

CPU = torch.device("cpu")


def test_the_held_out_choice_does_not_depend_on_other_files(photo_folder, tmp_path):
    shutil.copytree(photo_folder, tmp_path / "more")
    training, held = open_photos(photo_folder, CPU, 3, 64)
    Image.fromarray(natural_picture(96, 96)).save(tmp_path / "more" / "aaa.png")
    _, held_with_more = open_photos(tmp_path / "more", CPU, 4, 64)
    assert held is not None
    assert held_with_more is not None
    assert (len(training), len(held)) == (3, 3)
    assert not set(training.names) & set(held.names)
    assert set(held.names) <= set(held_with_more.names)


def test_pictures_are_kept_bit_for_bit(photo_folder):
    pack = PhotoPack.from_paths(list_photos(photo_folder), CPU, 64)
    for number, path in enumerate(list_photos(photo_folder)):
        assert np.array_equal(pack.picture(number).numpy(), np.asarray(Image.open(path)))


def test_one_unreadable_picture_is_left_out_with_a_warning(photo_folder, tmp_path):
    folder = tmp_path / "photos"
    shutil.copytree(photo_folder, folder)
    content = (folder / "picture3.png").read_bytes()
    (folder / "picture3.png").write_bytes(content[: len(content) // 2])
    (folder / "broken.jpg").write_bytes(b"no picture at all")
    with pytest.warns(UserWarning, match="left out") as caught:
        training, _ = open_photos(folder, CPU, 0, 64)
    assert len(caught) == 2
    assert len(training) == 5


def test_missing_empty_and_unusable_sources_say_so(tmp_path, photo_folder):
    with pytest.raises(ImageReadError, match="no such folder"):
        open_photos(tmp_path / "nowhere", CPU, 1, 64)
    with pytest.raises(ImageReadError, match="no pictures"):
        open_photos(tmp_path, CPU, 1, 64)
    with pytest.raises(ImageReadError, match="at least 4096 pixels"):
        open_photos(photo_folder, CPU, 1, 4096)
    (tmp_path / "a.npz").write_bytes(b"broken")
    with pytest.raises(ImageReadError, match="neither a folder of pictures nor"):
        open_photos(tmp_path / "a.npz", CPU, 1, 64)
    (tmp_path / "only.png").write_bytes(b"broken")
    with pytest.warns(UserWarning, match="left out"), pytest.raises(ImageReadError, match="can be read"):
        open_photos(tmp_path, CPU, 1, 64)


def test_crops_are_seeded_windows_of_the_pictures(photo_folder):
    training, _ = open_photos(photo_folder, CPU, 0, 64)
    batch = training.crops(8, 64, torch.Generator().manual_seed(1))
    assert torch.equal(batch, training.crops(8, 64, torch.Generator().manual_seed(1)))
    assert not torch.equal(batch, training.crops(8, 64, torch.Generator().manual_seed(2)))
    assert batch.shape == (8, 3, 64, 64)
    # Without a change of size every value is a byte of some picture, and windows are contiguous.
    as_bytes = batch * 255
    assert torch.equal(as_bytes.round(), as_bytes.round().clamp(0, 255))
    assert torch.allclose(as_bytes, as_bytes.round(), atol=1e-4)
    turned = [
        t
        for crop in as_bytes.round().byte()
        for t in (crop, crop.flip(2), crop.transpose(1, 2), crop.transpose(1, 2).flip(2))
    ]
    rows = {t[:, 0].T.contiguous().numpy().tobytes() for t in turned}
    pixels = training.pixels.numpy().tobytes()
    assert sum(row in pixels for row in rows) >= 8


def test_shrunk_crops_average_larger_windows(photo_folder):
    training, _ = open_photos(photo_folder, CPU, 0, 64)
    for seed in range(8):
        batch = training.crops(2, 64, torch.Generator().manual_seed(seed), downscale=0.5)
        assert batch.shape == (2, 3, 64, 64)
        assert batch.min() >= 0
        assert batch.max() <= 1
