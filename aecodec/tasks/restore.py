"""Restoration: noise, holes, half the resolution, missing colours and speckles of pictures, undone by one model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from ..contracts import Restorer, UnknownName, UsageError
from ..data.images import Picture, read_picture
from ..data.tiling import Window, tiles
from ..device import has_bfloat16
from ..nn.luma import luma
from ..shield import shielded

#: Task -> the corruption that it undoes.
TASKS = {
    "denoise": "gaussian",
    "inpaint": "region",
    "upscale": "downsample",
    "colourise": "grey",
    "despeckle": "impulse",
}
#: Side of the tiles in pixels that a picture is restored in; each is computed with a margin of what the model sees.
TILE = 512


def corruption_of(task: str) -> str:
    """Raises UnknownName, listing what exists."""
    try:
        return TASKS[task]
    except KeyError:
        raise UnknownName(f"no task {task!r}; there are: {', '.join(TASKS)}") from None


@shielded()
def restore(
    model: Restorer, x: torch.Tensor, task: str, *, sigma: float | None = None, hole: torch.Tensor | None = None
) -> torch.Tensor:
    """x: (B, C, H, W) float32 in [0, 1], any sides -> restored, in [0, 1]; "upscale" doubles the sides.

    sigma: of the noise in [0, 1] units, estimated if None. hole: (B, 1, H, W), 1 where pixels are missing. A grey
    picture goes into a model of three channels as three equal ones. Raises UnknownName, UsageError.
    """
    corruption = corruption_of(task)
    if not isinstance(model, Restorer):
        raise UsageError("the model restores no pictures; it needs one of the restoration family")
    if sigma is not None and not 0 <= sigma <= 255:  # nor what is not a number
        raise UsageError(f"expected noise of at least 0, and no more than any picture has, found {sigma}")
    if model.channels == 3 and x.shape[1] == 1:
        x = x.expand(-1, 3, -1, -1)
    level = (estimate_sigma(x) if sigma is None else sigma) if corruption == "gaussian" else 0.0
    return model.restore(x, corruption, sigma=level, hole=hole)


@shielded()
def estimate_sigma(x: torch.Tensor) -> float:
    """The noise's standard deviation from the median of the finest diagonal Haar details (Donoho and Johnstone 1994).

    x: (B, C, H, W), sides of at least 2. Texture of the picture itself makes it an overestimate.
    """
    if min(x.shape[2:]) < 2:
        raise UsageError("noise cannot be estimated from a picture of one row or column; give its sigma")
    height, width = x.shape[2] // 2 * 2, x.shape[3] // 2 * 2
    parts = F.pixel_unshuffle(x[:, :, :height, :width].float(), 2).unflatten(1, (x.shape[1], 4))
    diagonal = (parts[:, :, 0] - parts[:, :, 1] - parts[:, :, 2] + parts[:, :, 3]) / 2.0
    return float(diagonal.abs().median()) / 0.6745


@shielded()
def to_batch(pixels: np.ndarray) -> torch.Tensor:
    """(H, W[, 3]) uint8 -> (1, C, H, W) float32 in [0, 1]."""
    planes = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
    return torch.from_numpy(np.array(planes))[None].float() / 255.0


@shielded()
def to_pixels(x: torch.Tensor) -> np.ndarray:
    """The inverse of `to_batch`, rounded and clipped."""
    planes = (x[0].clamp(0.0, 1.0) * 255.0).round().to(torch.uint8).cpu().numpy()
    return planes[0] if len(planes) == 1 else np.ascontiguousarray(planes.transpose(1, 2, 0))


def read_mask(path: Path, height: int, width: int) -> np.ndarray:
    """A picture whose light pixels (128 and above) mark what is missing -> (H, W) bool. Raises UsageError."""
    pixels = read_picture(path).pixels
    grey = pixels if pixels.ndim == 2 else pixels.max(axis=2)
    if grey.shape != (height, width):
        raise UsageError(f"{path}: a mask of {grey.shape[1]}x{grey.shape[0]} for a picture of {width}x{height}")
    return grey >= 128


def box_mask(box: tuple[int, int, int, int], height: int, width: int) -> np.ndarray:
    """left, top, width, height in pixels -> (H, W) bool. Raises UsageError if it is empty or leaves the picture."""
    left, top, wide, tall = box
    if left < 0 or top < 0 or wide < 1 or tall < 1 or left + wide > width or top + tall > height:
        raise UsageError(f"box {box} does not lie in a picture of {width}x{height}")
    mask = np.zeros((height, width), bool)
    mask[top : top + tall, left : left + wide] = True
    return mask


@shielded()
def restore_pixels(
    model: Restorer,
    pixels: np.ndarray,
    task: str,
    *,
    sigma: float | None = None,
    mask: np.ndarray | None = None,
    device: torch.device | str = "cpu",
    tile: int = TILE,
) -> np.ndarray:
    """(H, W) or (H, W, 3) uint8 -> restored, uint8; twice as high and wide for "upscale".

    sigma: noise in levels of 255, estimated over the whole picture if None; mask: (H, W) bool, True where pixels are
    missing. Pixels outside the mask come back bit for bit. A grey picture stays grey but for "colourise".
    Raises UnknownName, UsageError.
    """
    device = torch.device(device)
    if mask is not None and mask.shape != pixels.shape[:2]:
        raise UsageError(f"a mask of shape {mask.shape} for a picture of {pixels.shape[:2]}")
    x = to_batch(pixels).to(device)
    grey = pixels.ndim == 2
    if task == "colourise" and not grey:
        x = luma(x)
    if task == "denoise":
        sigma = estimate_sigma(x) if sigma is None else sigma / 255.0
    hole = None if mask is None else torch.from_numpy(mask)[None, None].to(device).float()
    factor = 2 if task == "upscale" else 1
    height, width = pixels.shape[:2]
    channels = 3 if task == "colourise" else x.shape[1]
    out = np.empty((channels, height * factor, width * factor), np.uint8)
    margin = -(-model.reach // model.alignment) * model.alignment
    with torch.autocast(device.type, torch.bfloat16, enabled=has_bfloat16(device)):
        for window in tiles(height, width, tile):
            outer = window.grown(margin, height, width)
            part = _cut(x, outer)
            part_hole = None if hole is None else _cut(hole, outer)
            done = restore(model, part, task, sigma=sigma, hole=part_hole)
            if channels == 1:
                done = done.mean(1, keepdim=True)
            inner = window.within(outer).times(factor)
            levels = (_cut(done[0], inner) * 255.0).round().to(torch.uint8)
            rows, columns = window.times(factor).slices
            out[:, rows, columns] = levels.cpu().numpy()
    result = out[0] if channels == 1 else np.ascontiguousarray(out.transpose(1, 2, 0))
    if mask is not None:
        result[~mask] = pixels[~mask]
    return result


def _cut(x: torch.Tensor, window: Window) -> torch.Tensor:
    """The window's part of (..., H, W)."""
    rows, columns = window.slices
    return x[..., rows, columns]


@shielded()
def restore_picture(
    model: Restorer,
    picture: Picture,
    task: str,
    *,
    sigma: float | None = None,
    mask: np.ndarray | None = None,
    device: torch.device | str = "cpu",
) -> Picture:
    """`restore_pixels` on a picture with its metadata and transparency. Raises UsageError where they cannot be kept."""
    if picture.alpha is not None and task == "upscale":
        raise UsageError("upscale handles no transparency; flatten the picture first")
    pixels = restore_pixels(model, picture.pixels, task, sigma=sigma, mask=mask, device=device)
    return replace(picture, pixels=pixels)
