"""Laws of scripts/tune_synthesis.py: pictures come nearer to their originals, and no bit of any file changes."""

from __future__ import annotations

import numpy as np
import tune_synthesis
from click.testing import CliRunner
from PIL import Image
from places import TESTS

from aecodec.codec.codec import Codec
from aecodec.coding import container
from aecodec.data.images import Picture
from aecodec.zoo import stored

SMALL = TESTS / "engine" / "small.safetensors"
HASHER = TESTS / "engine" / "small-hash.safetensors"


def test_a_tuned_synthesis_decodes_the_same_files_with_a_smaller_error(tmp_path):
    photos, out = tmp_path / "photos", tmp_path / "tuned.safetensors"
    photos.mkdir()
    rng = np.random.default_rng(0)
    smooth = rng.integers(0, 256, (12, 12, 3)).astype(np.uint8)
    Image.fromarray(smooth).resize((300, 280), Image.Resampling.BICUBIC).save(photos / "a.png")
    arguments = [str(SMALL), str(photos), "--out", str(out), "--crops", "6", "--steps", "8", "--rate", "1e-3"]
    result = CliRunner().invoke(tune_synthesis.main, arguments)
    assert result.exit_code == 0, result.output
    before, after = stored.read(SMALL), stored.read(out)
    assert after.fingerprint.hex() in result.output
    assert after.card["tuned"] == {"crops": 6, "steps": 8, "pictures": 1, "efforts": [1, 2, 4]}
    for name, array in before.tensors.items():
        assert array.dtype == after.tensors[name].dtype
        assert np.array_equal(array, after.tensors[name]) != name.startswith("synthesis."), name
    pixels = np.asarray(Image.open(photos / "a.png"))[:256, :256]
    codecs = [Codec.from_pretrained(path, engine="onnx") for path in (SMALL, out)]
    files = [codec.encode_picture(Picture(pixels), quality=80, effort=1).data for codec in codecs]
    assert container.parse(files[0]).tiles == container.parse(files[1]).tiles
    errors = [
        np.square(codec.decode_picture(data).pixels - pixels.astype(float)).mean()
        for codec, data in zip(codecs, files, strict=True)
    ]
    assert errors[1] < errors[0]


def test_a_model_that_codes_no_pictures_is_refused(photo_folder, tmp_path):
    result = CliRunner().invoke(tune_synthesis.main, [str(HASHER), str(photo_folder), "--out", str(tmp_path / "o")])
    assert result.exit_code == 1
    assert "no synthesis" in result.output
