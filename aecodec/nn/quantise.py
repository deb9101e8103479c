"""Rounding with a straight-through gradient, and the noise that stands for it in the rate."""

from __future__ import annotations

import torch


def round_ste(x: torch.Tensor) -> torch.Tensor:
    """Round half up; the gradient passes as if nothing happened (Bengio, Leonard, Courville 2013).

    floor(x + 1/2) rather than round-half-even, so that every backend and every language agrees on ties.
    """
    return x + (torch.floor(x + 0.5) - x).detach()


def uniform_noise(x: torch.Tensor, rng: torch.Generator | None) -> torch.Tensor:
    """Noise U(-1/2, 1/2) of the shape of x (Balle, Laparra, Simoncelli 2017, sec. 3.1)."""
    return torch.rand(x.shape, generator=rng, device=x.device, dtype=torch.float32) - 0.5
