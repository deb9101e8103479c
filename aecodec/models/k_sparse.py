"""The k-sparse autoencoder (Makhzani and Frey 2013): linear units of which the k largest are kept, tied weights."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import nn

from ..contracts import Loss


@dataclass(frozen=True)
class KSparseConfig:
    """shape: of one item; latents: units; active: k, how many of them are kept; first_active: k at the beginning of the
    training, lowered linearly to ``active`` over the first half (sec. 4.2.1: few units at once leave most of them
    dead); alpha: codes for use keep alpha * k units (sec. 2.2)."""

    shape: tuple[int, ...] = (1, 28, 28)
    latents: int = 1000
    active: int = 25
    first_active: int = 100
    alpha: float = 3.0


SIZES = {"tiny": KSparseConfig(latents=64, active=8, first_active=16), "base": KSparseConfig()}
RECIPE = {"size": "base", "steps": 24000, "batch": 256, "learning_rate": 5e-4, "ema": 0.998, "hold_out": 1000}


class KSparse(nn.Module):
    """See the module's docstring. Raises ValueError unless 1 <= active <= first_active <= latents and alpha >= 1."""

    def __init__(self, config: KSparseConfig) -> None:
        super().__init__()
        if not 1 <= config.active <= config.first_active <= config.latents or config.alpha < 1:
            raise ValueError("expected 1 <= active <= first_active <= latents and alpha >= 1")
        self.config = config
        self.shape, self.latents = tuple(config.shape), config.latents
        size = math.prod(self.shape)
        self.filters = nn.Parameter(0.01 * torch.randn(config.latents, size))
        self.bias = nn.Parameter(torch.zeros(config.latents))
        self.centre = nn.Parameter(torch.zeros(size))

    def activity(self, progress: float) -> int:
        """k after a share of the training, in [0, 1]."""
        first, last = self.config.first_active, self.config.active
        return round(first + (last - first) * min(1.0, 2.0 * progress))

    def encode(self, x: torch.Tensor, active: int | None = None) -> torch.Tensor:
        """x: (B, *shape) float32 -> z (B, latents) float32, exactly ``active`` of each row kept, the others 0.

        active: k by default. Ties go to units of lower number where torch's topk puts them first.
        """
        z = x.flatten(1) @ self.filters.t() + self.bias
        largest = z.topk(active or self.config.active, dim=1).indices
        return z * torch.zeros_like(z).scatter_(1, largest, 1.0)

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """The code for classifiers: the alpha * k largest units. x: (B, *shape) float32 -> (B, latents) float32."""
        return self.encode(x, min(self.latents, round(self.config.alpha * self.config.active)))

    def decode(self, z: torch.Tensor) -> torch.Tensor:
        """z (B, latents) float32 -> x_hat (B, *shape) float32, not clipped."""
        return (z @ self.filters + self.centre).unflatten(1, self.shape)

    def reconstruct(self, x: torch.Tensor) -> torch.Tensor:
        """decode(encode(x)); x: (B, *shape) float32 -> the same shape and type."""
        return self.decode(self.encode(x))

    def loss(self, batch: torch.Tensor, rng: torch.Generator, progress: float = 0.0) -> Loss:
        """J with k units active; k falls in the first half of the training. batch: (B, *shape) float32."""
        z = self.encode(batch, self.activity(progress))
        error = (self.decode(z).float() - batch).square()
        used = (z != 0).any(0).float().mean()
        return Loss(error.flatten(1).sum(1).mean(), {"mse": error.mean().detach(), "used": used.detach()})
