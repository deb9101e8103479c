"""Networks whose results are integers, run in NumPy: which probability table codes a latent must not depend on a
device.

A value is an integer held in float64. A sum of products of integers is exact, in whatever order it is formed, while no
partial sum can reach 2^53; what writes a checkpoint proves from the weights alone that none can (nn/exact.py,
nn/fixed_point.py, where these layers are trained and frozen). Divisions are by powers of two, or of 64-bit integers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

#: Bits after the binary point of a scale index as the scale net gives it, and its largest magnitude.
INDEX_FRACTION = 4
INDEX_LIMIT = 1 << 12
#: Probability tables that a scale index chooses from.
LEVELS = 64
#: Partial sums of the scale net below this are exact in float32 as well as in float64.
EXACT_BOUND = 1 << 24
#: Partial sums of a fixed-point mirror below this are exact in float64.
FIXED_BOUND = 1 << 53
#: Bits after the binary point of weights and activations of a fixed-point mirror, and its largest activation.
WEIGHT_FRACTION = 16
ACTIVATION_FRACTION = 12
ACTIVATION_MAX = 1 << 24


#: Hyper-latents of more positions than this are taken in windows of such a side, each with what it sees around it.
WHOLE, SIDE = 1 << 10, 32
#: Hyper-latent positions that a table index sees around its own: more than three layers of three taps do, or five taps
#: at one and at two times the resolution.
SEEN = 4


def in_windows(indices: Callable[[np.ndarray], np.ndarray], z: np.ndarray) -> np.ndarray:
    """What a function makes of hyper-latents z (Z, h, w), (N, 4h, 4w) uint8, found window by window if they are many.

    All of it is integers, so that it is the same.
    """
    height, width = z.shape[1:]
    if height * width <= WHOLE:
        return indices(z)
    found: np.ndarray | None = None
    for top in range(0, height, SIDE):
        for left in range(0, width, SIDE):
            bottom, right = min(top + SIDE, height), min(left + SIDE, width)
            above, before = max(top - SEEN, 0), max(left - SEEN, 0)
            part = indices(z[:, above : bottom + SEEN, before : right + SEEN])
            if found is None:
                found = np.empty((len(part), 4 * height, 4 * width), part.dtype)
            rows, columns = (
                slice(4 * (top - above), 4 * (bottom - above)),
                slice(4 * (left - before), 4 * (right - before)),
            )
            found[:, 4 * top : 4 * bottom, 4 * left : 4 * right] = part[:, rows, columns]
    return indices(z) if found is None else found


def pixel_shuffle(x: np.ndarray) -> np.ndarray:
    """(4 C, H, W) -> (C, 2 H, 2 W): four channels become the places of a 2 x 2 cell, as torch's pixel_shuffle has
    it."""
    channels, height, width = x.shape
    cells = x.reshape(channels // 4, 2, 2, height, width).transpose(0, 3, 1, 4, 2)
    return cells.reshape(channels // 4, 2 * height, 2 * width)


@dataclass(frozen=True)
class ExactConv:
    """A 1x1 or depthwise 3x3 convolution, then clamp(floor(acc * 2^-shift + 1/2), low, high).

    weight: (out, in, 1, 1) or (C, 1, 3, 3) int8; bias, shift: (out,) int32; in_max: largest magnitude of an input.
    """

    weight: np.ndarray
    bias: np.ndarray
    shift: np.ndarray
    in_max: int
    low: int
    high: int

    def bound(self) -> int:
        """Largest magnitude of any partial sum: max over channels of ||w||_1 * in_max + |b| (+ rounding)."""
        norm = np.abs(self.weight.astype(np.int64)).sum(axis=(1, 2, 3)) * self.in_max
        half = np.int64(1) << np.maximum(self.shift.astype(np.int64) - 1, 0)
        return int((norm + np.abs(self.bias.astype(np.int64)) + half).max())

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """x (C, H, W) float64 holding integers -> (out, H, W), likewise."""
        weight = self.weight.astype(np.float64)
        if weight.shape[2] == 1:
            acc = np.tensordot(weight[:, :, 0, 0], x, axes=1)
        else:
            padded = np.pad(x, ((0, 0), (1, 1), (1, 1)))
            height, width = x.shape[1:]
            acc = np.zeros_like(x)
            for row in range(3):
                for column in range(3):
                    part = padded[:, row : row + height, column : column + width]
                    acc += weight[:, 0, row, column][:, None, None] * part
        acc += self.bias.astype(np.float64)[:, None, None]
        # ldexp multiplies by a power of two, exactly.
        acc *= np.ldexp(1.0, -self.shift.astype(np.int64))[:, None, None]
        acc += 0.5
        return np.clip(np.floor(acc, out=acc), self.low, self.high, out=acc)


@dataclass(frozen=True)
class ScaleIndices:
    """The flagship's scale net: hyper-latents and a quality step -> which table codes each latent.

    layers: in order; upsample_after: indices of those whose output is shuffled to twice the sides; offset: (knots, N)
    int32, added to the index, linear between two knots; steps_per_knot: quality steps from one to the next.
    """

    layers: Sequence[ExactConv]
    upsample_after: Sequence[int]
    offset: np.ndarray
    steps_per_knot: int

    @property
    def channels(self) -> tuple[int, int]:
        """Of z and of y."""
        first = self.layers[0].weight
        return first.shape[1] if first.shape[2] == 1 else first.shape[0], self.offset.shape[1]

    def bound(self) -> int:
        """Largest partial sum that any z in range can cause."""
        return max(layer.bound() for layer in self.layers)

    def __call__(self, z: np.ndarray, quality: int) -> np.ndarray:
        """z (Z, h, w) integers -> (N, 4h, 4w) uint8 in [0, LEVELS - 1]."""
        return in_windows(lambda part: self._indices(part, quality), z)

    def _indices(self, z: np.ndarray, quality: int) -> np.ndarray:
        h = z.astype(np.float64)
        for index, layer in enumerate(self.layers):
            h = layer(h)
            if index in self.upsample_after:
                h = pixel_shuffle(h)
        per = self.steps_per_knot
        offset = (2 * self._mixed_offset(quality) + per) // (2 * per)
        fixed = h.astype(np.int64) + offset[:, None, None]
        fixed += 1 << (INDEX_FRACTION - 1)
        fixed >>= INDEX_FRACTION
        return np.clip(fixed, 0, LEVELS - 1).astype(np.uint8)

    def _mixed_offset(self, quality: int) -> np.ndarray:
        """The offsets at a quality step, (N,) int64, times ``steps_per_knot``."""
        per, table = self.steps_per_knot, self.offset.astype(np.int64)
        knot = min(quality // per, len(table) - 2)
        share = quality - knot * per
        return table[knot] * (per - share) + table[knot + 1] * share

    def offsets(self, quality: int) -> np.ndarray:
        """What is added to the index of each channel at a quality step, (N,) float32, before it is rounded."""
        return (self._mixed_offset(quality) * (2.0**-INDEX_FRACTION / self.steps_per_knot)).astype(np.float32)


@dataclass(frozen=True)
class FixedConv:
    """A convolution, or a transposed one, of fixed-point numbers: clamp(floor(acc * 2^-16 + 1/2)).

    weight: (out, in, k, k) int32, or (in, out, k, k) if transposed; bias: (out,) int64.
    """

    weight: np.ndarray
    bias: np.ndarray
    stride: tuple[int, int]
    padding: tuple[int, int]
    output_padding: tuple[int, int] = (0, 0)
    transposed: bool = False

    def bound(self) -> int:
        """Largest magnitude of any partial sum: max over channels of ||w||_1 * a_max + |b| (+ rounding)."""
        norms = np.abs(self.weight.astype(np.int64)).sum(axis=(0, 2, 3) if self.transposed else (1, 2, 3))
        half = 1 << (WEIGHT_FRACTION - 1)
        # Python's integers: the product may exceed 64 bits.
        sums = zip(norms.tolist(), self.bias.tolist(), strict=True)
        return max(norm * ACTIVATION_MAX + abs(bias) + half for norm, bias in sums)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """x (C, H, W) float64 holding integers -> (out, H', W'), likewise."""
        acc = self._transposed(x) if self.transposed else self._plain(x)
        acc = acc + self.bias.astype(np.float64)[:, None, None]
        return np.clip(np.floor(acc * 2.0**-WEIGHT_FRACTION + 0.5), -ACTIVATION_MAX, ACTIVATION_MAX)

    def _plain(self, x: np.ndarray) -> np.ndarray:
        (down, across), (tall, wide) = self.stride, self.weight.shape[2:]
        padded = np.pad(x, ((0, 0), *((pad, pad) for pad in self.padding)))
        rows, columns = (padded.shape[1] - tall) // down + 1, (padded.shape[2] - wide) // across + 1
        weight, acc = self.weight.astype(np.float64), np.zeros((len(self.weight), rows, columns))
        for i, j in np.ndindex(tall, wide):
            part = padded[:, i : i + down * rows : down, j : j + across * columns : across]
            acc += np.tensordot(weight[:, :, i, j], part, axes=1)
        return acc

    def _transposed(self, x: np.ndarray) -> np.ndarray:
        (down, across), (tall, wide), (above, left) = self.stride, self.weight.shape[2:], self.padding
        rows, columns = x.shape[1:]
        height = down * (rows - 1) + tall + self.output_padding[0]
        width = across * (columns - 1) + wide + self.output_padding[1]
        weight, acc = self.weight.astype(np.float64), np.zeros((self.weight.shape[1], height, width))
        for i, j in np.ndindex(tall, wide):
            part = np.tensordot(weight[:, :, i, j].T, x, axes=1)
            acc[:, i : i + down * rows : down, j : j + across * columns : across] += part
        return acc[:, above : height - above, left : width - left]


@dataclass(frozen=True)
class FixedRectifier:
    """A leaky rectifier: a negative integer a becomes floor(a * p / q + 1/2), slope p / q."""

    slope: tuple[int, int]

    def bound(self) -> int:
        """Largest magnitude of 2 p a + q, the numerator that is divided."""
        p, q = self.slope
        return 2 * p * ACTIVATION_MAX + q

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Integers in float64 -> integers in float64, by 64-bit integer division."""
        p, q = self.slope
        scaled = (2 * p * x.astype(np.int64) + q) // (2 * q)
        return np.where(x < 0, scaled.astype(np.float64), x)


