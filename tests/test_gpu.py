"""On a CUDA device: the same latents as on the CPU, files that cross over, and a training step. Run with -m gpu."""

import numpy as np
import pytest
import torch
from conftest import natural_picture

from aecodec import checkpoint
from aecodec.codec.codec import Codec
from aecodec.coding import container
from aecodec.coding.golden import golden_digest
from aecodec.data.images import Picture
from aecodec.device import list_devices
from aecodec.metrics.psnr import psnr
from aecodec.train.config import resolve
from aecodec.train.loop import fit
from aecodec.zoo.registry import find_model

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize(("writer", "reader"), [("cpu", "cuda"), ("cuda", "cpu"), ("cuda", "cuda")])
def test_files_cross_devices_with_equal_latents(writer, reader, precision):
    pixels = natural_picture(320, 448)
    data = Codec.from_pretrained(device=writer, precision=precision).encode_picture(Picture(pixels), quality=70).data
    parsed = container.parse(data)
    codes, pictures = [], []
    for device in (writer, reader):
        codec = Codec.from_pretrained(device=device, precision=precision)
        codes.append(codec.engine.decode_tile(parsed.tiles[0], parsed.header.quality, 20, 28))
        pictures.append(codec.decode_picture(data).pixels)
    assert np.array_equal(codes[0].y, codes[1].y)
    assert np.array_equal(codes[0].z, codes[1].z)
    assert psnr(pictures[0], pictures[1]) > 45


def test_float32_pixels_differ_by_at_most_one_level_between_devices():
    pixels = natural_picture(256, 256)
    data = Codec.from_pretrained(precision="float32").encode_picture(Picture(pixels), quality=90).data
    cpu, cuda = (Codec.from_pretrained(device=d, precision="float32").decode_picture(data) for d in ("cpu", "cuda"))
    assert np.abs(cpu.pixels.astype(int) - cuda.pixels).max() <= 1


def test_the_model_is_exact_on_every_device():
    devices = list_devices()
    assert {device.split(":")[0] for device in devices} >= {"cpu", "cuda"}
    for device in devices:
        frozen = checkpoint.load(find_model(), device)
        assert golden_digest(frozen.module) == frozen.metadata["golden"]


def test_training_runs_on_the_device(tmp_path, photo_folder):
    small = ["steps=4", "batch=2", "crop=64", "calibration=1", "model.channels=16", "model.latents=32"]
    config = resolve("exact-hyperprior", None, [*small, "device=cuda"])
    assert fit(config, photo_folder, tmp_path / "run").step == 4
