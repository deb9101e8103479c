"""Random weights of EfficientNet-Lite0 with the names and norms under which trained ones are published."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from aecodec.nn.trunk import STAGES, STEM, TOP


def published(blocks: Sequence[int], *, top: bool = False, seed: int = 0) -> dict[str, torch.Tensor]:
    """Weights of the first stages, and perhaps of the top."""
    rng = torch.Generator().manual_seed(seed)
    weights: dict[str, torch.Tensor] = {}

    def add(name: str, norm: str, leaving: int, entering: int, kernel: int) -> None:
        weights[f"{name}.weight"] = torch.randn(leaving, entering, kernel, kernel, generator=rng) / entering**0.5
        for part in ("weight", "running_var"):
            weights[f"{norm}.{part}"] = 0.5 + torch.rand(leaving, generator=rng)
        for part in ("bias", "running_mean"):
            weights[f"{norm}.{part}"] = torch.randn(leaving, generator=rng)

    add("_conv_stem", "_bn0", STEM, 3, 3)
    entering, number = STEM, 0
    for kernel, _, expansion, leaving, count in STAGES[: len(blocks)]:
        for _ in range(count):
            block, inner = f"_blocks.{number}", entering * expansion
            if expansion > 1:
                add(f"{block}._expand_conv", f"{block}._bn0", inner, entering, 1)
            add(f"{block}._depthwise_conv", f"{block}._bn1", inner, 1, kernel)
            add(f"{block}._project_conv", f"{block}._bn2", leaving, inner, 1)
            entering, number = leaving, number + 1
    if top:
        add("_conv_head", "_bn1", TOP, entering, 1)
    return weights
