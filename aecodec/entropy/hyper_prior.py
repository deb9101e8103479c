"""The hyper-latent z: how it is made of y, and its prior, a mixture of three logistics per channel and quality knot."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from ..coding.tables import TableSet, freeze_pmfs
from ..nn.blocks import DepthwiseBlock
from .logistic import log_mass

COMPONENTS = 3


class HyperAnalysis(nn.Module):
    """y (B, N, H, W) float32 in units of the quantisation step -> z (B, Z, H/4, W/4), not rounded."""

    def __init__(self, latents: int, features: int, z_channels: int) -> None:
        super().__init__()
        self.enter = nn.Conv2d(latents, features, 1)
        self.block = DepthwiseBlock(features)
        self.down1 = nn.Conv2d(4 * features, features, 1)
        self.down2 = nn.Conv2d(4 * features, z_channels, 1)

    def forward(self, y: torch.Tensor) -> torch.Tensor:
        h = self.block(self.enter(y))
        h = F.relu(self.down1(F.pixel_unshuffle(h, 2)))
        return self.down2(F.pixel_unshuffle(h, 2))


class HyperPrior(nn.Module):
    """P(z | channel, knot): z integer in [-z_max, z_max]; a bounded alphabet needs no escape.

    Parameters are a per-channel base plus a per-knot difference, so that every training sample moves
    the base whatever its quality.
    """

    def __init__(self, channels: int, knots: int, z_max: int) -> None:
        super().__init__()
        self.channels, self.knots, self.z_max = channels, knots, z_max
        spread = torch.linspace(-1.0, 1.0, COMPONENTS).repeat(channels, 1)
        self.mean = nn.Parameter(spread)
        self.log_scale = nn.Parameter(torch.zeros(channels, COMPONENTS))
        self.logit = nn.Parameter(torch.zeros(channels, COMPONENTS))
        self.mean_knot = nn.Parameter(torch.zeros(knots, channels, COMPONENTS))
        self.log_scale_knot = nn.Parameter(torch.zeros(knots, channels, COMPONENTS))
        self.logit_knot = nn.Parameter(torch.zeros(knots, channels, COMPONENTS))

    def log2_likelihood(self, z: torch.Tensor, knot: torch.Tensor) -> torch.Tensor:
        """z: (B, Z, h, w) float32; knot: (B,) int64 in [0, knots) -> log2 P, (B, Z, h, w) float32, at most 0."""
        mean = (self.mean + self.mean_knot[knot])[:, :, None, None]
        log_scale = (self.log_scale + self.log_scale_knot[knot])[:, :, None, None]
        log_weight = F.log_softmax(self.logit + self.logit_knot[knot], dim=-1)[:, :, None, None]
        inverse = torch.exp(-log_scale.clamp(-4.0, 5.0))
        terms = log_mass((z[..., None] - mean).abs(), inverse) + log_weight
        return torch.logsumexp(terms, dim=-1) * (1.0 / math.log(2.0))

    @torch.no_grad()
    def freeze(self) -> TableSet:
        """Integer tables, row knot * channels + channel, over symbols -z_max ... z_max."""
        symbols = torch.arange(-self.z_max, self.z_max + 1, dtype=torch.float32)
        z = symbols.view(1, 1, -1, 1).expand(1, self.channels, -1, 1)
        pmfs: list[np.ndarray] = []
        for knot in range(self.knots):
            log2p = self.log2_likelihood(z, torch.tensor([knot]))[0, :, :, 0].double().numpy()
            pmfs.extend(np.exp2(log2p))
        return freeze_pmfs(pmfs, offsets=[-self.z_max] * len(pmfs), escape=False)
