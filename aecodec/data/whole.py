"""Whole pictures of any size, resized to one square size: the items of autoencoders with a fixed input."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from PIL import Image

from ..contracts import ImageReadError
from .images import read_picture
from .photos import list_photos


def resized(path: Path, side: int, grey: bool) -> np.ndarray:
    """One picture -> (C, side, side) uint8, squeezed to a square; C is 1 in grey, else 3. Raises ImageReadError."""
    image = Image.fromarray(read_picture(path).pixels).convert("L" if grey else "RGB")
    pixels = np.asarray(image.resize((side, side), Image.Resampling.LANCZOS))
    return pixels[None] if grey else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def read_whole(folder: Path, side: int, grey: bool) -> np.ndarray:
    """Every picture below a folder, in order of paths -> (N, C, side, side) uint8.

    Unreadable ones are left out with a warning. Raises ImageReadError if none is left.
    """
    if not folder.is_dir():
        raise ImageReadError(f"{folder}: no such folder")
    items = []
    for path in list_photos(folder):
        try:
            items.append(resized(path, side, grey))
        except ImageReadError as error:
            warnings.warn(f"left out of training: {error}", stacklevel=2)
    if not items:
        raise ImageReadError(f"{folder}: none of its pictures can be read")
    return np.stack(items)
