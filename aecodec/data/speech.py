"""Recordings: WAV files, spectrograms and back, and mixtures of speech and noise as training pairs."""

from __future__ import annotations

import io
import wave
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ..contracts import ImageReadError, UsageError
from .arrays import open_arrays
from .files import open_input, write_atomic

#: Samples per second that the speech models know.
RATE = 8000
#: Samples per analysis window (32 ms) and from one to the next (8 ms).
WINDOW, HOP = 256, 64
#: Frequency bands of a feature map: all but the one at half the rate, which takes the gain of its neighbour.
BANDS = WINDOW // 2
#: Frames per training item: half a second.
FRAMES = 64
#: Features are log(1 + GAIN |X|) / SCALE of a signal of unit power: silence is 0, loud speech about 1.
GAIN, SCALE = 10.0, 6.5
#: Signal-to-noise ratios of training mixtures, in dB.
LOWEST_SNR, HIGHEST_SNR = -5.0, 18.0
#: Samples of the longest recording that is read: nine hours.
MAX_SAMPLES = 1 << 28
#: What is never trained on.
HELD_SPEAKERS, HELD_NOISES = 2, 30


def read_wav(path: Path) -> np.ndarray:
    """A mono 16-bit WAV file at RATE -> (n,) float32 in [-1, 1). Raises ImageReadError, UsageError for another kind."""
    try:
        with open_input(path) as opened, wave.open(opened) as file:
            kind = file.getnchannels(), file.getsampwidth(), file.getframerate()
            data = file.readframes(MAX_SAMPLES + 1) if kind == (1, 2, RATE) else b""
    except ImageReadError:
        raise
    except Exception as error:  # whatever wave raises for a damaged chunk
        raise ImageReadError(f"{path}: not a readable WAV file ({error or type(error).__name__})") from error
    if kind != (1, 2, RATE):
        channels, width, rate = kind
        raise UsageError(
            f"{path}: expected one channel of 16 bits at {RATE} Hz, found {channels} of {8 * width} at {rate} Hz"
        )
    if len(data) > 2 * MAX_SAMPLES:
        raise ImageReadError(f"{path}: more than {MAX_SAMPLES} samples in it")
    if not data or len(data) % 2:
        raise ImageReadError(f"{path}: {'the last sample is cut' if data else 'no samples in it'}")
    return np.frombuffer(data, "<i2").astype(np.float32) / 32768.0


def write_wav(samples: np.ndarray, path: Path, *, overwrite: bool, sources: Iterable[Path] = ()) -> None:
    """(n,) float in [-1, 1) -> a mono 16-bit WAV file at RATE, written atomically; louder samples are clipped.

    sources: see `atomic_file`.
    """
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(np.clip(np.rint(samples * 32768.0), -32768, 32767).astype("<i2").tobytes())
    write_atomic(path, buffer.getvalue(), overwrite=overwrite, sources=sources)


def spectrogram(samples: torch.Tensor) -> torch.Tensor:
    """(..., n) float32 -> (..., BANDS + 1, 1 + n // HOP) complex64, Hann windows centred on every HOP-th sample."""
    window = torch.hann_window(WINDOW, device=samples.device)
    flat = torch.stft(samples.reshape(-1, samples.shape[-1]), WINDOW, HOP, window=window, return_complex=True)
    return flat.reshape(*samples.shape[:-1], *flat.shape[1:])


def waveform(spectrum: torch.Tensor, length: int) -> torch.Tensor:
    """The inverse of `spectrogram`: (..., BANDS + 1, T) complex64 -> (..., length) float32."""
    window = torch.hann_window(WINDOW, device=spectrum.device)
    flat = torch.istft(spectrum.reshape(-1, *spectrum.shape[-2:]), WINDOW, HOP, window=window, length=length)
    return flat.reshape(*spectrum.shape[:-2], length)


def features(spectrum: torch.Tensor) -> torch.Tensor:
    """(..., BANDS + 1, T) complex of a signal of unit power -> (..., BANDS, T) float32 log magnitudes, about [0, 1]."""
    return torch.log1p(GAIN * spectrum.abs()[..., :BANDS, :]) / SCALE


def gains(noisy: torch.Tensor, clean: torch.Tensor) -> torch.Tensor:
    """Features of a noisy and of a clean signal, (..., BANDS, T) -> what to multiply the noisy spectrum by, in [0, 1].

    (..., BANDS + 1, T): the last band takes the gain of its neighbour.
    """
    ratio = torch.expm1(SCALE * clean.clamp_min(0.0)) / torch.expm1(SCALE * noisy).clamp_min(1e-6)
    ratio = ratio.clamp(0.0, 1.0)
    return torch.cat([ratio, ratio[..., -1:, :]], dim=-2)


def mix(speech: torch.Tensor, noise: torch.Tensor, snr: torch.Tensor | float) -> torch.Tensor:
    """speech + noise scaled so that their powers over the last dimension are ``snr`` dB apart; shapes broadcast."""
    power = speech.square().mean(-1, keepdim=True) / noise.square().mean(-1, keepdim=True).clamp_min(1e-12)
    return speech + noise * torch.sqrt(power / 10.0 ** (torch.as_tensor(snr) / 10.0))


def is_mixture(source: str | Path) -> bool:
    """Whether a source has the form SPEECH.npz+NOISE.npz."""
    first, plus, second = str(source).partition(".npz+")
    return bool(first and plus and second)


