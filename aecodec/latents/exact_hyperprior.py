"""The flagship's latents: hyper-latents z, whose integers alone choose the tables of y, and means in four steps.

Networks: "analysis" x -> y. "hyper_analysis" y -> z, y in units of the quantisation step. "quantiser" y, z, steps,
reach -> residual: the pass over the four steps, rounding half up within +-reach. "dequantiser" z, residual, steps ->
y_hat, in those units. "synthesis" y_hat, gain -> x_hat. steps: the step of each latent, as float32.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np

from ..coding.rans import ESCAPE_LIMIT, PlaneDecoder, encode_planes
from ..coding.tables import TableSet
from ..contracts import QUALITY_KNOT, QUALITY_KNOTS, CheckpointError, LatentCode, SymbolPlane
from .context import step_map
from .exact import EXACT_BOUND, INDEX_LIMIT, ExactConv, ScaleIndices
from .protocol import Networks, Parts

STRIDE = 16
#: Latent positions per hyper-latent, along each side.
HYPER_STRIDE = 4
#: What the outputs of the scale net's layers are clamped to, and those after which its sides double.
SCALE_RANGES = (*((0, 255),) * 6, (-INDEX_LIMIT, INDEX_LIMIT))
UPSAMPLE_AFTER = (2, 4)


def hyper_table_indices(quality: int, channels: int, height: int, width: int) -> np.ndarray:
    """Table indices of z (channels * height * width,): the nearest knot's table of each channel."""
    knot = (2 * quality + QUALITY_KNOT) // (2 * QUALITY_KNOT)
    return np.repeat(knot * channels + np.arange(channels, dtype=np.int32), height * width)


def read_scale_net(tensors: Mapping[str, np.ndarray], prefix: str, z_max: int) -> ScaleIndices:
    """The scale net of a checkpoint, whose tensors' names begin with a prefix. z_max: largest |z|."""
    layers = [
        ExactConv(
            tensors[f"{prefix}layers.{index}.weight_q"],
            tensors[f"{prefix}layers.{index}.bias_q"],
            tensors[f"{prefix}layers.{index}.shift_q"],
            in_max=SCALE_RANGES[index - 1][1] if index else z_max,
            low=low,
            high=high,
        )
        for index, (low, high) in enumerate(SCALE_RANGES)
    ]
    return ScaleIndices(layers, UPSAMPLE_AFTER, tensors[f"{prefix}offset_q"], QUALITY_KNOT)


@lru_cache(maxsize=4)
def _steps(channels: int, height: int, width: int) -> np.ndarray:
    return step_map(channels, height, width)[None].astype(np.float32)


