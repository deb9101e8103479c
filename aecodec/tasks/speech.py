"""Recordings cleaned of noise: the denoising autoencoder on log-magnitude spectrograms, with the noisy phase."""

from __future__ import annotations

import numpy as np
import torch

from ..contracts import Restorer, UsageError
from ..data.speech import features, gains, spectrogram, waveform
from ..shield import shielded

#: The corruption of a model that was trained on pairs of noisy and clean feature maps.
PAIRED = "paired"


@shielded()
@torch.no_grad()
def denoise_speech(model: Restorer, samples: np.ndarray) -> np.ndarray:
    """(n,) float32 in [-1, 1) at 8 kHz -> cleaned, the same length.

    The model estimates the clean log magnitudes; each spectral value is scaled by their ratio, never up. Raises
    UsageError if the model is for pictures, or the recording shorter than an analysis window.
    """
    if PAIRED not in model.corruptions:
        raise UsageError("the model restores pictures; recordings need one trained on speech")
    if samples.ndim != 1 or len(samples) < 256:
        raise UsageError(f"expected a mono recording of at least 256 samples, found shape {samples.shape}")
    device = next(iter(model.parameters())).device if isinstance(model, torch.nn.Module) else torch.device("cpu")
    x = torch.from_numpy(samples.astype(np.float32)).to(device)
    level = float(x.square().mean().sqrt())
    if level == 0.0:
        return samples
    spectrum = spectrogram(x / level)
    seen = features(spectrum)[None, None]
    clean = model.restore(seen, PAIRED)
    cleaned = waveform(spectrum * gains(seen[0, 0], clean[0, 0].float()), len(x)) * level
    return cleaned.cpu().numpy()
