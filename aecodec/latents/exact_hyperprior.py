"""The flagship's latents: hyper-latents z, whose integers choose the tables of y, and means in four steps.

A model may adapt: then z chooses the tables of the first step, and z and the integers of the steps before those of
every other (adaptation.py).

Networks: "analysis" x -> y. "hyper_analysis" y -> z, y in units of the quantisation step. "quantiser" y, z, steps,
reach -> residual: the pass over the four steps, rounding half up within +-reach. "dequantiser" z, residual, steps ->
y_hat, in those units. "synthesis" y_hat, gain -> x_hat. steps: the step of each latent, as float32.

Networks of encoder effort, which a checkpoint may lack, told in engine/adjoints.py: "synthesis_forth",
"synthesis_back", "means_and_gradient", "hyper_gradient".
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

import numpy as np

from ..coding.rans import ESCAPE_LIMIT, Part, PlaneDecoder, encode_planes
from ..coding.tables import TableSet
from ..contracts import QUALITY_KNOT, QUALITY_KNOTS, CheckpointError, LatentCode, SymbolPlane
from .adaptation import SUM_BOUND, Walk, read_adaptation
from .context import STEPS, cells_of_step, put_step, step_map
from .exact import EXACT_BOUND, INDEX_LIMIT, LEVELS, ExactConv, ScaleIndices
from .protocol import Networks, Parts, checked, expect, part_of_code

STRIDE = 16
#: Latent positions per hyper-latent, along each side.
HYPER_STRIDE = 4
#: What the outputs of the scale net's layers are clamped to, and those after which its sides double.
SCALE_RANGES = (*((0, 255),) * 6, (-INDEX_LIMIT, INDEX_LIMIT))
UPSAMPLE_AFTER = (2, 4)
#: Bits by which the scale net's sums are shifted at most, and the largest logarithm of a gain.
MAX_SHIFT, MAX_LOG_GAIN = 40, 40.0


def hyper_table_indices(quality: int, channels: int, height: int, width: int) -> np.ndarray:
    """Table indices of z (channels * height * width,): the nearest knot's table of each channel."""
    knot = (2 * quality + QUALITY_KNOT) // (2 * QUALITY_KNOT)
    return np.repeat(knot * channels + np.arange(channels, dtype=np.int32), height * width)


def read_scale_net(tensors: Mapping[str, np.ndarray], prefix: str, z_max: int) -> ScaleIndices:
    """The scale net of a checkpoint, whose tensors' names begin with a prefix. z_max: largest |z|.

    Raises ValueError for parts that are missing or do not fit each other.
    """
    layers, channels = list[ExactConv](), 0
    for index, (low, high) in enumerate(SCALE_RANGES):
        layer = f"{prefix}layers.{index}."
        weight = checked(tensors, f"{layer}weight_q", None, np.int8)
        outgoing, incoming, *sides = weight.shape if weight.ndim == 4 else (0, 0)
        depthwise = sides == [3, 3] and incoming == 1
        if not outgoing or not (depthwise or sides == [1, 1]):
            raise ValueError(f"{layer}weight_q is of shape {weight.shape}")
        if index and channels != (outgoing if depthwise else incoming):
            raise ValueError(f"{layer}weight_q of shape {weight.shape} follows {channels} channels")
        bias = checked(tensors, f"{layer}bias_q", (outgoing,), np.int32)
        shift = checked(tensors, f"{layer}shift_q", (outgoing,), np.int32, MAX_SHIFT)
        layers.append(ExactConv(weight, bias, shift, SCALE_RANGES[index - 1][1] if index else z_max, low, high))
        if index in UPSAMPLE_AFTER and outgoing % 4:
            raise ValueError(f"{layer}weight_q has {outgoing} channels, which make no cells of 2 x 2")
        channels = outgoing // 4 if index in UPSAMPLE_AFTER else outgoing
    offset = checked(tensors, f"{prefix}offset_q", (QUALITY_KNOTS, channels), np.int32)
    return ScaleIndices(layers, UPSAMPLE_AFTER, offset, QUALITY_KNOT)


@lru_cache(maxsize=4)
def _steps(channels: int, height: int, width: int) -> np.ndarray:
    return step_map(channels, height, width)[None].astype(np.float32)


def _shape_of_pixels(y_hat: np.ndarray) -> tuple[int, ...]:
    return 1, 3, STRIDE * y_hat.shape[1], STRIDE * y_hat.shape[2]


