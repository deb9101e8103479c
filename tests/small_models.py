"""Models small enough to be made for a test, and tensors of pictures. Needs torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import natural_picture

from aecodec import checkpoint
from aecodec.data.arrays import ArraySet

FLAGSHIP = "exact-hyperprior"
WITHOUT_COMPRESSAI = "compressai is an extra of its own: it needs NumPy 1, and so Python 3.12 or older"
SMALL = {
    "channels": 16,
    "latents": 32,
    "hyper_latents": 8,
    "analysis_blocks": 1,
    "synthesis_blocks": 1,
    "features": 16,
    "scale_hidden": 8,
}


def as_batch(picture: np.ndarray) -> torch.Tensor:
    """(H, W, 3) uint8 -> (1, 3, H, W) float32 in [0, 1]."""
    return torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 255.0


def small_flagship(seed: int = 0, *, initialised: bool = True) -> torch.nn.Module:
    """A seeded, untrained model of few channels, its linear transform fitted to one synthetic picture."""
    torch.manual_seed(seed)
    model = checkpoint.build(FLAGSHIP, SMALL)
    if initialised:
        tiles = natural_picture(512, 512, seed=99).reshape(32, 16, 32, 16, 3).transpose(0, 2, 4, 1, 3)
        source = ArraySet(torch.from_numpy(tiles.reshape(-1, 3, 16, 16)))
        model.initialise(source, torch.Generator().manual_seed(seed))
    return model


def skip_without_layers_of(family: str) -> None:
    """Skip the test if the family is built on compressai and that is not installed."""
    if family in ("factorized-prior", "mean-scale-hyperprior"):
        pytest.importorskip("compressai", reason=WITHOUT_COMPRESSAI)
