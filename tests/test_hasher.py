"""Laws of the hasher: packing, nested lengths, batches alike singles, squares of any picture, refusals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import natural_picture
from extras import needs
from PIL import Image
from small_hasher import CONFIG, save_hasher

import aecodec
from aecodec.contracts import CheckpointError, ImageReadError, UsageError
from aecodec.data import thumbnails
from aecodec.data.pixels import WindowedPixels
from aecodec.data.thumbnails import square_thumbnail
from aecodec.hasher import Hasher
from aecodec.zoo import stored


@pytest.fixture(scope="module")
def hasher_file(tmp_path_factory) -> Path:
    return save_hasher(tmp_path_factory.mktemp("hasher") / "small-hash.safetensors", CONFIG)


@pytest.fixture(scope="module")
def hasher(hasher_file) -> Hasher:
    return Hasher.from_pretrained(hasher_file)


def some_pictures(count: int = 5) -> list[np.ndarray]:
    return [natural_picture(40 + 9 * seed, 70 - 5 * seed, seed) for seed in range(count)]


def test_a_hasher_tells_what_it_is(hasher, hasher_file):
    assert (hasher.name, hasher.fingerprint) == ("small-hash", stored.read(hasher_file).fingerprint)
    assert (hasher.n_bits, hasher.side, hasher.channels, hasher.lengths) == (64, 32, 3, (16, 64))
    assert hasher.nested
    assert aecodec.Hasher is Hasher


@needs("torch")
def test_codes_are_the_signs_of_the_logits_packed_high_bit_first(hasher, hasher_file):
    import torch

    from aecodec import checkpoint

    module = checkpoint.load(hasher_file).module
    squares = np.stack([square_thumbnail(p, 32) for p in some_pictures()])
    with torch.no_grad():
        logits = module.logits(torch.from_numpy(squares) / 255.0).numpy()
    codes = hasher.hash_pixels(some_pictures())
    assert codes.dtype == np.uint8
    assert codes.shape == (5, 8)
    bits = np.array([[codes[n, k // 8] >> (7 - k % 8) & 1 for k in range(64)] for n in range(5)])
    clear = np.abs(logits) > 1e-3
    assert np.array_equal(bits[clear], (logits >= 0)[clear])
    assert len({code.tobytes() for code in codes}) > 1


def test_a_short_code_is_the_beginning_of_a_long_one(hasher_file, hasher):
    short = Hasher.from_pretrained(hasher_file, bits=16)
    assert short.n_bits == 16
    assert np.array_equal(short.hash_pixels(some_pictures()), hasher.hash_pixels(some_pictures())[:, :2])
    assert np.array_equal(short.hash_pixels(some_pictures()), hasher.hash_pixels(some_pictures(), 16))
    with pytest.raises(UsageError, match="not of 24"):
        hasher.hash_pixels(some_pictures(), 24)
    with pytest.raises(UsageError, match="not of 24"):
        Hasher.from_pretrained(hasher_file, bits=24)


def test_bytes_and_floats_give_the_same_codes(hasher):
    squares = np.stack([square_thumbnail(p, 32) for p in some_pictures()])
    assert np.array_equal(hasher.hash((squares / 255.0).astype("f4")), hasher.hash(squares))


@needs("torch")
def test_arrays_and_tensors_give_the_same_codes(hasher):
    import torch

    squares = np.stack([square_thumbnail(p, 32) for p in some_pictures()])
    codes = hasher.hash(squares)
    for same in (torch.from_numpy(squares), torch.from_numpy(squares).float() / 255.0):
        assert np.array_equal(hasher.hash(same), codes)


def test_a_batch_of_any_size_hashes_as_its_pictures_do(hasher):
    pictures = [natural_picture(33, 37, seed) for seed in range(70)]
    together = np.unpackbits(hasher.hash_pixels(pictures), axis=1)
    apart = np.unpackbits(np.concatenate([hasher.hash_pixels([p]) for p in pictures]), axis=1)
    assert (together != apart).mean() < 1e-3  # a logit within rounding of zero may fall either way
    assert hasher.hash_pixels([]).shape == (0, 8)
    assert hasher.hash(np.zeros((0, 3, 32, 32), np.float32)).shape == (0, 8)


def test_grey_pictures_hash_as_their_three_equal_channels(hasher):
    grey = natural_picture(50, 60)[..., 0]
    assert np.array_equal(hasher.hash_pixels([grey]), hasher.hash_pixels([np.repeat(grey[..., None], 3, axis=2)]))


def test_a_hasher_of_grey_pictures_takes_any(tmp_path):
    path = save_hasher(tmp_path / "grey.safetensors", {**CONFIG, "shape": [1, 32, 32], "views": "digits"})
    hasher = Hasher.from_pretrained(path)
    assert hasher.channels == 1
    assert hasher.hash_pixels([natural_picture(40, 40), natural_picture(40, 40)[..., 0]]).shape == (2, 8)


def test_what_cannot_be_hashed_is_refused(hasher, model_file, tmp_path):
    for wrong in (np.zeros((1, 3, 31, 32), np.float32), np.zeros((3, 32, 32), np.float32), np.zeros((1, 3, 32, 32))):
        with pytest.raises(UsageError, match="takes"):
            hasher.hash(wrong)
    for wrong in (np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4)), np.zeros((0, 4), np.uint8)):
        with pytest.raises(ImageReadError, match="expected a picture"):
            hasher.hash_pixels([wrong])
    with pytest.raises(CheckpointError, match="is no hasher"):
        Hasher.from_pretrained(model_file)


def test_a_hasher_of_no_squares_is_refused(tmp_path):
    oblong = save_hasher(tmp_path / "oblong.safetensors", {**CONFIG, "shape": [3, 32, 24]})
    with pytest.raises(CheckpointError, match="takes squares"):
        Hasher.from_pretrained(oblong)


@pytest.mark.parametrize("shape", [(1, 1), (7, 300), (200, 150), (1500, 900)])
def test_squares_keep_what_is_constant_and_the_mean_of_the_rest(shape):
    flat = np.full((*shape, 3), (10, 128, 250), np.uint8)
    square = square_thumbnail(flat, 16)
    assert square.shape == (3, 16, 16)
    assert square.dtype == np.uint8
    assert [np.unique(channel).tolist() for channel in square] == [[10], [128], [250]]
    picture = natural_picture(*shape)
    assert square_thumbnail(picture, 16).mean() == pytest.approx(picture.mean(), abs=4)


@pytest.mark.parametrize("shape", [(1, 1), (90, 40), (333, 517), (1200, 811)])
@pytest.mark.parametrize("band", [1, 20_000, 1 << 24])
def test_squares_are_pillows_resize_with_a_reducing_gap_whatever_the_band(shape, band, monkeypatch):
    monkeypatch.setattr(thumbnails, "_BAND", band)
    picture = natural_picture(*shape, 3)
    whole = Image.fromarray(picture).resize((16, 16), Image.Resampling.BILINEAR, reducing_gap=3.0)
    assert np.array_equal(square_thumbnail(picture, 16).transpose(1, 2, 0), np.asarray(whole))
    assert np.array_equal(square_thumbnail(WindowedPixels(Image.fromarray(picture)), 16), square_thumbnail(picture, 16))


def test_what_a_file_carries_is_the_beginning_of_the_code(hasher, hasher_file):
    picture = natural_picture(50, 60)
    carried = hasher.describe(picture)
    assert (carried.hasher, carried.fingerprint) == (hasher.name, hasher.fingerprint)
    assert carried.bits == hasher.hash_pixels([picture])[0].tobytes()
    assert Hasher.from_pretrained(hasher_file, bits=16).describe(picture).bits == carried.bits
    long = Hasher.from_pretrained()
    assert (len(long.describe(picture).bits), long.n_bits) == (8, 256)
    assert long.describe(picture).bits == long.hash_pixels([picture])[0, :8].tobytes()


@pytest.mark.gpu
def test_codes_of_a_gpu_agree_with_those_of_the_cpu(hasher_file, hasher):
    other = Hasher.from_pretrained(hasher_file, device="cuda")
    pictures = [natural_picture(33, 37, seed) for seed in range(70)]
    ours, theirs = (np.unpackbits(h.hash_pixels(pictures), axis=1) for h in (hasher, other))
    assert (ours != theirs).mean() < 1e-3
