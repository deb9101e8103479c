"""What the embedded restorers promise on photographs that nobody trained on: each task leaves a picture better."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from places import SAMPLES, TESTS

from aecodec import checkpoint
from aecodec.contracts import Restorer
from aecodec.data.images import read_picture
from aecodec.data.speech import mix, read_wav
from aecodec.metrics.psnr import psnr
from aecodec.nn.corruptions import double, fill_smoothly, halve
from aecodec.nn.luma import LUMA
from aecodec.tasks.restore import restore_pixels, to_batch, to_pixels
from aecodec.tasks.speech import denoise_speech
from aecodec.zoo.registry import DEFAULT_RESTORER, DEFAULT_SPEECH, find_model

PHOTOS = sorted(SAMPLES.glob("*.png"))
RECORDING = TESTS / "recordings" / "digits.wav"


@pytest.fixture(scope="module")
def restorer() -> Restorer:
    return checkpoint.load(find_model(DEFAULT_RESTORER)).module


@pytest.fixture(params=PHOTOS, ids=lambda path: path.stem)
def photo(request: pytest.FixtureRequest) -> np.ndarray:
    """The middle 192 x 256 of a photograph."""
    pixels = read_picture(request.param).pixels
    top, left = (pixels.shape[0] - 192) // 2, (pixels.shape[1] - 256) // 2
    return np.ascontiguousarray(pixels[top : top + 192, left : left + 256])


def _noisy(photo: np.ndarray, sigma: float) -> np.ndarray:
    noise = np.random.default_rng(0).normal(0.0, sigma, photo.shape)
    return np.clip(np.rint(photo + noise), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("grey", [False, True], ids=["colour", "grey"])
@pytest.mark.parametrize("sigma", [1.5, 2.0, 3.0, 10.0, 25.0, 50.0])
def test_denoising_is_never_worse_than_the_noisy_photograph(restorer, photo, sigma, grey):
    clean = photo[..., 1] if grey else photo
    noisy = _noisy(clean, sigma)
    assert psnr(restore_pixels(restorer, noisy, "denoise", sigma=sigma), clean) > psnr(noisy, clean)


def test_noise_of_one_level_is_as_good_as_left_alone(restorer, photo):
    """It is hardly more than the rounding of the result to 8 bits."""
    noisy = _noisy(photo, 1.0)
    assert psnr(restore_pixels(restorer, noisy, "denoise", sigma=1.0), photo) > psnr(noisy, photo) - 0.1


def test_strong_noise_is_cleaned_by_decibels_when_its_strength_is_estimated(restorer, photo):
    noisy = _noisy(photo, 25.0)
    assert psnr(restore_pixels(restorer, noisy, "denoise"), photo) > psnr(noisy, photo) + 4.0


def test_no_noise_means_no_change(restorer, photo):
    assert np.array_equal(restore_pixels(restorer, photo, "denoise", sigma=0.0), photo)


def test_speckles_vanish(restorer, photo):
    rng = np.random.default_rng(0)
    speckled = photo.copy()
    speckled[rng.random(photo.shape[:2]) < 0.1] = 255
    assert psnr(restore_pixels(restorer, speckled, "despeckle"), photo) > psnr(speckled, photo) + 8.0


def test_a_hole_is_filled_better_than_smoothly_on_average(restorer):
    """One hole may be of a surface on which nothing beats a smooth fill; all together may not."""
    gains = []
    for seed, path in enumerate(PHOTOS):
        pixels = read_picture(path).pixels[:256, :256]
        for top, left in np.random.default_rng(seed).integers(8, 216, (4, 2)):
            mask = np.zeros(pixels.shape[:2], bool)
            mask[top : top + 16, left : left + 16] = True
            filled = restore_pixels(restorer, pixels, "inpaint", mask=mask)
            assert np.array_equal(filled[~mask], pixels[~mask])
            hole = to_batch(mask.astype(np.uint8) * 255)
            smooth = to_pixels(fill_smoothly(to_batch(pixels), hole))
            gains.append(psnr(filled[mask][None], pixels[mask][None]) - psnr(smooth[mask][None], pixels[mask][None]))
    assert np.mean(gains) > 0.5


def test_twice_the_size_is_closer_than_bicubic(restorer, photo):
    small = to_pixels(halve(to_batch(photo)))
    assert psnr(restore_pixels(restorer, small, "upscale"), photo) > psnr(to_pixels(double(to_batch(small))), photo)


def test_colours_are_added_and_the_luma_is_left(restorer, photo):
    grey = np.rint(photo @ np.array(LUMA)).astype(np.uint8)
    colours = restore_pixels(restorer, grey, "colourise")
    inside = (colours > 0).all(2) & (colours < 255).all(2)
    assert np.abs(colours @ np.array(LUMA) - grey)[inside].max() <= 1.0
    assert colours.astype(int).std(axis=2).mean() > 0.5


@pytest.fixture(scope="module")
def speech_denoiser() -> Restorer:
    return checkpoint.load(find_model(DEFAULT_SPEECH)).module


def _snr(estimate: np.ndarray, clean: np.ndarray) -> float:
    """In dB."""
    return 10.0 * float(np.log10((clean**2).sum() / ((estimate - clean) ** 2).sum()))


@pytest.mark.parametrize("level", [-5.0, 0.0, 5.0, 10.0])
@pytest.mark.parametrize("cutoff", [1.0, 0.2], ids=["white", "dull"])
def test_speech_of_an_unknown_speaker_is_cleaned(speech_denoiser, cutoff, level):
    """Noise: white, or with most of its power in the lowest fifth of the band, where speech has it."""
    clean = read_wav(RECORDING)
    spectrum = np.fft.rfft(np.random.default_rng(0).normal(size=len(clean)))
    spectrum[int(cutoff * len(spectrum)) :] *= 0.1
    noise = torch.from_numpy(np.fft.irfft(spectrum, len(clean)).astype(np.float32))
    noisy = mix(torch.from_numpy(clean), noise, level).numpy()
    gain = _snr(denoise_speech(speech_denoiser, noisy), clean) - level
    assert gain > (3.0 if level <= 0.0 else 0.0)
