"""A VAE over part-segmented 3D shapes (after Nash and Williams 2017), as voxels that are empty or belong to a part."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from ..contracts import Loss, UsageError
from ..nn.stacks import ConvDecoder, ConvEncoder
from ..nn.variational import VariationalModule, kl_to_standard, reparametrise, warmed


@dataclass(frozen=True)
class ShapeVaeConfig:
    """shape: (depth, height, width) of the voxel grid; parts: labels besides 0, which is empty space; latents: d;
    width, levels: of the convolutions, which slide over height and width and see all of the depth; beta: weight of the
    KL term; warm: share of the training over which it rises from 0; mirror: whether training shapes are mirrored at
    random along each axis, for axes of inertia have no direction of their own."""

    shape: tuple[int, ...] = (16, 16, 16)
    parts: int = 8
    latents: int = 32
    width: int = 32
    levels: int = 3
    beta: float = 1.0
    warm: float = 0.2
    mirror: bool = True


SIZES = {"tiny": ShapeVaeConfig(latents=4, width=8, levels=2), "base": ShapeVaeConfig()}
RECIPE = {"size": "base", "steps": 4000, "batch": 32, "learning_rate": 1e-3, "ema": 0.995, "hold_out": 76}


class ShapeVae(VariationalModule):
    """Items are (D, H, W) float32, label / 255 (as uint8 volumes are drawn); p(x | z) is categorical per voxel."""

    samples_at_once = 20

    def __init__(self, config: ShapeVaeConfig) -> None:
        super().__init__()
        self.config = config
        self.shape, self.latents = tuple(config.shape), config.latents
        depth, height, width = self.shape
        self.classes = config.parts + 1
        stacked = (self.classes * depth, height, width)
        self.encoder = ConvEncoder(stacked, config.width, config.levels, 2 * config.latents, "relu")
        self.decoder = ConvDecoder(stacked, config.width, config.levels, config.latents, "relu")

    def labels(self, x: torch.Tensor) -> torch.Tensor:
        """x (B, D, H, W) float32, label / 255 -> (B, D, H, W) int64 in [0, parts]; further parts count as the last.

        Raises UsageError for another shape.
        """
        if x.shape[1:] != self.shape:
            raise UsageError(f"the model is for volumes of {self.shape}, found {tuple(x.shape[1:])}")
        return (x * 255.0).round().long().clamp(0, self.config.parts)

    def posterior(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """x: (B, D, H, W) float32, label / 255 -> mean and log variance of q(z | x), (B, latents) float32 each."""
        one_hot = F.one_hot(self.labels(x), self.classes).permute(0, 4, 1, 2, 3).flatten(1, 2).float()
        mean, log_variance = self.encoder(one_hot).float().chunk(2, 1)
        return mean, log_variance.clamp(-12.0, 12.0)

    def logits(self, z: torch.Tensor) -> torch.Tensor:
        """z (B, latents) float32 -> unnormalised log-probabilities (B, classes, D, H, W) float32; class 0 is empty."""
        return self.decoder(z).float().unflatten(1, (self.classes, self.shape[0]))

    def decode(self, z: torch.Tensor) -> torch.Tensor:
        """z (B, latents) float32 -> the likeliest volume: its most likely part where a voxel is rather full than empty.

        (B, D, H, W) float32, label / 255 like the items. Full is weighed against empty, not against one part of many.
        """
        probability = torch.softmax(self.logits(z), 1)
        part = probability[:, 1:].argmax(1) + 1
        return torch.where(probability[:, 0] < 0.5, part, torch.zeros_like(part)).float() / 255.0

    def log_density(self, x: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        """log p(x | z) in nats, (B,) float32. x: (B, D, H, W) float32, label / 255; z: (B, latents) float32."""
        return -F.cross_entropy(self.logits(z), self.labels(x), reduction="none").flatten(1).sum(1)

    def loss(self, batch: torch.Tensor, rng: torch.Generator, progress: float = 0.0) -> Loss:
        """Minus the ELBO in nats per item; parts: mse of the occupancy's probability, kl, nats.

        batch: (B, D, H, W) float32, label / 255.
        """
        if self.config.mirror:
            batch = _mirrored(batch, rng)
        labels = self.labels(batch)
        mean, log_variance = self.posterior(batch)
        logits = self.logits(reparametrise(mean, log_variance, rng))
        nats = F.cross_entropy(logits, labels, reduction="none").flatten(1).sum(1)
        kl = kl_to_standard(mean, log_variance)
        beta = warmed(self.config.beta, self.config.warm, progress)
        full = 1.0 - torch.softmax(logits.detach(), 1)[:, 0]
        parts = {
            "mse": (full - (labels > 0).float()).square().mean(),
            "kl": kl.mean().detach(),
            "nats": (kl + nats).mean().detach(),
        }
        return Loss((beta * kl + nats).mean(), parts)


def _mirrored(x: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
    """x: (B, D, H, W), every item flipped along each axis with probability 1/2."""
    for axis in (1, 2, 3):
        chosen = torch.rand(len(x), 1, 1, 1, generator=rng, device=x.device) < 0.5
        x = torch.where(chosen, x.flip(axis), x)
    return x
