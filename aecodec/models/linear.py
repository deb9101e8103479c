"""The linear autoencoder: x_hat = D E (x - b) + b, no non-linearity; its optimum is the PCA subspace.

Baldi and Hornik 1989: the squared error of a linear autoencoder has no local minima but the global one, where D E is
the orthogonal projection on the first principal components. Tied weights (D = E^T) reach the same subspace.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import nn

from ..contracts import BatchSource, Loss


@dataclass(frozen=True)
class LinearConfig:
    """shape: of one item; latents: d, size of the code; tied: whether the decoder is the encoder's transpose."""

    shape: tuple[int, ...] = (1, 28, 28)
    latents: int = 32
    tied: bool = True


SIZES = {"tiny": LinearConfig(latents=8), "base": LinearConfig(), "untied": LinearConfig(tied=False)}
RECIPE = {
    "size": "base",
    "steps": 3500,
    "batch": 4096,
    "optimizer": "sgd",
    "learning_rate": 0.02,
    "schedule": "cosine",
    "warmup": 20,
    "clip": 10.0,
    "ema": 0.995,
    "autocast": False,
    "hold_out": 0,
}
#: Items whose mean the centre starts at.
INITIAL_ITEMS = 4096


class Linear(nn.Module):
    """See the module's docstring."""

    def __init__(self, config: LinearConfig) -> None:
        super().__init__()
        self.config = config
        self.shape, self.latents = tuple(config.shape), config.latents
        size = math.prod(self.shape)
        self.encoder = nn.Parameter(torch.randn(size, config.latents) / math.sqrt(size))
        self.decoder = None if config.tied else nn.Parameter(torch.randn(config.latents, size) / math.sqrt(size))
        self.centre = nn.Parameter(torch.full((size,), 0.5))

    @torch.no_grad()
    def initialise(self, source: BatchSource, rng: torch.Generator) -> None:
        """Start with b at the mean of some items: else the mean is learnt as a first, huge component."""
        self.centre.copy_(source.draw(INITIAL_ITEMS, rng).flatten(1).mean(0))

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        """x: (B, *shape) float32 -> z (B, latents) float32."""
        return (x.flatten(1) - self.centre) @ self.encoder

    def decode(self, z: torch.Tensor) -> torch.Tensor:
        """z (B, latents) float32 -> x_hat (B, *shape) float32, not clipped."""
        decoder = self.encoder.t() if self.decoder is None else self.decoder
        return (z @ decoder + self.centre).unflatten(1, self.shape)

    def reconstruct(self, x: torch.Tensor) -> torch.Tensor:
        """decode(encode(x)); x: (B, *shape) float32 -> the same shape and type."""
        return self.decode(self.encode(x))

    def loss(self, batch: torch.Tensor, rng: torch.Generator, progress: float = 0.0) -> Loss:
        """J: squared error per item, averaged over the batch. batch: (B, *shape) float32."""
        error = (self.reconstruct(batch).float() - batch).square()
        return Loss(error.flatten(1).sum(1).mean(), {"mse": error.mean().detach()})

    @torch.no_grad()
    def subspace(self) -> torch.Tensor:
        """An orthonormal basis of what the decoder can reach, (prod(shape), latents) float64, the centre left out."""
        span = self.encoder if self.decoder is None else self.decoder.t()
        return torch.linalg.qr(span.double())[0]
