"""Files that hold their own networks: read without a model, in tiles, with every target, and lost by the tile alone."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import pytest
from conftest import natural_picture
from places import GOLDEN

from aecodec.cli import run
from aecodec.codec.codec import Codec
from aecodec.codec.files import Codecs, compress, decompress
from aecodec.codec.overfitted import OverfittedCodec, trade_of
from aecodec.coding import container
from aecodec.coding.container import Header
from aecodec.contracts import BitstreamError, TargetUnreachableError, UnknownName, UsageError
from aecodec.data.images import Picture
from aecodec.data.tiling import Window
from aecodec.metrics.psnr import psnr
from aecodec.overfitted import fitting, native, payload

pytestmark = pytest.mark.skipif(not native.available(), reason="no C compiler: a fit by torch takes minutes")
RECORDED = GOLDEN / "overfitted"


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitting, "ITERATIONS", {level: 5 * level for level in range(1, 10)})


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    return natural_picture(300, 420)


@pytest.mark.parametrize("grey", [False, True])
@pytest.mark.parametrize("size", [(1, 1), (1, 65), (50, 70)])
def test_a_file_comes_back_with_all_that_it_carries(photo, grey, size):
    pixels = photo[: size[0], : size[1]]
    alpha = np.arange(size[0] * size[1]).reshape(size).astype(np.uint8)
    picture = Picture(pixels[..., 0] if grey else pixels, {"icc": b"profile"}, alpha=alpha)
    encoded = OverfittedCodec().encode_picture(picture, quality=40)
    header = container.parse(encoded.data).header
    found = Codecs().of(header).decode_picture(encoded.data)
    assert (header.model, header.channels) == ("overfitted", 2 if grey else 4)
    assert found.pixels.shape == picture.pixels.shape
    assert found.metadata == picture.metadata
    np.testing.assert_array_equal(found.alpha, alpha)


def test_more_effort_costs_less(photo):
    pixels = photo[:96, :128]
    costs = []
    for effort in (1, 9):
        encoded = OverfittedCodec().encode_picture(Picture(pixels), quality=30, effort=effort)
        error = 10.0 ** (-psnr(pixels, OverfittedCodec().decode_picture(encoded.data).pixels) / 10.0)
        costs.append(encoded.bpp + trade_of(encoded.quality) * error)
    assert costs[1] < costs[0]


def test_tiles_and_crops_are_those_of_the_whole(photo):
    codec = OverfittedCodec(tile=256, jobs=2)
    data = codec.encode_picture(Picture(photo), quality=30).data
    parsed = container.parse(data)
    assert len(parsed.tiles) == 4
    whole, crop = codec.decode_picture(data).pixels, Window(200, 100, 290, 300)
    np.testing.assert_array_equal(codec.decode_container(parsed, crop).pixels, whole[crop.slices])


def test_a_damaged_tile_loses_itself_alone(photo):
    codec = OverfittedCodec(tile=256)
    data = bytearray(codec.encode_picture(Picture(photo), quality=30).data)
    whole = codec.decode_picture(bytes(data)).pixels
    chunk = [each for each in container.parse(bytes(data)).chunks if each.type == container.TILE][1]
    data[chunk.offset + 40] ^= 1
    with pytest.raises(BitstreamError):
        codec.decode_picture(bytes(data))
    found = codec.decode_container(container.parse(bytes(data), partial=True))
    expected = whole.copy()
    expected[:256, 256:] = 128
    assert found.damaged == (1,)
    np.testing.assert_array_equal(found.pixels, expected)


def test_a_tile_that_is_sealed_but_wrong_is_refused(photo):
    data = OverfittedCodec().encode_picture(Picture(photo[:40, :60]), quality=30).data
    parsed = container.parse(data)
    for wrong in (b"", parsed.tiles[0][:20], parsed.tiles[0][:-1], parsed.tiles[0] + bytes(4), b"\xff" * 900):
        with pytest.raises(BitstreamError):
            OverfittedCodec().decode_picture(container.write(parsed.header, [wrong]))
    large = Header(40, 60, 3, 500, "overfitted", OverfittedCodec().fingerprint, 4096)
    with pytest.raises(BitstreamError, match="at most 2048"):
        OverfittedCodec().decode_picture(container.write(large, parsed.tiles))


@pytest.mark.parametrize("closest", [False, True])
def test_targets_are_met(photo, closest):
    pixels = photo[:96, :128]
    codec = OverfittedCodec()
    sized = codec.encode_picture(Picture(pixels), target_size=3000, closest=closest)
    assert sized.encodes > 1
    assert closest or len(sized.data) <= 3000
    reached = codec.encode_picture(Picture(pixels), target_psnr=18.0)
    assert psnr(pixels, codec.decode_picture(reached.data).pixels) >= 18.0
    with pytest.raises(TargetUnreachableError):
        codec.encode_picture(Picture(pixels), target_size=50)


def test_a_fit_that_is_stopped_leaves_a_file(photo):
    shares: list[float] = []

    def watch(share: float) -> bool:
        shares.append(share)
        return len(shares) < 4

    codec = OverfittedCodec(watch=watch)
    data = codec.encode_picture(Picture(photo[:50, :70]), effort=9).data
    assert shares == pytest.approx([1 / 45, 2 / 45, 3 / 45, 4 / 45])
    assert codec.decode_picture(data).pixels.shape == (50, 70, 3)


def test_sides_of_tiles_and_names_of_models_are_checked():
    with pytest.raises(UsageError, match="256 to 2048"):
        OverfittedCodec(tile=4096)
    with pytest.raises(UnknownName):
        Codec.from_pretrained("overfitte")


def test_the_commands_make_and_read_files(tmp_path: Path, photo, capsys):
    from PIL import Image

    source, made = tmp_path / "a.png", tmp_path / "a.aec"
    Image.fromarray(photo[:60, :90]).save(source)
    assert run(["compress", str(source), "-m", "overfitted", "--effort", "2", "-q", "30", "--verify"]) == 0
    assert run(["info", str(made)]) == 0
    assert "overfitted" in capsys.readouterr().out
    assert run(["verify", "--full", str(made)]) == 0
    assert run(["decompress", str(made), "-o", str(tmp_path / "b.png")]) == 0
    decompress(made, tmp_path / "c.png")
    assert (tmp_path / "b.png").read_bytes() == (tmp_path / "c.png").read_bytes()
    again = compress(source, tmp_path / "d.aec", quality=30, effort=2, model="overfitted")
    assert again.output.read_bytes() == made.read_bytes()


def test_the_first_interrupt_writes_the_file_and_ends_before_the_next(tmp_path: Path, photo, monkeypatch, capsys):
    from PIL import Image

    for name in ("a.png", "b.png"):
        Image.fromarray(photo[:60, :90]).save(tmp_path / name)
    gradients, calls = native.NativeFit.gradients, []

    def interrupted(self, *arguments):
        calls.append(1)
        if len(calls) == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return gradients(self, *arguments)

    monkeypatch.setattr(native.NativeFit, "gradients", interrupted)
    before = signal.getsignal(signal.SIGINT)
    sources = [str(tmp_path / "a.png"), str(tmp_path / "b.png")]
    assert run(["compress", *sources, "-m", "overfitted", "--effort", "9", "-o", f"{tmp_path}/"]) == 130
    assert signal.getsignal(signal.SIGINT) is before
    assert len(calls) == 3
    assert "stopped after 7% of its iterations" in capsys.readouterr().err
    assert run(["verify", "--full", str(tmp_path / "a.aec")]) == 0
    assert not (tmp_path / "b.aec").exists()


@pytest.mark.parametrize("name", ["rgb", "grey"])
def test_golden_files_give_the_recorded_latents_and_pixels_by_each_engine(name, monkeypatch):
    parsed = container.parse((RECORDED / f"{name}.aec").read_bytes())
    size = parsed.header.height, parsed.header.width
    with np.load(RECORDED / f"{name}.npz") as recorded:
        latents, pixels = recorded["latents"], recorded["pixels"].astype(int)
    for compiled in (True, False):
        if not compiled:
            monkeypatch.setattr(native, "available", lambda: False)
        weights, found = payload.read(parsed.tiles[0], *size)
        np.testing.assert_array_equal(found, latents)
        assert payload.write(weights, found, *size) == parsed.tiles[0]
        decoded = OverfittedCodec().decode_container(parsed).pixels.astype(int)
        assert np.abs(decoded - pixels).max() <= 1
