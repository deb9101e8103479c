"""The context model: predicted means of the latents, in four steps that each touch every location.

Means only. The tables are chosen by the scale net alone, so a mean that differs in its last bits on
another device shifts a latent by as little and can never desynchronise the entropy decoder.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import cast

import torch
import torch.nn.functional as F
from torch import nn

from ..latents.context import PHASES, STEPS, step_map
from ..nn.blocks import DepthwiseBlock


def step_masks(channels: int, height: int, width: int, device: torch.device | None = None) -> torch.Tensor:
    """(STEPS, channels, height, width) bool; the four masks partition every latent exactly once."""
    steps = torch.from_numpy(step_map(channels, height, width)).to(device)
    return torch.stack([steps == step for step in range(STEPS)])


def _masks_of(latents: torch.Tensor) -> torch.Tensor:
    _, channels, height, width = latents.shape
    return step_masks(channels, height, width, latents.device)


def _groups(step: int) -> list[int]:
    """Of each place of a 2x2 cell, row by row, which channels (c with c % 4 == group) a step decodes there."""
    return [(PHASES.index((row, column)) - step) % STEPS for row in range(2) for column in range(2)]


def group_by_step(y: torch.Tensor) -> list[torch.Tensor]:
    """y (B, N, H, W), N a multiple of 4, H and W even -> its latents by step, (4, B * H/2 * W/2, N/4) each.

    The first axis is the place in the 2x2 cell, row by row; the second the cells in the order of batch, row and column;
    the third the channels of the place's group in their order.
    """
    batch, channels, height, width = y.shape
    cells = y.reshape(batch, channels // STEPS, STEPS, height // 2, 2, width // 2, 2)
    parts = cells.permute(4, 6, 2, 0, 3, 5, 1).reshape(4 * STEPS, -1, channels // STEPS).unbind()
    return [torch.stack([parts[STEPS * place + g] for place, g in enumerate(_groups(step))]) for step in range(STEPS)]


def ungroup(steps: list[torch.Tensor], shape: torch.Size) -> torch.Tensor:
    """The inverse of `group_by_step`: y of that shape, in channels-last order."""
    batch, channels, height, width = shape
    # In a place, step s decodes group (g - s) % 4 where step 0 decodes g: the other way round is the same sum.
    parts = [steps[(first - g) % STEPS][place] for place, first in enumerate(_groups(0)) for g in range(STEPS)]
    cells = torch.stack(parts).view(2, 2, STEPS, batch, height // 2, width // 2, channels // STEPS)
    return cells.permute(3, 4, 0, 5, 1, 6, 2).reshape(batch, height, width, channels).permute(0, 3, 1, 2)


def _cells(h: torch.Tensor) -> torch.Tensor:
    """h (B, F, H, W) -> (4, B * H/2 * W/2, F): by place in the 2x2 cell, as the first two axes of `group_by_step`."""
    batch, width, height, columns = h.shape
    cells = h.permute(0, 2, 3, 1).reshape(batch, height // 2, 2, columns // 2, 2, width)
    return cells.permute(2, 4, 0, 1, 3, 5).reshape(4, -1, width)


def _spread(cells: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    """The inverse of `_cells`: h of that shape, in channels-last order."""
    batch, width, height, columns = shape
    h = cells.view(2, 2, batch, height // 2, columns // 2, width).permute(2, 3, 0, 4, 1, 5)
    return h.reshape(batch, height, columns, width).permute(0, 3, 1, 2)


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


def _weight(conv: nn.Module) -> torch.Tensor:
    """Of a 1x1 convolution, as a matrix (out, in)."""
    return cast(nn.Conv2d, conv).weight[:, :, 0, 0]


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

    def walk(
        self, features: torch.Tensor, known: Callable[[int, torch.Tensor], torch.Tensor]
    ) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """The four steps of training -> (y_hat, mean) of each, float32 and grouped as `group_by_step` does.

        What `reconstruct` computes, but each step works on its own quarter of the latents alone.
        features: (B, F, H, W), N a multiple of 4; known: (step, mean of its latents) -> y_hat of its latents.
        """
        width = features.shape[1]
        # What the features alone contribute to the four steps, at once.
        weights, biases = zip(*[(_weight(adapt)[:, :width], adapt.bias) for adapt in self.adapt], strict=True)
        base = F.conv2d(features, torch.cat(weights)[:, :, None, None], torch.cat(biases)).chunk(STEPS, dim=1)
        y_hat: list[torch.Tensor] = []
        means: list[torch.Tensor] = []
        for step, h in enumerate(base):
            if step:
                h = h + _spread(torch.bmm(torch.cat(y_hat, dim=2), self._of_known(step, width)), h.shape)
            weight, bias = self._head_of(step)
            mean = torch.baddbmm(bias, _cells(self.shared(h)), weight).float()
            means.append(mean)
            y_hat.append(known(step, mean))
        return y_hat, means

    def _of_known(self, step: int, width: int) -> torch.Tensor:
        """(4, step * N/4, F): the weights at each place for the latents that earlier steps decoded there."""
        weight = _weight(self.adapt[step])[:, width:]
        by_group = weight.view(len(weight), -1, STEPS).permute(2, 1, 0).unbind()
        # Slices, no indices: those would be copied to a GPU at every step, which waits for it.
        return torch.stack([torch.cat([by_group[_groups(before)[at]] for before in range(step)]) for at in range(4)])

    def _head_of(self, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Weights (4, F, N/4) and biases (4, 1, N/4) at each place for the latents that the step decodes there."""
        head, groups = cast(nn.Conv2d, self.head[step]), _groups(step)
        weight, bias = _weight(head), cast(torch.Tensor, head.bias)
        by_group = weight.view(-1, STEPS, weight.shape[1]).permute(1, 2, 0).unbind()
        biases = bias.view(-1, STEPS).unbind(dim=1)
        return torch.stack([by_group[g] for g in groups]), torch.stack([biases[g] for g in groups])[:, None]

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
