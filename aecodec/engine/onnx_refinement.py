"""The refinement of a tile by ONNX Runtime: the gradients of descent.py by a checkpoint's graphs, the rest in NumPy.

Synthesis and its pull are two graphs; the slope of the distortion in the pixels, between them, is NumPy's, be it of the
squared error or of what eyes see (metrics/visual.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import cached_property, partial

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
#: The step by which the sensitivity of what eyes see to each channel is estimated.
PROBE_STEP = np.float32(0.1)


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
        #: Bits per unit of summed squared error.
        self._weight = coder.distortion_weight(code.quality) / (1 if self._grey else 3)
        self._y = coder.scaled(canvas.y, code.quality)
        planes = canvas.target[None] if self._grey else canvas.target.transpose(2, 0, 1)
        self._target = planes.astype(np.float32) / np.float32(255.0)
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
        x_hat = self._seen(self._synthesised(self._window(y_hat)))
        levels = np.floor(x_hat.clip(0, 1) * np.float32(255.0) + np.float32(0.5)) / np.float32(255.0)
        bits = sum(tables.bits(plane.symbols, plane.tables) for plane, tables in self._coder.symbol_planes(code))
        return bits, self._error(levels)

    def _error(self, x_hat: np.ndarray) -> float:
        """What the distortion of the measured pixels, (3 or 1, r, c) float32 in [0, 1], is worth in bits."""
        return self._weight * float(np.square(x_hat - self._target).sum(dtype=np.float64))

    def _pixel_slope(self, x_hat: np.ndarray) -> np.ndarray:
        """The slope of that in the measured pixels, of the shape of x_hat."""
        return np.float32(2 * self._weight) * (x_hat - self._target)

    def _seen(self, pixels: np.ndarray) -> np.ndarray:
        """(3, r, c) float32 -> what a picture shows of them: the mean of the colours where it is grey."""
        return pixels.mean(axis=0, keepdims=True, dtype=np.float32) if self._grey else pixels

    def _slope_of_pixels(self, pixels: np.ndarray, slope: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """Pixels (3, r, c) as synthesised, and a slope in what is seen of them -> in them. Nothing passes where they
        are clipped."""
        shown = self._seen(pixels)
        inside = (shown >= 0) & (shown <= 1)
        found = slope(shown.clip(0, 1)) * inside
        return np.broadcast_to(found / np.float32(3.0), pixels.shape) if self._grey else found

    def _error_slope(self, window: np.ndarray) -> np.ndarray:
        """The slope of the error in y_hat of the window, (N, H, W) float32."""
        coder, stride = self._coder, self._coder.stride
        parts = [coder.synthesise_forth(self._networks, window[:, seen], self._quality) for _, seen in self._bands()]
        rows, columns = self._canvas.measured.slices
        slope = np.zeros((3, *(stride * side for side in window.shape[1:])), np.float32)
        shown = self._joined([x_hat for x_hat, _ in parts])
        slope[:, rows, columns] = self._slope_of_pixels(shown, self._pixel_slope)
        found = np.zeros_like(window)
        for (band, seen), (_, passed) in zip(self._bands(), parts, strict=True):
            of_band = np.zeros_like(slope[:, stride * seen.start : stride * seen.stop])
            inside = slice(*(stride * (end - seen.start) for end in (band.start, band.stop)))
            of_band[:, inside] = slope[:, stride * band.start : stride * band.stop]
            found[:, seen] += coder.synthesise_back(self._networks, passed, of_band, self._quality)
        return found

    def _sensitivity(self) -> np.ndarray:
        """See `Descent`; (N, 1, 1).

        With v of independent unit normal entries and J the derivative of the pixels, (J^T v)^2 has that mean; of the
        positions in the middle, whose derivative is much as everywhere.
        """
        coder, y_hat = self._coder, self._start[1]
        part = np.ascontiguousarray(_cut(y_hat, _middle(y_hat)))
        pixels, passed = coder.synthesise_forth(self._networks, part, self._quality)
        v = np.random.default_rng(0).standard_normal(self._seen(pixels).shape, np.float32)
        v = np.broadcast_to(v / np.float32(3.0), pixels.shape) if self._grey else v
        gradient = coder.synthesise_back(self._networks, passed, v, self._quality)
        return np.square(coder.from_units(gradient, self._quality)).mean(axis=(1, 2), keepdims=True)

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

    def _synthesised(self, window: np.ndarray) -> np.ndarray:
        """y_hat (N, H, W) of the window -> the measured pixels, (3, r, c) float32."""
        coder = self._coder
        parts = [coder.synthesise(self._networks, window[:, seen], self._quality) for _, seen in self._bands()]
        return self._joined(parts)

    def _joined(self, parts: list[np.ndarray]) -> np.ndarray:
        """The pixels that each band sees -> the measured ones, (3, r, c) float32."""
        stride = self._coder.stride
        rows, columns = self._canvas.measured.slices
        own = [
            x_hat[:, stride * (band.start - seen.start) : stride * (band.stop - seen.start), columns]
            for (band, seen), x_hat in zip(self._bands(), parts, strict=True)
        ]
        return np.concatenate(own, axis=1)[:, rows]

    def _bands(self) -> Iterator[tuple[slice, slice]]:
        """The rows of the window in parts, and for each those that its pixels depend on."""
        height, width = self._canvas.y_hat.shape[1:]
        count, reach = -(-height * width // BAND), self._coder.context
        for number in range(count):
            band = slice(height * number // count, height * (number + 1) // count)
            yield band, slice(max(band.start - reach, 0), min(band.stop + reach, height))


def original(x: np.ndarray, share: float) -> visual.Original:
    """x (1 or 3, H, W) float32 in [0, 1], which stands for three colours. share: that of what eyes see."""
    return visual.Original(coloured(x), share)


def coloured(planes: np.ndarray) -> np.ndarray:
    """(1 or 3, H, W) -> (3, H, W), the one plane as all three colours."""
    return np.ascontiguousarray(np.broadcast_to(planes, (3, *planes.shape[1:])))


class VisualRefinement(OnnxRefinement):
    """See `OnnxRefinement`."""

    @cached_property
    def _original(self) -> visual.Original:
        return original(self._target, self._coder.visual)

    def _error(self, x_hat: np.ndarray) -> float:
        """See `OnnxRefinement`."""
        return self._price(x_hat) * self._original.distortion(coloured(x_hat))

    def _price(self, pixels: np.ndarray) -> float:
        """Bits that a distortion of 1 in so many pixels, (..., r, c), is worth."""
        return self._coder.distortion_weight(self._quality) * pixels.shape[-2] * pixels.shape[-1]

    def _pixel_slope(self, x_hat: np.ndarray) -> np.ndarray:
        """See `OnnxRefinement`."""
        return self._slope_beside(self._original, x_hat)

    def _slope_beside(self, target: visual.Original, x_hat: np.ndarray) -> np.ndarray:
        slope = np.float32(self._price(x_hat)) * target.slope(coloured(x_hat))
        return slope.sum(axis=0, keepdims=True) if self._grey else slope

    def _sensitivity(self) -> np.ndarray:
        """See `Descent`; (N, 1, 1). Half the diagonal of the second derivative, as `Refinement` estimates it, of the
        positions in the middle."""
        coder, canvas = self._coder, self._canvas
        window = self._window(self._start[1])
        place = _middle(window)
        shown = place.times(coder.stride)
        pixels = shown.intersection(canvas.measured)
        target = original(_cut(self._target, pixels.within(canvas.measured)), coder.visual)
        part, inside = np.ascontiguousarray(_cut(window, place)), pixels.within(shown)
        u = np.random.default_rng(0).integers(0, 2, part.shape).astype(np.float32) * 2 - 1
        start, moved = (
            self._slope(part + coder.from_units(step * u, self._quality), target, inside) for step in (0, PROBE_STEP)
        )
        power = ((moved - start) * u).mean(axis=(1, 2), keepdims=True) / (2 * PROBE_STEP)
        return np.maximum(power, 0) / np.float32(self._weight)

    def _slope(self, y_hat: np.ndarray, target: visual.Original, inside: Window) -> np.ndarray:
        """Slope of what the distortion of a few pixels is worth, in units of the quantisation step."""
        coder = self._coder
        pixels, passed = coder.synthesise_forth(self._networks, y_hat, self._quality)
        slope = np.zeros_like(pixels)
        beside = partial(self._slope_beside, target)
        _cut(slope, inside)[...] = self._slope_of_pixels(_cut(pixels, inside), beside)
        return coder.from_units(coder.synthesise_back(self._networks, passed, slope, self._quality), self._quality)


def _middle(planes: np.ndarray) -> Window:
    """Of (C, H, W), up to PROBED positions along each side."""
    height, width = planes.shape[1:]
    top, left = (max(side - PROBED, 0) // 2 for side in (height, width))
    return Window(top, left, min(top + PROBED, height), min(left + PROBED, width))


def _cut(planes: np.ndarray, window: Window) -> np.ndarray:
    """(C, H, W) -> a view of the window's rows and columns."""
    rows, columns = window.slices
    return planes[:, rows, columns]
