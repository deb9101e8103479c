"""Random numbers of a batch of pictures, all from one generator."""

from __future__ import annotations

import math

import torch


class Draws:
    """Random numbers of one batch: uniform per picture, shaped to be broadcast over (B, C, H, W)."""

    def __init__(self, count: int, rng: torch.Generator, device: torch.device) -> None:
        self.count, self.rng, self.device = count, rng, device

    def uniform(self, low: float, high: float) -> torch.Tensor:
        """(B,) float32 in [low, high)."""
        return low + (high - low) * torch.rand(self.count, generator=self.rng, device=self.device)

    def uniform_of(self, numbers: int, low: float, high: float) -> torch.Tensor:
        """(B, numbers) float32 in [low, high)."""
        return low + (high - low) * torch.rand(self.count, numbers, generator=self.rng, device=self.device)

    def ratio(self, largest: float) -> torch.Tensor:
        """(B,) log-uniform in [1 / largest, largest]."""
        return torch.exp(self.uniform(-1.0, 1.0) * math.log(largest))

    def chance(self, share: float) -> torch.Tensor:
        """(B, 1, 1, 1) bool."""
        return (self.uniform(0.0, 1.0) < share)[:, None, None, None]

    def normal(self, *shape: int) -> torch.Tensor:
        return torch.randn(self.count, *shape, generator=self.rng, device=self.device)