class ExactHyperpriorCoder:
    """See `protocol.RefinableCoder`."""

    stride, alignment, variable_rate = STRIDE, HYPER_STRIDE * STRIDE, True
    gradients = ("synthesis_forth", "synthesis_back", "means_and_gradient", "hyper_gradient")
    #: Four steps of two layers of three taps each, and one layer at half the resolution.
    mean_reach = 12

    def __init__(self, parts: Parts) -> None:
        self.context = self.context_of(parts.config)
        self.latents, self._hyper_latents = parts.count("latents"), parts.count("hyper_latents")
        self.z_max = parts.count("z_max")
        self.scale_indices = read_scale_net(parts.tensors, "scale_net.", self.z_max)
        if self.scale_indices.channels != (self._hyper_latents, self.latents):
            raise ValueError(f"its scale net leads from and to {self.scale_indices.channels} channels")
        widths = {"y_gain": self.latents, "y_inverse": self.latents, "branch_out": parts.count("channels")}
        self._knots = {
            name: checked(parts.tensors, name, (QUALITY_KNOTS, width), np.floating, MAX_LOG_GAIN).astype(np.float32)
            for name, width in widths.items()
        }
        y, z = (
            parts.table_set("y", LEVELS, escape=True),
            parts.table_set("z", QUALITY_KNOTS * self._hyper_latents, escape=False),
        )
        if (y.lengths != 2 - 2 * y.offsets).any():
            raise ValueError("a table of y is not centred on 0")
        if int(z.offsets.min()) < -self.z_max or int((z.offsets + z.lengths).max()) - 1 > self.z_max:
            raise ValueError(f"a table of z goes beyond {self.z_max}")
        self.tables = {"y": y, "z": z}
        self._lambdas = tuple(float(parts.config[end]) for end in ("lambda_low", "lambda_high"))
        if not all(0.0 < each < math.inf for each in self._lambdas):
            raise ValueError(f"its weights of the distortion are {self._lambdas}")
        self.visual = float(parts.config.get("visual", 0.0))
        if not 0.0 <= self.visual <= 1.0:
            raise ValueError(f"the share of what eyes see in its distortion is {self.visual}")
        self._adaptation = read_adaptation(parts.tensors)

    @staticmethod
    def context_of(config: Mapping[str, Any]) -> int:
        """How many latent positions beyond a window the transforms look at."""
        return int((max(config["analysis_blocks"], config["synthesis_blocks"]) + 1) // 2 + 1)

    def prove_exact(self) -> None:
        """Raise CheckpointError unless no input can take the scale net beyond exact arithmetic."""
        bound = self.scale_indices.bound()
        if bound >= EXACT_BOUND:
            raise CheckpointError(f"the scale net can reach {bound}; its sums are exact below {EXACT_BOUND} only")
        if self._adaptation and (bound := self._adaptation.bound()) >= SUM_BOUND:
            raise CheckpointError(f"the adaptation can reach {bound}; its sums are exact below {SUM_BOUND} only")

    # -- integers --------------------------------------------------------------------------------

    def code_shapes(self, height: int, width: int) -> tuple[tuple[int, ...], tuple[int, ...] | None]:
        """Shapes of y and z for a tile of (height, width) latent positions."""
        return (self.latents, height, width), (self._hyper_latents, height // HYPER_STRIDE, width // HYPER_STRIDE)

    def table_indices(self, code: LatentCode) -> np.ndarray:
        """Scale indices of a tile, (N, H, W) uint8, as z alone gives them."""
        return self.scale_indices(code.hyper_latents(), code.quality) if code.indices is None else code.indices

    def reach(self, indices: np.ndarray) -> np.ndarray:
        """The largest residual that each table can express, int32 like indices; 0 where the scale index is 0.

        Of a model that adapts, what any table can express, since it is not known yet which one will be taken.
        """
        table = self.tables["y"]
        narrowest = table.offsets.max() if self._adaptation else table.offsets[indices]
        reach = -narrowest + ESCAPE_LIMIT * np.int32(table.escape)
        return np.where(indices == 0, np.int32(0), reach)

    def symbol_planes(self, code: LatentCode) -> list[tuple[SymbolPlane, TableSet]]:
        """What the entropy coder sees of a tile, in decoding order; scale index 0 always means 0 and is not coded."""
        z = code.hyper_latents()
        index = self.table_indices(code)
        planes = [(SymbolPlane(z.ravel(), hyper_table_indices(code.quality, *z.shape)), self.tables["z"])]
        for symbols, which in self._coded_of(code.y, index, code.quality):
            coded = which > 0
            planes.append((SymbolPlane(symbols[coded], which[coded]), self.tables["y"]))
        return planes

    def _coded_of(self, y: np.ndarray, index: np.ndarray, quality: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Residuals and the indices that they are coded under: of all steps at once, or of each if indices adapt."""
        if self._adaptation is None:
            yield y, index
            return
        walk = Walk(self._adaptation, index, quality)
        for step in range(STEPS):
            symbols = cells_of_step(y, step)
            yield symbols, walk.indices()
            walk.learn(symbols)

    def encode_tile(self, code: LatentCode) -> bytes:
        """Integers of a tile -> entropy-coded bytes."""
        return encode_planes(self.symbol_planes(code))

    def decode_tile(self, data: bytes, quality: int, height: int, width: int, part: Part | None = None) -> LatentCode:
        """Bytes -> integers of a tile of (height, width) latent positions, or of a part. Raises BitstreamError."""
        decoder = PlaneDecoder(data)
        shape = self._hyper_latents, height // HYPER_STRIDE, width // HYPER_STRIDE
        z = decoder.pop(hyper_table_indices(quality, *shape), self.tables["z"]).reshape(shape)
        index = self.scale_indices(z, quality)
        if self._adaptation:
            walk = Walk(self._adaptation, index, quality)
            y = self._pop_steps(decoder, walk, part or (slice(0, height), slice(0, width)))
        else:
            y = decoder.pop_plane(index, self.tables["y"], part, silent=True)
        decoder.finish()
        return part_of_code(y, z, quality, index, part, HYPER_STRIDE)

    def _pop_steps(self, decoder: PlaneDecoder, walk: Walk, part: Part) -> np.ndarray:
        """Residuals of a part of a tile, all of which is popped, step by step."""
        rows, columns = (slice(side.start // 2, side.stop // 2) for side in part)
        y = np.zeros((self.latents, *(side.stop - side.start for side in part)), np.int32)
        for step in range(STEPS):
            symbols = decoder.pop_plane(walk.indices(), self.tables["y"], silent=True)
            walk.learn(symbols)
            put_step(y, step, symbols[:, rows, columns])
        return y

    # -- networks --------------------------------------------------------------------------------

    def quantise(self, networks: Networks, y: np.ndarray, quality: int) -> LatentCode:
        """y (N, H, W) float32 of one tile, H and W multiples of 4 -> its integers at a quality step."""
        scaled = self.scaled(y, quality)
        return self.with_hyper_latents(networks, self.hyper_latents(networks, scaled), scaled, quality)

    def scaled(self, y: np.ndarray, quality: int) -> np.ndarray:
        """y (N, H, W) float32 -> the same in units of the quality's quantisation step."""
        return y * self._gain("y_gain", quality)[:, None, None]

    def hyper_latents(self, networks: Networks, y: np.ndarray) -> np.ndarray:
        """Scaled y (N, H, W) float32 -> z (Z, H/4, W/4) float32, not rounded."""
        shape = self.code_shapes(*y.shape[1:])[1] or ()
        return expect(networks("hyper_analysis", y=y[None]), (1, *shape), "hyper_analysis")[0]

    def with_hyper_latents(self, networks: Networks, z: np.ndarray, y: np.ndarray, quality: int) -> LatentCode:
        """z, scaled y as above -> the integers that they are rounded to."""
        z_int = np.floor(z + np.float32(0.5)).clip(-self.z_max, self.z_max).astype(np.int32)
        return self.with_tables(networks, z_int, self.scale_indices(z_int, quality), y, quality)

    def with_tables(
        self, networks: Networks, z: np.ndarray, indices: np.ndarray, y: np.ndarray, quality: int
    ) -> LatentCode:
        """Scaled y -> its integers where those of z, and the tables that they choose, are known."""
        reach = self.reach(indices)
        residual = expect(
            networks(
                "quantiser",
                y=y[None],
                z=z[None].astype(np.float32),
                steps=_steps(*y.shape),
                reach=reach[None].astype(np.float32),
            ),
            (1, *y.shape),
            "quantiser",
        )
        if (np.abs(residual[0]) > reach).any():
            raise CheckpointError("network quantiser gave residuals that its tables cannot express")
        return LatentCode(residual[0].astype(np.int32), z, quality, indices)

    def dequantise(self, networks: Networks, code: LatentCode) -> np.ndarray:
        """Integers -> y_hat (N, H, W) float32 with the quality's gains undone."""
        y_hat = networks(
            "dequantiser",
            z=code.hyper_latents()[None].astype(np.float32),
            residual=code.y[None].astype(np.float32),
            steps=_steps(*code.y.shape),
        )
        y_hat = expect(y_hat, (1, *code.y.shape), "dequantiser")
        return y_hat[0] * self._gain("y_inverse", code.quality)[:, None, None]

    def synthesise(self, networks: Networks, y_hat: np.ndarray, quality: int) -> np.ndarray:
        """y_hat (N, H, W) float32 -> x_hat (3, 16H, 16W) float32, not clipped."""
        x_hat = networks("synthesis", y_hat=y_hat[None], gain=self._gain("branch_out", quality)[None])
        return expect(x_hat, _shape_of_pixels(y_hat), "synthesis")[0]

    # -- encoder effort --------------------------------------------------------------------------

    def distortion_weight(self, quality: int) -> float:
        """See `RefinableCoder`; geometric between the two ends."""
        low, high = self._lambdas
        return low * (high / low) ** (quality / (QUALITY_KNOT * (QUALITY_KNOTS - 1)))

    def hyper_table_indices(self, quality: int, shape: tuple[int, ...]) -> np.ndarray:
        """See `RefinableCoder`."""
        return hyper_table_indices(quality, *shape).reshape(shape)

    def to_units(self, y_hat: np.ndarray, quality: int) -> np.ndarray:
        """See `RefinableCoder`."""
        return y_hat / self._gain("y_inverse", quality)[:, None, None]

    def from_units(self, y_hat: np.ndarray, quality: int) -> np.ndarray:
        """See `RefinableCoder`."""
        return y_hat * self._gain("y_inverse", quality)[:, None, None]

    def synthesise_forth(self, networks: Networks, y_hat: np.ndarray, quality: int) -> tuple[np.ndarray, np.ndarray]:
        """See `RefinableCoder`."""
        gain = self._gain("branch_out", quality)[None]
        x_hat, on = networks.several("synthesis_forth", ("x_hat", "on"), y_hat=y_hat[None], gain=gain)
        return expect(x_hat, _shape_of_pixels(y_hat), "synthesis_forth")[0], on

    def synthesise_back(self, networks: Networks, passed: np.ndarray, gradient: np.ndarray, quality: int) -> np.ndarray:
        """See `RefinableCoder`."""
        gain = self._gain("branch_out", quality)[None]
        found = networks("synthesis_back", on=passed, gain=gain, gradient=gradient[None])
        size = (side // STRIDE for side in gradient.shape[1:])
        return expect(found, (1, self.latents, *size), "synthesis_back")[0]

    def means_and_gradient(
        self,
        networks: Networks,
        z: np.ndarray,
        y_hat: np.ndarray,
        to_y_hat: np.ndarray,
        to_residual: np.ndarray,
        slope: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray]:
        """See `RefinableCoder`."""
        pair = networks(
            "means_and_gradient",
            z=z[None].astype(np.float32),
            y_hat=y_hat[None],
            steps=_steps(*y_hat.shape),
            to_y_hat=to_y_hat[None],
            to_residual=to_residual[None],
            slope=slope[None],
        )
        mean, gradient = expect(pair, (1, 2 * self.latents, *y_hat.shape[1:]), "means_and_gradient").reshape(
            2, *y_hat.shape
        )
        return mean, gradient

    def hyper_gradient(
        self, networks: Networks, z: np.ndarray, y: np.ndarray, quality: int, weight: np.ndarray
    ) -> np.ndarray:
        """See `RefinableCoder`."""
        gradient = networks(
            "hyper_gradient",
            z=z[None],
            y=y[None],
            steps=_steps(*y.shape),
            offset=self.scale_indices.offsets(quality)[None],
            weight=weight[None],
        )
        return expect(gradient, (1, *z.shape), "hyper_gradient")[0]

    def _gain(self, knots: str, quality: int) -> np.ndarray:
        """Gains (C,) float32 at a quality step, linear in log between two knots."""
        table = self._knots[knots]
        position = np.float32(quality / QUALITY_KNOT)
        low = min(math.floor(position), QUALITY_KNOTS - 2)
        return np.exp(table[low] + (position - np.float32(low)) * (table[low + 1] - table[low]))
