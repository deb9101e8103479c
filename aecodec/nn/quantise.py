"""Rounding, its straight-through and soft forms, and the noise that stands for it in the rate."""

from __future__ import annotations

import torch


def round_half_up(x: torch.Tensor) -> torch.Tensor:
    """floor(x + 1/2), of the shape and floating type of x: every backend and every language agrees on ties."""
    return torch.floor(x + 0.5)


def soft_round(x: torch.Tensor, temperature: float) -> torch.Tensor:
    """Between floor(x) and floor(x) + 1, near x at temperature 1 and near the rounded value towards 0.

    x: any shape, floating -> the same. temperature: positive.

    The mean of the two-point distribution of stochastic Gumbel annealing (Yang, Bamler, Mandt 2020, "Improving
    Inference for Neural Image Compression", eq. 6), whose logits are -atanh(distance) / temperature, instead of a
    sample of it: without the noise, tens of steps do what takes thousands with it.
    """
    low = torch.floor(x.detach())
    d = (x - low).clamp(1e-4, 1.0 - 1e-4)
    # atanh(d) - atanh(1 - d), with one logarithm.
    difference = 0.5 * torch.log(d * (1.0 + d) / ((1.0 - d) * (2.0 - d)))
    return low + torch.sigmoid(difference / temperature)


def round_ste(x: torch.Tensor) -> torch.Tensor:
    """Round half up; the gradient passes as if nothing happened (Bengio, Leonard, Courville 2013).

    x: any shape, floating -> the same.
    """
    return x + (round_half_up(x) - x).detach()


def uniform_noise(x: torch.Tensor, rng: torch.Generator | None) -> torch.Tensor:
    """Noise U(-1/2, 1/2), float32 of the shape of x (Balle, Laparra, Simoncelli 2017, sec. 3.1)."""
    return torch.rand(x.shape, generator=rng, device=x.device, dtype=torch.float32) - 0.5
