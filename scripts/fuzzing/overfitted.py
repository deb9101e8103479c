"""The law of .aec files that hold their own networks: that of the others, all decoded as far as they parse.

Of every second one the tile alone is changed, so that what is hostile reaches weights, the proof of their sums, and the
coder."""

from __future__ import annotations

import random

from aecodec.codec.overfitted import OverfittedCodec
from aecodec.coding import container

from .aec import ROOT, AecLaw
from .law import changed

SEEDS = {path.stem: path.read_bytes() for path in sorted((ROOT / "tests" / "golden" / "overfitted").glob("*.aec"))}


class OverfittedLaw(AecLaw):
    """See the module's docstring."""

    def __init__(self) -> None:
        super().__init__(1.0, seeds=SEEDS, codec=OverfittedCodec())
        self._parsed_seeds = [container.parse(SEEDS[name]) for name in sorted(SEEDS)]

    def make(self, rng: random.Random, number: int) -> tuple[bytes, bool]:
        """As of other files, or a file around a tile that was changed."""
        if rng.random() < 0.5:
            return super().make(rng, number)
        seed = self._parsed_seeds[number % len(self._parsed_seeds)]
        tiles = [other.tiles[0] for other in self._parsed_seeds]
        return container.write(seed.header, [changed(rng, seed.tiles[0], tiles)]), True
