"""Analysis and synthesis transforms: cheap residual blocks at 1/8 resolution beside a linear block transform."""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import nn

from ..latents.exact_hyperprior import STRIDE
from .blocks import DepthwiseBlock

#: Pixels per position of the residual branch, along each side.
BRANCH_STRIDE = 8
#: A residual branch starts this small, so that the codec begins as its linear transform.
RESIDUAL_GAIN = 0.1


def _scaled(layer: nn.Conv2d, gain: float) -> nn.Conv2d:
    with torch.no_grad():
        layer.weight.mul_(gain)
        if layer.bias is not None:
            layer.bias.zero_()
    return layer


class Analysis(nn.Module):
    """x -> y: a 16x16 linear block transform plus a residual branch.

    forward(x): x (B, 3, H, W) float32 in [-1/2, 1/2] -> y (B, N, H/16, W/16). It does not depend on quality, so a
    search for a target rate runs it once.
    """

    def __init__(self, channels: int, latents: int, blocks: int) -> None:
        super().__init__()
        self.linear = nn.Conv2d(3 * STRIDE**2, latents, 1, bias=False)
        self.enter = nn.Conv2d(3 * BRANCH_STRIDE**2, channels, 1)
        self.blocks = nn.Sequential(*[DepthwiseBlock(channels) for _ in range(blocks)])
        self.leave = _scaled(nn.Conv2d(channels, latents, 3, stride=2, padding=1), RESIDUAL_GAIN)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.of_blocks(F.pixel_unshuffle(x, STRIDE), F.pixel_unshuffle(x, BRANCH_STRIDE))

    def of_blocks(self, coarse: torch.Tensor, fine: torch.Tensor) -> torch.Tensor:
        """x as blocks of both sizes, (B, 768, H/16, W/16) and (B, 192, H/8, W/8), in the order of pixel_unshuffle."""
        return self.linear(coarse) + self.leave(self.blocks(self.enter(fine)))


class Synthesis(nn.Module):
    """y_hat -> x_hat: the transpose of Analysis, its branch modulated by quality.

    forward(y, gain): y (B, N, H/16, W/16) float32, gain (B, C) positive -> x_hat (B, 3, H, W), about [-1/2, 1/2].
    """

    def __init__(self, channels: int, latents: int, blocks: int) -> None:
        super().__init__()
        self.linear = nn.Conv2d(latents, 3 * STRIDE**2, 1, bias=False)
        self.enter = nn.Conv2d(latents, 4 * channels, 1)
        self.blocks = nn.Sequential(*[DepthwiseBlock(channels) for _ in range(blocks - 1)])
        self.last = DepthwiseBlock(channels)
        self.leave = _scaled(nn.Conv2d(channels, 3 * BRANCH_STRIDE**2, 1), RESIDUAL_GAIN)

    def forward(self, y: torch.Tensor, gain: torch.Tensor) -> torch.Tensor:
        coarse, fine = self.as_blocks(y, gain)
        return F.pixel_shuffle(coarse, STRIDE) + F.pixel_shuffle(fine, BRANCH_STRIDE)

    def as_blocks(self, y: torch.Tensor, gain: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The two terms of x_hat as blocks, (B, 768, H/16, W/16) and (B, 192, H/8, W/8): see `Analysis.of_blocks`."""
        h = self.blocks(F.pixel_shuffle(self.enter(y), 2))
        return self.linear(y), self.leave(self.last(h * gain[:, :, None, None].to(h.dtype)))


def to_blocks(x: torch.Tensor) -> torch.Tensor:
    """`F.pixel_unshuffle(x, 16)` in channels-last order, copied by rows of a block: several times as fast on a CPU."""
    batch, colours, height, width = x.shape
    rows = x.reshape(batch, colours, height // STRIDE, STRIDE, width // STRIDE, STRIDE).permute(0, 2, 4, 1, 3, 5)
    return rows.reshape(batch, height // STRIDE, width // STRIDE, -1).permute(0, 3, 1, 2)


def from_blocks(coarse: torch.Tensor) -> torch.Tensor:
    """The inverse of `to_blocks`: (B, 768, H/16, W/16) -> (B, 3, H, W)."""
    batch, _, height, width = coarse.shape
    cut = coarse.permute(0, 2, 3, 1).reshape(batch, height, width, 3, STRIDE, STRIDE)
    return cut.permute(0, 3, 1, 4, 2, 5).reshape(batch, 3, height * STRIDE, width * STRIDE)


def split_blocks(coarse: torch.Tensor) -> torch.Tensor:
    """Blocks of 16x16 -> the same pixels as blocks of 8x8: (B, 768, h, w) -> (B, 192, 2h, 2w), channels-last."""
    batch, _, height, width = coarse.shape
    cut = coarse.permute(0, 2, 3, 1).reshape(batch, height, width, 3, 2, BRANCH_STRIDE, 2, BRANCH_STRIDE)
    fine = cut.permute(0, 1, 4, 2, 6, 3, 5, 7).reshape(batch, 2 * height, 2 * width, -1)
    return fine.permute(0, 3, 1, 2)


def join_blocks(fine: torch.Tensor) -> torch.Tensor:
    """The inverse of `split_blocks`: (B, 192, 2h, 2w) -> (B, 768, h, w), channels-last."""
    batch, _, height, width = fine.shape
    cut = fine.permute(0, 2, 3, 1).reshape(batch, height // 2, 2, width // 2, 2, 3, BRANCH_STRIDE, BRANCH_STRIDE)
    coarse = cut.permute(0, 1, 3, 5, 2, 6, 4, 7).reshape(batch, height // 2, width // 2, -1)
    return coarse.permute(0, 3, 1, 2)


@torch.no_grad()
def start_from_components(
    analysis: Analysis, synthesis: Synthesis, crops: Iterable[torch.Tensor], scale: float
) -> torch.Tensor:
    """Make both linear transforms the principal components of all blocks of some crops.

    A linear autoencoder spans the PCA subspace (Baldi and Hornik 1989). crops: (B, 3, H, W) float32 in [0, 1] each,
    sides multiples of 16; scale: what the components are multiplied by -> standard deviations of the latents, (N,)
    float64, falling.
    """
    unshuffled = (F.pixel_unshuffle(batch, STRIDE).permute(0, 2, 3, 1) for batch in crops)
    blocks = torch.cat([batch.flatten(0, 2).double().cpu() for batch in unshuffled]) - 0.5
    values, vectors = torch.linalg.eigh(blocks.T @ blocks / len(blocks))
    latents = len(analysis.linear.weight)
    values, vectors = values.flip(0)[:latents], vectors.flip(1)[:, :latents]
    analysis.linear.weight.copy_((vectors.T * scale)[:, :, None, None])
    synthesis.linear.weight.copy_((vectors / scale)[:, :, None, None])
    return values.clamp_min(0).sqrt() * scale
