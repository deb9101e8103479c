"""The embedded model run by torch: threads, kernels and precisions change no latent and next to nothing else."""

import numpy as np
import pytest
import torch
from scenes import scene, small_tiles

from aecodec.codec.codec import Codec
from aecodec.codec.decoder import TileDecoder
from aecodec.coding import container
from aecodec.data.images import Picture
from aecodec.engine.torch_engine import TorchEngine
from aecodec.metrics.psnr import psnr


@pytest.fixture(scope="module")
def torch_codec() -> Codec:
    return Codec.from_pretrained(precision="float32", engine="torch")


def test_synthesis_in_windows_equals_synthesis_in_one_piece(torch_codec):
    """The margin covers what the transforms look at, so windows change nothing but rounding."""
    data = small_tiles(torch_codec).encode_picture(Picture(scene(300, 600)), quality=60).data
    parsed = container.parse(data)
    decoder = TileDecoder(torch_codec.engine, parsed, map)
    with torch.inference_mode():
        parts = [decoder.latents(index) for index in range(6)]
        latents = np.concatenate([np.concatenate(parts[:3], axis=2), np.concatenate(parts[3:], axis=2)], axis=1)
        whole = torch_codec.engine.module.synthesise(torch.from_numpy(latents)[None], parsed.header.quality)[
            0, :, :300, :600
        ]
    levels = torch.floor(whole * 255 + 0.5).clamp(0, 255).permute(1, 2, 0).numpy().astype(int)
    difference = np.abs(levels - torch_codec.decode_picture(data).pixels.astype(int))
    assert difference.max() <= 1
    assert difference.mean() < 0.01


def test_encoding_in_bfloat16_costs_next_to_nothing(torch_codec):
    """Equal quality setting: within 1 % of the bytes and 0.05 dB of float32."""
    picture, results = Picture(scene(256, 384)), []
    for precision in ("float32", "bfloat16"):
        data = Codec(TorchEngine(torch_codec.engine.frozen, precision)).encode_picture(picture, quality=80).data
        results.append((len(data), psnr(picture.pixels, torch_codec.decode_picture(data).pixels)))
    (size, level), (half_size, half_level) = results
    assert half_size == pytest.approx(size, rel=0.01)
    assert half_level == pytest.approx(level, abs=0.05)


def test_latents_do_not_depend_on_threads_kernels_or_precision(torch_codec):
    """The same file decodes to the same integers under every numeric setting."""
    data = torch_codec.encode_picture(Picture(scene(192, 320)), quality=55).data
    parsed = container.parse(data)
    threads, found = torch.get_num_threads(), []
    try:
        for count in (1, 2):
            for kernels in (True, False):
                for precision in ("float32", "bfloat16"):
                    torch.set_num_threads(count)
                    with torch.backends.mkldnn.flags(enabled=kernels):
                        reader = Codec(TorchEngine(torch_codec.engine.frozen, precision))
                        code = reader.engine.decode_tile(parsed.tiles[0], parsed.header.quality, 12, 20)
                        found.append((code.y.tobytes(), code.z.tobytes()))
                        pixels = reader.decode_picture(data).pixels
                        assert psnr(pixels, torch_codec.decode_picture(data).pixels) > 40
    finally:
        torch.set_num_threads(threads)
    assert len(set(found)) == 1


def test_files_written_under_any_setting_can_be_read_under_any_other(torch_codec):
    threads = torch.get_num_threads()
    pixels = scene(192, 320)
    try:
        for count, kernels, precision in ((1, True, "float32"), (2, False, "float32"), (2, True, "bfloat16")):
            torch.set_num_threads(count)
            with torch.backends.mkldnn.flags(enabled=kernels):
                data = (
                    Codec(TorchEngine(torch_codec.engine.frozen, precision))
                    .encode_picture(Picture(pixels), quality=75)
                    .data
                )
            torch.set_num_threads(3 - count)
            with torch.backends.mkldnn.flags(enabled=not kernels):
                assert psnr(torch_codec.decode_picture(data).pixels, pixels) > 28
    finally:
        torch.set_num_threads(threads)
