"""Pictures to binary codes with a trained hasher: what an index is built from and what is searched with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from . import checkpoint
from .coding.container import SemanticHash
from .contracts import CheckpointError, FrozenModel, UsageError
from .data.pixels import WindowedPixels
from .data.thumbnails import square_thumbnail
from .device import pick_device
from .models import family
from .nn.fold import fold_batch_norms
from .zoo.registry import DEFAULT_HASHER, find_model

#: An .aec file carries a code of so many bits, if the hasher is nested.
CARRIED_BITS = 64
#: Pictures that go through the network at once.
_BATCH = 64


class Hasher:
    """A trained hasher, loaded.

    name, fingerprint (8 bytes): of its checkpoint. lengths: the code lengths that it was trained for, in bits; a
    shorter code is the beginning of the longer one, so one pass serves both. n_bits: the one in use. side: pictures
    are squeezed into squares of so many pixels. channels: 3, or 1 for a hasher of grey pictures.

    Codes are computed in float32 without autocast or TF32. Another processor may still sum in another order, and a
    logit that happens to lie within rounding of zero then gives the other bit: codes of one picture made on two
    machines are equal in nearly every case, and differ by a bit or so otherwise.
    """

    def __init__(self, frozen: FrozenModel, *, bits: int | None = None) -> None:
        """bits: one of the lengths, the longest by default. Raises CheckpointError for a model that is no hasher,
        UsageError for a length that it was not trained for."""
        if family(frozen.family).role != "hasher":
            raise CheckpointError(f"model {frozen.name} ({frozen.family}) is no hasher")
        self._model = frozen.module
        config = self._model.config
        self.channels, height, width = config.shape
        if height != width:
            raise CheckpointError(f"model {frozen.name} hashes pictures of {height} x {width}; a hasher takes squares")
        fold_batch_norms(self._model)
        self._model.to(memory_format=torch.channels_last)
        self._device = next(self._model.parameters()).device
        self.name, self.fingerprint, self.side = frozen.name, frozen.fingerprint, int(height)
        self.lengths: tuple[int, ...] = (*config.prefixes, config.n_bits)
        self.n_bits = bits if bits is not None else config.n_bits
        if self.n_bits not in self.lengths:
            raise UsageError(f"hasher {self.name} makes codes of {self.lengths} bits, not of {self.n_bits}")

    @classmethod
    def from_pretrained(
        cls, name_or_path: str | Path | None = None, *, device: str = "cpu", bits: int | None = None
    ) -> Hasher:
        """A name of the zoo or cache, or a file; the embedded hasher of photographs by default.

        Raises UnknownName, CheckpointError or UsageError.
        """
        path = find_model(name_or_path or DEFAULT_HASHER)
        return cls(checkpoint.load(path, pick_device(device)), bits=bits)

    @property
    def nested(self) -> bool:
        """Whether there are several lengths, each the beginning of the next."""
        return len(self.lengths) > 1

    def hash(self, images: torch.Tensor | np.ndarray) -> np.ndarray:
        """images: (N, channels, side, side) float32 in [0, 1], or uint8 -> (N, n_bits // 8) uint8.

        Bits are packed as np.packbits does: the first is the highest of the first byte. Raises UsageError for another
        shape or type.
        """
        images = torch.as_tensor(images)
        shape = (self.channels, self.side, self.side)
        if images.shape[1:] != shape or images.ndim != 4 or images.dtype not in (torch.float32, torch.uint8):
            raise UsageError(
                f"hasher {self.name} takes (N, {', '.join(map(str, shape))}) float32 or uint8, "
                f"found {tuple(images.shape)} {str(images.dtype).removeprefix('torch.')}"
            )
        return np.packbits(self._codes(images)[:, : self.n_bits], axis=1)

    def _codes(self, images: torch.Tensor | np.ndarray) -> np.ndarray:
        """As `hash`, but (N, longest length) bool."""
        parts = [np.zeros((0, self.lengths[-1]), bool)]
        with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            for chunk in torch.as_tensor(images).split(_BATCH):
                x = chunk.to(self._device)
                x = x.float() / 255.0 if x.dtype == torch.uint8 else x
                parts.append(self._model.hash(x.contiguous(memory_format=torch.channels_last)).cpu().numpy())
        return np.concatenate(parts)

    def hash_pixels(self, pictures: Sequence[np.ndarray | WindowedPixels]) -> np.ndarray:
        """Pictures (H, W) or (H, W, 3) uint8 of any size -> (N, n_bits // 8) uint8. Raises ImageReadError."""
        if not len(pictures):
            return np.zeros((0, self.n_bits // 8), np.uint8)
        return self.hash(np.stack([square_thumbnail(pixels, self.side, self.channels) for pixels in pictures]))

    def describe(self, pixels: np.ndarray | WindowedPixels) -> SemanticHash:
        """What an .aec file carries of a picture (H, W) or (H, W, 3) uint8: its shortest code of at least 64 bits."""
        enough = next((bits for bits in self.lengths if bits >= CARRIED_BITS), self.lengths[-1])
        code = self._codes(square_thumbnail(pixels, self.side, self.channels)[None])[0]
        return SemanticHash(self.name, self.fingerprint, np.packbits(code[:enough]).tobytes())
