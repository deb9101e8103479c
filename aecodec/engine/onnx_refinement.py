"""The refinement of a tile by ONNX Runtime: the gradients of descent.py by a checkpoint's graphs, the rest in NumPy.

Where the distortion is what eyes see, its slope in the pixels is NumPy's (metrics/visual.py), and leads to the latents
by the graph of the squared error, which is given pixels whose squared error has that slope.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cached_property

import numpy as np

from ..coding.tables import TableSet
from ..contracts import LatentCode
from ..data.tiling import Window
from ..latents.protocol import Networks, RefinableCoder
from ..metrics import visual
from .descent import BETAS, EPSILON, Descent, bit_lines, schedule_of_hyper_latents, schedule_of_latents
from .protocol import Canvas

#: A window is synthesised, and its error's gradient found, in bands of about so many positions: that bounds the memory.
BAND = 32 * 48
#: The sensitivity of the pixels to each channel is estimated from so many positions along each side.
PROBED = 16
#: So many times the pixels' range, so that they themselves do not count in a gradient.
PROBE = np.float32(1e3)
#: Steps by which the sensitivity of what eyes see to each channel is estimated, and how long they are.
PROBES, PROBE_STEP = 2, np.float32(0.1)
HALF = np.float32(0.5)


def soft_round(x: np.ndarray, temperature: float) -> tuple[np.ndarray, np.ndarray]:
    """`nn.quantise.soft_round` and its derivative, float32 of the shape of x each."""
    half = np.float32(0.5 / temperature)
    low = np.floor(x)
    up = np.clip(x - low, np.float32(1e-4), np.float32(1.0 - 1e-4))
    down = np.float32(1.0) - up
    a, b = up * (np.float32(1.0) + up), down * (np.float32(1.0) + down)
    # Bounded, so that the exponential is.
    share = np.float32(1.0) / (np.float32(1.0) + np.exp(np.clip(np.log(b / a) * half, -80.0, 80.0)))
    slope = (np.float32(1.0) + 2 * up) / a + (np.float32(1.0) + 2 * down) / b
    return low + share, slope * (share * (np.float32(1.0) - share) * half)


class Adam:
    """Adam (Kingma, Ba 2015, alg. 1) on an array that it changes in place."""

    def __init__(self, values: np.ndarray) -> None:
        self._values, self._steps = values, 0
        self._mean: np.ndarray = np.zeros_like(values)
        self._power: np.ndarray = np.zeros_like(values)

    def step(self, gradient: np.ndarray, size: float) -> None:
        """One step down the gradient."""
        self._steps += 1
        first, second = BETAS
        self._mean += np.float32(1.0 - first) * (gradient - self._mean)
        self._power += np.float32(1.0 - second) * (gradient * gradient - self._power)
        scale = np.float32(math.sqrt(1.0 / (1.0 - second**self._steps)))
        rate = np.float32(size / (1.0 - first**self._steps))
        self._values -= rate * self._mean / (np.sqrt(self._power) * scale + np.float32(EPSILON))


class BitSlopes:
    """What one more of each residual costs in bits, between integers: the slope of `bit_lines`.

    indices: which of the tables codes each latent, any shape.
    """

    def __init__(self, tables: TableSet, indices: np.ndarray) -> None:
        bits, first = bit_lines(tables)
        width = bits.shape[1]
        self._slopes, self._last = np.diff(bits, axis=1, append=bits[:, -1:]).ravel(), width - 2
        which = indices.astype(np.int32)
        self._start, self._first = which * np.int32(width), first.astype(np.int32)[which]

    def __call__(self, low: np.ndarray) -> np.ndarray:
        """low: integers in float32, the floor of the residuals -> float32 of the same shape."""
        return self._slopes.take(np.clip(low.astype(np.int32) - self._first, 0, self._last) + self._start)


class OnnxRefinement(Descent):
    """One tile on its way down. Arrays of `protocol.Canvas`."""

    def __init__(self, coder: RefinableCoder, networks: Networks, code: LatentCode, canvas: Canvas) -> None:
        self._coder, self._networks, self._canvas = coder, networks, canvas
        self._grey, self._quality = canvas.target.ndim == 2, code.quality
        #: What each of the three colours counts, which are one where the picture is grey.
        self._share = np.float32(1.0 / 3.0 if self._grey else 1.0)
        #: Bits per unit of summed squared error.
        self._weight = coder.distortion_weight(code.quality) / (1 if self._grey else 3)
        self._y = coder.scaled(canvas.y, code.quality)
        planes = canvas.target[None] if self._grey else canvas.target.transpose(2, 0, 1)
        self._target = planes.astype(np.float32) / np.float32(255.0)
        self._counted: tuple[np.ndarray, np.ndarray] | None = None
        self._begin_at(code)

    def _begin_at(self, code: LatentCode) -> None:
        """Take the hyper-latents of a code, and with them tables and means."""
        self.code, self._indices = code, self._coder.table_indices(code)
        y_hat = self._coder.dequantise(self._networks, code)
        self._start = code, y_hat
        self._mean: np.ndarray = self._coder.to_units(y_hat, self._quality) - code.y.astype(np.float32)

    def _window(self, y_hat: np.ndarray) -> np.ndarray:
        """y_hat of the tile, as `synthesise` takes it, among its neighbours'."""
        rows, columns = self._canvas.inner.slices
        window = self._canvas.y_hat.copy()
        window[:, rows, columns] = y_hat
        return window

    def _settled(self) -> LatentCode:
        """See `Descent`."""
        return self._coder.with_tables(self._networks, self.code.hyper_latents(), self._indices, self._y, self._quality)

    def _real_cost(self, code: LatentCode) -> tuple[float, float]:
        """See `Descent`."""
        known, y_hat = self._start
        if code is not known:
            y_hat = self._coder.dequantise(self._networks, code)
        x_hat = self._synthesised(self._window(y_hat))
        if self._grey:
            x_hat = x_hat.mean(axis=0, keepdims=True, dtype=np.float32)
        levels = np.floor(x_hat.clip(0, 1) * np.float32(255.0) + np.float32(0.5)) / np.float32(255.0)
        bits = sum(tables.bits(plane.symbols, plane.tables) for plane, tables in self._coder.symbol_planes(code))
        return bits, self._error(levels)

    def _error(self, x_hat: np.ndarray) -> float:
        """What the distortion of the measured pixels, (3 or 1, r, c) float32 in [0, 1], is worth in bits."""
        return self._weight * float(np.square(x_hat - self._target).sum(dtype=np.float64))

    def _error_slope(self, window: np.ndarray) -> np.ndarray:
        """The slope of that in y_hat of the window, (N, H, W) float32."""
        if self._counted is None:
            self._counted = self._blocks(self._target, self._share)
        return np.float32(self._weight) * self._by_bands(window, *self._counted)

    def _sensitivity(self) -> np.ndarray:
        """See `Descent`; (N, 1, 1).

        With v of independent unit normal entries and J the derivative of the pixels, (J^T v)^2 has that mean; of the
        positions in the middle, whose derivative is much as everywhere.
        """
        y_hat = self._start[1]
        tops = [max(side - PROBED, 0) // 2 for side in y_hat.shape[1:]]
        part = np.ascontiguousarray(y_hat[:, tops[0] : tops[0] + PROBED, tops[1] : tops[1] + PROBED])
        stride = self._coder.stride
        shape = (1 if self._grey else 3, *(stride * side for side in part.shape[1:]))
        v = np.random.default_rng(0).standard_normal(shape, np.float32)
        blocks = self._coder.blocks_of(np.broadcast_to(v, (3, *shape[1:])))
        # The error's derivative 2 counted (x_hat - target) is v but for x_hat / PROBE.
        counted = np.full_like(blocks, 0.5 * self._share / PROBE)
        gradient = self._coder.error_gradient(self._networks, part, self._quality, -PROBE * blocks, counted, self._grey)
        return np.square(self._coder.from_units(gradient, self._quality)).mean(axis=(1, 2), keepdims=True)

    def _move_hyper_latents(self, steps: int, sensitivity: np.ndarray) -> None:
        """See `Descent`."""
        coder, y = self._coder, self._y
        z = coder.hyper_latents(self._networks, y).copy()
        largest = np.float32(coder.z_max)
        bits = BitSlopes(coder.tables["z"], coder.hyper_table_indices(self._quality, z.shape))
        weight = (self._weight * sensitivity).ravel().astype(np.float32)
        adam = Adam(z)
        for size, temperature in schedule_of_hyper_latents(steps):
            z_hat, slope = soft_round(z, temperature)
            slope[np.abs(z_hat) > largest] = 0
            z_hat = z_hat.clip(-largest, largest)
            gradient = coder.hyper_gradient(self._networks, z_hat, y, self._quality, weight)
            adam.step((gradient + bits(np.floor(z_hat))) * slope, size)
        self._begin_at(coder.with_hyper_latents(self._networks, z, y, self._quality))

    def _descend(self, steps: int, sensitivity: np.ndarray) -> Iterator[int]:
        """See `Descent`. Means are those of the step before: they follow y_hat slowly."""
        coder, z = self._coder, self.code.hyper_latents()
        bits = BitSlopes(coder.tables["y"], self._indices)
        reach = coder.reach(self._indices).astype(np.float32)
        curvature = (self._weight * sensitivity).astype(np.float32)
        adam = Adam(self._y)
        mean: np.ndarray = self._mean
        rows, columns = self._canvas.inner.slices
        for step, (size, temperature) in enumerate(schedule_of_latents(steps)):
            residual, slope = soft_round(self._y - mean, temperature)
            slope[np.abs(residual) > reach] = 0
            residual = residual.clip(-reach, reach)
            y_hat, low = mean + residual, np.floor(residual)
            window = self._window(coder.from_units(y_hat, self._quality))
            by_y_hat = coder.from_units(self._error_slope(window)[:, rows, columns], self._quality)
            by_residual = bits(low) + curvature * (np.float32(1.0) - 2 * (residual - low))
            mean, gradient = coder.means_and_gradient(self._networks, z, y_hat, by_y_hat, by_residual, slope)
            adam.step(gradient, size)
            yield step + 1

    def _by_bands(self, window: np.ndarray, target: np.ndarray, counted: np.ndarray) -> np.ndarray:
        """The gradient of the error in the whole window: of the pixels of each band in the positions that they see."""
        gradient = np.zeros_like(window)
        for band, seen in self._bands():
            weights = np.zeros_like(counted[:, :, seen])
            inside = slice(band.start - seen.start, band.stop - seen.start)
            weights[:, :, inside] = counted[:, :, band]
            gradient[:, seen] += self._coder.error_gradient(
                self._networks, window[:, seen], self._quality, target[:, :, seen], weights, self._grey
            )
        return gradient

    def _synthesised(self, window: np.ndarray) -> np.ndarray:
        """y_hat (N, H, W) of the window -> the measured pixels, (3, r, c) float32."""
        stride = self._coder.stride
        rows, columns = self._canvas.measured.slices
        parts = []
        for band, seen in self._bands():
            x_hat = self._coder.synthesise(self._networks, window[:, seen], self._quality)
            inside = slice(*(stride * (end - seen.start) for end in (band.start, band.stop)))
            parts.append(x_hat[:, inside, columns])
        return np.concatenate(parts, axis=1)[:, rows]

    def _bands(self) -> Iterator[tuple[slice, slice]]:
        """The rows of the window in parts, and for each those that its pixels depend on."""
        height, width = self._canvas.y_hat.shape[1:]
        count, reach = -(-height * width // BAND), self._coder.context
        for number in range(count):
            band = slice(height * number // count, height * (number + 1) // count)
            yield band, slice(max(band.start - reach, 0), min(band.stop + reach, height))

    def _blocks(self, measured: np.ndarray, share: np.float32) -> tuple[np.ndarray, np.ndarray]:
        """What the measured pixels, (3 or 1, r, c) float32, are compared with, and what each counts, in the window."""
        stride = self._coder.stride
        target = np.zeros((3, *(stride * side for side in self._canvas.y_hat.shape[1:])), np.float32)
        counted = np.zeros_like(target)
        rows, columns = self._canvas.measured.slices
        target[:, rows, columns] = measured
        counted[:, rows, columns] = share
        return self._coder.blocks_of(target), self._coder.blocks_of(counted)


def original(x: np.ndarray, share: float) -> visual.Original:
    """x (1 or 3, H, W) float32 in [0, 1], which stands for three colours. share: that of what eyes see."""
    return visual.Original(_coloured(x), share)


def _coloured(planes: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(np.broadcast_to(planes, (3, *planes.shape[1:])))


class VisualRefinement(OnnxRefinement):
    """See `OnnxRefinement`."""

    @cached_property
    def _original(self) -> visual.Original:
        return original(self._target, self._coder.visual)

    def _error(self, x_hat: np.ndarray) -> float:
        """See `OnnxRefinement`."""
        return self._price(x_hat) * self._original.distortion(_coloured(x_hat))

    def _price(self, pixels: np.ndarray) -> float:
        """Bits that a distortion of 1 in so many pixels, (..., r, c), is worth."""
        return self._coder.distortion_weight(self._quality) * pixels.shape[-2] * pixels.shape[-1]

    def _error_slope(self, window: np.ndarray) -> np.ndarray:
        """See `OnnxRefinement`."""
        found = self._compared_with(self._synthesised(window), self._original)
        return self._by_bands(window, *self._blocks(found, HALF))

    def _compared_with(self, x_hat: np.ndarray, target: visual.Original) -> np.ndarray:
        """Pixels whose squared error, counted by half, has the slope of the distortion: (3, r, c)."""
        if self._grey:
            x_hat = np.broadcast_to(x_hat.mean(axis=0, dtype=np.float32), x_hat.shape)
        return x_hat - np.float32(self._price(x_hat)) * target.slope(np.ascontiguousarray(x_hat.clip(0, 1)))

    def _sensitivity(self) -> np.ndarray:
        """See `Descent`; (N, 1, 1). Half the diagonal of the second derivative, as `Refinement` estimates it, of the
        positions in the middle."""
        coder, canvas = self._coder, self._canvas
        window = self._window(self._start[1])
        sides = window.shape[1:]
        top, left = (max(side - PROBED, 0) // 2 for side in sides)
        place = Window(top, left, min(top + PROBED, sides[0]), min(left + PROBED, sides[1]))
        shown = place.times(coder.stride)
        pixels = shown.intersection(canvas.measured)
        target = original(_cut(self._target, pixels.within(canvas.measured)), coder.visual)
        inside = pixels.within(shown)
        part = np.ascontiguousarray(_cut(window, place))
        rng = np.random.default_rng(0)
        start, power = self._slope(part, target, inside), np.zeros((len(part), 1, 1), np.float32)
        for _ in range(PROBES):
            u = rng.integers(0, 2, part.shape).astype(np.float32) * 2 - 1
            moved = self._slope(part + coder.from_units(PROBE_STEP * u, self._quality), target, inside)
            power += ((moved - start) * u).mean(axis=(1, 2), keepdims=True) / (2 * PROBE_STEP * PROBES)
        return np.maximum(power, 0) / np.float32(self._weight)

    def _slope(self, y_hat: np.ndarray, target: visual.Original, inside: Window) -> np.ndarray:
        """Slope of what the distortion of a few pixels is worth, in units of the quantisation step."""
        coder = self._coder
        x_hat = coder.synthesise(self._networks, y_hat, self._quality)
        planes, counted = np.zeros_like(x_hat), np.zeros_like(x_hat)
        _cut(planes, inside)[...] = self._compared_with(_cut(x_hat, inside), target)
        _cut(counted, inside)[...] = HALF
        gradient = coder.error_gradient(
            self._networks, y_hat, self._quality, coder.blocks_of(planes), coder.blocks_of(counted), self._grey
        )
        return coder.from_units(gradient, self._quality)


def _cut(planes: np.ndarray, window: Window) -> np.ndarray:
    """(C, H, W) -> a view of the window's rows and columns."""
    rows, columns = window.slices
    return planes[:, rows, columns]
