"""The zero-mean prior of the latent residual: 64 scales, each a mixture of two logistic densities.

The residual r = y - mu is coded with a table chosen by a scale index. The scale sees the hyper-latent
only, so the density of r given its index is a little heavier-tailed than a Gaussian; a mixture of two
logistics with learnt spread and weights adapts to that and has a closed-form integral.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from ..coding.tables import TableSet, freeze_symmetric
from ..latents.exact import LEVELS
from .logistic import log_mass

SCALE_MIN = 0.08
SCALE_MAX = 100.0
LOG_STEP = math.log(SCALE_MAX / SCALE_MIN) / (LEVELS - 1)
#: Standard deviation of the logistic density with unit scale parameter.
LOGISTIC_STD = math.pi / math.sqrt(3.0)


def index_of_scale(sigma: torch.Tensor) -> torch.Tensor:
    """Standard deviation -> real-valued scale index (0 at SCALE_MIN, LEVELS - 1 at SCALE_MAX), same shape and type."""
    return torch.log(sigma.clamp_min(1e-6) / SCALE_MIN) / LOG_STEP


class ScaleMixture(nn.Module):
    """P(r | scale index) = integral over [r - 1/2, r + 1/2] of a two-logistic mixture of that spread."""

    def __init__(self) -> None:
        super().__init__()
        self.log_ratio = nn.Parameter(torch.tensor([-0.25, 0.35]))
        self.logit = nn.Parameter(torch.zeros(2))

    def log2_likelihood(self, r: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        """r, index: any equal shape, float32 or float64 -> log2 P(r | index), at most 0, same shape and type.

        index: real-valued, in [0, LEVELS - 1].
        """
        inverse = (LOGISTIC_STD / SCALE_MIN) * torch.exp(-index * LOG_STEP)
        magnitude = r.abs()
        weights = F.log_softmax(self.logit, dim=0)
        first, second = (
            log_mass(magnitude, inverse * torch.exp(-log_ratio)) + log_weight
            for log_ratio, log_weight in zip(self.log_ratio, weights, strict=True)
        )
        return torch.logaddexp(first, second) * (1.0 / math.log(2.0))

    @torch.no_grad()
    def freeze(self) -> TableSet:
        """One integer table per scale index, symmetric about 0, with an escape symbol."""
        pmfs = []
        for level in range(LEVELS):
            reach = max(2, math.ceil(10.0 * SCALE_MIN * math.exp(level * LOG_STEP)))
            r = torch.arange(0, reach + 1, dtype=torch.float64)
            log2p = self.log2_likelihood(r, torch.full_like(r, level))
            pmfs.append(np.exp2(log2p.numpy()))
        return freeze_symmetric(pmfs)
