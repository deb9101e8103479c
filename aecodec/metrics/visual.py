"""How far eyes see two pictures apart, with the slope of that in the decoded one, in NumPy alone.

The measure of `nn.visual.seen`, by hand and for one picture, so that encoders need no torch to go down it. Each step
forward has its step back beside it: the chain rule from the maps to moments, to opponent colours, to light, to levels.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Protocol

import numpy as np

from .filters import Filter, Pull, halved
from .ms_ssim import C1
from .ms_ssim import C2 as CONTRAST_C2
from .ms_ssim import SMALLEST_SIDE as MS_SSIM_SIDE
from .ms_ssim import WEIGHTS as EXPONENTS
from .ms_ssim import taps as window_taps
from .ssimulacra2 import ABSORBANCE, BIAS, C2, FACTORS, OFFSETS, SCALES, SMALLEST_SIDE, WEIGHTS
from .ssimulacra2 import taps as blur_taps

#: Squared error on [0, 1] at which decoded training photographs of one quality are as far from their originals as in
#: one unit of the error of SSIMULACRA2, and of 1 - MS-SSIM: means over all qualities, between which they hardly change.
MSE_OF_ERROR, MSE_OF_DISSIMILARITY = 1.2e-4, 0.03
#: Norms of SSIMULACRA2 that weigh less are left out: 0.1 % of the error of a decoded photograph, and with them the
#: colour of the finest scale.
LEAST_WEIGHT = 0.01
#: Keeps roots from an infinite slope at zero, and a term of MS-SSIM that is negative from having none.
TINY, LEAST_SIMILARITY = 1e-20, 1e-3


@lru_cache(maxsize=1)
def norm_weights() -> np.ndarray:
    """(channel, scale, mean or 4-norm, map) float32, zero below LEAST_WEIGHT."""
    table = np.array(WEIGHTS, np.float32).reshape(3, SCALES, 2, 3)
    return np.where(table < LEAST_WEIGHT, np.float32(0.0), table)


class Original:
    """A picture that decoded ones are compared with. What only it has a part in is found once.

    Decoded pictures, x_hat, are (3, H, W) float32 sRGB in [0, 1]; distortions have the unit of the mean squared error.
    """

    def __init__(self, x: np.ndarray, share: float = 1.0) -> None:
        """x: as x_hat. share: that of what eyes see; the rest is squared error. The former is the mean of both
        measures, or that which exists for so small a picture; squared error where neither does."""
        side = min(x.shape[1:])
        self._x, self._share = x, share if side >= SMALLEST_SIDE else 0.0
        self._parts: list[tuple[np.float32, _Measure]] = []
        if self._share:
            self._parts.append((np.float32(MSE_OF_ERROR), _Error(x)))
            if side >= MS_SSIM_SIDE:
                self._parts.append((np.float32(MSE_OF_DISSIMILARITY), _Dissimilarity(x)))

    def distortion(self, x_hat: np.ndarray) -> float:
        """How far a decoded picture is from this one."""
        plain = float(np.square(x_hat - self._x).mean(dtype=np.float64))
        if not self._share:
            return plain
        apart = sum(float(unit) * measure(x_hat, False)[0] for unit, measure in self._parts) / len(self._parts)
        return plain + self._share * (apart - plain)

    def slope(self, x_hat: np.ndarray) -> np.ndarray:
        """That of the distortion in x_hat, (3, H, W) float32."""
        plain = (x_hat - self._x) * np.float32(2.0 / x_hat.size)
        if not self._share:
            return plain
        apart = sum(unit * measure(x_hat, True)[1] for unit, measure in self._parts) / np.float32(len(self._parts))
        return plain + np.float32(self._share) * (apart - plain)


class _Measure(Protocol):
    """How far a decoded picture, (3, H, W) in [0, 1], is from an original, and, if it is asked for, the slope."""

    def __call__(self, x_hat: np.ndarray, sloped: bool, /) -> tuple[float, np.ndarray]: ...


class _Moments:
    """The local means of a channel (H, W) of an original, and of its square, beside those of a decoded one."""

    def __init__(self, x: np.ndarray, smooth: Filter, offset: float) -> None:
        """offset: what keeps the quotient from 0 / 0."""
        self.x, self.smooth, self._offset = x, smooth, np.float32(offset)
        self.mu, power = smooth(np.stack([x, x * x]))
        self._power = power - self.mu * self.mu

    def __call__(self, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of a decoded channel the local mean, how far its structure is the original's, and the divisor in that."""
        mu, yy, xy = self.smooth(np.stack([y, y * y, self.x * y]))
        bottom = self._power + (yy - mu * mu) + self._offset
        return mu, (2 * (xy - self.mu * mu) + self._offset) / bottom, bottom

    def back(
        self, y: np.ndarray, mu: np.ndarray, to_mu: np.ndarray | np.float32, by_top: np.ndarray, by_bottom: np.ndarray
    ) -> np.ndarray:
        """The slope in y. to_mu: in its local mean otherwise; by_top, by_bottom: in dividend and divisor."""
        to_mu = to_mu - 2 * self.mu * by_top - 2 * mu * by_bottom
        by_mu, by_yy, by_xy = self.smooth.back(np.stack([to_mu, by_bottom, 2 * by_top]))
        return by_mu + 2 * y * by_yy + self.x * by_xy


