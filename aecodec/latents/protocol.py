"""What a codec family's latents need of whoever handles them, with and without its networks."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np

from ..coding.rans import Part
from ..coding.tables import TableSet
from ..contracts import CheckpointError, LatentCode, SymbolPlane


@dataclass(frozen=True)
class Parts:
    """What a checkpoint holds of a family, as plain arrays. config: its settings; tensors: weights by name, float16 or
    float32, and integers; tables: frozen probability tables by name."""

    config: Mapping[str, Any]
    tensors: Mapping[str, np.ndarray]
    tables: dict[str, TableSet] = field(default_factory=dict)

    def count(self, name: str, low: int = 1) -> int:
        """A whole number of the configuration. Raises ValueError for one below the lowest, or that is none."""
        value = self.config.get(name)
        if type(value) is not int or value < low:
            raise ValueError(f"{name} of its configuration is a whole number from {low} up, found {value!r}")
        return value

    def array(self, name: str, shape: tuple[int, ...], dtype: Any = np.floating) -> np.ndarray:
        """A tensor of a shape and type. Raises ValueError for one that is missing or another."""
        return checked(self.tensors, name, shape, dtype)

    def table_set(self, name: str, count: int, *, escape: bool) -> TableSet:
        """A table set of so many tables. Raises ValueError for one that is missing or another."""
        found = self.tables.get(name)
        if found is None or len(found) != count or found.escape != escape:
            kind = f"{count} tables {'with' if escape else 'without'} escape"
            raise ValueError(f"{kind} code its {name}, found {0 if found is None else len(found)}")
        return found


def checked(
    tensors: Mapping[str, np.ndarray], name: str, shape: tuple[int, ...] | None, dtype: Any, largest: float = math.inf
) -> np.ndarray:
    """A tensor by name. Raises ValueError unless it has a type, a shape (None: any), and no value beyond +-largest."""
    found = tensors.get(name)
    if found is None:
        raise ValueError(f"{name} is missing")
    if not np.issubdtype(found.dtype, dtype) or (shape is not None and found.shape != shape):
        raise ValueError(f"{name} is of shape {found.shape} and type {found.dtype}")
    if found.size and max(-float(found.min()), float(found.max())) > largest:
        raise ValueError(f"{name} holds a value beyond {largest:g}")
    return found


def part_of_code(
    y: np.ndarray, z: np.ndarray, quality: int, index: np.ndarray, part: Part | None, hyper_stride: int
) -> LatentCode:
    """The integers of a part of a tile. y: of the part; z, index: of the whole."""
    if part is None:
        return LatentCode(y, z, quality, index)
    rows, columns = part
    hyper = tuple(slice(side.start // hyper_stride, -(-side.stop // hyper_stride)) for side in part)
    return LatentCode(y, z[:, hyper[0], hyper[1]].copy(), quality, index[:, rows, columns].copy())


def expect(result: np.ndarray, shape: tuple[int, ...], network: str) -> np.ndarray:
    """What a network gave. Raises CheckpointError unless it is float32 of a shape, and finite."""
    if result.dtype != np.float32 or result.shape != shape:
        raise CheckpointError(f"network {network} gave {result.dtype} of shape {result.shape}, not float32 of {shape}")
    if not np.isfinite(result).all():
        raise CheckpointError(f"network {network} gave values that are not finite")
    return result


class Networks(Protocol):
    """The networks of a family, by name; those that it has are told at the head of its file."""

    def __call__(self, name: str, /, **inputs: np.ndarray) -> np.ndarray:
        """Inputs and the result are float32 with a batch of one, (1, C, H, W) or (1, C)."""
        ...

    def several(self, name: str, outputs: tuple[str, ...], /, **inputs: np.ndarray) -> list[np.ndarray]:
        """The results of a network that gives more than one, by their names."""
        ...


class LatentCoder(Protocol):
    """The latents of a family between its networks and the entropy coder. Everything but ``networks`` is exact.

    stride, alignment, context, mean_reach, variable_rate: as of `engine.protocol.Engine`. latents: N, channels of y.
    """

    stride: int
    alignment: int
    context: int
    mean_reach: int
    latents: int
    variable_rate: bool

    def prove_exact(self) -> None:
        """Raises CheckpointError if the exact part could leave the range in which its arithmetic is exact."""
        ...

    def code_shapes(self, height: int, width: int) -> tuple[tuple[int, ...], tuple[int, ...] | None]:
        """Shapes of y and z (or None) for a tile of (height, width) latent positions."""
        ...

    def table_indices(self, code: LatentCode) -> np.ndarray:
        """(N, H, W) integers: which of the tables of y codes each latent, before any adaptation to other latents."""
        ...

    def symbol_planes(self, code: LatentCode) -> list[tuple[SymbolPlane, TableSet]]:
        """What the entropy coder sees of a tile, in decoding order."""
        ...

    def encode_tile(self, code: LatentCode) -> bytes:
        """Integers of a tile -> entropy-coded bytes."""
        ...

    def decode_tile(self, data: bytes, quality: int, height: int, width: int, part: Part | None = None) -> LatentCode:
        """Bytes -> integers of a tile of (height, width) latent positions. Raises BitstreamError.

        part: the rows and columns that are wanted, each from a multiple of alignment / stride to another.
        """
        ...

    def quantise(self, networks: Networks, y: np.ndarray, quality: int) -> LatentCode:
        """y (N, H, W) float32, as "analysis" gives it -> integers at a quality step."""
        ...

    def dequantise(self, networks: Networks, code: LatentCode) -> np.ndarray:
        """Integers -> y_hat (N, H, W) float32, which `synthesise` takes."""
        ...

    def synthesise(self, networks: Networks, y_hat: np.ndarray, quality: int) -> np.ndarray:
        """y_hat (N, H, W) float32 -> x_hat (3, stride H, stride W) float32, not clipped."""
        ...


@runtime_checkable
class RefinableCoder(LatentCoder, Protocol):
    """A coder whose networks give gradients as well, so that encoder effort needs no torch.

    tables: frozen probability tables of "y" and "z"; z_max: largest |z|; gradients: the networks that it takes; visual:
    share of the distortion that is of what eyes see, the rest is squared error.
    """

    tables: dict[str, TableSet]
    z_max: int
    gradients: tuple[str, ...]
    visual: float

    def distortion_weight(self, quality: int) -> float:
        """Lambda: bits per pixel that a distortion of 1 is worth."""
        ...

    def scaled(self, y: np.ndarray, quality: int) -> np.ndarray:
        """y (N, H, W) float32, as "analysis" gives it -> in units of the quality's quantisation step."""
        ...

    def reach(self, indices: np.ndarray) -> np.ndarray:
        """The largest residual that each table can express, int32 like indices; 0 where a latent is not coded."""
        ...

    def hyper_latents(self, networks: Networks, y: np.ndarray) -> np.ndarray:
        """Scaled y (N, H, W) float32 -> z (Z, h, w) float32, not rounded."""
        ...

    def with_hyper_latents(self, networks: Networks, z: np.ndarray, y: np.ndarray, quality: int) -> LatentCode:
        """z, scaled y as above -> the integers that they are rounded to."""
        ...

    def with_tables(
        self, networks: Networks, z: np.ndarray, indices: np.ndarray, y: np.ndarray, quality: int
    ) -> LatentCode:
        """Scaled y -> its integers where those of z, and the tables that they choose, are known."""
        ...

    def hyper_table_indices(self, quality: int, shape: tuple[int, ...]) -> np.ndarray:
        """Which table of z codes each of a tile's hyper-latents, of that shape."""
        ...

    def to_units(self, y_hat: np.ndarray, quality: int) -> np.ndarray:
        """y_hat (N, H, W) as `synthesise` takes it -> in units of the quantisation step."""
        ...

    def from_units(self, y_hat: np.ndarray, quality: int) -> np.ndarray:
        """The inverse of `to_units`; it also leads a gradient in the one to that in the other."""
        ...

    def synthesise_forth(self, networks: Networks, y_hat: np.ndarray, quality: int) -> tuple[np.ndarray, np.ndarray]:
        """`synthesise`, and what `synthesise_back` has to know of it, of the networks' own shape and type."""
        ...

    def synthesise_back(self, networks: Networks, passed: np.ndarray, gradient: np.ndarray, quality: int) -> np.ndarray:
        """Gradient in x_hat (3, stride H, stride W) float32 -> in y_hat (N, H, W), as `synthesise` takes it."""
        ...

    def means_and_gradient(
        self,
        networks: Networks,
        z: np.ndarray,
        y_hat: np.ndarray,
        to_y_hat: np.ndarray,
        to_residual: np.ndarray,
        slope: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray]:
        """The mean of each latent given y_hat, and the gradient of a cost in scaled y, (N, H, W) float32 both.

        y_hat (N, H, W) in units; to_y_hat, to_residual: partial derivatives of the cost; slope: of residuals in y.
        """
        ...

    def hyper_gradient(
        self, networks: Networks, z: np.ndarray, y: np.ndarray, quality: int, weight: np.ndarray
    ) -> np.ndarray:
        """Gradient in z (Z, h, w) float32 of the cost of scaled y, without the bits of z.

        weight: (N,), bits per squared error of latents that are not coded.
        """
        ...
