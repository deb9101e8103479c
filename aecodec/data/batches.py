"""Where a run's batches come from: crops of photographs, or items of an array, behind one protocol."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ..contracts import BatchSource, UsageError
from .arrays import ArraySet, holds_arrays, read_array
from .photos import PhotoPack, open_photos
from .resized import read_folder
from .shapes import holds_shapes, read_shapes
from .speech import SpeechMixtures, is_mixture

#: Held-out photographs are evaluated on their centre of at most this side.
EVALUATION_SIDE = 256


@dataclass(frozen=True)
class CropPlan:
    """How crops are cut. size: side in pixels; late_size: side once ``late_from`` of the training is done;
    downscale: smallest scale factor drawn; hold_out: items kept aside for evaluation; view: "crops", or a view of
    whole pictures squeezed to size x size (data.resized); only: the one class of a labelled array that is wanted."""

    size: int
    late_size: int | None = None
    late_from: float = 1.0
    downscale: float = 1.0
    hold_out: int = 0
    view: str = "crops"
    only: int | None = None

    @property
    def largest(self) -> int:
        return max(self.size, self.late_size or 0)


class PhotoCrops:
    """Random crops of photographs. ``shape``: (3, size, size), that of the crops at the beginning."""

    def __init__(self, pack: PhotoPack, plan: CropPlan, held: PhotoPack | None = None) -> None:
        self.pack, self.plan, self._held = pack, plan, held
        self.shape: tuple[int, ...] = (3, plan.size, plan.size)

    def __len__(self) -> int:
        return len(self.pack)

    def draw(self, count: int, rng: torch.Generator, progress: float = 0.0) -> torch.Tensor:
        """Crops (count, 3, size, size) float32 in [0, 1]; late ones are larger and fewer, for the same pixels."""
        late = self.plan.late_size is not None and progress >= self.plan.late_from
        side = self.plan.late_size if late and self.plan.late_size else self.plan.size
        return self.pack.crops(max(1, count * self.plan.size**2 // side**2), side, rng, self.plan.downscale)

    def held_out(self) -> list[torch.Tensor]:
        """The centre of each picture kept aside, (8, 3, S, S) float32, repeated to draw eight qualities for it."""
        return centres(self._held) if self._held is not None else []


def centres(held: PhotoPack, multiple: int = 64) -> list[torch.Tensor]:
    """The centre of each picture whose sides reach ``multiple``, (8, 3, S, S) float32 in [0, 1]."""
    pictures = []
    for index in range(len(held)):
        image = held.picture(index)
        h, w = image.shape[:2]
        side = min(EVALUATION_SIDE, h, w) // multiple * multiple
        top, left = (h - side) // 2, (w - side) // 2
        crop = image[top : top + side, left : left + side].permute(2, 0, 1)[None].float() / 255.0
        if side:
            pictures.append(crop.repeat(8, 1, 1, 1))
    return pictures


def _reader(data: str | Path, plan: CropPlan) -> Callable[[str | Path], np.ndarray]:
    """How items of a fixed shape are read from a source."""
    if plan.view != "crops":
        return lambda source: read_folder(Path(source), plan.size, plan.view)
    if holds_shapes(data):
        return read_shapes
    return lambda source: read_array(source, plan.only)


def open_batches(
    data: str | Path, device: torch.device, plan: CropPlan, evaluation: str | Path | None = None
) -> BatchSource:
    """A source of batches: a folder of pictures, an array of an .npz, an .npz of segmented shapes, or
    SPEECH.npz+NOISE.npz. Raises ImageReadError for what cannot be read, UsageError for what the source does not know:
    a class where there are none, an evaluation source where speakers and noises are held out instead.

    evaluation: another source of the same kind to evaluate on, instead of items kept aside.
    """
    labelled = holds_arrays(data) and plan.view == "crops"
    if plan.only is not None and not labelled:
        raise UsageError(f"only={plan.only}: the items of {data} have no classes")
    if is_mixture(data):
        if evaluation is not None:
            raise UsageError("speech is evaluated on held-out speakers by its benchmark; it takes no evaluation source")
        return SpeechMixtures.load(data, device)
    if plan.view != "crops" or holds_shapes(data) or labelled:
        read = _reader(data, plan)
        kept = None if evaluation is None else read(evaluation)
        return ArraySet.split(read(data), device, plan.hold_out, kept, name=str(evaluation))
    hold_out = plan.hold_out if evaluation is None else 0
    pack, held = open_photos(Path(data), device, hold_out, plan.largest)
    if evaluation is not None:
        held = open_photos(Path(evaluation), device, 0, smallest=1)[0]
    return PhotoCrops(pack, plan, held)
