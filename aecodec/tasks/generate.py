"""Generation: samples, ways between two items, the grid of a two-dimensional manifold, sheets of pictures."""

from __future__ import annotations

import torch

from ..contracts import Autoencoder, UsageError, Variational
from ..shield import shielded
from .loading import check_items


@shielded()
@torch.no_grad()
def sample(model: Variational, count: int, rng: torch.Generator) -> torch.Tensor:
    """Decoded draws of N(0, I), (count, *shape) float32. Raises UsageError for a model without that prior."""
    if not isinstance(model, Variational):
        raise UsageError("only a variational model can be sampled from: its codes have a known distribution")
    return model.decode(torch.randn(count, model.latents, generator=rng, device=rng.device))


@shielded()
@torch.no_grad()
def interpolate(model: Autoencoder, first: torch.Tensor, second: torch.Tensor, steps: int) -> torch.Tensor:
    """Decoded points of the straight line between two items' codes, ends included.

    first, second: (*shape) float32. steps: at least 2. -> (steps, *shape). Raises UsageError.
    """
    if steps < 2:
        raise UsageError(f"a way between two items takes at least 2 steps, found {steps}")
    for item in (first, second):
        check_items(model, item[None])
    ends = model.encode(torch.stack([first, second]))
    share = torch.linspace(0.0, 1.0, steps, device=ends.device)[:, None]
    return model.decode(torch.lerp(ends[:1], ends[1:], share))


@shielded()
@torch.no_grad()
def manifold(model: Autoencoder, side: int, device: torch.device | str = "cpu") -> torch.Tensor:
    """The plane of a two-dimensional code, at equal steps of probability under N(0, I) (Kingma and Welling, fig. 4).

    -> (side * side, *shape), in rows from the top. Raises UsageError unless the model has two latents.
    """
    if model.latents != 2:
        raise UsageError(f"a manifold grid needs a model of 2 latents, this one has {model.latents}")
    levels = (torch.arange(side, device=device) + 0.5) / side
    points = torch.special.ndtri(levels)
    return model.decode(torch.cartesian_prod(-points, points))


@shielded()
def sheet(items: torch.Tensor, columns: int, gap: int = 2) -> torch.Tensor:
    """Pictures side by side on white: (N, C, H, W) in [0, 1] -> (C, rows (H + gap) + gap, columns (W + gap) + gap)."""
    count, channels, height, width = items.shape
    columns = min(columns, count)
    rows = -(-count // columns)
    page = torch.ones(channels, rows * (height + gap) + gap, columns * (width + gap) + gap)
    for number, item in enumerate(items.clamp(0.0, 1.0)):
        top = gap + number // columns * (height + gap)
        left = gap + number % columns * (width + gap)
        page[:, top : top + height, left : left + width] = item
    return page
