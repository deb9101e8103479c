"""Training photographs held as bytes on the training device, and random crops cut from them there."""

from __future__ import annotations

import hashlib
import warnings
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from ..contracts import ImageReadError
from .files import atomic_file
from .folders import list_photos
from .images import read_picture

_PARTS = ("pixels", "offsets", "heights", "widths", "names")
#: Names under which a pack file keeps the pictures set aside for evaluation.
_HELD = "held_"


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

    def at_least(self, smallest: int) -> PhotoPack:
        """The pictures with both sides of at least ``smallest`` pixels. Raises ImageReadError if there is none."""
        if self.smallest >= smallest:
            return self
        keep = torch.nonzero(torch.minimum(self.heights, self.widths) >= smallest)[:, 0]
        if not len(keep):
            raise ImageReadError(f"no picture of the pack has both sides of at least {smallest} pixels")
        names = tuple(self.names[i] for i in keep.tolist())
        return PhotoPack(self.pixels, self.offsets[keep], self.heights[keep], self.widths[keep], names)

    def _arrays(self) -> dict[str, Any]:
        tensors = (self.pixels, self.offsets, self.heights, self.widths)
        return dict(zip(_PARTS, [*(t.cpu().numpy() for t in tensors), np.array(self.names)], strict=True))

    def save(self, path: Path, held: PhotoPack | None = None) -> None:
        """Write an .npz, to be sent to a machine that has no pictures. held: pictures for evaluation, kept apart."""
        arrays = self._arrays()
        if held is not None:
            arrays.update({_HELD + key: value for key, value in held._arrays().items()})
        with atomic_file(path, overwrite=True) as file:
            np.savez(file, **arrays)

    @classmethod
    def load(cls, path: Path, device: torch.device) -> PhotoPack:
        """The training pictures of a file written by `save`. Raises ImageReadError if it is none."""
        return cls._read(path, device, "")

    @classmethod
    def load_held(cls, path: Path, device: torch.device) -> PhotoPack | None:
        """The pictures that `save` kept apart in the file, if any. Raises ImageReadError."""
        with _npz(path) as pack:
            if _HELD + _PARTS[0] not in pack:
                return None
        return cls._read(path, device, _HELD)

    @classmethod
    def _read(cls, path: Path, device: torch.device, prefix: str) -> PhotoPack:
        try:
            with _npz(path) as pack:
                arrays = [pack[prefix + key] for key in _PARTS]
        except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise ImageReadError(f"{path}: not a pack of photographs ({error})") from error
        pixels, offsets, heights, widths, names = arrays
        sound = pixels.dtype == np.uint8 and len({a.shape for a in arrays[1:]}) == 1 and len(names) > 0
        if not sound or offsets.min() < 0 or (offsets + 3 * heights * widths).max() > pixels.size:
            raise ImageReadError(f"{path}: not a pack of photographs (its tables do not fit its pixels)")
        first, second, third, fourth = (torch.from_numpy(a).to(device) for a in (pixels, offsets, heights, widths))
        return cls(first, second, third, fourth, tuple(names.tolist()))

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
        rows = (top[:, None] + steps) * self.widths[which][:, None]
        columns = left[:, None] + steps
        position = self.offsets[which][:, None, None] + 3 * (rows[:, :, None] + columns[:, None, :])
        crops = self.pixels[position[..., None] + torch.arange(3, device=device)]
        batch = crops.permute(0, 3, 1, 2).float() / 255.0
        if window != size:
            batch = F.interpolate(batch, size=(size, size), mode="area")
        if flip < 0.5:
            batch = batch.flip(3)
        if transpose < 0.5:
            batch = batch.transpose(2, 3)
        return batch.contiguous(memory_format=torch.channels_last)


def _npz(path: Path) -> np.lib.npyio.NpzFile:
    """An .npz, opened. Raises ImageReadError for anything else."""
    try:
        pack = np.load(path)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ImageReadError(f"{path}: not a pack of photographs ({error})") from error
    if not isinstance(pack, np.lib.npyio.NpzFile):
        raise ImageReadError(f"{path}: not a pack of photographs (one bare array)")
    return pack


def open_photos(source: Path, device: torch.device, hold_out: int, smallest: int) -> tuple[PhotoPack, PhotoPack | None]:
    """A folder or a pack file -> the training pictures and those held out for evaluation (None: none).

    Of a folder, the ``hold_out`` files whose names have the smallest SHA-256 are kept aside, so that the
    choice does not depend on order or on other files. A pack file carries the choice made when it was written.
    Raises ImageReadError.
    """
    if source.is_file():
        held = PhotoPack.load_held(source, device) if hold_out else None
        return PhotoPack.load(source, device).at_least(smallest), held
    if not source.is_dir():
        raise ImageReadError(f"{source}: no such folder or pack")
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