class ExactHyperpriorCoder:
    """See `protocol.LatentCoder`."""

    stride, alignment, variable_rate = STRIDE, HYPER_STRIDE * STRIDE, True

    def __init__(self, parts: Parts) -> None:
        self._tables, self._tensors = parts.tables, parts.tensors
        self.context = self.context_of(parts.config)
        self.latents, self._hyper_latents = int(parts.config["latents"]), int(parts.config["hyper_latents"])
        self._z_max = int(parts.config["z_max"])
        self.scale_indices = read_scale_net(parts.tensors, "scale_net.", self._z_max)

    @staticmethod
    def context_of(config: Mapping[str, Any]) -> int:
        """How many latent positions beyond a window the transforms look at."""
        return int((max(config["analysis_blocks"], config["synthesis_blocks"]) + 1) // 2 + 1)

    def prove_exact(self) -> None:
        """Raise CheckpointError unless no input can take the scale net beyond exact arithmetic."""
        bound = self.scale_indices.bound()
        if bound >= EXACT_BOUND:
            raise CheckpointError(f"the scale net can reach {bound}; its sums are exact below {EXACT_BOUND} only")

    # -- integers --------------------------------------------------------------------------------

    def code_shapes(self, height: int, width: int) -> tuple[tuple[int, ...], tuple[int, ...] | None]:
        """Shapes of y and z for a tile of (height, width) latent positions."""
        return (self.latents, height, width), (self._hyper_latents, height // HYPER_STRIDE, width // HYPER_STRIDE)

    def table_indices(self, code: LatentCode) -> np.ndarray:
        """Scale indices of a tile, (N, H, W) uint8."""
        return self.scale_indices(code.hyper_latents(), code.quality) if code.indices is None else code.indices

    def reach(self, indices: np.ndarray) -> np.ndarray:
        """The largest residual that each table can express, int32 like indices; 0 where the scale index is 0."""
        table = self._tables["y"]
        reach = -table.offsets[indices] + ESCAPE_LIMIT * np.int32(table.escape)
        return np.where(indices == 0, np.int32(0), reach)

    def symbol_planes(self, code: LatentCode) -> list[tuple[SymbolPlane, TableSet]]:
        """What the entropy coder sees of a tile, in decoding order; scale index 0 always means 0 and is not coded."""
        z = code.hyper_latents()
        index = self.table_indices(code)
        coded = index > 0
        return [
            (SymbolPlane(z.ravel(), hyper_table_indices(code.quality, *z.shape)), self._tables["z"]),
            (SymbolPlane(code.y[coded], index[coded]), self._tables["y"]),
        ]

    def encode_tile(self, code: LatentCode) -> bytes:
        """Integers of a tile -> entropy-coded bytes."""
        return encode_planes(self.symbol_planes(code))

    def decode_tile(self, data: bytes, quality: int, height: int, width: int) -> LatentCode:
        """Bytes -> integers of a tile of (height, width) latent positions. Raises BitstreamError."""
        decoder = PlaneDecoder(data)
        shape = self._hyper_latents, height // HYPER_STRIDE, width // HYPER_STRIDE
        z = decoder.pop(hyper_table_indices(quality, *shape), self._tables["z"]).reshape(shape)
        index = self.scale_indices(z, quality)
        y = np.zeros(index.shape, np.int32)
        coded = index > 0
        y[coded] = decoder.pop(index[coded], self._tables["y"])
        decoder.finish()
        return LatentCode(y, z, quality, index)

    # -- networks --------------------------------------------------------------------------------

    def quantise(self, networks: Networks, y: np.ndarray, quality: int) -> LatentCode:
        """y (N, H, W) float32 of one tile, H and W multiples of 4 -> its integers at a quality step."""
        scaled = (y * self._gain("y_gain", quality)[:, None, None])[None]
        z = np.floor(networks("hyper_analysis", y=scaled) + np.float32(0.5)).clip(-self._z_max, self._z_max)
        z_int = z[0].astype(np.int32)
        index = self.scale_indices(z_int, quality)
        residual = networks(
            "quantiser", y=scaled, z=z, steps=_steps(*y.shape), reach=self.reach(index)[None].astype(np.float32)
        )
        return LatentCode(residual[0].astype(np.int32), z_int, quality, index)

    def dequantise(self, networks: Networks, code: LatentCode) -> np.ndarray:
        """Integers -> y_hat (N, H, W) float32 with the quality's gains undone."""
        y_hat = networks(
            "dequantiser",
            z=code.hyper_latents()[None].astype(np.float32),
            residual=code.y[None].astype(np.float32),
            steps=_steps(*code.y.shape),
        )
        return y_hat[0] * self._gain("y_inverse", code.quality)[:, None, None]

    def synthesise(self, networks: Networks, y_hat: np.ndarray, quality: int) -> np.ndarray:
        """y_hat (N, H, W) float32 -> x_hat (3, 16H, 16W) float32, not clipped."""
        return networks("synthesis", y_hat=y_hat[None], gain=self._gain("branch_out", quality)[None])[0]

    def _gain(self, knots: str, quality: int) -> np.ndarray:
        """Gains (C,) float32 at a quality step, linear in log between two knots."""
        table = self._tensors[knots].astype(np.float32)
        position = np.float32(quality / QUALITY_KNOT)
        low = min(math.floor(position), QUALITY_KNOTS - 2)
        return np.exp(table[low] + (position - np.float32(low)) * (table[low + 1] - table[low]))
