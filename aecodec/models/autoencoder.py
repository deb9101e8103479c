"""The undercomplete non-linear autoencoder, by multilayer perceptrons or convolutions; with noise, a denoising one."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from ..contracts import Loss
from ..nn.stacks import make_decoder, make_encoder


@dataclass(frozen=True)
class AutoencoderConfig:
    """shape: of one item; latents: d; kind: "mlp" or "conv"; hidden: layers of the encoder, mirrored in the decoder;
    width, levels: channels after the first of so many strided convolutions; noise: sigma of the Gaussian noise added to
    the input in training (Vincent et al. 2008), in units of the data."""

    shape: tuple[int, ...] = (1, 28, 28)
    latents: int = 32
    kind: str = "mlp"
    hidden: tuple[int, ...] = (512, 256)
    width: int = 16
    levels: int = 3
    act: str = "relu"
    noise: float = 0.0


SIZES = {
    "tiny": AutoencoderConfig(latents=8, hidden=(64,)),
    "base": AutoencoderConfig(),
    "conv": AutoencoderConfig(kind="conv"),
}
RECIPE = {"size": "base", "steps": 6000, "batch": 256, "learning_rate": 1e-3, "ema": 0.998, "hold_out": 1000}


class Autoencoder(nn.Module):
    """See the module's docstring."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        self.config = config
        self.shape, self.latents = tuple(config.shape), config.latents
        layout = (config.kind, self.shape, config.hidden, config.width, config.levels)
        self.encoder = make_encoder(*layout, config.latents, config.act)
        self.decoder = make_decoder(*layout, config.latents, config.act)

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        """x: (B, *shape) float32 -> z (B, latents) float32."""
        return self.encoder(x)

    def decode(self, z: torch.Tensor) -> torch.Tensor:
        """z (B, latents) float32 -> x_hat (B, *shape) float32, not clipped."""
        return self.decoder(z)

    def reconstruct(self, x: torch.Tensor) -> torch.Tensor:
        """decode(encode(x)); x: (B, *shape) float32 -> the same shape and type."""
        return self.decode(self.encode(x))

    def loss(self, batch: torch.Tensor, rng: torch.Generator, progress: float = 0.0) -> Loss:
        """J: squared error per item to the clean batch, averaged over the batch. batch: (B, *shape) float32."""
        seen = batch
        if self.config.noise:
            noise = torch.randn(batch.shape, generator=rng, device=batch.device)
            seen = batch + self.config.noise * noise
        error = (self.reconstruct(seen).float() - batch).square()
        return Loss(error.flatten(1).sum(1).mean(), {"mse": error.mean().detach()})
