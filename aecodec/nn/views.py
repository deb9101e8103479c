"""Two views of one picture: random warps, colour, blur and block-transform losses on a batch, on its own device.

Every draw comes from the generator given, so a view is repeatable on one device.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F

from .draws import Draws
from .luma import luma
from .overlays import beside, captioned, filtered, framed, stickered, tones

#: The luminance table of JPEG (ITU-T T.81, table K.1), row by row.
JPEG_LUMINANCE = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)


@dataclass(frozen=True)
class ViewRecipe:
    """How strongly a view differs from its picture. Shares named ``*_p`` are probabilities.

    area: smallest share of the picture that a crop keeps; aspect: largest stretch of a crop; rotate: degrees;
    shear: tangent; zoom_out: largest factor by which a picture may shrink within the frame; elastic: standard
    deviation of a smooth warp, as a share of the side; thickness_p: strokes made bolder or finer; brightness,
    contrast, saturation: largest relative change; gamma: largest exponent or its inverse; noise: standard
    deviation; erase: largest side of a rectangle painted over, as a share of the side; fill_p: what a turn brings in
    from beyond the picture is of one tone instead of the padding; frame_p, caption_p, sticker_p, beside_p, filter_p: of
    nn.overlays.
    """

    area: float = 1.0
    aspect: float = 1.0
    rotate: float = 0.0
    shear: float = 0.0
    zoom_out: float = 1.0
    shift: float = 0.0
    elastic: float = 0.0
    thickness_p: float = 0.0
    flip_p: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    colour_p: float = 0.8
    gamma: float = 1.0
    grey_p: float = 0.0
    blur_p: float = 0.0
    blocks_p: float = 0.0
    noise: float = 0.0
    erase_p: float = 0.0
    erase: float = 0.3
    mark_p: float = 0.0
    fill_p: float = 0.0
    frame_p: float = 0.0
    caption_p: float = 0.0
    sticker_p: float = 0.0
    beside_p: float = 0.0
    filter_p: float = 0.0
    padding: str = "reflection"


_PHOTOS = ViewRecipe(
    area=0.3,
    aspect=1.2,
    rotate=8,
    brightness=0.4,
    contrast=0.4,
    saturation=0.4,
    hue=0.05,
    gamma=1.5,
    grey_p=0.35,
    blur_p=0.15,
    blocks_p=0.1,
    mark_p=0.2,
)

RECIPES: dict[str, ViewRecipe] = {
    "digits": ViewRecipe(
        area=0.6,
        aspect=1.25,
        rotate=20,
        shear=0.3,
        zoom_out=1.2,
        shift=0.08,
        elastic=0.04,
        thickness_p=0.6,
        noise=0.05,
        erase_p=0.3,
        padding="zeros",
    ),
    "clothes": ViewRecipe(
        area=0.8,
        aspect=1.1,
        rotate=5,
        shear=0.1,
        zoom_out=1.1,
        shift=0.06,
        flip_p=0.5,
        brightness=0.2,
        contrast=0.2,
        gamma=1.2,
        noise=0.03,
        padding="zeros",
    ),
    "objects": ViewRecipe(
        area=0.3, aspect=4 / 3, flip_p=0.5, brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1, grey_p=0.2
    ),
    "photos": _PHOTOS,
    # Photographs again, cut further and with something over, around or beside them.
    "copies": replace(
        _PHOTOS,
        area=0.25,
        aspect=1.25,
        rotate=15,
        mark_p=0.15,
        fill_p=0.4,
        frame_p=0.2,
        caption_p=0.12,
        sticker_p=0.15,
        beside_p=0.06,
        filter_p=0.15,
    ),
    # What a copy is held against: nearly the whole picture, nearly as it was.
    "originals": ViewRecipe(area=0.8, aspect=1.1, rotate=3, brightness=0.1, contrast=0.1, colour_p=0.5),
}


_Change = Callable[[torch.Tensor, Draws], torch.Tensor]


def random_view(batch: torch.Tensor, size: tuple[int, int], recipe: ViewRecipe, rng: torch.Generator) -> torch.Tensor:
    """batch: (B, C, H, W) float32 in [0, 1] -> (B, C, *size) float32 in [0, 1], each picture changed on its own."""
    draws = Draws(len(batch), rng, batch.device)
    x = _warp(batch, size, recipe, draws)
    x = _sometimes(x, recipe.thickness_p, draws, _thickness)
    x = _sometimes(x, recipe.sticker_p, draws, stickered)
    x = _sometimes(x, recipe.caption_p, draws, captioned)
    x = _sometimes(x, recipe.colour_p, draws, lambda some, own: _colour(some, recipe, own))
    if x.shape[1] == 3:
        x = _sometimes(x, recipe.grey_p, draws, lambda some, _: luma(some).expand_as(some))
    x = _sometimes(x, recipe.filter_p, draws, filtered)
    x = _sometimes(x, recipe.mark_p, draws, _marked)
    x = _sometimes(x, recipe.beside_p, draws, beside)
    x = _sometimes(x, recipe.frame_p, draws, framed)
    x = _sometimes(x, recipe.blur_p, draws, lambda some, own: blur(some, own.uniform(0.4, 1.6)))
    x = _sometimes(x, recipe.blocks_p, draws, lambda some, own: block_losses(some, own.uniform(8, 60)))
    if recipe.noise:
        x = x + recipe.noise * draws.uniform(0, 1)[:, None, None, None] * draws.normal(*x.shape[1:])
    x = _sometimes(x, recipe.erase_p, draws, lambda some, own: _erased(some, recipe.erase, own))
    return x.clamp(0.0, 1.0)


def _sometimes(x: torch.Tensor, share: float, draws: Draws, change: _Change) -> torch.Tensor:
    """Apply a change to a random share of the pictures, computed for those alone."""
    if not share:
        return x
    chosen = torch.nonzero(draws.uniform(0.0, 1.0) < share)[:, 0]
    if not len(chosen):
        return x
    return x.index_copy(0, chosen, change(x[chosen], Draws(len(chosen), draws.rng, draws.device)).contiguous())


def _warp(batch: torch.Tensor, size: tuple[int, int], recipe: ViewRecipe, draws: Draws) -> torch.Tensor:
    """Crop, stretch, rotate, shear, flip and bend, in one resampling."""
    side = draws.uniform(recipe.area, 1.0).sqrt() * draws.uniform(1.0, recipe.zoom_out)
    stretch = draws.ratio(recipe.aspect).sqrt()
    width, height = (side * stretch), (side / stretch)
    if recipe.zoom_out == 1.0:
        width, height = width.clamp(max=1.0), height.clamp(max=1.0)
    # The window may lie anywhere inside the picture, and `shift` beyond its edge.
    across = draws.uniform(-1, 1) * ((1 - width).clamp(min=0) + 2 * recipe.shift)
    down = draws.uniform(-1, 1) * ((1 - height).clamp(min=0) + 2 * recipe.shift)
    angle = draws.uniform(-1, 1) * math.radians(recipe.rotate)
    shear = draws.uniform(-1, 1) * recipe.shear
    mirror = torch.where(draws.uniform(0, 1) < recipe.flip_p, -1.0, 1.0)
    cos, sin = angle.cos(), angle.sin()
    first = torch.stack([width * cos * mirror, height * (shear * cos - sin), across], 1)
    second = torch.stack([width * sin * mirror, height * (shear * sin + cos), down], 1)
    grid = F.affine_grid(torch.stack([first, second], 1), [len(batch), 1, *size], align_corners=False)
    if recipe.elastic:
        bends = 2 * recipe.elastic * draws.normal(2, 4, 4)
        grid = grid + F.interpolate(bends, size=size, mode="bicubic", align_corners=True).permute(0, 2, 3, 1)
    warped = F.grid_sample(batch, grid, mode="bilinear", padding_mode=recipe.padding, align_corners=False)
    if not recipe.fill_p:
        return warped
    beyond = (grid.abs() > 1).any(-1)[:, None] & draws.chance(recipe.fill_p)
    return torch.where(beyond, tones(batch, draws), warped)


def disjoint_halves(batch: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
    """(n, C, H, W) -> (2 n, C, H, W): two windows of each picture that share no part of it, i and i + n of the same.

    Either lies on its side of a cut, and keeps 50 to 100 % of the other axis; both are resampled to the whole size.
    """
    draws = Draws(len(batch), rng, batch.device)
    cut, upright = draws.uniform(0.35, 0.65), draws.uniform(0.0, 1.0) < 0.5
    halves = []
    # In the coordinates of affine_grid: centre and half extent, of -1 to 1.
    for begin, end in ((torch.zeros_like(cut), cut), (cut, torch.ones_like(cut))):
        along, centre = end - begin, begin + end - 1
        other = draws.uniform(0.5, 1.0)
        beside_it = (1 - other) * draws.uniform(-1.0, 1.0)
        zero = torch.zeros_like(cut)
        first = torch.stack([torch.where(upright, other, along), zero, torch.where(upright, beside_it, centre)], 1)
        second = torch.stack([zero, torch.where(upright, along, other), torch.where(upright, centre, beside_it)], 1)
        grid = F.affine_grid(torch.stack([first, second], 1), list(batch.shape), align_corners=False)
        halves.append(F.grid_sample(batch, grid, mode="bilinear", padding_mode="border", align_corners=False))
    return torch.cat(halves)


def _thickness(x: torch.Tensor, draws: Draws) -> torch.Tensor:
    """Bright strokes made bolder (maximum of 2x2) or finer (minimum of 2x2)."""
    padded = F.pad(x, (0, 1, 0, 1))
    bold, fine = F.max_pool2d(padded, 2, 1), -F.max_pool2d(-padded, 2, 1)
    return torch.where(draws.chance(0.5), bold, fine)


def _colour(x: torch.Tensor, recipe: ViewRecipe, draws: Draws) -> torch.Tensor:
    """Gamma, brightness, contrast about the mean, saturation and hue, in this order."""

    def factor(largest: float) -> torch.Tensor:
        return draws.uniform(1 - largest, 1 + largest)[:, None, None, None]

    if recipe.gamma > 1.0:
        x = x.clamp(min=1e-4) ** draws.ratio(recipe.gamma)[:, None, None, None]
    if recipe.brightness:
        x = x * factor(recipe.brightness)
    if recipe.contrast:
        mean = x.mean((1, 2, 3), keepdim=True)
        x = mean + (x - mean) * factor(recipe.contrast)
    if x.shape[1] == 3 and (recipe.saturation or recipe.hue):
        grey = luma(x)
        x = grey + (x - grey) * factor(recipe.saturation)
        x = _turn_hue(x, 2 * math.pi * recipe.hue * draws.uniform(-1, 1))
    return x.clamp(0.0, 1.0)


def _turn_hue(x: torch.Tensor, angle: torch.Tensor) -> torch.Tensor:
    """Colours turned about the grey axis by an angle per picture, in radians (Rodrigues' rotation formula)."""
    cos, sin = angle.cos()[:, None, None], angle.sin()[:, None, None]
    unit = x.new_tensor([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]]) / math.sqrt(3)
    turn = cos * torch.eye(3, device=x.device) + sin * unit + (1 - cos) / 3
    return torch.einsum("bij,bjhw->bihw", turn, x)


