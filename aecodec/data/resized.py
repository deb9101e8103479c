"""Whole pictures of any size resized to items of one shape: square, in colour, grey, or as oriented gradients."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from PIL import Image

from ..contracts import ImageReadError, UsageError
from .folders import list_photos
from .images import read_picture

#: How a whole picture becomes an item.
VIEWS = ("colour", "grey", "gradients")
#: Orientations and pixels per cell side of the "gradients" view.
ORIENTATIONS, CELL = 8, 8
#: Contrast below which a cell counts as flat, in [0, 1] units of the gradient.
_FLAT = 0.02


def view_of(shape: tuple[int, ...]) -> tuple[str, int]:
    """The view and the side in pixels behind items of a shape. Raises UsageError if no view makes such items."""
    if len(shape) == 3 and shape[1] == shape[2]:
        if shape[0] in (1, 3):
            return ("grey" if shape[0] == 1 else "colour"), shape[1]
        if shape[0] == ORIENTATIONS:
            return "gradients", shape[1] * CELL
    raise UsageError(f"items of shape {tuple(shape)} are made from no picture file")


def read_view(path: Path, side: int, view: str) -> np.ndarray:
    """One picture, squeezed to side x side -> an item. Raises ImageReadError, UsageError for an unknown view.

    colour: (3, side, side) uint8; grey: (1, side, side) uint8; gradients: (8, side / 8, side / 8) float32 in [0, 1].
    """
    if view not in VIEWS:
        raise UsageError(f"expected a view of {', '.join(VIEWS)}, found {view!r}")
    image = Image.fromarray(read_picture(path).pixels).convert("RGB" if view == "colour" else "L")
    pixels = np.asarray(image.resize((side, side), Image.Resampling.LANCZOS))
    if view == "gradients":
        return oriented_gradients(pixels)
    return pixels[None].copy() if view == "grey" else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def oriented_gradients(grey: np.ndarray) -> np.ndarray:
    """(H, W) uint8 -> (8, H / 8, W / 8) float32: how strong edges of eight directions are in each cell.

    After Dalal and Triggs 2005: votes shared by neighbouring directions, unsigned, each cell divided by the strength of
    the 3 x 3 cells around it. What an object's outline looks like stays, its brightness does not.
    """
    padded = np.pad(grey.astype(np.float64) / 255.0, 1, mode="edge")
    across = padded[1:-1, 2:] - padded[1:-1, :-2]
    down = padded[2:, 1:-1] - padded[:-2, 1:-1]
    strength = np.hypot(across, down)
    direction = np.mod(np.arctan2(down, across), np.pi) / np.pi * ORIENTATIONS
    apart = np.abs(direction[None] - np.arange(ORIENTATIONS)[:, None, None])
    votes = strength * np.clip(1.0 - np.minimum(apart, ORIENTATIONS - apart), 0.0, None)
    rows, columns = grey.shape[0] // CELL, grey.shape[1] // CELL
    cells = votes[:, : rows * CELL, : columns * CELL].reshape(ORIENTATIONS, rows, CELL, columns, CELL).mean((2, 4))
    power = np.pad(np.square(cells).sum(0), 1)
    around = sum(power[i : i + rows, j : j + columns] for i in range(3) for j in range(3)) / 9.0
    return (cells / (np.sqrt(around) + _FLAT)).astype(np.float32) / 3.0


def read_folder(folder: Path, side: int, view: str) -> np.ndarray:
    """Every picture below a folder, in order of paths -> (N, *item).

    Unreadable ones are left out with a warning. Raises ImageReadError if none is left.
    """
    if not folder.is_dir():
        raise ImageReadError(f"{folder}: no such folder")
    return read_items(list_photos(folder), side, view)


def read_items(paths: list[Path], side: int, view: str) -> np.ndarray:
    """Some pictures -> (N, *item), as `read_folder`."""
    items = []
    for path in paths:
        try:
            items.append(read_view(path, side, view))
        except ImageReadError as error:
            warnings.warn(f"left out: {error}", stacklevel=2)
    if not items:
        raise ImageReadError("none of the pictures can be read")
    return np.stack(items)
