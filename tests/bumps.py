"""Small pictures of Gaussian bumps, and any family trained on them within seconds."""

from __future__ import annotations

from typing import Any

import torch

from aecodec import checkpoint
from aecodec.contracts import Initialisable
from aecodec.data.arrays import ArraySet


def items(count: int = 2000, seed: int = 0) -> torch.Tensor:
    """Pictures of a few Gaussian bumps, (count, 1, 8, 8) in [0, 1]: of few dimensions, with a falling spectrum."""
    rng = torch.Generator().manual_seed(seed)
    grid = torch.arange(8.0)
    place = 1.5 + 5.0 * torch.rand(count, 2, 1, generator=rng)
    bump = torch.exp(-((grid - place) ** 2) / 3.0)
    strength = 0.3 + 0.7 * torch.rand(count, 1, 1, generator=rng)
    return (strength * bump[:, 0, :, None] * bump[:, 1, None, :])[:, None]


def train(family: str, x: torch.Tensor, steps: int, lr: float = 3e-3, seed: int = 0, **config: Any) -> Any:
    """A model of small items by plain full-batch Adam with a falling rate, in eval mode."""
    torch.manual_seed(seed)
    model = checkpoint.build(family, {"shape": tuple(x.shape[1:]), **config})
    if isinstance(model, Initialisable):
        model.initialise(ArraySet(x), torch.Generator().manual_seed(seed))
    optimizer = torch.optim.Adam(model.parameters(), lr)
    rng = torch.Generator().manual_seed(seed)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = lr * (1 - step / steps)
        loss = model.loss(x, rng, step / steps).total
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval().requires_grad_(False)


def error(model: Any, x: torch.Tensor) -> float:
    return float((model.reconstruct(x) - x).square().flatten(1).sum(1).mean())
