"""What the file codec and hashers need of whatever computes a model: NumPy arrays, on the host."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from ..coding.post_filter import PostFilter
from ..coding.rans import Part
from ..contracts import LatentCode, SymbolPlane
from ..data.tiling import Window


@runtime_checkable
class Engine(Protocol):
    """A model that codes tiles. Methods may be called from several threads at once.

    name, family, fingerprint (8 bytes): of its checkpoint. stride: pixels per latent position; alignment: pixels that
    a tile's sides are multiples of; context: latent positions beyond a window that the transforms look at;
    mean_reach: those that `dequantise` looks at, a multiple of alignment / stride; latents: N, channels of y.
    variable_rate: whether the quality step changes anything.
    """

    name: str
    family: str
    fingerprint: bytes
    stride: int
    alignment: int
    context: int
    mean_reach: int
    latents: int
    variable_rate: bool

    def analyse(self, pixels: np.ndarray) -> np.ndarray:
        """(H, W) or (H, W, 3) uint8 -> y (N, H / stride, W / stride) float32, before any gain."""
        ...

    def quantise(self, y: np.ndarray, quality: int) -> LatentCode:
        """y (N, H, W) float32 of one tile -> its integers at a quality step."""
        ...

    def symbol_planes(self, code: LatentCode) -> list[tuple[SymbolPlane, Any]]:
        """What the entropy coder sees of a tile: symbols and the table set of each plane."""
        ...

    def encode_tile(self, code: LatentCode) -> bytes:
        """Integers -> entropy-coded bytes."""
        ...

    def decode_tile(self, data: bytes, quality: int, height: int, width: int, part: Part | None = None) -> LatentCode:
        """Bytes -> integers of a tile of (height, width) latent positions. Raises BitstreamError.

        part: the rows and columns that are wanted, each from a multiple of alignment / stride to another.
        """
        ...

    def dequantise(self, code: LatentCode) -> np.ndarray:
        """Integers -> y_hat (N, H, W) float32, the latents that `synthesise` takes."""
        ...

    def synthesise(
        self, y_hat: np.ndarray, quality: int, inner: Window, *, grey: bool, post_filter: PostFilter | None = None
    ) -> np.ndarray:
        """y_hat (N, H, W) float32 of a window -> the pixels of its part ``inner``, (h, w, 3) uint8, or (h, w) if grey.

        inner: in latent positions of the window. post_filter: of the file, for as many planes as are shown.
        """
        ...


@dataclass(frozen=True)
class Canvas:
    """What the latents of one tile are judged by while they are refined.

    y: (N, h, w) float32, the tile as the analysis transform gives it. y_hat: (N, H, W) float32, latents of the window
    around the tile, those of its neighbours as they stand, zero in the tile. inner: the tile in that window, in latent
    positions. target: the pixels that count, (r, c) or (r, c, 3) uint8; measured: their place in the window's pixels.
    """

    y: np.ndarray
    y_hat: np.ndarray
    inner: Window
    target: np.ndarray
    measured: Window


@dataclass(frozen=True)
class Refined:
    """A tile after its refinement. error, before: what the error of the measured pixels is worth in bits, now and as
    the tile was."""

    code: LatentCode
    error: float
    before: float


@runtime_checkable
class RefiningEngine(Engine, Protocol):
    """An engine that can move the latents of a picture down its own rate-distortion cost.

    refines_cheaply: whether a few steps take no longer than encoders take elsewhere, the start of the program included.
    visual: the share of the distortion that is of what eyes see; the rest is squared error.
    """

    refines_cheaply: bool
    visual: float

    def distortion_weight(self, quality: int) -> float:
        """Lambda: bits per pixel that a distortion of 1 is worth."""
        ...

    def distortion(self, pixels: np.ndarray, decoded: np.ndarray) -> float:
        """Two pictures or parts of them, (H, W) or (H, W, 3) uint8 -> the distortion that the model is to keep small:
        the mean squared error of pixels in [0, 1], or a measure in units of it."""
        ...

    def refine(self, code: LatentCode, canvas: Canvas, steps: int) -> Refined:
        """A tile's integers -> integers that cost no more, after so many gradient steps."""
        ...


class HashNetwork(Protocol):
    """A hasher's network. name, fingerprint (8 bytes), config: of its checkpoint."""

    name: str
    fingerprint: bytes
    config: dict[str, Any]

    def logits(self, x: np.ndarray, bits: int | None = None) -> np.ndarray:
        """x (n, C, H, W) float32 in [0, 1] -> (n, n_bits) float32; the signs are the code.

        bits: only so many are asked for, a length of the code; the columns of more may be missing.
        """
        ...
