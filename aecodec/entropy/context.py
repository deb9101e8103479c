"""The context model: predicted means of the latents, in four steps that each touch every location.

Means only. The tables are chosen by the scale net alone, so a mean that differs in its last bits on
another device shifts a latent by as little and can never desynchronise the entropy decoder.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
import torch.nn.functional as F
from torch import nn

from ..latents.context import STEPS, step_map
from ..nn.blocks import DepthwiseBlock


def step_masks(channels: int, height: int, width: int, device: torch.device | None = None) -> torch.Tensor:
    """(STEPS, channels, height, width) bool; the four masks partition every latent exactly once."""
    steps = torch.from_numpy(step_map(channels, height, width)).to(device)
    return torch.stack([steps == step for step in range(STEPS)])


def _masks_of(latents: torch.Tensor) -> torch.Tensor:
    _, channels, height, width = latents.shape
    return step_masks(channels, height, width, latents.device)


class HyperFeatures(nn.Module):
    """z_hat (B, Z, h, w) float32 integers -> features (B, F, 4h, 4w) float32 for the mean predictor."""

    def __init__(self, z_channels: int, features: int) -> None:
        super().__init__()
        self.up1 = nn.Conv2d(z_channels, 4 * features, 1)
        self.block = DepthwiseBlock(features)
        self.up2 = nn.Conv2d(features, 4 * features, 1)

    def forward(self, z_hat: torch.Tensor) -> torch.Tensor:
        h = self.block(F.pixel_shuffle(self.up1(z_hat), 2))
        return F.pixel_shuffle(self.up2(h), 2)


class MeanContext(nn.Module):
    """Predicts the mean of the latents of one step from the hyper features and the latents decoded so far."""

    def __init__(self, latents: int, features: int) -> None:
        super().__init__()
        self.adapt = nn.ModuleList(
            [nn.Conv2d(features + (latents if step else 0), features, 1) for step in range(STEPS)]
        )
        self.shared = nn.Sequential(DepthwiseBlock(features), DepthwiseBlock(features))
        heads = [nn.Conv2d(features, latents, 1) for _ in range(STEPS)]
        with torch.no_grad():
            for head in heads:
                head.weight.mul_(0.1)
                head.bias.zero_()  # type: ignore[union-attr]
        self.head = nn.ModuleList(heads)

    def forward(self, step: int, features: torch.Tensor, y_hat: torch.Tensor) -> torch.Tensor:
        """features (B, F, H, W), y_hat (B, N, H, W) with zeros where unknown -> mean (B, N, H, W); all floating."""
        h = torch.cat([features, y_hat], dim=1) if step else features
        return self.head[step](self.shared(self.adapt[step](h)))

    def reconstruct(
        self,
        features: torch.Tensor,
        unknown: torch.Tensor,
        residual_of: Callable[[torch.Tensor], torch.Tensor],
        masks: Iterable[torch.Tensor] | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The four steps of a decoder -> (y_hat, residual, mean), each (B, N, H, W) float32.

        features: (B, F, H, W); unknown: (B, N, H, W) float32, zeros, of the memory format that is wanted;
        residual_of: means -> the residuals of all latents given them, of which a step takes its own.
        masks: those of `step_masks`, made here unless given.
        """
        y_hat = residual = mean = unknown
        for step, mask in enumerate(masks or _masks_of(unknown)):
            mu = self(step, features, y_hat).float()
            r = residual_of(mu)
            y_hat = torch.where(mask, mu + r, y_hat)
            residual = torch.where(mask, r, residual)
            mean = torch.where(mask, mu, mean)
        return y_hat, residual, mean
