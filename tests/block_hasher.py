"""A hasher without a model, for laws about indexes: whether each of 64 blocks is brighter than the median block."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from aecodec.contracts import UnknownName


class BlockHasher:
    """Counts the pictures that it was given, so that a law can say which files were decoded."""

    name = "blocks"
    fingerprint = b"\x01" * 8
    n_bits = 64
    side = 8
    lengths: tuple[int, ...] = (32, 64)

    def __init__(self) -> None:
        self.hashed = 0

    @classmethod
    def from_pretrained(cls, name_or_path: str | None = None, *, device: str = "cpu") -> BlockHasher:
        if name_or_path not in (None, cls.name):
            raise UnknownName(f"no hasher {name_or_path!r}")
        return cls()

    def hash_pixels(self, pictures: Sequence[np.ndarray], bits: int | None = None) -> np.ndarray:
        """(H, W) or (H, W, 3) uint8 -> (N, bits / 8) uint8, 64 bits unless given."""
        self.hashed += len(pictures)
        blocks = [np.asarray(Image.fromarray(p).convert("L").resize((8, 8), Image.Resampling.BOX)) for p in pictures]
        flat = np.stack(blocks).reshape(len(pictures), 64)
        return np.packbits(flat > np.median(flat, axis=1, keepdims=True), axis=1)[:, : (bits or self.n_bits) // 8]