def blur(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    """Gaussian blur by a standard deviation for each picture, cut off at 3 pixels.

    x: (B, C, H, W) float32; sigma: (B,) float32, positive, in pixels -> like x.
    """
    reach = torch.arange(4, device=x.device, dtype=torch.float32)
    weights = torch.exp(-0.5 * (reach / sigma[:, None]) ** 2)
    weights = (weights / (weights[:, :1] + 2 * weights[:, 1:].sum(1, keepdim=True)))[:, :, None, None, None]
    for axis, padding in ((2, (0, 0, 3, 3)), (3, (3, 3, 0, 0))):
        count, padded = x.shape[axis], F.pad(x, padding, mode="replicate")
        blurred = weights[:, 0] * x
        for step in (1, 2, 3):
            pair = padded.narrow(axis, 3 - step, count) + padded.narrow(axis, 3 + step, count)
            blurred = blurred + weights[:, step] * pair
        x = blurred
    return x


def block_losses(x: torch.Tensor, quality: torch.Tensor) -> torch.Tensor:
    """What JPEG's quantised 8x8 cosine transform leaves of each channel, at a quality of 1 to 100 per picture.

    The luminance table on every channel, without chroma subsampling: its distortions, not its files.
    x: (B, C, H, W) float32 in [0, 1]; quality: (B,) float32 in [1, 100] -> like x, not clipped.
    """
    scale = torch.where(quality < 50, 50 / quality, 2 - quality / 50)[:, None, None, None]
    step = (scale * x.new_tensor(JPEG_LUMINANCE).view(1, 64, 1, 1) / 255).clamp(min=1 / 255)
    rows = torch.arange(8, device=x.device, dtype=torch.float32)
    cosines = torch.cos((2 * rows[None, :] + 1) * rows[:, None] * math.pi / 16) / 2
    cosines[0] /= math.sqrt(2)
    basis = torch.einsum("ui,vj->uvij", cosines, cosines).reshape(64, 1, 8, 8)
    height, width = x.shape[2:]
    padded = F.pad(x, (0, -width % 8, 0, -height % 8), mode="replicate")
    planes = padded.reshape(-1, 1, *padded.shape[2:])
    steps = step.repeat_interleave(x.shape[1], 0)
    levels = torch.round(F.conv2d(planes - 0.5, basis, stride=8) / steps) * steps
    restored = F.conv_transpose2d(levels, basis, stride=8) + 0.5
    return restored.view(padded.shape)[:, :, :height, :width]


def _rectangle(x: torch.Tensor, largest: float, draws: Draws) -> torch.Tensor:
    """(B, 1, H, W) bool: one rectangle in each picture."""
    inside = []
    for axis, count in enumerate(x.shape[2:]):
        centre, half = draws.uniform(0, 1)[:, None], draws.uniform(0.1, largest)[:, None] / 2
        place = (torch.arange(count, device=x.device) + 0.5) / count
        hit = (place - centre).abs() < half
        inside.append(hit[:, None, :, None] if axis == 0 else hit[:, None, None, :])
    return inside[0] & inside[1]


def _erased(x: torch.Tensor, largest: float, draws: Draws) -> torch.Tensor:
    """A rectangle painted over in one level of grey."""
    return torch.where(_rectangle(x, largest, draws), draws.uniform(0, 1)[:, None, None, None], x)


def _marked(x: torch.Tensor, draws: Draws) -> torch.Tensor:
    """A half-transparent band of light or dark strokes, as a watermark is."""
    band = _rectangle(x, 1.4, draws)
    period, slant = draws.uniform(0.03, 0.15)[:, None, None, None], draws.uniform(-0.5, 0.5)[:, None, None, None]
    across = torch.linspace(0, 1, x.shape[3], device=x.device)[None, None, None, :]
    down = torch.linspace(0, 1, x.shape[2], device=x.device)[None, None, :, None]
    strokes = ((across + slant * down) / period).frac().abs() < 0.5
    opacity = draws.uniform(0.2, 0.7)[:, None, None, None]
    tone = draws.chance(0.7).float()
    return torch.where(band & strokes, (1 - opacity) * x + opacity * tone, x)