# -- SSIMULACRA2 -------------------------------------------------------------------------------------


class _Error:
    """The weighted error of `ssimulacra2`."""

    def __init__(self, x: np.ndarray) -> None:
        self._scales: list[list[tuple[int, _Plane]]] = []
        light = _linear(x)[0]
        for scale in range(SCALES):
            if scale:
                if min(light.shape[1:]) < SMALLEST_SIDE:
                    break
                light = halved(light)[0]
            weights = norm_weights()[:, scale]
            used = np.flatnonzero(weights.any(axis=(1, 2)))
            planes = _xyb(light)[0] if len(used) else light
            smooth = Filter(light.shape[1:], blur_taps(), len(blur_taps()) // 2)
            self._scales.append([(channel, _Plane(planes[channel], smooth, weights[channel])) for channel in used])

    def __call__(self, x_hat: np.ndarray, sloped: bool) -> tuple[float, np.ndarray]:
        """See `_Measure`."""
        light, pull_light = _linear(x_hat)
        total, pulls = 0.0, []
        for scale, planes in enumerate(self._scales):
            pull_half: Pull | None = None
            if scale:
                light, pull_half = halved(light)
            found, slope = _error_of_scale(light, planes, sloped)
            total += found
            pulls.append((pull_half, slope))
        back = np.zeros_like(light)
        if not sloped:
            return total, back
        for pull_half, slope in reversed(pulls):
            back = back + slope
            if pull_half is not None:
                back = pull_half(back)
        return total, pull_light(back)


def _error_of_scale(
    light: np.ndarray, planes: list[tuple[int, _Plane]], sloped: bool
) -> tuple[float, np.ndarray | np.float32]:
    """Linear light (3, H, W) -> the sum of weighted norms of its channels, and the slope."""
    if not planes:
        return 0.0, np.float32(0.0)
    decoded, pull_xyb = _xyb(light)
    total, slopes = 0.0, np.zeros_like(decoded)
    for channel, plane in planes:
        found, slopes[channel] = plane(decoded[channel], sloped)
        total += found
    return total, pull_xyb(slopes) if sloped else np.float32(0.0)


class _Plane:
    """One channel (H, W) of an original at one scale. weights: (norm, map)."""

    def __init__(self, x: np.ndarray, smooth: Filter, weights: np.ndarray) -> None:
        self._moments, self._weights = _Moments(x, smooth, C2), weights
        self._has_edges = bool(weights[:, 1:].any())
        self._scale = 1 / (1 + np.abs(x - self._moments.mu)) if self._has_edges else np.float32(0.0)

    def __call__(self, y: np.ndarray, sloped: bool) -> tuple[float, np.ndarray | np.float32]:
        """The sum of weighted norms of a decoded channel, and its slope."""
        mu, structure, bottom = self._moments(y)
        apart = self._moments.mu - mu
        luminance = 1 - apart * apart
        total, back = _norms(1 - luminance * structure, self._weights[:, 0], sloped)
        plain: np.ndarray | np.float32 = np.float32(0.0)
        if self._has_edges:
            ringing = y - mu
            edges = (1 + np.abs(ringing)) * self._scale - 1
            more, by_ringing = _norms(edges, self._weights[:, 1], sloped)
            less, by_blur = _norms(-edges, self._weights[:, 2], sloped)
            total += more + less
            plain = (by_ringing - by_blur) * self._scale * np.sign(ringing) if sloped else plain
        if not sloped:
            return total, plain
        by_top = -back * luminance / bottom
        to_mu = -2 * back * structure * apart - plain
        return total, plain + self._moments.back(y, mu, to_mu, by_top, -by_top * structure)


def _norms(values: np.ndarray, weights: np.ndarray, sloped: bool) -> tuple[float, np.ndarray | np.float32]:
    """A map whose values below 0 count as 0 -> weighted mean and 4-norm of it, and the slope of that in the map."""
    total = 0.0
    slope: np.ndarray | np.float32 = np.float32(0.0)
    if not weights.any():
        return total, slope
    kept = np.maximum(values, 0)
    if weights[0]:
        total += float(weights[0]) * float(kept.mean(dtype=np.float64))
        slope = slope + (values > 0) * np.float32(weights[0] / values.size) if sloped else slope
    if weights[1]:
        cube = kept * kept * kept
        fourth = float(np.vdot(cube, kept)) / values.size + TINY
        total += float(weights[1]) * fourth**0.25
        slope = slope + cube * np.float32(weights[1] * fourth**-0.75 / values.size) if sloped else slope
    return total, slope


def _linear(x: np.ndarray) -> tuple[np.ndarray, Pull]:
    """sRGB levels -> linear light (IEC 61966-2-1)."""
    base = (np.maximum(x, np.float32(0.04045)) + np.float32(0.055)) / np.float32(1.055)
    low = x <= np.float32(0.04045)
    power = base ** np.float32(1.4)
    light = np.where(low, x / np.float32(12.92), power * base)

    def pull(gradient: np.ndarray) -> np.ndarray:
        return gradient * np.where(low, np.float32(1 / 12.92), power * np.float32(2.4 / 1.055))

    return light, pull


def _xyb(linear: np.ndarray) -> tuple[np.ndarray, Pull]:
    """(3, H, W) linear light -> opponent colours, as `ssimulacra2.xyb`."""
    absorbance = np.array(ABSORBANCE, np.float32)
    mixed = np.tensordot(absorbance, linear, axes=1) + np.float32(BIAS)
    root = np.cbrt(mixed)
    long, middle, short = root - np.float32(BIAS ** (1 / 3))
    y = (long + middle) / 2
    factors = np.array(FACTORS, np.float32)[:, None, None]
    planes = np.stack([(long - middle) / 2, y, short - y]) * factors + np.array(OFFSETS, np.float32)[:, None, None]

    def pull(gradient: np.ndarray) -> np.ndarray:
        to_x, to_y, to_b = gradient * factors
        shared = (to_y - to_b) / 2
        by_root = np.stack([shared + to_x / 2, shared - to_x / 2, to_b])
        return np.tensordot(absorbance.T, by_root / (3 * root * root), axes=1)

    return planes, pull


# -- MS-SSIM -----------------------------------------------------------------------------------------


class _Dissimilarity:
    """1 - MS-SSIM."""

    def __init__(self, x: np.ndarray) -> None:
        self._scales: list[list[_Moments]] = []
        for scale in range(len(EXPONENTS)):
            x = halved(x, zeros=True)[0] if scale else x
            smooth = Filter(x.shape[1:], window_taps(), 0)
            self._scales.append([_Moments(channel, smooth, CONTRAST_C2 / 255.0**2) for channel in x])

    def __call__(self, y: np.ndarray, sloped: bool) -> tuple[float, np.ndarray]:
        """See `_Measure`."""
        terms, slopes, pulls = [], [], []
        for scale, planes in enumerate(self._scales):
            last = scale == len(self._scales) - 1
            pairs = [_similarity(plane, channel, last, sloped) for plane, channel in zip(planes, y, strict=True)]
            terms.append([term for term, _ in pairs])
            slopes.append(np.stack([slope for _, slope in pairs]))
            if not last:
                y, pull = halved(y, zeros=True)
                pulls.append(pull)
        values = np.maximum(np.array(terms), LEAST_SIMILARITY)
        powers = np.array(EXPONENTS)[:, None]
        products = np.prod(values**powers, axis=0)
        found = float(1.0 - products.mean())
        if not sloped:
            return found, slopes[0]
        by_term = np.where(values > LEAST_SIMILARITY, -products * powers / values / len(products), 0.0).astype(
            np.float32
        )
        back = slopes[-1] * by_term[-1][:, None, None]
        for scale in reversed(range(len(pulls))):
            back = pulls[scale](back) + slopes[scale] * by_term[scale][:, None, None]
        return found, back


def _similarity(
    plane: _Moments, y: np.ndarray, with_luminance: bool, sloped: bool
) -> tuple[float, np.ndarray | np.float32]:
    """One channel -> the mean of its map of contrast (times luminance), and its slope in y, (H, W) in [0, 1]."""
    c1 = np.float32(C1 / 255.0**2)
    mu, contrast, bottom = plane(y)
    luminance: np.ndarray | np.float32 = np.float32(1.0)
    to_mu: np.ndarray | np.float32 = np.float32(0.0)
    if with_luminance:
        below = plane.mu * plane.mu + mu * mu + c1
        luminance = (2 * plane.mu * mu + c1) / below
        to_mu = contrast * 2 * (plane.mu - luminance * mu) / below
    value = float((contrast * luminance).mean(dtype=np.float64))
    if not sloped:
        return value, np.float32(0.0)
    by_top: np.ndarray = luminance / bottom
    return value, plane.back(y, mu, to_mu, by_top, -by_top * contrast) / np.float32(contrast.size)
