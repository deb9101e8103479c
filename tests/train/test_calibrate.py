"""Laws of scripts/calibrate.py: tables and adaptation are fitted, weights are not touched."""

from __future__ import annotations

import shutil

import calibrate
import numpy as np
import pytest
from click.testing import CliRunner
from conftest import natural_picture
from PIL import Image
from places import TESTS

from aecodec.codec.codec import Codec
from aecodec.coding import container
from aecodec.latents.adaptation import PREFIX
from aecodec.zoo import stored

HASHER = TESTS / "engine" / "small-hash.safetensors"


def test_a_calibrated_model_has_its_weights_and_codes_photographs_in_fewer_bytes(model_file, photo_folder, tmp_path):
    photos, out = shutil.copytree(photo_folder, tmp_path / "photos"), tmp_path / "calibrated.safetensors"
    (photos / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nno")
    arguments = [str(model_file), str(photos), "--out", str(out), "--count", "7", "--side", "130"]
    result = CliRunner().invoke(calibrate.main, arguments)
    assert result.exit_code == 0, result.output
    assert "left out" in result.output
    before, after = stored.read(model_file), stored.read(out)
    assert after.fingerprint.hex() in result.output
    assert after.card["calibrated"] == {"pictures": 6, "side": 130}
    assert {name for name in after.tensors if not name.startswith(PREFIX)} == set(before.tensors)
    assert any(after.tensors[f"{PREFIX}weights_q"].ravel())
    for name, array in before.tensors.items():
        assert np.array_equal(array, after.tensors[name])
        assert array.dtype == after.tensors[name].dtype
    codecs = [Codec.from_pretrained(path, engine="onnx") for path in (model_file, out)]
    pictures = [Image.open(path) for path in sorted(photo_folder.iterdir())]
    sizes = [sum(len(codec.encode(picture, quality=q)) for picture in pictures for q in (50, 90)) for codec in codecs]
    assert sizes[1] < sizes[0]
    assert container.parse(codecs[1].encode(pictures[0], quality=50)).header.fingerprint == after.fingerprint


def test_middles_are_in_the_middle_and_what_is_smaller_than_the_alignment_is_left_out(tmp_path):
    Image.fromarray(natural_picture(63, 300)).save(tmp_path / "a.png")
    pixels = natural_picture(140, 200)
    Image.fromarray(pixels).save(tmp_path / "b.png")
    paths = [tmp_path / "a.png", tmp_path / "b.png"]
    (middle,) = calibrate.middles(paths, 2, 500, 64)
    assert np.array_equal((255 * middle[0].numpy()).round().astype(np.uint8), pixels[6:134, 4:196].transpose(2, 0, 1))
    assert next(calibrate.middles(paths, 2, 64, 64)).shape == (1, 3, 64, 64)


def test_a_model_that_codes_no_pictures_is_refused(photo_folder):
    result = CliRunner().invoke(calibrate.main, [str(HASHER), str(photo_folder)])
    assert result.exit_code == 1
    assert "codes no pictures" in result.output


def test_a_folder_of_nothing_but_specks_is_refused_and_nothing_is_written(model_file, tmp_path):
    Image.fromarray(natural_picture(63, 63)).save(tmp_path / "a.png")
    out = tmp_path / "calibrated.safetensors"
    result = CliRunner().invoke(calibrate.main, [str(model_file), str(tmp_path), "--out", str(out)])
    assert result.exit_code == 1
    assert "no picture" in result.output
    assert not out.exists()


@pytest.mark.parametrize("side", ["63", "0"])
def test_a_side_below_any_tile_is_refused(side, model_file, photo_folder):
    result = CliRunner().invoke(calibrate.main, [str(model_file), str(photo_folder), "--side", side])
    assert result.exit_code == 2
