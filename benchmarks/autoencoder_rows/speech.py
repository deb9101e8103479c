"""The row about speech: SNR and STOI of held-out speakers under held-out noises, before and after."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from aecodec.data.speech import Clips, mix, read_clips, spectrogram, split_noise, split_speech, waveform
from aecodec.tasks.speech import denoise_speech

from .running import Bench, Record

#: Digits per test recording.
DIGITS = 8


def spectral_subtraction(noisy: np.ndarray, noise_frames: int = 12) -> np.ndarray:
    """Boll 1979: the mean noise magnitude is subtracted, with a floor of a tenth; the noise is read off the quietest
    frames. noisy: (n,) float32 -> the same length."""
    spectrum = spectrogram(torch.from_numpy(noisy))
    magnitude = spectrum.abs()
    quiet = magnitude.square().sum(0).argsort()[:noise_frames]
    noise = magnitude[:, quiet].mean(1, keepdim=True)
    gain = ((magnitude - noise) / magnitude.clamp_min(1e-9)).clamp_min(0.1)
    return waveform(spectrum * gain, len(noisy)).numpy()


def snr(estimate: np.ndarray, clean: np.ndarray) -> float:
    """10 log10 of clean power over error power, in dB."""
    return 10.0 * float(np.log10((clean**2).sum() / ((estimate - clean) ** 2).sum()))


def recordings(speech: Clips, noise: Clips) -> list[tuple[np.ndarray, np.ndarray]]:
    """(clean, noise) of one length: eight digits of a held-out speaker each, a held-out noise repeated beneath."""
    held, noises = split_speech(speech)[1], split_noise(noise)[1]
    rng = np.random.default_rng(0)
    pairs = []
    speakers = speech.speaker if speech.speaker is not None else np.zeros(len(held), np.int64)
    for speaker in np.unique(speakers[held]):
        own = rng.permutation(held[speakers[held] == speaker])
        for start in range(0, len(own) - DIGITS + 1, DIGITS):
            clean = speech.joined(own[start : start + DIGITS])
            clip = noise.joined(noises[len(pairs) % len(noises)][None])
            pairs.append((clean, np.resize(np.roll(clip, int(rng.integers(len(clip)))), len(clean))))
    return pairs


def row(bench: Bench) -> None:
    """SNR and STOI at -5, 0, 5 and 10 dB: noisy, spectral subtraction, ours; held-out speakers and noises."""
    from pystoi import stoi

    names = bench.small("speech_fsdd"), bench.small("noise_clips")
    model = bench.train(
        "speech",
        "restoration",
        f"{names[0]}+{names[1]}",
        name_of_model="speech-denoiser",
        size="speech",
        steps=8000,
        batch=16,
        late_crop=None,
    )
    pairs = recordings(*(read_clips(name) for name in names))
    records: list[Record] = []
    shown: Any = None
    for level in (-5, 0, 5, 10):
        found: dict[str, list[tuple[float, float]]] = {"noisy": [], "spectral subtraction": [], "ours": []}
        for number, (clean, noise) in enumerate(pairs):
            noisy = mix(torch.from_numpy(clean), torch.from_numpy(noise), float(level)).numpy()
            ours = denoise_speech(model, noisy)
            for key, done in (("noisy", noisy), ("spectral subtraction", spectral_subtraction(noisy)), ("ours", ours)):
                found[key].append((snr(done, clean), float(stoi(clean, done, 8000))))
            if level == 0 and number == 3:
                shown = clean, noisy, ours
        record: Record = {"input_snr_db": level, "recordings": len(pairs)}
        for key, values in found.items():
            record[f"snr {key}"], record[f"stoi {key}"] = (float(v) for v in np.mean(values, 0))
        records.append(record)
    bench.keep("speech", records)
    _draw(bench, shown)


def _draw(bench: Bench, shown: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(3, 1, figsize=(6, 5), sharex=True)
    for place, samples, title in zip(axes, shown, ("clean", "noisy, 0 dB", "denoised"), strict=True):
        level = spectrogram(torch.from_numpy(samples)).abs().clamp_min(1e-4).log10().numpy()
        seconds = len(samples) / 8000
        place.imshow(level, origin="lower", aspect="auto", extent=(0, seconds, 0, 4), vmin=-2, vmax=1.3)
        place.set(title=title, ylabel="kHz")
    axes[-1].set(xlabel="s")
    figure.tight_layout()
    figure.savefig(bench.out / "speech.png", dpi=80)
    pyplot.close(figure)
