"""The sparse autoencoder: an overcomplete code whose L1 norm is penalised, J + lambda ||z||_1."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from ..contracts import Loss


@dataclass(frozen=True)
class SparseConfig:
    """shape: of one item; latents: units of the code; sparsity: lambda, the weight of the L1 norm in squared units of
    the data per unit of activity."""

    shape: tuple[int, ...] = (1, 28, 28)
    latents: int = 1000
    sparsity: float = 0.1


SIZES = {"tiny": SparseConfig(latents=64), "base": SparseConfig()}
RECIPE = {"size": "base", "steps": 3000, "batch": 256, "learning_rate": 1e-3, "ema": 0.998, "hold_out": 1000}


class Sparse(nn.Module):
    """ReLU units, a linear decoder whose rows (the filters) are kept at unit length, so that no unit can shrink its
    activity by a larger filter."""

    def __init__(self, config: SparseConfig) -> None:
        super().__init__()
        self.config = config
        self.shape, self.latents = tuple(config.shape), config.latents
        size = math.prod(self.shape)
        self.encoder = nn.Linear(size, config.latents)
        self.filters = nn.Parameter(F.normalize(torch.randn(config.latents, size), dim=1))
        self.centre = nn.Parameter(torch.zeros(size))
        with torch.no_grad():
            self.encoder.weight.copy_(self.filters)

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        """x: (B, *shape) float32 -> z (B, latents) float32, not negative."""
        return F.relu(self.encoder(x.flatten(1) - self.centre))

    def decode(self, z: torch.Tensor) -> torch.Tensor:
        """z (B, latents) float32 -> x_hat (B, *shape) float32, not clipped."""
        return (z @ F.normalize(self.filters, dim=1) + self.centre).unflatten(1, self.shape)

    def reconstruct(self, x: torch.Tensor) -> torch.Tensor:
        """decode(encode(x)); x: (B, *shape) float32 -> the same shape and type."""
        return self.decode(self.encode(x))

    def loss(self, batch: torch.Tensor, rng: torch.Generator, progress: float = 0.0) -> Loss:
        """Squared error plus lambda times the L1 norm of the code, per item; parts: also the share of active units.

        batch: (B, *shape) float32.
        """
        z = self.encode(batch)
        error = (self.decode(z).float() - batch).square()
        total = error.flatten(1).sum(1).mean() + self.config.sparsity * z.float().sum(1).mean()
        return Loss(total, {"mse": error.mean().detach(), "active": (z > 0).float().mean().detach()})
