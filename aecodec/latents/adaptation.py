"""Scale indices that follow a picture: what was decoded of a tile moves the indices of what comes after it.

The latents of a tile are decoded in four steps (context.py). Before each step but the first, every scale index that the
scale net gives is moved by a linear function of three estimates of how much wider or narrower than foreseen the
residuals near it have been: those of its own channel around it, of all channels at its place, and of its channel all
over the tile.

An estimate is one step of scoring with the quasi-score of Wedderburn (1974): a residual r under index i, with
E = E|r| and V = Var|r| under its table and E' = dE/di, says U = (|r| - E) E'/V about the index, and the weight of
what it says is J = E'^2/V. The estimate of many is sum U / (prior + sum J).

All of it is integers in int32 and int64: tables of U and J by index and |r|, sums of them, one division each.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..contracts import QUALITY_KNOT, QUALITY_KNOTS
from .context import PHASES, STEPS, cells_of_step
from .exact import LEVELS
from .protocol import checked

PREFIX = "adaptation."
#: A residual counts as no larger than this.
MAGNITUDE_MAX = 255
#: Bits after the binary point of U, of J, of an estimate as an offset of an index, and of a weight.
SCORE_FRACTION, INFORMATION_FRACTION, RATIO_FRACTION, WEIGHT_FRACTION = 14, 18, 7, 7
#: What a sum of U is shifted by, so that its quotient by a sum of J has RATIO_FRACTION bits.
RATIO_SHIFT = RATIO_FRACTION + INFORMATION_FRACTION - SCORE_FRACTION
#: Largest magnitudes of U (3), J and an estimate (32 tables); and of the sum of weights of a latent's neighbours.
SCORE_MAX, INFORMATION_MAX, RATIO_MAX, NEIGHBOURS = 3 << SCORE_FRACTION, 1 << 16, 1 << 12, 12
#: No fewer than a quarter of the channels of a model, which are at most 65,536, nor than the rows of cells of a tile.
SUMMED = 1 << 14
#: No sum that is formed in int32 may reach this.
SUM_BOUND = 1 << 31
#: The estimates: the same channel around a latent, all channels at its place, its channel so far.
ESTIMATES = 3
#: Latents that are handled at a time: what is made of them then stays in a core's cache.
AT_ONCE = 1 << 15


@dataclass(frozen=True)
class Adaptation:
    """gain, mean, information: (LEVELS,) int32, E'/V, E E'/V and E'^2/V of each table; prior: (ESTIMATES,) int32, like
    information; weights: (QUALITY_KNOTS, STEPS - 1, 1 + ESTIMATES) int32, a constant and one for each estimate, of the
    nearest knot. Fractions as above."""

    gain: np.ndarray
    mean: np.ndarray
    information: np.ndarray
    prior: np.ndarray
    weights: np.ndarray

    @cached_property
    def scores(self) -> np.ndarray:
        """(LEVELS * (MAGNITUDE_MAX + 1), 2) int32: U and J by index and magnitude."""
        magnitude = np.arange(MAGNITUDE_MAX + 1)
        score = self.gain.astype(np.int64)[:, None] * magnitude - self.mean[:, None]
        score = np.clip(score, -SCORE_MAX, SCORE_MAX)
        both = np.stack([score, np.broadcast_to(self.information[:, None], score.shape)], axis=2)
        return both.reshape(-1, 2).astype(np.int32)

    def bound(self) -> int:
        """Largest magnitude of any sum in int32, whatever is decoded. Python's integers, which cannot overflow."""
        score, information = (int(peak) for peak in np.abs(self.scores).max(axis=0))
        offsets = [
            abs(constant) + RATIO_MAX * sum(map(abs, weights)) + (LEVELS << (RATIO_FRACTION + WEIGHT_FRACTION))
            for constant, *weights in self.weights.reshape(-1, 1 + ESTIMATES).tolist()
        ]
        around = NEIGHBOURS * score << RATIO_SHIFT, NEIGHBOURS * information + int(self.prior.max())
        return max(*around, SUMMED * max(score, information), *offsets)


def read_adaptation(tensors: Mapping[str, np.ndarray], prefix: str = PREFIX) -> Adaptation | None:
    """The adaptation of a checkpoint, None if it has none.

    Raises ValueError for parts that are missing or do not fit, and for an index 0, which codes nothing, that scores.
    """
    if not any(name.startswith(prefix) for name in tensors):
        return None
    gain = checked(tensors, f"{prefix}gain_q", (LEVELS,), np.int32)
    mean = checked(tensors, f"{prefix}mean_q", (LEVELS,), np.int32)
    information = checked(tensors, f"{prefix}information_q", (LEVELS,), np.int32, INFORMATION_MAX)
    prior = checked(tensors, f"{prefix}prior_q", (ESTIMATES,), np.int32)
    weights = checked(tensors, f"{prefix}weights_q", (QUALITY_KNOTS, STEPS - 1, 1 + ESTIMATES), np.int32)
    if int(information.min()) < 0 or int(prior.min()) < 1:
        raise ValueError(f"{prefix}information_q is at least 0 and {prefix}prior_q at least 1")
    if gain[0] or mean[0] or information[0]:
        raise ValueError(f"scale index 0 codes nothing, but {prefix[:-1]} counts it")
    return Adaptation(gain, mean, information, prior, weights)


