"""The data that travels between rooms, and the protocols that they agree on."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    import numpy as np
    import torch

#: Quality is an integer step in files and models; codec/quality.py has that of people. Eleven knots, 100 steps apart.
QUALITY_STEPS = 1000
QUALITY_KNOT = 100
QUALITY_KNOTS = QUALITY_STEPS // QUALITY_KNOT + 1
#: Bytes of the largest metadata of a kind: of ICC, Exif and XMP each.
MAX_METADATA = 16 << 20


@dataclass(frozen=True)
class Loss:
    """What one training step minimises.

    total: scalar float32 tensor with a gradient.
    parts: detached scalars to log, e.g. ``{"bpp": ..., "mse": ...}`` (bits per pixel; squared [0, 1] units).
    """

    total: torch.Tensor
    parts: dict[str, torch.Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class SymbolPlane:
    """Integers to be coded and, for each, which table codes it.

    symbols: (n,) int32, any range (a table's escape covers what lies outside its support).
    tables: (n,) uint8 or int32, index into the plane's table set, same length.
    """

    symbols: np.ndarray
    tables: np.ndarray


@dataclass(frozen=True)
class LatentCode:
    """The latents of one tile as integers: everything a decoder needs besides the model.

    z: (Z, h, w) int32 hyper-latent symbols, or None for a family without a hyperprior.
    y: (N, H, W) int32 latent symbols (residuals of the predicted mean).
    quality: integer quality step in [0, QUALITY_STEPS].
    indices: (N, H, W) uint8 or int32, the table index of each y, if known already; they follow from z and quality.
    """

    y: np.ndarray
    z: np.ndarray | None
    quality: int
    indices: np.ndarray | None = field(default=None, compare=False, repr=False)

    def hyper_latents(self) -> np.ndarray:
        """z, (Z, h, w) int32. Raises ValueError for a code without any."""
        if self.z is None:
            raise ValueError("a tile of a family with a hyperprior has hyper-latents, this one has none")
        return self.z


@runtime_checkable
class Model(Protocol):
    """What the training loop needs of a family."""

    def loss(self, batch: torch.Tensor, rng: torch.Generator, progress: float = 0.0) -> Loss:
        """batch: (B, C, H, W) float32 in [0, 1]. progress: share of the training done, in [0, 1]."""
        ...


@runtime_checkable
class BatchSource(Protocol):
    """Where the training loop's batches come from. ``shape``: of one item, (C, H, W) for pictures."""

    shape: tuple[int, ...]

    def __len__(self) -> int:
        """Number of pictures or items that batches are drawn from."""
        ...

    def draw(self, count: int, rng: torch.Generator, progress: float = 0.0) -> torch.Tensor:
        """A random batch (count, *shape) float32, pictures in [0, 1], on the training device.

        progress: share of the training done, in [0, 1]; a source may then draw larger and fewer items.
        """
        ...

    def held_out(self) -> list[torch.Tensor]:
        """Batches kept aside for evaluation, (B, *shape) float32 each as `draw` gives them, none of them ever drawn."""
        ...


@runtime_checkable
class Initialisable(Protocol):
    """A family whose weights can start from training data, or from weights of a part that was trained before."""

    def initialise(self, source: BatchSource, rng: torch.Generator) -> None:
        """Set the weights before the first step; the model is on the CPU.

        source: of the training items; rng: of the draws, on the training device. Raises CheckpointError for a part
        whose weights cannot be had.
        """
        ...


#: (y, rounding) -> (y_hat, residual), all (1, N, H, W) float32, see `TileCodec.quantiser`.
Quantiser = Callable[["torch.Tensor", Callable[["torch.Tensor"], "torch.Tensor"]], "tuple[torch.Tensor, torch.Tensor]"]


@runtime_checkable
class TileCodec(Protocol):
    """What the file codec, encoder effort and checkpoints need of a family whose latents are entropy-coded.

    ``stride`` is the number of pixels per latent position; a tile's sides are multiples of ``alignment`` pixels;
    ``context`` is how many latent positions beyond a window the transforms look at, ``mean_reach`` how many
    `dequantise` does; ``variable_rate`` says whether the
    quality step, an integer in [0, QUALITY_STEPS], changes anything. ``tables`` are the frozen table sets by the name
    of their plane, those of y under "y"; they are empty before `freeze`, which coding needs.
    """

    stride: int
    variable_rate: bool
    alignment: int
    context: int
    mean_reach: int
    tables: dict[str, Any]

    def freeze(self) -> None:
        """Make the integer tables from the weights, as a checkpoint holds them."""
        ...

    def prove_exact(self) -> None:
        """Raises CheckpointError if the exact part could leave the range in which its arithmetic is exact."""
        ...

    def calibrate(self, pictures: Iterable[torch.Tensor]) -> None:
        """Fit the frozen tables, and what adapts their choice, to pictures, (1, 3, H, W) float32 in [0, 1] each.

        Without pictures, or in a family that has nothing to fit, the tables stay as they are.
        """
        ...

    def analyse(self, x: torch.Tensor) -> torch.Tensor:
        """(1, 3, H, W) float32 in [0, 1] -> y (1, N, H/stride, W/stride) float32, before any gain."""
        ...

    def code_shapes(self, height: int, width: int) -> tuple[tuple[int, ...], tuple[int, ...] | None]:
        """Shapes of y and z (or None) for a tile of (height, width) latent positions."""
        ...

    def quantise(self, y: torch.Tensor, quality: int) -> LatentCode:
        """y (1, N, H, W) float32 of one tile -> its integers at a quality step."""
        ...

    def encode_tile(self, code: LatentCode) -> bytes:
        """Integers -> entropy-coded bytes."""
        ...

    def decode_tile(
        self, data: bytes, quality: int, height: int, width: int, part: tuple[slice, slice] | None = None
    ) -> LatentCode:
        """Bytes -> integers of a tile of (height, width) latent positions. Raises BitstreamError.

        part: the rows and columns that are wanted, each from a multiple of alignment / stride to another.
        """
        ...

    def dequantise(self, code: LatentCode) -> torch.Tensor:
        """Integers -> y_hat (1, N, H, W) float32, the latents that the synthesis transform takes."""
        ...

    def synthesise(self, y_hat: torch.Tensor, quality: int) -> torch.Tensor:
        """y_hat (1, N, H, W) float32 -> x_hat (1, 3, H*stride, W*stride) float32, not clipped."""
        ...

    def distortion_weight(self, quality: int) -> float:
        """Lambda: bits per pixel that a distortion of 1 is worth."""
        ...

    def distortion(self, x: torch.Tensor, x_hat: torch.Tensor) -> torch.Tensor:
        """x, x_hat (B, 1 or 3, H, W) float32 in [0, 1] -> (B,) float32: what the model was trained to keep small, in
        units of the mean squared error."""
        ...

    def scaled(self, y: torch.Tensor, quality: int) -> torch.Tensor:
        """What `analyse` gives -> the latents that are rounded, in units of the quantisation step, like it."""
        ...

    def symbol_planes(self, code: LatentCode) -> list[tuple[SymbolPlane, Any]]:
        """What the entropy coder sees of a tile: symbols and the table set of each plane, in decoding order."""
        ...

    def table_indices(self, code: LatentCode) -> np.ndarray:
        """(N, H, W) uint8 or int32: which of ``tables["y"]`` codes each latent."""
        ...

    def quantiser(self, z: np.ndarray | None, indices: np.ndarray, quality: int) -> Quantiser:
        """How latents of a tile with given hyper-latents are quantised, as a function that can be differentiated.

        z: (Z, h, w) int32 or None; indices: as `table_indices` gives them. It maps scaled y (1, N, H, W) and a
        rounding to y_hat, as `synthesise` takes it, and the residual, which the tables code; both like y. With
        `round_half_up` that is what `quantise` and `dequantise` do.
        """
        ...


@runtime_checkable
class HyperCodec(TileCodec, Protocol):
    """A codec with hyper-latents that encoder effort can move."""

    def hyper_latents(self, y: torch.Tensor) -> torch.Tensor:
        """Scaled y (1, N, H, W) float32 -> z (1, Z, h, w) float32, not rounded."""
        ...

    def hyper_cost(
        self,
        z: torch.Tensor,
        y: torch.Tensor,
        quality: int,
        rounding: Callable[[torch.Tensor], torch.Tensor],
        weight: torch.Tensor,
    ) -> torch.Tensor:
        """Estimated bits of a tile given its hyper-latents, plus what its silent latents cost: a scalar.

        z, y: as above; rounding: what stands for the rounding of z; weight: (1, N, 1, 1), bits per squared error of y.
        """
        ...

    def with_hyper_latents(self, z: torch.Tensor, y: torch.Tensor, quality: int) -> LatentCode:
        """z, y as above -> the integers that they are rounded to."""
        ...


@runtime_checkable
class Autoencoder(Protocol):
    """What anomaly detection, generation and transfer need of a family with one code per item."""

    shape: tuple[int, ...]
    latents: int

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        """x (B, *shape) float32 -> z (B, latents) float32."""
        ...

    def decode(self, z: torch.Tensor) -> torch.Tensor:
        """z (B, latents) float32 -> x_hat (B, *shape) float32."""
        ...

    def reconstruct(self, x: torch.Tensor) -> torch.Tensor:
        """decode(encode(x)); x (B, *shape) float32 -> the same shape and type."""
        ...


@runtime_checkable
class Featured(Autoencoder, Protocol):
    """An autoencoder that gives classifiers another code than its own."""

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """x (B, *shape) float32 -> features (B, d) float32, with a gradient."""
        ...


@runtime_checkable
class Variational(Autoencoder, Protocol):
    """An autoencoder whose codes have the prior N(0, I), so that items can be drawn. Numbers: nats per item.

    ``encode`` gives the posterior's mean.
    """

    def surprise(self, x: torch.Tensor) -> torch.Tensor:
        """KL(q || p) - log p(x | z) at the posterior's mean: minus the ELBO without its sampling noise.

        x (B, *shape) float32 -> (B,) float32.
        """
        ...

    def elbo(self, x: torch.Tensor, rng: torch.Generator, samples: int = 1) -> torch.Tensor:
        """E_q[log p(x | z)] - KL, the expectation over so many samples; x (B, *shape) float32 -> (B,) float32."""
        ...


@runtime_checkable
class Restorer(Protocol):
    """What restoration needs of a family. Sides are padded to ``alignment``; an output sees ``reach`` pixels around."""

    channels: int
    corruptions: tuple[str, ...]
    alignment: int
    reach: int

    def restore(
        self, x: torch.Tensor, corruption: str, *, sigma: float = 0.0, hole: torch.Tensor | None = None
    ) -> torch.Tensor:
        """x (B, C, H, W) float32 in [0, 1] -> the same, restored; "downsample" doubles the sides.

        sigma: of Gaussian noise in [0, 1] units; hole: (B, 1, H, W) bool or number, 1 where pixels are missing.
        """
        ...


@runtime_checkable
class Scanner(Protocol):
    """A search through codes of one width: what a Hamming backend is to the index above it.

    Built as ``Backend(codes, **options)``, codes: (N, B) uint8, C-contiguous, perhaps a memory map; rows are numbered
    from 0. Every backend returns what the oracle returns, bit for bit: by distance, then by row.
    """

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """(Q, B) uint8 -> rows (Q, min(k, N)) int64 and distances, the same shape, int32 in [0, 8 B]."""
        ...

    def range_search(self, queries: np.ndarray, radius: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(Q, B) uint8 -> limits (Q + 1,) int64, rows (M,) int64, distances (M,) int32 in [0, radius].

        The hits of query i stand at limits[i] ... limits[i + 1] - 1, by distance, then by row.
        """
        ...


@dataclass(frozen=True)
class FrozenModel:
    """A checkpoint that was loaded: its name, its fingerprint (8 bytes) and the module in eval mode."""

    name: str
    family: str
    fingerprint: bytes
    module: Any
    metadata: dict[str, Any] = field(default_factory=dict)
