"""Laws of recordings: transform and back, mixtures at the strength asked for, WAV files in and out."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import pytest
import torch

from aecodec import checkpoint
from aecodec.contracts import ImageReadError, UsageError
from aecodec.data.batches import CropPlan, open_batches
from aecodec.data.speech import (
    BANDS,
    FRAMES,
    RATE,
    SpeechMixtures,
    features,
    gains,
    mix,
    read_clips,
    read_wav,
    spectrogram,
    split_noise,
    split_speech,
    waveform,
    write_wav,
)
from aecodec.tasks.speech import denoise_speech


def tone(count: int = 4000, hertz: float = 440.0) -> np.ndarray:
    return (0.3 * np.sin(2 * np.pi * hertz * np.arange(count) / RATE)).astype(np.float32)


@pytest.mark.parametrize("shape", [(1000,), (2, 777), (1, 3, 4096)])
def test_the_inverse_transform_inverts(shape):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    spectrum = spectrogram(x)
    assert spectrum.shape == (*shape[:-1], BANDS + 1, 1 + shape[-1] // 64)
    assert torch.allclose(waveform(spectrum, shape[-1]), x, atol=1e-5)


@pytest.mark.parametrize("snr", [-5.0, 0.0, 13.0])
def test_a_mixture_has_the_strength_asked_for(snr):
    rng = torch.Generator().manual_seed(0)
    speech, noise = torch.randn(2000, generator=rng), 7 * torch.randn(2000, generator=rng)
    added = mix(speech, noise, snr) - speech
    found = 10 * torch.log10(speech.square().mean() / added.square().mean())
    assert float(found) == pytest.approx(snr, abs=1e-3)


def test_gains_follow_the_features_and_never_amplify():
    spectrum = spectrogram(torch.randn(1, 4000, generator=torch.Generator().manual_seed(0)))
    loud, soft = features(spectrum), features(0.5 * spectrum)
    assert gains(loud, soft).shape == spectrum.shape
    assert torch.allclose(gains(loud, soft)[..., :BANDS, :], torch.tensor(0.5), atol=1e-3)
    assert torch.equal(gains(soft, loud), torch.ones_like(gains(soft, loud)))


def test_wav_files_come_back_and_others_are_refused(tmp_path: Path):
    write_wav(tone(), tmp_path / "tone.wav", overwrite=False)
    assert np.abs(read_wav(tmp_path / "tone.wav") - tone()).max() <= 0.5 / 32768 + 1e-7
    with wave.open(str(tmp_path / "fast.wav"), "wb") as file:
        file.setparams((2, 2, 44100, 0, "NONE", ""))
        file.writeframes(bytes(400))
    with pytest.raises(UsageError, match="found 2 of 16 at 44100 Hz"):
        read_wav(tmp_path / "fast.wav")
    (tmp_path / "text.wav").write_text("no sound")
    for name in ("text.wav", "missing.wav"):
        with pytest.raises(ImageReadError):
            read_wav(tmp_path / name)


@pytest.fixture
def corpus(tmp_path: Path) -> tuple[Path, Path]:
    """Five speakers of two clips each, and 32 noises."""
    rng = np.random.default_rng(0)
    speech = np.concatenate([(tone(3000, 200 + 50 * s) * 20000).astype(np.int16) for s in range(5) for _ in range(2)])
    np.savez(
        tmp_path / "s.npz",
        audio=speech,
        offsets=np.arange(11) * 3000,
        speaker=np.repeat(np.arange(5), 2),
        sample_rate=np.array([RATE]),
    )
    np.savez(
        tmp_path / "n.npz",
        audio=rng.integers(-3000, 3000, 32 * 2500).astype(np.int16),
        offsets=np.arange(33) * 2500,
        sample_rate=np.array([RATE]),
    )
    return tmp_path / "s.npz", tmp_path / "n.npz"


def test_held_out_speakers_and_noises_are_never_drawn_from(corpus):
    speech, noise = (read_clips(path) for path in corpus)
    train, held = split_speech(speech)
    assert set(speech.speaker[held]) == {3, 4}
    assert not set(train) & set(held)
    known, kept = split_noise(noise)
    assert (len(known), len(kept), len(set(known) | set(kept))) == (2, 30, 32)
    source = SpeechMixtures.load(f"{corpus[0]}+{corpus[1]}", torch.device("cpu"))
    assert len(source.speech) == 6 * 3000
    assert len(source.noise) == 2 * 2500
    batch = source.draw(3, torch.Generator().manual_seed(0))
    assert batch.shape == (3, 2, BANDS, FRAMES)
    assert batch.isfinite().all()
    assert (batch >= 0).all()


def test_recordings_of_another_rate_are_refused(corpus, tmp_path):
    with np.load(corpus[1]) as pack:
        np.savez(tmp_path / "fast.npz", **{**pack, "sample_rate": np.array([16000])})
    with pytest.raises(UsageError, match="16000 Hz"):
        read_clips(tmp_path / "fast.npz")


def test_an_autoencoder_that_changes_nothing_returns_the_recording():
    model = checkpoint.build("restoration", {"planes": 1, "corruptions": ("paired",), "widths": (8, 8), "blocks": 1})
    with torch.no_grad():
        model.net.leave.weight.zero_()
    samples = tone(3777) + np.random.default_rng(0).normal(0, 0.05, 3777).astype(np.float32)
    assert np.abs(denoise_speech(model.eval(), samples) - samples).max() < 1e-5
    assert (denoise_speech(model, np.zeros(1000, np.float32)) == 0).all()
    with pytest.raises(UsageError, match="256 samples"):
        denoise_speech(model, samples[:100])
    with pytest.raises(UsageError, match="pictures"):
        denoise_speech(checkpoint.build("restoration", {"widths": (8, 8), "blocks": 1}), samples)


def test_an_evaluation_source_or_a_class_has_no_meaning_for_mixtures(corpus):
    mixture = f"{corpus[0]}+{corpus[1]}"
    with pytest.raises(UsageError, match="evaluation source"):
        open_batches(mixture, torch.device("cpu"), CropPlan(64), evaluation=mixture)
    with pytest.raises(UsageError, match="no classes"):
        open_batches(mixture, torch.device("cpu"), CropPlan(64, only=3))
