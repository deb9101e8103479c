"""Pictures to binary codes with a trained hasher: what an index is built from and what is searched with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .coding.container import SemanticHash
from .contracts import CheckpointError, UsageError
from .data.pixels import WindowedPixels
from .data.thumbnails import square_thumbnail
from .engine.hashing import open_hash_network
from .engine.protocol import HashNetwork
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

    Codes are computed in float32. Another processor, or another engine, may still sum in another order, and a logit
    that happens to lie within rounding of zero then gives the other bit: codes of one picture made on two machines
    are equal in nearly every case, and differ by a bit or so otherwise.
    """

    def __init__(self, network: HashNetwork, *, bits: int | None = None) -> None:
        """bits: one of the lengths, the longest by default. Raises CheckpointError for a network that takes no squares,
        UsageError for a length that it was not trained for."""
        self._network, config = network, network.config
        self.channels, height, width = config["shape"]
        if height != width:
            raise CheckpointError(f"model {network.name} hashes pictures of {height} x {width}; a hasher takes squares")
        self.name, self.fingerprint, self.side = network.name, network.fingerprint, int(height)
        self.lengths: tuple[int, ...] = (*config["prefixes"], config["n_bits"])
        self.n_bits = self._length(config["n_bits"] if bits is None else bits)

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | Path | None = None,
        *,
        device: str = "cpu",
        bits: int | None = None,
        engine: str = "auto",
    ) -> Hasher:
        """A name of the zoo or cache, or a file; the embedded hasher of photographs by default.

        device, engine: as of `engine.opening.open_engine`. Raises UnknownName, CheckpointError or UsageError.
        """
        path = find_model(name_or_path or DEFAULT_HASHER)
        return cls(open_hash_network(path, device=device, engine=engine), bits=bits)

    def _length(self, bits: int) -> int:
        """Raises UsageError for a length that it was not trained for."""
        if bits not in self.lengths:
            raise UsageError(f"hasher {self.name} makes codes of {self.lengths} bits, not of {bits}")
        return bits

    @property
    def nested(self) -> bool:
        """Whether there are several lengths, each the beginning of the next."""
        return len(self.lengths) > 1

    def hash(self, images: Any) -> np.ndarray:
        """images: array or tensor (N, channels, side, side), float32 in [0, 1] or uint8 -> (N, n_bits // 8) uint8.

        Bits are packed as np.packbits does: the first is the highest of the first byte. Raises UsageError for another
        shape or type.
        """
        images = np.asarray(images)
        shape = (self.channels, self.side, self.side)
        if images.shape[1:] != shape or images.ndim != 4 or images.dtype not in (np.float32, np.uint8):
            raise UsageError(
                f"hasher {self.name} takes (N, {', '.join(map(str, shape))}) float32 or uint8, "
                f"found {images.shape} {images.dtype}"
            )
        return np.packbits(self._codes(images, self.n_bits), axis=1)

    def _codes(self, images: np.ndarray, bits: int) -> np.ndarray:
        """As `hash`, but (N, bits) bool, of one of the lengths."""
        parts = [np.zeros((0, bits), bool)]
        for start in range(0, len(images), _BATCH):
            x = images[start : start + _BATCH]
            x = np.divide(x, np.float32(255.0), dtype=np.float32) if x.dtype == np.uint8 else x
            parts.append(self._network.logits(x, bits)[:, :bits] >= 0)
        return np.concatenate(parts)

    def hash_pixels(self, pictures: Sequence[np.ndarray | WindowedPixels], bits: int | None = None) -> np.ndarray:
        """Pictures (H, W) or (H, W, 3) uint8 of any size -> (N, bits // 8) uint8.

        bits: one of the lengths, n_bits unless given; a joined hasher makes short codes in a part of the time. Raises
        ImageReadError, or UsageError for another length.
        """
        wanted = self._length(self.n_bits if bits is None else bits)
        if not len(pictures):
            return np.zeros((0, wanted // 8), np.uint8)
        squares = np.stack([square_thumbnail(pixels, self.side, self.channels) for pixels in pictures])
        return np.packbits(self._codes(squares, wanted), axis=1)

    def describe(self, pixels: np.ndarray | WindowedPixels) -> SemanticHash:
        """What an .aec file carries of a picture (H, W) or (H, W, 3) uint8: its shortest code of at least 64 bits."""
        enough = next((bits for bits in self.lengths if bits >= CARRIED_BITS), self.lengths[-1])
        code = self._codes(square_thumbnail(pixels, self.side, self.channels)[None], enough)[0]
        return SemanticHash(self.name, self.fingerprint, np.packbits(code).tobytes())
