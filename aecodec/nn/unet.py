"""A small U-Net of plain convolutions without biases, working at half resolution and below."""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import nn


class ResidualBlock(nn.Module):
    """x + conv3x3(ReLU(conv3x3(x))). x: (B, C, H, W) -> the same shape."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.second = nn.Conv2d(channels, channels, 3, padding=1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.second(F.relu(self.first(x)))


class UNet(nn.Module):
    """(B, inputs, H, W) float32 -> (B, outputs, H, W), H and W multiples of ``alignment``.

    The residual U-Net of DRUNet (Zhang et al. 2021, fig. 1) behind a pixel unshuffle by 2, as in FFDNet (Zhang et al.
    2018): a quarter of the positions to compute. No biases, so that scaling the input scales the output, which
    generalises over noise levels (Mohan et al. 2020). skips: whether the encoder's features reach the decoder.
    """

    def __init__(self, inputs: int, outputs: int, widths: tuple[int, ...], blocks: int, skips: bool = True) -> None:
        super().__init__()
        self.skips = skips
        self.alignment = 2 ** len(widths)
        pairs = list(itertools.pairwise(widths))
        self.enter = nn.Conv2d(4 * inputs, widths[0], 3, padding=1, bias=False)
        self.encoder = nn.ModuleList(_blocks(width, blocks) for width in widths)
        self.down = nn.ModuleList(nn.Conv2d(fine, coarse, 2, 2, bias=False) for fine, coarse in pairs)
        self.up = nn.ModuleList(nn.ConvTranspose2d(coarse, fine, 2, 2, bias=False) for fine, coarse in pairs)
        self.decoder = nn.ModuleList(_blocks(width, blocks) for width in widths[:-1])
        self.leave = nn.Conv2d(widths[0], 4 * outputs, 3, padding=1, bias=False)
        with torch.no_grad():
            self.leave.weight.mul_(0.1)
        # Pixels that an output looks at on either side: 3x3 layers, each as wide as its level's stride.
        levels = [2 * blocks * (2 if level < len(pairs) else 1) * 2 ** (level + 1) for level in range(len(widths))]
        self.reach = 2 * 2 + sum(levels) + self.alignment

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.enter(F.pixel_unshuffle(x, 2))
        kept = []
        for level, encode in enumerate(self.encoder):
            x = encode(x)
            if level < len(self.down):
                kept.append(x)
                x = self.down[level](x)
        for level in reversed(range(len(self.up))):
            x = self.up[level](x)
            x = self.decoder[level](x + kept[level] if self.skips else x)
        return F.pixel_shuffle(self.leave(x), 2)


def _blocks(width: int, count: int) -> nn.Sequential:
    return nn.Sequential(*(ResidualBlock(width) for _ in range(count)))