@dataclass(frozen=True)
class GaussianIndices:
    """A fixed-point mirror of a hyper-synthesis: hyper-latents -> which Gaussian codes each latent.

    layers: convolutions and rectifiers; medians: (Z,) int64 of z, fixed-point; boundaries: (LEVELS - 1,) int64, rising:
    a scale takes table i if it exceeds i of them.
    """

    layers: Sequence[FixedConv | FixedRectifier]
    medians: np.ndarray
    boundaries: np.ndarray

    @property
    def channels(self) -> tuple[int, int]:
        """Of z and of y."""
        last = self.layers[-1]
        return len(self.medians), len(last.weight) if isinstance(last, FixedConv) else 0

    def bound(self) -> int:
        """Largest partial sum that any z can cause."""
        return max(layer.bound() for layer in self.layers)

    def __call__(self, z: np.ndarray) -> np.ndarray:
        """z (Z, h, w) int32, any values -> (N, 4h, 4w) uint8 in [0, LEVELS - 1]."""
        return in_windows(self._indices, z)

    def _indices(self, z: np.ndarray) -> np.ndarray:
        fixed = (z.astype(np.int64) << ACTIVATION_FRACTION) + self.medians[:, None, None]
        x = np.clip(fixed.astype(np.float64), -ACTIVATION_MAX, ACTIVATION_MAX)
        for layer in self.layers:
            x = layer(x)
        # Left side: the number of boundaries strictly below the scale.
        return np.searchsorted(self.boundaries, x.astype(np.int64)).astype(np.uint8)
