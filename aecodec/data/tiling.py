"""Rectangles of a picture: its tiles in raster order, their margins, and the slices that cut them out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Window:
    """Rows top ... bottom - 1 and columns left ... right - 1."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        return self.bottom - self.top, self.right - self.left

    @property
    def slices(self) -> tuple[slice, slice]:
        """Rows and columns of the whole that the window covers."""
        return slice(self.top, self.bottom), slice(self.left, self.right)

    def grown(self, margin: int, height: int, width: int) -> Window:
        """The window with a margin on every side, as far as a whole of (height, width) goes."""
        grown = Window(self.top - margin, self.left - margin, self.bottom + margin, self.right + margin)
        return grown.clipped(height, width)

    def clipped(self, height: int, width: int) -> Window:
        """The part of the window that lies in a whole of (height, width)."""
        return Window(max(self.top, 0), max(self.left, 0), min(self.bottom, height), min(self.right, width))

    def within(self, outer: Window) -> Window:
        """The same rectangle in the coordinates of a window around it."""
        return Window(self.top - outer.top, self.left - outer.left, self.bottom - outer.top, self.right - outer.left)

    def touches(self, other: Window) -> bool:
        """Whether two rectangles have a pixel in common."""
        rows = self.top < other.bottom and other.top < self.bottom
        return rows and self.left < other.right and other.left < self.right

    def intersection(self, other: Window) -> Window:
        """What two rectangles that touch have in common."""
        return Window(
            max(self.top, other.top),
            max(self.left, other.left),
            min(self.bottom, other.bottom),
            min(self.right, other.right),
        )

    def divided(self, stride: int) -> Window:
        """The same rectangle in units of ``stride``, which divides its sides."""
        return Window(self.top // stride, self.left // stride, self.bottom // stride, self.right // stride)

    def times(self, stride: int) -> Window:
        """The inverse of `divided`."""
        return Window(self.top * stride, self.left * stride, self.bottom * stride, self.right * stride)


def crop_window(crop: tuple[int, int, int, int] | None) -> Window | None:
    """(x, y, width, height) in pixels -> the rectangle."""
    if crop is None:
        return None
    x, y, width, height = crop
    return Window(y, x, y + height, x + width)


def covering(window: Window, height: int, width: int, side: int) -> Window:
    """The rectangle of whole tiles that covers a window of a whole of (height, width)."""
    return Window(
        window.top // side * side,
        window.left // side * side,
        min(-(-window.bottom // side) * side, height),
        min(-(-window.right // side) * side, width),
    )


def tiles(height: int, width: int, side: int) -> Iterator[Window]:
    """The tiles of a whole of (height, width), in raster order; the last of a row or column are narrower."""
    for top in range(0, height, side):
        for left in range(0, width, side):
            yield Window(top, left, min(top + side, height), min(left + side, width))


def cut_padded(pixels: np.ndarray, window: Window) -> np.ndarray:
    """(H, W[, 3]) -> the window's part; where it reaches below or right of the picture, the last ones are repeated."""
    height, width = pixels.shape[:2]
    real = window.clipped(height, width)
    part = pixels[real.slices]
    below, right = window.bottom - real.bottom, window.right - real.right
    if below or right:
        part = np.pad(part, ((0, below), (0, right), *((0, 0),) * (part.ndim - 2)), mode="edge")
    return part
