"""Training photographs held as bytes on the training device, and random crops cut from them there."""

from __future__ import annotations

import hashlib
import warnings
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from ..contracts import ImageReadError
from .arrays import KEYS
from .folders import list_photos
from .images import read_picture


def as_rgb(pixels: np.ndarray) -> np.ndarray:
    """(H, W[, 3]) -> (H, W, 3); grey is repeated."""
    return pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, axis=2)


def choose_held(paths: list[Path], count: int) -> set[Path]:
    """The files whose names have the smallest SHA-256, at most all but one: a choice that no other file changes."""
    ranked = sorted(paths, key=lambda p: hashlib.sha256(p.name.encode()).hexdigest())
    return set(ranked[: min(count, len(paths) - 1)])


class PhotoPack:
    """Pictures as one flat uint8 buffer, so that a batch of crops is one gather.

    pixels: (total,) uint8, RGB interleaved, pictures one after another, rows of each in order.
    offsets, heights, widths: (n,) int64. names: n file names, for the record.
    """

    def __init__(
        self,
        pixels: torch.Tensor,
        offsets: torch.Tensor,
        heights: torch.Tensor,
        widths: torch.Tensor,
        names: tuple[str, ...],
    ) -> None:
        self.pixels, self.offsets, self.heights, self.widths, self.names = pixels, offsets, heights, widths, names
        # Pictures are drawn in proportion to their area, so that every pixel is seen equally often.
        self.weights = (heights * widths).double()
        #: Shortest side of all pictures: no crop can be larger.
        self.smallest = int(torch.minimum(heights, widths).min())

    def __len__(self) -> int:
        return len(self.names)

    @classmethod
    def from_paths(cls, paths: list[Path], device: torch.device, smallest: int = 128) -> PhotoPack:
        """Decode pictures; those with a side below ``smallest`` are left out, unreadable ones with a warning.

        Raises ImageReadError if none is left.
        """
        arrays, names = [], []
        for path in paths:
            try:
                pixels = read_picture(path).pixels
            except ImageReadError as error:
                warnings.warn(f"left out of training: {error}", stacklevel=2)
                continue
            if min(pixels.shape[:2]) >= smallest:
                arrays.append(as_rgb(pixels))
                names.append(path.name)
        if not arrays:
            raise ImageReadError(
                f"none of {len(paths)} pictures can be read and has both sides of at least {smallest} pixels"
            )
        return cls.from_arrays(arrays, names, device)

    @classmethod
    def from_arrays(cls, arrays: list[np.ndarray], names: list[str], device: torch.device) -> PhotoPack:
        """Decoded pictures, (H, W, 3) uint8 each, at least one."""
        sizes = np.array([a.size for a in arrays], np.int64)
        buffer = torch.from_numpy(np.concatenate([a.ravel() for a in arrays])).to(device)
        offsets = torch.from_numpy(np.concatenate([[0], np.cumsum(sizes)[:-1]])).to(device)
        heights = torch.tensor([a.shape[0] for a in arrays], device=device)
        widths = torch.tensor([a.shape[1] for a in arrays], device=device)
        return cls(buffer, offsets, heights, widths, tuple(names))

    def picture(self, index: int) -> torch.Tensor:
        """One whole picture, (H, W, 3) uint8, a view."""
        start, h, w = int(self.offsets[index]), int(self.heights[index]), int(self.widths[index])
        return self.pixels[start : start + 3 * h * w].view(h, w, 3)

    def crops(self, count: int, size: int, rng: torch.Generator, downscale: float = 1.0) -> torch.Tensor:
        """Random crops, flipped and transposed at random -> (count, 3, size, size) float32 in [0, 1].

        downscale: smallest scale factor; one factor in [downscale, 1] is drawn per batch and the crop is
        area-averaged from a larger window: what JPEG left in a photograph shrinks with it.
        """
        device = self.pixels.device
        scale, plain, flip, transpose = torch.rand(4, generator=rng, device=device).tolist()
        factor = downscale + (1.0 - downscale) * scale
        window = size if plain < 0.5 else min(round(size / factor), self.smallest)
        which = torch.multinomial(self.weights, count, replacement=True, generator=rng)
        place = torch.rand(2, count, generator=rng, device=device)
        top = (place[0] * (self.heights[which] - window + 1)).long()
        left = (place[1] * (self.widths[which] - window + 1)).long()
        steps = torch.arange(window, device=device)
        first = (top[:, None] + steps) * self.widths[which][:, None] + left[:, None]
        starts = (self.offsets[which][:, None] + 3 * first).flatten()
        # Whole rows of a window are copied, each 3 * window bytes from its start.
        rows = self.pixels.unfold(0, 3 * window, 1).index_select(0, starts)
        batch = rows.view(count, window, window, 3).permute(0, 3, 1, 2).float() / 255.0
        if window != size:
            batch = F.interpolate(batch, size=(size, size), mode="area")
        if flip < 0.5:
            batch = batch.flip(3)
        if transpose < 0.5:
            batch = batch.transpose(2, 3)
        return batch.contiguous(memory_format=torch.channels_last)


def open_photos(source: Path, device: torch.device, hold_out: int, smallest: int) -> tuple[PhotoPack, PhotoPack | None]:
    """A folder -> the training pictures and those held out for evaluation (None: none).

    The ``hold_out`` files whose names have the smallest SHA-256 are kept aside, so that the choice does not depend on
    order or on other files. smallest: side in pixels that pictures must have. Raises ImageReadError.
    """
    if not source.exists():
        raise ImageReadError(f"{source}: no such folder")
    if not source.is_dir():
        raise ImageReadError(f"{source}: neither a folder of pictures nor an .npz of items ({', '.join(KEYS)})")
    paths = list_photos(source)
    kept_aside = choose_held(paths, hold_out)
    try:
        training = PhotoPack.from_paths([p for p in paths if p not in kept_aside], device, smallest)
    except ImageReadError as error:
        raise ImageReadError(f"{source}: {error}") from error
    try:
        held = PhotoPack.from_paths(sorted(kept_aside), device, smallest) if kept_aside else None
    except ImageReadError:
        held = None
    return training, held