def _gathered(x: np.ndarray, axis: int, target: int, source: int) -> np.ndarray:
    """What the latents at one place of each pair along an axis get of those at another place, weights 1, 2, 1."""
    if target == source:
        return x + x
    result = x.copy()
    after, before = [slice(None)] * x.ndim, [slice(None)] * x.ndim
    after[axis], before[axis] = slice(1, None), slice(None, -1)
    # The other one of the own pair lies on one side, that of a neighbouring pair on the other.
    to, of = (after, before) if target == 0 else (before, after)
    result[tuple(to)] += x[tuple(of)]
    return result


class Walk:
    """The four steps through one tile: indices of a step are to be had once the symbols of those before it are known.

    index: (N, H, W) uint8, as the scale net gives it. All of a step is (N, H / 2, W / 2), see `cells_of_step`.
    """

    def __init__(self, adaptation: Adaptation, index: np.ndarray, quality: int) -> None:
        self._adaptation, self._index, self._cells = adaptation, index, cells_of_step(index, 0)
        self._weights = adaptation.weights[(2 * quality + QUALITY_KNOT) // (2 * QUALITY_KNOT)].tolist()
        channels, height, width = index.shape
        self.shape = channels // STEPS, STEPS, height // 2, width // 2
        #: Of each step that is known, 256 i + |r|, by group of channels; sums of U and J at each place and of each
        #: channel.
        self._keys = list[np.ndarray]()
        self._places = np.zeros((len(PHASES), height // 2, width // 2, 2), np.int64)
        self._channels = np.zeros((channels // STEPS, STEPS, 2), np.int64)
        size = max(AT_ONCE // (STEPS * self._places[0, ..., 0].size), 1)
        self.chunks = [slice(start, start + size) for start in range(0, channels // STEPS, size)]

    def indices(self) -> np.ndarray:
        """Indices of the next step, uint8; where the scale net says 0 they are 0, and from 1 up everywhere else."""
        index = self._cells
        if not self._keys:
            return index
        constant, *weights = self._weights[len(self._keys) - 1]
        half = 1 << (RATIO_FRACTION + WEIGHT_FRACTION - 1)
        adapted = np.empty(self.shape, np.uint8)
        base = index.reshape(self.shape)
        for chunk in self.chunks:
            around, place, channel = self.estimates(chunk)
            around *= np.int32(weights[0])
            around += place * np.int32(weights[1])
            around += channel * np.int32(weights[2]) + np.int32(constant + half)
            around >>= RATIO_FRACTION + WEIGHT_FRACTION
            around += base[chunk]
            adapted[chunk] = np.clip(around, 1, LEVELS - 1, out=around)
        adapted *= base > 0
        return adapted.reshape(index.shape)

    def estimates(self, chunk: slice) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of the next step, which is not the first, and some channels: the three estimates, int32, that broadcast to
        (n, 4, H / 2, W / 2)."""
        step = len(self._keys)
        around = np.zeros((*self._keys[0][chunk].shape, 2), np.int32)
        for earlier, keys in enumerate(self._keys):
            known = self._adaptation.scores.take(keys[chunk], axis=0)
            for group in range(STEPS):
                target, source = (PHASES[(group + s) % STEPS] for s in (step, earlier))
                rows = _gathered(known[:, group], 1, target[0], source[0])
                around[:, group] += _gathered(rows, 2, target[1], source[1])
        places = self._places[(np.arange(STEPS) + step) % STEPS]
        return self._ratio(around, 0), self._ratio(places, 1), self._ratio(self._channels[chunk], 2)[..., None, None]

    def _ratio(self, sums: np.ndarray, estimate: int) -> np.ndarray:
        """Sums of U and J, (..., 2) -> an estimate (...) int32."""
        ratio = sums[..., 0] << RATIO_SHIFT
        ratio //= sums[..., 1] + self._adaptation.prior[estimate]
        return np.clip(ratio, -RATIO_MAX, RATIO_MAX).astype(np.int32)

    def learn(self, symbols: np.ndarray) -> None:
        """The residuals of the next step, int32."""
        step = len(self._keys)
        if step == STEPS - 1:
            return
        keys = np.minimum(np.abs(symbols), MAGNITUDE_MAX).astype(np.uint16)
        keys += self._cells.astype(np.uint16) << 8
        keys = keys.reshape(self.shape)
        phases = (np.arange(STEPS) + step) % STEPS
        for chunk in self.chunks:
            known = self._adaptation.scores.take(keys[chunk], axis=0)
            self._places[phases] += known.sum(axis=0, dtype=np.int32)
            # One axis after the other: NumPy adds whole rows at a time then.
            self._channels[chunk] += known.sum(axis=2, dtype=np.int32).sum(axis=2, dtype=np.int64)
        self._keys.append(keys)
        self._cells = cells_of_step(self._index, step + 1)
