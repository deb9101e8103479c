"""The codes of a picture and of its windows, from its pixels, and how far apart pictures are by them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from ..index.codes import hamming_distances
from ..index.windows import LAYOUT, LAYOUTS, WHOLE, Window


class PictureHasher(Protocol):
    """What is needed of a hasher.

    side: of its input in pixels. n_bits: of its codes. lengths: all lengths that it was trained for, in bits; a shorter
    code is the beginning of a longer one.
    """

    name: str
    fingerprint: bytes
    n_bits: int
    side: int
    lengths: tuple[int, ...]

    def hash_pixels(self, pictures: Sequence[np.ndarray], bits: int | None = None) -> np.ndarray:
        """(H, W) or (H, W, 3) uint8 of any sizes -> (N, bits / 8) uint8. bits: one of the lengths, or n_bits."""
        ...


def cut(pixels: np.ndarray, window: Window) -> np.ndarray:
    """The pixels of a window, (H, W) or (H, W, 3): at least one, a view. Edges are rounded to whole pixels."""
    height, width = pixels.shape[:2]
    top, left = (min(round(at * side), side - 1) for at, side in ((window.top, height), (window.left, width)))
    bottom, right = round((window.top + window.height) * height), round((window.left + window.width) * width)
    return pixels[top : max(bottom, top + 1), left : max(right, left + 1)]


def part_text(part: Window) -> str:
    """A window for people: its size and its left upper corner, in shares of the sides."""
    return f"{part.width:.0%} x {part.height:.0%} at {part.left:.0%}, {part.top:.0%}"


def part_record(part: Window) -> list[float] | None:
    """A window for JSON: left, top, width, height in shares of the sides; None for the whole."""
    sides = (part.left, part.top, part.width, part.height)
    return None if part == WHOLE else [round(side, 4) for side in sides]


def picture_codes(
    hasher: PictureHasher, pictures: Sequence[np.ndarray], layout: int = LAYOUT, bits: int | None = None
) -> np.ndarray:
    """Sets of codes, all hashed in one batch: (H, W) or (H, W, 3) uint8 each -> (N, 1 + W, bits / 8) uint8.

    layout: a number of `index.windows.LAYOUTS`; the first code of each set is that of the whole. bits: one of the
    hasher's lengths, its n_bits unless given.
    """
    bits = hasher.n_bits if bits is None else bits
    parts = (WHOLE, *LAYOUTS[layout])
    if not len(pictures):
        return np.empty((0, len(parts), bits // 8), np.uint8)
    cuts = [cut(pixels, part) for pixels in pictures for part in parts]
    return hasher.hash_pixels(cuts, bits).reshape(len(pictures), len(parts), -1)


#: Sets that are compared with all others at a time.
_TILE = 64


def distances(queries: np.ndarray, sets: np.ndarray) -> np.ndarray:
    """How far pictures are apart, as `index.windows.apart` has it, for many at once: (Q, 1 + W, B) and (N, 1 + W, B)
    uint8 -> (Q, N) int32 in bits."""
    count, width = len(sets), sets.shape[2]
    wholes, every = (np.ascontiguousarray(part).reshape(-1, width) for part in (sets[:, 0], sets))
    found = np.empty((len(queries), count), np.int32)
    for start in range(0, len(queries), _TILE):
        asked = np.ascontiguousarray(queries[start : start + _TILE])
        each = hamming_distances(np.ascontiguousarray(asked[:, 0]), every).reshape(len(asked), count, sets.shape[1])
        back = hamming_distances(asked.reshape(-1, width), wholes).reshape(*asked.shape[:2], count)
        found[start : start + _TILE] = np.minimum(each.min(2), back.min(1))
    return found