@dataclass(frozen=True)
class Clips:
    """samples: (n,) float32; offsets: (N + 1,) where clips begin and end; speaker: (N,) or None."""

    samples: np.ndarray
    offsets: np.ndarray
    speaker: np.ndarray | None

    def joined(self, which: np.ndarray) -> np.ndarray:
        """Some clips, one after another, (m,) float32."""
        return np.concatenate([self.samples[self.offsets[i] : self.offsets[i + 1]] for i in which])


def read_clips(path: Path) -> Clips:
    """``audio`` int16, ``offsets``, ``sample_rate``, perhaps ``speaker``. Raises ImageReadError, UsageError."""
    with open_arrays(path, "file of recordings") as pack:
        audio, offsets, rates = pack["audio"], pack["offsets"], pack["sample_rate"]
        speaker = pack["speaker"] if "speaker" in pack.files else None
    whole = all(part is None or (part.dtype.kind in "iu" and part.ndim == 1) for part in (offsets, rates, speaker))
    if not whole or not len(rates) or (speaker is not None and len(speaker) != len(offsets) - 1):
        raise ImageReadError(f"{path}: its offsets, rate and speakers are no whole numbers that fit each other")
    offsets, speaker = offsets.astype(np.int64), None if speaker is None else speaker.astype(np.int64)
    if int(rates[0]) != RATE:
        raise UsageError(f"{path}: recorded at {int(rates[0])} Hz, expected {RATE}")
    rising = len(offsets) > 1 and offsets[0] >= 0 and bool((np.diff(offsets) > 0).all())
    if audio.dtype != np.int16 or audio.ndim != 1 or not rising or offsets[-1] > len(audio):
        raise ImageReadError(f"{path}: its offsets do not fit its samples")
    return Clips(audio.astype(np.float32) / 32768.0, offsets, speaker)


def split_speech(clips: Clips) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of the clips to train on and of those of the last HELD_SPEAKERS speakers. Raises UsageError."""
    if clips.speaker is None or len(np.unique(clips.speaker)) <= HELD_SPEAKERS:
        raise UsageError(f"speech needs more than {HELD_SPEAKERS} speakers, of whom as many are held out")
    held = np.isin(clips.speaker, np.unique(clips.speaker)[-HELD_SPEAKERS:])
    return np.flatnonzero(~held), np.flatnonzero(held)


def split_noise(clips: Clips) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of the noises to train on and of those held out, drawn with a fixed seed. Raises UsageError."""
    count = len(clips.offsets) - 1
    if count <= HELD_NOISES:
        raise UsageError(f"expected more than {HELD_NOISES} noises, of which as many are held out, found {count}")
    order = np.random.Generator(np.random.PCG64(0)).permutation(count)
    return np.sort(order[HELD_NOISES:]), np.sort(order[:HELD_NOISES])


class SpeechMixtures:
    """Pairs of feature maps: ``shape`` is (2, BANDS, FRAMES), the noisy channel first, then the clean one."""

    def __init__(self, speech: torch.Tensor, noise: torch.Tensor, clips: int) -> None:
        self.speech, self.noise, self._clips = speech, noise, clips
        self.shape: tuple[int, ...] = (2, BANDS, FRAMES)

    @classmethod
    def load(cls, source: str | Path, device: torch.device) -> SpeechMixtures:
        """SPEECH.npz+NOISE.npz, held-out speakers and noises left out. Raises ImageReadError, UsageError."""
        first, _, second = str(source).partition(".npz+")
        speech, noise = read_clips(Path(f"{first}.npz")), read_clips(Path(second))
        chosen = split_speech(speech)[0]
        kept = speech.joined(chosen), noise.joined(split_noise(noise)[0])
        for samples, path in zip(kept, (f"{first}.npz", second), strict=True):
            if len(samples) <= (FRAMES - 1) * HOP:
                raise UsageError(
                    f"{path}: {len(samples)} samples to train on; more than {(FRAMES - 1) * HOP} are needed"
                )
        tensors = [torch.from_numpy(samples).to(device) for samples in kept]
        return cls(tensors[0], tensors[1], len(chosen))

    def __len__(self) -> int:
        return self._clips

    def draw(self, count: int, rng: torch.Generator, progress: float = 0.0) -> torch.Tensor:
        """Random stretches of speech under random noise of random strength -> (count, 2, BANDS, FRAMES) float32."""
        length = (FRAMES - 1) * HOP
        stretch = torch.arange(length, device=self.speech.device)
        parts = []
        for buffer in (self.speech, self.noise):
            start = torch.randint(len(buffer) - length, (count, 1), generator=rng, device=buffer.device)
            parts.append(buffer[start + stretch])
        span = HIGHEST_SNR - LOWEST_SNR
        snr = LOWEST_SNR + span * torch.rand(count, 1, generator=rng, device=stretch.device)
        noisy = mix(parts[0], parts[1], snr)
        level = noisy.square().mean(1, keepdim=True).sqrt().clamp_min(1e-6)
        return features(spectrogram(torch.stack([noisy, parts[0]], 1) / level[..., None]))

    def held_out(self) -> list[torch.Tensor]:
        """None: held-out speakers are measured as whole recordings, not as stretches."""
        return []
