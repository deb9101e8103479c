"""The table of corruptions that a denoising autoencoder undoes, and the operators behind it.

A corruption gives the picture that a model sees, planes that tell the model what is known about the damage, and the
freedom: how far each sample may be moved at most, so that what is known stays untouched.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from .luma import luma

#: Planes of the condition, in this order. sigma: standard deviation of the noise in [0, 1] units; the others 0 or 1.
CONDITIONS = ("sigma", "hole", "impulse", "enlarged", "grey")
#: Largest standard deviation that Gaussian noise is drawn with while training, in [0, 1] units.
LARGEST_SIGMA = 55.0 / 255.0
#: Noise moves hardly any sample further than this many standard deviations.
_REACH = 6.0


@dataclass(frozen=True)
class Corrupted:
    """What the model is given, all float32.

    seen: (B, C, H, W), about [0, 1]. condition: (B, len(CONDITIONS), H, W).
    freedom: (B, 1, H, W), the largest change in [0, 1] units, 0 where nothing may change.
    weight: (B, 1, H, W), by which an error counts, 0 where it does not.
    """

    seen: torch.Tensor
    condition: torch.Tensor
    freedom: torch.Tensor
    weight: torch.Tensor


def _condition(x: torch.Tensor, **planes: torch.Tensor | float) -> torch.Tensor:
    parts = [planes.get(name, 0.0) for name in CONDITIONS]
    one = torch.ones_like(x[:, :1])
    return torch.cat([one * part for part in parts], dim=1)


def noisy(x: torch.Tensor, sigma: torch.Tensor | float) -> Corrupted:
    """A picture with Gaussian noise of known sigma; 0 moves nothing.

    x: (B, C, H, W) float32; sigma: a number or (B, 1, 1, 1) float32, in [0, 1] units.
    """
    plane = torch.ones_like(x[:, :1]) * sigma
    return Corrupted(x, _condition(x, sigma=plane), _REACH * plane, torch.ones_like(plane))


def with_hole(x: torch.Tensor, hole: torch.Tensor) -> Corrupted:
    """A picture whose samples under ``hole`` are unknown, whatever x holds there.

    x: (B, C, H, W) float32; hole: (B, 1, H, W) bool or number, 1 missing, 0 known.
    """
    hole = hole.to(x.dtype)
    return Corrupted(fill_smoothly(x, hole), _condition(x, hole=hole), hole, hole)


def with_impulses(x: torch.Tensor) -> Corrupted:
    """A picture, (B, C, H, W) float32, in which some pixels, nobody knows which, are black or white."""
    one = torch.ones_like(x[:, :1])
    return Corrupted(x, _condition(x, impulse=1.0), one, one)


def enlarged(x: torch.Tensor) -> Corrupted:
    """A picture, (B, C, H, W) float32, that was enlarged from half its size by bicubic interpolation."""
    one = torch.ones_like(x[:, :1])
    return Corrupted(x, _condition(x, enlarged=1.0), one, one)


def greyed(x: torch.Tensor) -> Corrupted:
    """A grey picture, (B, 3, H, W) float32 of equal channels, whose colours are missing."""
    one = torch.ones_like(x[:, :1])
    return Corrupted(x, _condition(x, grey=1.0), one, one)


def halve(x: torch.Tensor) -> torch.Tensor:
    """(B, C, 2h, 2w) in [0, 1] -> (B, C, h, w) float32 by antialiased bicubic, rounded to 8 bits as a file would be."""
    size = x.shape[2] // 2, x.shape[3] // 2
    small = F.interpolate(x.float(), size=size, mode="bicubic", antialias=True, align_corners=False)
    return (small.clamp(0.0, 1.0) * 255.0).round() / 255.0


def double(x: torch.Tensor) -> torch.Tensor:
    """(B, C, h, w) -> (B, C, 2h, 2w) float32 by bicubic interpolation, clipped to [0, 1]."""
    large = F.interpolate(x.float(), scale_factor=2, mode="bicubic", antialias=True, align_corners=False)
    return large.clamp(0.0, 1.0)


def fill_smoothly(x: torch.Tensor, hole: torch.Tensor) -> torch.Tensor:
    """Fill holes from what surrounds them, coarse to fine (push-pull, Gortler et al. 1996, sec. 3.3).

    x: (B, C, H, W) float32; hole: (B, 1, H, W) float32, 1 missing, 0 known. Known samples are
    returned as they are; all missing gives 1/2.
    """
    known = 1.0 - hole
    height, width = x.shape[2:]
    if height == 1 and width == 1:
        return x * known + 0.5 * hole
    weight = F.avg_pool2d(known, 2, ceil_mode=True)
    mean = F.avg_pool2d(torch.where(hole > 0, torch.zeros_like(x), x), 2, ceil_mode=True) / weight.clamp_min(1e-6)
    coarse = fill_smoothly(mean, (weight == 0).to(x.dtype))
    smooth = F.interpolate(coarse, size=(height, width), mode="bilinear", align_corners=False)
    return torch.where(hole > 0, smooth, x)


# -- random damage, for training -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Drawn:
    """Random damage to a clean batch: what the model gets, and what it should give, (B, C, H, W) float32 in [0, 1]."""

    corrupted: Corrupted
    target: torch.Tensor


def _uniform(x: torch.Tensor, rng: torch.Generator, low: float, high: float) -> torch.Tensor:
    """One number per item of a batch, (B, 1, 1, 1)."""
    return low + (high - low) * torch.rand(len(x), 1, 1, 1, generator=rng, device=x.device)


def _draw_gaussian(x: torch.Tensor, rng: torch.Generator) -> Drawn:
    """sigma = 55/255 u^2 for uniform u: weak noise is what photographs have, and where a denoiser easily does harm.

    Two fifths of colour pictures are made grey, with one noise for all channels.
    """
    sigma = LARGEST_SIGMA * _uniform(x, rng, 0.0, 1.0).square()
    noise = torch.randn(x.shape, generator=rng, device=x.device)
    grey = _uniform(x, rng, 0.0, 1.0) < (0.4 if x.shape[1] == 3 else 0.0)
    clean = torch.where(grey, luma(x), x)
    noise = torch.where(grey, noise[:, :1], noise)
    return Drawn(noisy(clean + sigma * noise, sigma), clean)


def _draw_impulse(x: torch.Tensor, rng: torch.Generator) -> Drawn:
    """Up to 30 % of the pixels become black or white, all channels alike."""
    share = _uniform(x, rng, 0.0, 0.3)
    chance = torch.rand(len(x), 1, *x.shape[2:], generator=rng, device=x.device)
    black_or_white = (torch.rand(chance.shape, generator=rng, device=x.device) < 0.5).to(x.dtype)
    return Drawn(with_impulses(torch.where(chance < share, black_or_white, x)), x)


def draw_region(x: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
    """A rectangle per item, sides from a sixteenth to three eighths of the picture's.

    x: (B, C, H, W) -> (B, 1, H, W) of its type, 1 inside, else 0.
    """
    height, width = x.shape[2:]
    rows = torch.arange(height, device=x.device).view(1, 1, -1, 1)
    columns = torch.arange(width, device=x.device).view(1, 1, 1, -1)
    tall, wide = ((_uniform(x, rng, 1 / 16, 3 / 8) * side).ceil() for side in (height, width))
    top = (_uniform(x, rng, 0.0, 1.0) * (height - tall + 1)).floor()
    left = (_uniform(x, rng, 0.0, 1.0) * (width - wide + 1)).floor()
    inside = (rows >= top) & (rows < top + tall) & (columns >= left) & (columns < left + wide)
    return inside.to(x.dtype)


def draw_scribble(x: torch.Tensor, rng: torch.Generator, strokes: int = 6) -> torch.Tensor:
    """A broken line of thick strokes per item. x: (B, C, H, W) -> (B, 1, H, W) of its type, 1 under the pen, else 0."""
    height, width = x.shape[2:]
    side = float(max(height, width))
    rows = torch.arange(height, device=x.device).view(1, 1, -1, 1) / side
    columns = torch.arange(width, device=x.device).view(1, 1, 1, -1) / side
    thick = _uniform(x, rng, 1.5, 4.5) / side
    mask = torch.zeros_like(x[:, :1])
    y, z = _uniform(x, rng, 0.0, height / side), _uniform(x, rng, 0.0, width / side)
    for _ in range(strokes):
        next_y, next_z = _uniform(x, rng, 0.0, height / side), _uniform(x, rng, 0.0, width / side)
        run_y, run_z = next_y - y, next_z - z
        along = ((rows - y) * run_y + (columns - z) * run_z) / (run_y**2 + run_z**2).clamp_min(1e-9)
        along = along.clamp(0.0, 1.0)
        distance2 = (rows - y - along * run_y) ** 2 + (columns - z - along * run_z) ** 2
        mask = torch.maximum(mask, (distance2 <= thick**2).to(x.dtype))
        y, z = next_y, next_z
    return mask


def _draw_region(x: torch.Tensor, rng: torch.Generator) -> Drawn:
    return Drawn(with_hole(x, draw_region(x, rng)), x)


def _draw_scribble(x: torch.Tensor, rng: torch.Generator) -> Drawn:
    return Drawn(with_hole(x, draw_scribble(x, rng)), x)


def _draw_downsample(x: torch.Tensor, rng: torch.Generator) -> Drawn:
    return Drawn(enlarged(double(halve(x))), x)


def _draw_grey(x: torch.Tensor, rng: torch.Generator) -> Drawn:
    return Drawn(greyed(luma(x).expand_as(x)), x)


@dataclass(frozen=True)
class Corruption:
    """draw: clean (B, C, H, W) float32 in [0, 1] and a generator -> Drawn. colour: whether it needs three channels."""

    draw: Callable[[torch.Tensor, torch.Generator], Drawn]
    summary: str
    colour: bool = False


CORRUPTIONS: dict[str, Corruption] = {
    "gaussian": Corruption(_draw_gaussian, "Gaussian noise of known strength"),
    "impulse": Corruption(_draw_impulse, "salt and pepper"),
    "region": Corruption(_draw_region, "a missing rectangle (Pathak et al. 2016, context encoders)"),
    "scribble": Corruption(_draw_scribble, "missing pixels under thick strokes"),
    "downsample": Corruption(_draw_downsample, "half the resolution, enlarged again by bicubic interpolation"),
    "grey": Corruption(_draw_grey, "missing colours", colour=True),
}
