"""Latents under Gaussians whose means and scales come from hyper-latents (Minnen et al. 2018 without context).

The scales are predicted by a fixed-point mirror of the hyper-synthesis, the means by the network itself.
Networks: "analysis" x -> y; "hyper_analysis" y -> z; "means" z_hat -> means of y; "synthesis" y_hat -> x_hat.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..coding.rans import Part, PlaneDecoder, encode_planes
from ..coding.tables import TableSet
from ..contracts import CheckpointError, LatentCode, SymbolPlane
from .exact import FIXED_BOUND, LEVELS, FixedConv, FixedRectifier, GaussianIndices
from .factorized_prior import CONTEXT, STRIDE, read_medians
from .planes import channel_tables, nearest_symbols
from .protocol import Networks, Parts, checked, expect, part_of_code

#: Latent positions per hyper-latent, along each side.
HYPER_STRIDE = 4
#: The layers of the hyper-synthesis: stride, padding and output padding of a transposed convolution, of the plain one
#: at the end, and None for a rectifier.
LAYERS = ((2, 2, 1), None, (2, 2, 1), None, (1, 1, 0))


def read_scales(tensors: Mapping[str, np.ndarray], prefix: str) -> GaussianIndices:
    """The scale predictor of a checkpoint, whose tensors' names begin with a prefix.

    Raises ValueError for parts that are missing or do not fit each other.
    """
    medians = checked(tensors, f"{prefix}medians_q", None, np.int64, 1 << 40)
    boundaries = checked(tensors, f"{prefix}boundaries_q", (LEVELS - 1,), np.int64)
    if medians.ndim != 1 or (np.diff(boundaries) < 0).any():
        raise ValueError("its medians or its boundaries are out of order")
    channels, layers = len(medians), list[FixedConv | FixedRectifier]()
    for index, shape in enumerate(LAYERS):
        layer = f"{prefix}sequence.layers.{index}."
        if shape is None:
            p, q = checked(tensors, f"{layer}slope_q", (2,), np.int64, 1 << 30).tolist()
            if not 0 <= p <= q or not q:
                raise ValueError(f"{layer}slope_q is no slope")
            layers.append(FixedRectifier((p, q)))
            continue
        transposed = index < len(LAYERS) - 1
        side = 5 if transposed else 3
        weight = checked(tensors, f"{layer}weight_q", None, np.int32)
        incoming, outgoing = weight.shape[:2] if transposed else weight.shape[1::-1]
        if weight.shape[2:] != (side, side) or incoming != channels or not outgoing:
            raise ValueError(f"{layer}weight_q is of shape {weight.shape}")
        bias = checked(tensors, f"{layer}bias_q", (outgoing,), np.int64, 1 << 60)
        stride, padding, output_padding = ((side, side) for side in shape)
        layers.append(FixedConv(weight, bias, stride, padding, output_padding, transposed))
        channels = outgoing
    return GaussianIndices(layers, medians, boundaries)


class MeanScaleHyperpriorCoder:
    """See `protocol.LatentCoder`."""

    stride, alignment, context, variable_rate = STRIDE, HYPER_STRIDE * STRIDE, CONTEXT, False
    #: Five taps at the resolution of the hyper-latents and at twice it, and three taps.
    mean_reach = 12

    def __init__(self, parts: Parts) -> None:
        self.latents, self._hyper_latents = parts.count("m"), parts.count("n")
        self._tables = {
            "z": parts.table_set("z", self._hyper_latents, escape=True),
            "y": parts.table_set("y", LEVELS, escape=True),
        }
        self._medians = read_medians(parts, self._hyper_latents)
        self.scale_indices = read_scales(parts.tensors, "fixed_scales.")
        if self.scale_indices.channels != (self._hyper_latents, self.latents):
            raise ValueError(f"its scale predictor leads from and to {self.scale_indices.channels} channels")

    @staticmethod
    def context_of(config: Mapping[str, Any]) -> int:
        """How many latent positions beyond a window the transforms look at."""
        return CONTEXT

    def prove_exact(self) -> None:
        """Raise CheckpointError unless no input can take the scale predictor beyond exact arithmetic."""
        bound = self.scale_indices.bound()
        if bound >= FIXED_BOUND:
            raise CheckpointError(
                f"the scale predictor's weights are too large for exact coding: its sums can reach {bound} and are "
                f"exact below {FIXED_BOUND} only"
            )

    # -- integers --------------------------------------------------------------------------------

    def code_shapes(self, height: int, width: int) -> tuple[tuple[int, ...], tuple[int, ...] | None]:
        """Shapes of y and z for a tile of (height, width) latent positions, multiples of 4."""
        return (self.latents, height, width), (self._hyper_latents, height // HYPER_STRIDE, width // HYPER_STRIDE)

    def table_indices(self, code: LatentCode) -> np.ndarray:
        """Which Gaussian codes each latent, (M, H, W) uint8."""
        return self.scale_indices(code.hyper_latents()) if code.indices is None else code.indices

    def symbol_planes(self, code: LatentCode) -> list[tuple[SymbolPlane, TableSet]]:
        """What the entropy coder sees of a tile, in decoding order; every latent is coded."""
        z, index = code.hyper_latents(), self.table_indices(code)
        return [
            (SymbolPlane(z.ravel(), channel_tables(*z.shape)), self._tables["z"]),
            (SymbolPlane(code.y.ravel(), index.ravel()), self._tables["y"]),
        ]

    def encode_tile(self, code: LatentCode) -> bytes:
        """Integers of a tile -> entropy-coded bytes."""
        return encode_planes(self.symbol_planes(code))

    def decode_tile(self, data: bytes, quality: int, height: int, width: int, part: Part | None = None) -> LatentCode:
        """Bytes -> integers of a tile of (height, width) latent positions, or of a part. Raises BitstreamError."""
        decoder = PlaneDecoder(data)
        shape = self._hyper_latents, height // HYPER_STRIDE, width // HYPER_STRIDE
        z = decoder.pop(channel_tables(*shape), self._tables["z"]).reshape(shape)
        index = self.scale_indices(z)
        y = decoder.pop_plane(index, self._tables["y"], part)
        decoder.finish()
        return part_of_code(y, z, quality, index, part, HYPER_STRIDE)

    # -- networks --------------------------------------------------------------------------------

    def quantise(self, networks: Networks, y: np.ndarray, quality: int) -> LatentCode:
        """y (M, H, W) float32 of one tile, H and W multiples of 4 -> its integers; the quality step is carried only."""
        shape = self.code_shapes(*y.shape[1:])[1] or ()
        z = expect(networks("hyper_analysis", y=y[None]), (1, *shape), "hyper_analysis")[0] - self._medians
        z_int = nearest_symbols(z, channel_tables(*z.shape), self._tables["z"])
        index = self.scale_indices(z_int)
        return LatentCode(
            nearest_symbols(y - self._means(networks, z_int), index, self._tables["y"]), z_int, quality, index
        )

    def dequantise(self, networks: Networks, code: LatentCode) -> np.ndarray:
        """Integers -> y_hat (M, H, W) float32."""
        return code.y.astype(np.float32) + self._means(networks, code.hyper_latents())

    def synthesise(self, networks: Networks, y_hat: np.ndarray, quality: int) -> np.ndarray:
        """y_hat (M, H, W) float32 -> x_hat (3, 16H, 16W) float32, not clipped."""
        shape = 1, 3, STRIDE * y_hat.shape[1], STRIDE * y_hat.shape[2]
        return expect(networks("synthesis", y_hat=y_hat[None]), shape, "synthesis")[0]

    def _means(self, networks: Networks, z: np.ndarray) -> np.ndarray:
        """z (N, h, w) int32 symbols -> predicted means of y (M, 4h, 4w) float32."""
        means = networks("means", z_hat=(z.astype(np.float32) + self._medians)[None])
        return expect(means, (1, self.latents, *(HYPER_STRIDE * side for side in z.shape[1:])), "means")[0]
