"""The small convolutional networks around a binary code: from a picture to features, and from a code to a picture."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn


class ResidualBlock(nn.Module):
    """ReLU(x + (3x3, norm, ReLU, 3x3, norm)) (He et al. 2016). (B, C, H, W) -> the same shape."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(*_convolution(channels, channels, 1), *_convolution(channels, channels, 1)[:-1])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(x + self.body(x))


def _convolution(entering: int, leaving: int, stride: int) -> list[nn.Module]:
    kernel, padding = (stride, 0) if stride > 2 else (3, 1)
    layer = nn.Conv2d(entering, leaving, kernel, stride=stride, padding=padding, bias=False)
    return [layer, nn.BatchNorm2d(leaving), nn.ReLU()]


class Encoder(nn.Module):
    """x (B, C, H, W) float32 in [0, 1] -> features (B, width): stages at falling resolution, pooled to 2 x 2."""

    def __init__(self, channels: int, widths: Sequence[int], strides: Sequence[int], blocks: Sequence[int]) -> None:
        """Of each stage: channels, by how much it shrinks the sides, residual blocks."""
        super().__init__()
        layers: list[nn.Module] = []
        entering = channels
        for width, stride, count in zip(widths, strides, blocks, strict=True):
            layers += [*_convolution(entering, width, stride), *[ResidualBlock(width) for _ in range(count)]]
            entering = width
        self.stages = nn.Sequential(*layers)
        self.width = 4 * entering

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.adaptive_avg_pool2d(self.stages(x - 0.5), 2).flatten(1)


class Decoder(nn.Module):
    """(B, n_bits) float32 in [-1, 1] -> x_hat (B, C, H, W), about [0, 1]: from 1/8 of the sides in three steps."""

    def __init__(self, n_bits: int, inner: int, shape: Sequence[int]) -> None:
        """inner: channels; shape: (C, H, W) of the pictures."""
        super().__init__()
        channels, self.height, self.width = shape
        self.small = -(-self.height // 8), -(-self.width // 8)
        self.enter = nn.Linear(n_bits, inner * self.small[0] * self.small[1])
        steps: list[nn.Module] = []
        for leaving in (inner, inner, channels):
            steps += [nn.ReLU(), nn.Conv2d(inner, 4 * leaving, 3, padding=1), nn.PixelShuffle(2)]
        self.steps = nn.Sequential(*steps)

    def forward(self, codes: torch.Tensor) -> torch.Tensor:
        h = self.enter(codes).view(len(codes), -1, *self.small)
        return self.steps(h)[:, :, : self.height, : self.width] + 0.5
