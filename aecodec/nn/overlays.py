"""What people put around and over pictures: frames and bars, captions, stickers, another picture beside it, filters.

Each takes a batch (B, C, H, W) float32 in [0, 1] and draws, and returns another of the same shape. Letters are drawn
as rows of random cells: what is left of letters in a thumbnail.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from .draws import Draws
from .luma import luma

#: Largest share of a side that a frame or a bar takes on one side of the picture.
_FRAME = 0.35
#: Rows and columns of the cells that letters are made of, in a picture.
_CELLS = 24, 48


def framed(x: torch.Tensor, draws: Draws) -> torch.Tensor:
    """Squeezed into a frame of one tone: on all sides, above and below, left and right, or on one side alone, where
    bars of a screenshot or a caption's paper may carry letters."""
    kind = draws.uniform(0.0, 4.0).long()
    shares = [draws.uniform(0.0, _FRAME) for _ in range(4)]
    even = draws.uniform(0.02, 0.15)
    left, right, above, below = shares
    none = torch.zeros_like(even)
    only_below = draws.uniform(0.0, 1.0) < 0.5
    choices = {
        0: (even, even, even, even),
        1: (none, none, above, below),
        2: (left, right, none, none),
        3: (none, none, torch.where(only_below, none, above), torch.where(only_below, below, none)),
    }
    margins = [torch.stack([choices[k][side] for k in range(4)]).gather(0, kind[None])[0] for side in range(4)]
    width, height = 1 + margins[0] + margins[1], 1 + margins[2] + margins[3]
    zero = torch.zeros_like(width)
    rows = [
        torch.stack([width, zero, margins[1] - margins[0]], 1),
        torch.stack([zero, height, margins[3] - margins[2]], 1),
    ]
    grid = F.affine_grid(torch.stack(rows, 1), [len(x), 1, *x.shape[2:]], align_corners=False)
    inside = (grid.abs() <= 1).all(-1)[:, None]
    squeezed = F.grid_sample(x, grid, mode="bilinear", padding_mode="border", align_corners=False)
    paper = tones(x, draws)
    written = letters(x, draws) & draws.chance(0.4)
    return torch.where(inside, squeezed, torch.where(written, 1 - paper, paper))


def captioned(x: torch.Tensor, draws: Draws) -> torch.Tensor:
    """One or two bands of letters over the picture, light or dark, some with an edge, as in memes."""
    mask = letters(x, draws)
    height = x.shape[2]
    down = (torch.arange(height, device=x.device) + 0.5) / height
    size, place = draws.uniform(0.08, 0.25)[:, None], draws.uniform(0.0, 1.0)[:, None]
    first = ((down - place).abs() < size / 2)[:, None, :, None]
    second = ((1 - down - place).abs() < size / 2)[:, None, :, None] & draws.chance(0.5)
    mask = mask & (first | second)
    ink = draws.chance(0.7).float()
    edge = F.max_pool2d(mask.float(), 3, 1, 1).bool() & ~mask & draws.chance(0.6)
    return torch.where(mask, ink, torch.where(edge, 1 - ink, x))


def stickered(x: torch.Tensor, draws: Draws) -> torch.Tensor:
    """Something round or rectangular over the picture: of one colour, or another picture of the batch."""
    height, width = x.shape[2:]
    down = (torch.arange(height, device=x.device) + 0.5) / height
    across = (torch.arange(width, device=x.device) + 0.5) / width
    dy = (down - draws.uniform(0, 1)[:, None]) / draws.uniform(0.06, 0.22)[:, None]
    dx = (across - draws.uniform(0, 1)[:, None]) / draws.uniform(0.06, 0.22)[:, None]
    dy, dx = dy[:, None, :, None], dx[:, None, None, :]
    covered = torch.where(draws.chance(0.5), dx.square() + dy.square() < 1, (dx.abs() < 1) & (dy.abs() < 1))
    other = torch.where(draws.chance(0.3), x.roll(1, 0).flip(3), tones(x, draws))
    return torch.where(covered, other, x)


def beside(x: torch.Tensor, draws: Draws) -> torch.Tensor:
    """A collage of two: squeezed into one half, a mirrored other picture of the batch in the other half.

    Mirrored, since as it is the other one would be a copy of a picture that counts as different.
    """
    height, width = x.shape[2:]
    other = x.roll(1, 0).flip(3)
    first = draws.chance(0.5)
    left, right = torch.where(first, x, other), torch.where(first, other, x)
    half = width // 2
    wide = torch.cat([_resized(left, height, half), _resized(right, height, width - half)], 3)
    half = height // 2
    tall = torch.cat([_resized(left, half, width), _resized(right, height - half, width)], 2)
    return torch.where(draws.chance(0.5), wide, tall)


def filtered(x: torch.Tensor, draws: Draws) -> torch.Tensor:
    """A strong filter of colours: tinted from grey, each channel with a curve and a floor of its own, or each channel a
    mixture of all three."""
    if x.shape[1] == 1:
        return x
    colour = draws.uniform_of(3, 0.4, 1.0)[:, :, None, None]
    tinted = luma(x) * colour / colour.amax(1, keepdim=True)
    strength = draws.uniform(0.3, 1.0)[:, None, None, None]
    floor = draws.uniform_of(3, 0.0, 0.3)[:, :, None, None]
    gamma = torch.exp(draws.uniform_of(3, -0.6, 0.6))[:, :, None, None]
    curved = floor + (1 - floor) * x.clamp(1e-3, 1.0) ** gamma
    shares = draws.uniform_of(9, 0.0, 1.0).view(-1, 3, 3) ** 3
    mixed = torch.einsum("bij,bjhw->bihw", shares / shares.sum(2, keepdim=True).clamp(min=1e-6), x)
    which = draws.uniform(0.0, 3.0)[:, None, None, None]
    return torch.where(which < 1, x + strength * (tinted - x), torch.where(which < 2, curved, mixed))


def tones(x: torch.Tensor, draws: Draws) -> torch.Tensor:
    """(B, C, 1, 1): black, white or any colour, a third each."""
    which = draws.uniform(0.0, 3.0)[:, None, None, None]
    colour = draws.uniform_of(x.shape[1], 0.0, 1.0)[:, :, None, None]
    return torch.where(which < 1, 0.0, torch.where(which < 2, 1.0, colour))


def letters(x: torch.Tensor, draws: Draws) -> torch.Tensor:
    """(B, 1, H, W) bool: lines of cells, half of them inked, with blank lines between, each picture with its own."""
    cells = draws.uniform_of(_CELLS[0] * _CELLS[1], 0.0, 1.0).view(-1, 1, *_CELLS) < 0.5
    lines = torch.arange(_CELLS[0], device=x.device) % 3 != 0
    return F.interpolate((cells & lines[:, None]).float(), size=x.shape[2:], mode="nearest").bool()


def _resized(x: torch.Tensor, height: int, width: int) -> torch.Tensor:
    return F.interpolate(x, size=(height, width), mode="area")
