"""`compress --tune`: an embedded model, told by the file, read by every engine, and ahead by what it is for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from places import SAMPLES

from aecodec.cli import run
from aecodec.codec.codec import Codec
from aecodec.coding import container
from aecodec.metrics import ms_ssim, psnr, ssimulacra2
from aecodec.zoo.registry import DEFAULT_MODEL, TUNES


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tune") / "photo.png"
    with Image.open(SAMPLES / "osprey.png") as image:
        image.convert("RGB").crop((100, 100, 420, 356)).save(path)
    return path


def compressed(photo: Path, out: Path, *flags: str) -> bytes:
    assert run(["compress", str(photo), "-o", str(out), "--no-hash", *flags]) == 0
    return out.read_bytes()


def test_the_file_tells_the_model_and_the_default_is_one_of_them(photo, tmp_path):
    assert DEFAULT_MODEL in TUNES.values()
    default = compressed(photo, tmp_path / "default.aec")
    for tune, model in TUNES.items():
        data = compressed(photo, tmp_path / f"{tune}.aec", "--tune", tune)
        assert container.parse_header(data)[0].model == model
        assert data == compressed(photo, tmp_path / f"{model}.aec", "-m", model)
        assert (data == default) == (model == DEFAULT_MODEL)


def test_both_tunes_decode_on_every_engine(photo, tmp_path):
    for tune in TUNES:
        data = compressed(photo, tmp_path / f"{tune}.aec", "--tune", tune)
        pixels = []
        for engine in ("onnx", "torch"):
            out = tmp_path / f"{tune}-{engine}.png"
            assert run(["decompress", str(tmp_path / f"{tune}.aec"), "-o", str(out), "--engine", engine]) == 0
            with Image.open(out) as image:
                pixels.append(np.asarray(image).astype(int))
        assert np.abs(pixels[0] - pixels[1]).max() <= 1
        assert data


def test_each_tune_is_ahead_by_what_it_is_for(photo):
    """On a sample photograph, in files of one size."""
    with Image.open(photo) as image:
        original = np.asarray(image)
    scores = {}
    for tune, model in TUNES.items():
        codec = Codec.from_pretrained(model)
        with Image.open(photo) as image:
            data = codec.encode(image, target_size=5000)
        decoded = np.asarray(codec.decode(data))
        scores[tune] = [metric(original, decoded) for metric in (psnr, ms_ssim, ssimulacra2)]
    assert scores["psnr"][0] > scores["visual"][0]
    assert scores["visual"][1] > scores["psnr"][1]
    assert scores["visual"][2] > scores["psnr"][2] + 3


def test_a_tune_and_a_model_exclude_each_other(photo, tmp_path, capsys):
    out = tmp_path / "x.aec"
    assert run(["compress", str(photo), "-o", str(out), "--tune", "psnr", "-m", "photo"]) == 2
    assert "both name a model" in capsys.readouterr().err
    assert run(["compress", str(photo), "-o", str(out), "--tune", "ears"]) == 2
    assert not out.exists()
