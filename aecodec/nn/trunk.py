"""The convolutional trunk of EfficientNet-Lite0 (Tan and Le 2019; its Lite variant of 2020), cut off where one likes.

Inverted residual blocks (Sandler et al. 2018, "MobileNetV2") without attention, ReLU6 throughout. Norms are folded into
the convolutions: weights trained elsewhere are taken over by `Trunk.load_published`, and finely tuned from there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

import torch
import torch.nn.functional as F
from torch import nn

from ..contracts import CheckpointError
from ..data.pickled import read_pickled

#: Kernel, stride, expansion and channels of each stage, and its number of blocks in the whole network.
STAGES = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)
#: Channels of the first convolution, and of the last one of the whole network.
STEM, TOP = 32, 1280
#: Of the batch norms of the weights published.
_EPSILON = 1e-3
#: A block's convolutions here -> there, and the norm after each there.
_CONVOLUTIONS = {
    "expand": ("_expand_conv", "_bn0"),
    "depthwise": ("_depthwise_conv", "_bn1"),
    "project": ("_project_conv", "_bn2"),
}


class InvertedResidual(nn.Module):
    """1x1 to ``expansion`` times the channels, depthwise, 1x1; added to x where the shape stays."""

    def __init__(self, entering: int, leaving: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = entering * expansion
        self.expand = nn.Conv2d(entering, inner, 1) if expansion > 1 else nn.Identity()
        self.depthwise = nn.Conv2d(inner, inner, kernel, stride=stride, padding=kernel // 2, groups=inner)
        self.project = nn.Conv2d(inner, leaving, 1)
        self.expands, self.adds = expansion > 1, stride == 1 and entering == leaving

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = F.relu6(self.expand(x)) if self.expands else x
        if h.requires_grad and h.dtype != torch.float32:
            # On CPUs the gradient of depthwise convolutions in bfloat16 takes five times as long.
            with torch.autocast(h.device.type, enabled=False):
                h = self.depthwise(h.float())
        else:
            h = self.depthwise(h)
        h = self.project(F.relu6(h))
        return x + h if self.adds else h


class Trunk(nn.Module):
    """x (B, 3, H, W) float32 in [0, 1] -> features (B, width).

    blocks: how many of each stage, from the first; later stages are left out. What the last two stages give is pooled
    to 2 x 2. top: the whole network's last 1x1 convolution instead, pooled to one. frozen: so many stages, not all, and
    what precedes them, are not trained.
    """

    def __init__(self, blocks: Sequence[int], *, frozen: int = 0, top: bool = False) -> None:
        super().__init__()
        self.frozen = frozen
        self.stem = nn.Conv2d(3, STEM, 3, stride=2, padding=1)
        stages, channels = [], [STEM]
        for (kernel, stride, expansion, leaving, _), count in zip(STAGES, blocks, strict=False):
            stage = [InvertedResidual(channels[-1], leaving, kernel, stride, expansion)]
            stage += [InvertedResidual(leaving, leaving, kernel, 1, expansion) for _ in range(count - 1)]
            stages.append(nn.Sequential(*stage))
            channels.append(leaving)
        self.stages = nn.ModuleList(stages)
        self.top = nn.Conv2d(channels[-1], TOP, 1) if top else None
        self.width = TOP if top else 4 * sum(channels[-2:])
        if frozen:
            for part in (self.stem, *self.stages[:frozen]):
                part.requires_grad_(False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.late(self.early(x))

    def early(self, x: torch.Tensor) -> torch.Tensor:
        """x as of `forward` -> maps (B, *map_shape(H, W)): what the frozen stages give."""
        # Published weights take (byte - 127) / 128. A shift by a pixel aside, padding alike on both sides gives what
        # they were trained with.
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            x = F.relu6(self.stem((255.0 * x - 127.0) / 128.0))
            for stage in self.stages[: self.frozen]:
                x = stage(x)
        return x

    def late(self, x: torch.Tensor) -> torch.Tensor:
        """The maps of `early` -> features (B, width)."""
        before = x
        for stage in self.stages[self.frozen :]:
            before, x = x, stage(x)
        if self.top is not None:
            return F.relu6(self.top(x)).mean((2, 3))
        return torch.cat([_quarters(before), _quarters(x)], 1)

    def of_stored(self, views: torch.Tensor, count: int, shape: Sequence[int], rng: torch.Generator) -> torch.Tensor:
        """Maps of ``count`` views of each picture, (B, count * C * H * W) of `early` -> features of the first view of
        each and of another one, (2 B, width). shape: of the pictures."""
        maps = views.view(len(views), count, *self.map_shape(*shape[1:]))
        other = torch.randint(1, count, (len(views),), generator=rng, device=views.device)
        pair = torch.cat([maps[:, 0], maps[torch.arange(len(views), device=views.device), other]])
        return self.late(pair.contiguous(memory_format=torch.channels_last))

    def map_shape(self, height: int, width: int) -> tuple[int, int, int]:
        """(C, H, W) of the maps of pictures of a size."""
        strides = [2, *(stage[1] for stage in STAGES[: self.frozen])]
        for stride in strides:
            height, width = -(-height // stride), -(-width // stride)
        return (STAGES[self.frozen - 1][3] if self.frozen else STEM), height, width

    @torch.no_grad()
    def load_published(self, path: Path) -> None:
        """Take over weights of EfficientNet-Lite0 from a .pth file with the names of the package
        efficientnet-lite-pytorch, norms folded in.

        Raises CheckpointError for a file that cannot be read, KeyError or RuntimeError for one of another network.
        """
        published = read_pickled(path, CheckpointError)
        self._fold(self.stem, published, "_conv_stem", "_bn0")
        firsts = [sum(stage[4] for stage in STAGES[:number]) for number in range(len(STAGES))]
        for first, stage in zip(firsts, self.stages, strict=False):
            for number, block in enumerate(cast(nn.Sequential, stage), first):
                for ours, (theirs, norm) in _CONVOLUTIONS.items():
                    convolution = getattr(block, ours)
                    if isinstance(convolution, nn.Conv2d):
                        name = f"_blocks.{number}"
                        self._fold(convolution, published, f"{name}.{theirs}", f"{name}.{norm}")
        if self.top is not None:
            self._fold(self.top, published, "_conv_head", "_bn1")

    @staticmethod
    def _fold(convolution: nn.Conv2d, published: Mapping[str, torch.Tensor], name: str, norm: str) -> None:
        mean, variance, scale, shift = (
            published[f"{norm}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")
        )
        gain = scale / (variance + _EPSILON).sqrt()
        weight = published[f"{name}.weight"] * gain[:, None, None, None]
        if weight.shape != convolution.weight.shape or convolution.bias is None:
            raise RuntimeError(f"{name} has shape {tuple(weight.shape)}, not {tuple(convolution.weight.shape)}")
        convolution.weight.copy_(weight)
        convolution.bias.copy_(shift - mean * gain)


def _quarters(x: torch.Tensor) -> torch.Tensor:
    """(B, C, H, W), sides of at least 2 -> (B, 4 C): means over 2 x 2 windows that meet in the middle, or share it."""
    # Plain numbers, also where a graph is traced.
    sides = [int(side) for side in x.shape[2:]]
    halves = [side // 2 for side in sides]
    reach = [side - half for side, half in zip(sides, halves, strict=True)]
    return F.avg_pool2d(x, reach, halves).flatten(1)
