"""Latents under a density of their own channel each (Balle et al. 2018 without hyperprior).

Networks: "analysis" x -> y; "synthesis" y_hat -> x_hat.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..coding.rans import Part, PlaneDecoder, encode_planes
from ..coding.tables import TableSet
from ..contracts import LatentCode, SymbolPlane
from .planes import channel_tables, nearest_symbols
from .protocol import Networks, Parts, expect

#: Pixels per latent position: four halvings (nn/gdn.py).
STRIDE = 16
#: Latent positions beyond a window that either transform looks at. Five taps reach 2 steps to each side,
#: so y sees 2 * (1 + 2 + 4 + 8) = 30 pixels = 1.9 positions, and a pixel sees less than 2 positions.
CONTEXT = 2


def read_medians(parts: Parts, channels: int) -> np.ndarray:
    """The medians of a checkpoint's bottleneck, (channels, 1, 1) float32. Raises ValueError for what is none."""
    quantiles = parts.array("entropy_bottleneck.quantiles", (channels, 1, 3))
    return quantiles[:, 0, 1][:, None, None].astype(np.float32)


class FactorizedPriorCoder:
    """See `protocol.LatentCoder`."""

    stride, alignment, context, variable_rate = STRIDE, STRIDE, CONTEXT, False
    mean_reach = 0

    def __init__(self, parts: Parts) -> None:
        self.latents = parts.count("m")
        self._tables = {"y": parts.table_set("y", self.latents, escape=True)}
        self._medians = read_medians(parts, self.latents)

    @staticmethod
    def context_of(config: Mapping[str, Any]) -> int:
        """How many latent positions beyond a window the transforms look at."""
        return CONTEXT

    def prove_exact(self) -> None:
        """Nothing to prove: a table is chosen by the index of its channel."""

    def code_shapes(self, height: int, width: int) -> tuple[tuple[int, ...], tuple[int, ...] | None]:
        """Shapes of y and z (None) for a tile of (height, width) latent positions."""
        return (self.latents, height, width), None

    def table_indices(self, code: LatentCode) -> np.ndarray:
        """(M, H, W) int32: every channel has the table of its own number."""
        return channel_tables(*code.y.shape).reshape(code.y.shape)

    def symbol_planes(self, code: LatentCode) -> list[tuple[SymbolPlane, TableSet]]:
        """What the entropy coder sees of a tile."""
        return [(SymbolPlane(code.y.ravel(), channel_tables(*code.y.shape)), self._tables["y"])]

    def encode_tile(self, code: LatentCode) -> bytes:
        """Integers of a tile -> entropy-coded bytes."""
        return encode_planes(self.symbol_planes(code))

    def decode_tile(self, data: bytes, quality: int, height: int, width: int, part: Part | None = None) -> LatentCode:
        """Bytes -> integers of a tile of (height, width) latent positions, or of a part. Raises BitstreamError."""
        decoder = PlaneDecoder(data)
        shape = self.latents, height, width
        channels = np.broadcast_to(np.arange(self.latents, dtype=np.int32)[:, None, None], shape)
        y = decoder.pop_plane(channels, self._tables["y"], part)
        decoder.finish()
        return LatentCode(y, None, quality)

    def quantise(self, networks: Networks, y: np.ndarray, quality: int) -> LatentCode:
        """y (M, H, W) float32 of one tile -> its integers; the quality step is carried only."""
        return LatentCode(
            nearest_symbols(y - self._medians, channel_tables(*y.shape), self._tables["y"]), None, quality
        )

    def dequantise(self, networks: Networks, code: LatentCode) -> np.ndarray:
        """Integers -> y_hat (M, H, W) float32."""
        return code.y.astype(np.float32) + self._medians

    def synthesise(self, networks: Networks, y_hat: np.ndarray, quality: int) -> np.ndarray:
        """y_hat (M, H, W) float32 -> x_hat (3, 16H, 16W) float32, not clipped."""
        shape = 1, 3, STRIDE * y_hat.shape[1], STRIDE * y_hat.shape[2]
        return expect(networks("synthesis", y_hat=y_hat[None]), shape, "synthesis")[0]
