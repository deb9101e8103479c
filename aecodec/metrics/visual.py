"""How far eyes see two pictures apart, with the slope of that in the decoded one, in NumPy alone.

The measure of `nn.visual.seen`, by hand and for one picture, so that encoders need no torch to go down it. Each step
forward has its step back beside it: the chain rule from the maps to moments, to opponent colours, to light, to levels.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np

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
#: Rows or columns that a banded matrix filters at once.
BAND = 64

Pull = Callable[[np.ndarray], np.ndarray]


@lru_cache(maxsize=1)
def norm_weights() -> np.ndarray:
    """(channel, scale, mean or 4-norm, map) float32, zero below LEAST_WEIGHT."""
    table = np.array(WEIGHTS, np.float32).reshape(3, SCALES, 2, 3)
    return np.where(table < LEAST_WEIGHT, np.float32(0.0), table)


def seen(x: np.ndarray, x_hat: np.ndarray) -> tuple[float, np.ndarray]:
    """x, x_hat (3, H, W) float32 sRGB in [0, 1], original and decoded -> the distortion in units of the mean squared
    error, and its slope in x_hat, (3, H, W) float32.

    The mean of both measures, or that which exists for so small a picture; the squared error where neither does.
    """
    side = min(x.shape[1:])
    if side < SMALLEST_SIDE:
        return squared(x, x_hat)
    found, slope = _error(x, x_hat)
    found, slope = MSE_OF_ERROR * found, np.float32(MSE_OF_ERROR) * slope
    if side >= MS_SSIM_SIDE:
        other, slope_of_other = _dissimilarity(x, x_hat)
        found = (found + MSE_OF_DISSIMILARITY * other) / 2
        slope = (slope + np.float32(MSE_OF_DISSIMILARITY) * slope_of_other) / 2
    return found, slope


def squared(x: np.ndarray, x_hat: np.ndarray) -> tuple[float, np.ndarray]:
    """The mean squared error and its slope, as `seen`."""
    difference = x_hat - x
    return float(np.square(difference).mean(dtype=np.float64)), difference * np.float32(2.0 / difference.size)


# -- SSIMULACRA2 -------------------------------------------------------------------------------------


def _error(x: np.ndarray, x_hat: np.ndarray) -> tuple[float, np.ndarray]:
    """The weighted error of `ssimulacra2`, and its slope in x_hat."""
    a = _linear(x)[0]
    b, pull_linear = _linear(x_hat)
    total, pulls = 0.0, []
    for scale in range(SCALES):
        pull_half: Pull | None = None
        if scale:
            if min(a.shape[1:]) < SMALLEST_SIDE:
                break
            a = _halved(a)[0]
            b, pull_half = _halved(b)
        weights = norm_weights()[:, scale]
        slope: np.ndarray | None = None
        if weights.any():
            found, slope = _error_of_scale(a, b, weights)
            total += found
        pulls.append((pull_half, slope))
    back = np.zeros_like(b)
    for pull_half, slope in reversed(pulls):
        if slope is not None:
            back = back + slope
        if pull_half is not None:
            back = pull_half(back)
    return total, pull_linear(back)


def _error_of_scale(a: np.ndarray, b: np.ndarray, weights: np.ndarray) -> tuple[float, np.ndarray]:
    """Linear pictures (3, H, W), weights (channel, norm, map) -> the sum of weighted norms, and its slope in b."""
    original = _xyb(a)[0]
    decoded, pull_xyb = _xyb(b)
    total, slopes = 0.0, np.zeros_like(decoded)
    for channel in np.flatnonzero(weights.any(axis=(1, 2))):
        found, slopes[channel] = _error_of_plane(original[channel], decoded[channel], weights[channel])
        total += found
    return total, pull_xyb(slopes)


def _error_of_plane(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> tuple[float, np.ndarray]:
    """One channel (H, W), weights (norm, map) -> the sum of its weighted norms, and its slope in y."""
    blur = Filter(x.shape, blur_taps(), len(blur_taps()) // 2)
    mu_x, mu_y, xx, yy, xy = blur(np.stack([x, y, x * x, y * y, x * y]))
    apart = mu_x - mu_y
    luminance = 1 - apart * apart
    top = 2 * (xy - mu_x * mu_y) + np.float32(C2)
    bottom = (xx - mu_x * mu_x) + (yy - mu_y * mu_y) + np.float32(C2)
    structure = top / bottom
    total, back = _norms(1 - luminance * structure, weights[:, 0])
    by_structure, by_luminance = -back * luminance, -back * structure
    by_top, by_bottom = by_structure / bottom, -by_structure * structure / bottom
    to_mu = by_luminance * 2 * apart - 2 * mu_x * by_top - 2 * mu_y * by_bottom
    plain = 0
    if weights[:, 1:].any():
        ringing = 1 + np.abs(y - mu_y)
        scale = 1 / (1 + np.abs(x - mu_x))
        edges = ringing * scale - 1
        more, by_ringing = _norms(edges, weights[:, 1])
        less, by_blur = _norms(-edges, weights[:, 2])
        total += more + less
        plain = (by_ringing - by_blur) * scale * np.sign(y - mu_y)
        to_mu -= plain
    by_mu, by_yy, by_xy = blur.back(np.stack([to_mu, by_bottom, 2 * by_top]))
    return total, plain + by_mu + 2 * y * by_yy + x * by_xy


def _norms(values: np.ndarray, weights: np.ndarray) -> tuple[float, np.ndarray]:
    """A map whose values below 0 count as 0 -> weighted mean and 4-norm of it, and the slope of that in the map."""
    kept = np.maximum(values, 0)
    total, slope = 0.0, np.zeros_like(values)
    if weights[0]:
        total += float(weights[0]) * float(kept.mean(dtype=np.float64))
        slope += (values > 0) * np.float32(weights[0] / values.size)
    if weights[1]:
        cube = kept * kept * kept
        fourth = float((cube * kept).mean(dtype=np.float64)) + TINY
        total += float(weights[1]) * fourth**0.25
        slope += cube * np.float32(weights[1] * fourth**-0.75 / values.size)
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


def _dissimilarity(x: np.ndarray, y: np.ndarray) -> tuple[float, np.ndarray]:
    """1 - MS-SSIM, and its slope in y."""
    terms, slopes, pulls = [], [], []
    for scale in range(len(EXPONENTS)):
        last = scale == len(EXPONENTS) - 1
        term, slope = _similarity(x, y, with_luminance=last)
        terms.append(term)
        slopes.append(slope)
        if not last:
            x = _halved(x, zeros=True)[0]
            y, pull = _halved(y, zeros=True)
            pulls.append(pull)
    values = np.maximum(np.array(terms), LEAST_SIMILARITY)
    powers = np.array(EXPONENTS)[:, None]
    products = np.prod(values**powers, axis=0)
    by_term = np.where(values > LEAST_SIMILARITY, -products * powers / values / len(products), 0.0).astype(np.float32)
    back = slopes[-1] * by_term[-1][:, None, None]
    for scale in reversed(range(len(pulls))):
        back = pulls[scale](back) + slopes[scale] * by_term[scale][:, None, None]
    return float(1.0 - products.mean()), back


def _similarity(x: np.ndarray, y: np.ndarray, with_luminance: bool) -> tuple[np.ndarray, np.ndarray]:
    """(C, H, W) in [0, 1] -> mean of the contrast (times luminance) map of each channel, (C,), and its slope in y."""
    c1, c2 = np.float32(C1 / 255.0**2), np.float32(CONTRAST_C2 / 255.0**2)
    smooth = Filter(x.shape[1:], window_taps(), 0)
    means, slopes = [], []
    for one, other in zip(x, y, strict=True):
        mu_x, mu_y, xx, yy, xy = smooth(np.stack([one, other, one * one, other * other, one * other]))
        top = 2 * (xy - mu_x * mu_y) + c2
        bottom = (xx - mu_x * mu_x) + (yy - mu_y * mu_y) + c2
        contrast = top / bottom
        luminance, by_luminance = np.float32(1.0), np.float32(0.0)
        if with_luminance:
            below = mu_x * mu_x + mu_y * mu_y + c1
            luminance = (2 * mu_x * mu_y + c1) / below
            by_luminance = contrast * 2 * (mu_x - luminance * mu_y) / below
        by_top, by_bottom = luminance / bottom, -luminance * contrast / bottom
        to_mu = by_luminance - 2 * mu_x * by_top - 2 * mu_y * by_bottom
        by_mu, by_yy, by_xy = smooth.back(np.stack([to_mu, by_bottom, 2 * by_top]))
        means.append(float((contrast * luminance).mean(dtype=np.float64)))
        slopes.append((by_mu + 2 * other * by_yy + one * by_xy) / np.float32(contrast.size))
    return np.array(means), np.stack(slopes)


# -- filters -----------------------------------------------------------------------------------------


def _halved(planes: np.ndarray, zeros: bool = False) -> tuple[np.ndarray, Pull]:
    """(C, H, W) -> means of 2x2 samples. An odd last row or column counts twice, or, as MS-SSIM has it, a line of zeros
    stands before the first and after the last."""
    height, width = planes.shape[1:]
    odd = height % 2, width % 2
    if zeros:
        padded = np.pad(planes, ((0, 0), (odd[0], odd[0]), (odd[1], odd[1])))
    else:
        padded = np.pad(planes, ((0, 0), (0, odd[0]), (0, odd[1])), mode="edge")
    rows, columns = padded.shape[1] // 2, padded.shape[2] // 2
    cells = padded[:, : 2 * rows, : 2 * columns].reshape(len(planes), rows, 2, columns, 2)

    def pull(gradient: np.ndarray) -> np.ndarray:
        wide = np.zeros(padded.shape, np.float32)
        spread = np.broadcast_to(gradient[:, :, None, :, None] / 4, cells.shape)
        wide[:, : 2 * rows, : 2 * columns] = spread.reshape(len(planes), 2 * rows, 2 * columns)
        if zeros:
            return wide[:, odd[0] : odd[0] + height, odd[1] : odd[1] + width]
        if odd[0]:
            wide[:, -2] += wide[:, -1]
        if odd[1]:
            wide[:, :, -2] += wide[:, :, -1]
        return wide[:, :height, :width]

    return (cells[:, :, 0, :, 0] + cells[:, :, 0, :, 1] + cells[:, :, 1, :, 0] + cells[:, :, 1, :, 1]) / 4, pull


class Filter:
    """Filters planes (M, H, W) by taps along both axes, zeros beyond the ends: products with short bands of matrices.

    padding: zeros on each side; H and W shrink by the taps less one, and grow by twice that.
    """

    def __init__(self, shape: tuple[int, ...], taps: np.ndarray, padding: int) -> None:
        self._rows, self._columns = (_bands(side, tuple(taps.tolist()), padding) for side in shape)
        self._inside, self._outside = shape, tuple(side + 2 * padding - len(taps) + 1 for side in shape)

    def __call__(self, planes: np.ndarray) -> np.ndarray:
        """(M, H, W) -> filtered."""
        found = np.empty((len(planes), self._outside[0], self._inside[1]), np.float32)
        for matrix, rows, seen_rows in self._rows:
            np.matmul(matrix, planes[:, seen_rows], out=found[:, rows])
        out = np.empty((len(planes), *self._outside), np.float32)
        for matrix, columns, seen_columns in self._columns:
            np.matmul(found[:, :, seen_columns], matrix.T, out=out[:, :, columns])
        return out

    def back(self, gradient: np.ndarray) -> np.ndarray:
        """The adjoint."""
        found = np.zeros((len(gradient), self._outside[0], self._inside[1]), np.float32)
        for matrix, columns, seen_columns in self._columns:
            found[:, :, seen_columns] += gradient[:, :, columns] @ matrix
        out = np.zeros((len(gradient), *self._inside), np.float32)
        for matrix, rows, seen_rows in self._rows:
            out[:, seen_rows] += matrix.T @ found[:, rows]
        return out


@lru_cache(maxsize=64)
def _bands(side: int, taps: tuple[float, ...], padding: int) -> tuple[tuple[np.ndarray, slice, slice], ...]:
    """The filter of so many samples in parts: matrix, what it gives, what it sees."""
    matrix = filter_matrix(side, taps, padding)
    parts = []
    for top in range(0, len(matrix), BAND):
        rows = slice(top, min(top + BAND, len(matrix)))
        sees = slice(max(top - padding, 0), min(rows.stop + len(taps) - 1 - padding, side))
        parts.append((np.ascontiguousarray(matrix[rows, sees]), rows, sees))
    return tuple(parts)


def filter_matrix(side: int, taps: tuple[float, ...], padding: int) -> np.ndarray:
    """The matrix that filters so many samples by taps, zeros beyond the ends, (side + 2 padding - taps + 1, side)
    float32."""
    matrix = np.zeros((side + 2 * padding - len(taps) + 1, side), np.float32)
    for place, tap in enumerate(taps):
        offset = place - padding
        first = max(0, -offset)
        rows = np.arange(first, min(len(matrix), side - offset))
        matrix[rows, rows + offset] = tap
    return matrix
