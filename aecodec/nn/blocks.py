"""The cheap residual block of the transforms."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn


class DepthwiseBlock(nn.Module):
    """Two residual steps: (1x1, ReLU, depthwise 3x3, 1x1), then (1x1 c->2c, ReLU, 1x1 2c->c).

    x: (B, C, H, W) float -> the same shape. About 6 C^2 + 9 C multiply-adds per position.
    The layout follows the depth-convolution block of DCVC-DC (Li, Li, Lu 2023, fig. 3) with plain ReLU,
    which a CPU runs several times faster than gated activations.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.mix_in = nn.Conv2d(channels, channels, 1)
        self.depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        self.mix_out = nn.Conv2d(channels, channels, 1)
        self.expand = nn.Conv2d(channels, 2 * channels, 1)
        self.reduce = nn.Conv2d(2 * channels, channels, 1)
        with torch.no_grad():
            for layer in (self.mix_out, self.reduce):
                layer.bias.zero_()  # type: ignore[union-attr]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # In place where no gradient needs what stood there: what a convolution put out.
        x = self.mix_out(self.depthwise(F.relu_(self.mix_in(x)))).add_(x)
        return self.reduce(F.relu_(self.expand(x))).add_(x)
