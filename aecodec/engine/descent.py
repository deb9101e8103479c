"""The latents of one tile, moved down the rate-distortion cost of its own picture: what every engine does alike.

An encoder network gives every picture its latents in one pass; other latents of the same picture often cost fewer bits
for the same error. Starting from the network's, they are moved by Adam (Kingma, Ba 2015) to lower

    bits(residual) + lambda * mse * pixels.

While it moves, a latent stands for a choice between two integers, the upper one with probability w, which sharpens
(nn/quantise.py; Yang, Bamler, Mandt 2020). Instead of drawing from it, the expected cost is taken: the bits, from the
very tables that code the file, are linear between the integers; to the squared error of the mean, each latent adds its
own variance w (1 - w) times the squared error that a change of 1 in it causes, measured per channel. For a synthesis
that is linear near the picture and choices that are independent this is exact, and its minima are at integers: without
the variance, latents settle between them, and rounding loses half of the gain.

Where a family has hyper-latents that can be moved, they go first, for the bits alone: neither synthesis nor pixels are
needed. Then they stay, and with them the table of each latent; where tables adapt to what was decoded before, gradients
are those of the tables without it, real bits those with it. Only integers change: any decoder reads them, in the same
time.

The bits of real integers and the error of real pixels are compared as it goes on, and the best is kept.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..coding.rans import ESCAPE_BITS
from ..coding.tables import TOTAL, TableSet
from ..contracts import LatentCode
from .protocol import Refined

#: Adam's step for a single step, in units of the quantisation step, and the power of their number that it grows with:
#: few steps gain by latents that lie next to a threshold, and large ones would take others along. Constant, then linear
#: to 0 over the second half.
RATE, RATE_GROWTH = 0.03, 0.25
#: Adam's moments, and what keeps it from dividing by nothing.
BETAS, EPSILON = (0.8, 0.95), 1e-8
#: Temperature of the soft rounding, from the first step, likewise, to the last.
HOT, HOT_GROWTH, HOTTEST, COLD = 0.125, 1 / 3, 0.5, 0.1
#: The real cost is looked at so often at most, and after every fourth step, once LOOK_FROM of the steps are done;
#: PATIENCE looks without a gain are the end.
LOOKS, LOOK_FROM, PATIENCE = 8, 0.4, 3
#: Steps of the hyper-latents at most, Adam's step, and their temperatures, from first to last. Where the latents make
#: fewer than HYPER_FROM steps, hyper-latents stay: a step of the latents gains more for its time.
HYPER_STEPS, HYPER_FROM, HYPER_RATE = 12, 4, 0.125
HYPER_HOT, HYPER_COLD = 0.3, 0.05


def schedule(steps: int, rate: float, hot: float, cold: float) -> Iterator[tuple[float, float]]:
    """Adam's step and the temperature of the soft rounding, for each step."""
    for step in range(steps):
        progress = step / steps
        yield rate * min(1.0, 2.0 * (1.0 - progress)), hot + (cold - hot) * progress


def schedule_of_latents(steps: int) -> Iterator[tuple[float, float]]:
    """`schedule` of so many steps of the latents themselves."""
    return schedule(steps, RATE * steps**RATE_GROWTH, min(HOT * steps**HOT_GROWTH, HOTTEST), COLD)


def schedule_of_hyper_latents(steps: int) -> Iterator[tuple[float, float]]:
    """`schedule` of so many steps of the hyper-latents before."""
    return schedule(steps, HYPER_RATE, HYPER_HOT, HYPER_COLD)


def looks(steps: int) -> set[int]:
    """The steps after which the real cost is looked at, the last one among them."""
    count = min(LOOKS, max(steps // 4, 1))
    return {round(steps * (LOOK_FROM + (1 - LOOK_FROM) * look / count)) for look in range(1, count + 1)}


def bit_lines(tables: TableSet) -> tuple[np.ndarray, np.ndarray]:
    """Bits of the symbols of each table, (T, S) float32, and the symbol of the first of its slots, (T,) int32.

    Two slots of escape lie below every table and one above, so that a line between two symbols' bits is level out
    there. Between floor and ceil the line is the expected number of bits of a two-point distribution.
    """
    slots = np.arange(tables.frequencies.shape[1] + 3)[None] - 2
    body = tables.lengths[:, None] - (1 if tables.escape else 0)
    inside = (slots >= 0) & (slots < body)
    last = np.maximum(tables.frequencies[np.arange(len(tables)), tables.lengths - 1], 1)
    outside = -np.log2(last / TOTAL) + float(ESCAPE_BITS)
    padded = np.pad(tables.frequencies, ((0, 0), (2, 1)))
    bits = np.where(inside, -np.log2(np.maximum(padded, 1) / TOTAL), outside[:, None])
    return bits.astype(np.float32), tables.offsets - 2


class Descent(ABC):
    """One tile on its way down, whatever computes it. What it works on are arrays of the engine's kind.

    code: the integers as they were found.
    """

    code: LatentCode

    def run(self, steps: int) -> Refined:
        """The best integers found within so many steps, those it began with among them."""
        bits, error = self._real_cost(self.code)
        start = best = Refined(self.code, error, error)
        lowest = bits + error
        sensitivity = self._sensitivity()
        if steps >= HYPER_FROM:
            # Better for what follows even where the cost of these integers themselves is no lower.
            self._move_hyper_latents(min(steps, HYPER_STEPS), sensitivity)
        looked, idle = looks(steps), 0
        for step in self._descend(steps, sensitivity):
            if step not in looked:
                continue
            trial = self._settled()
            bits, error = self._real_cost(trial)
            idle = 0 if bits + error < lowest else idle + 1
            if not idle:
                lowest, best = bits + error, Refined(trial, error, start.before)
            if idle == PATIENCE:
                break
        return best

    @abstractmethod
    def _real_cost(self, code: LatentCode) -> tuple[float, float]:
        """Bits of the integers under the file's tables, and the error of the real pixels in bits."""

    @abstractmethod
    def _sensitivity(self) -> Any:
        """Squared error that a change of 1 in a residual causes, a mean for each channel."""

    @abstractmethod
    def _move_hyper_latents(self, steps: int, sensitivity: Any) -> None:
        """Take hyper-latents that cost fewer bits in all, where the family has any that can be moved."""

    @abstractmethod
    def _descend(self, steps: int, sensitivity: Any) -> Iterator[int]:
        """Move the latents down the cost, whose rounding becomes sharper; yields the number of steps made."""

    @abstractmethod
    def _settled(self) -> LatentCode:
        """The integers that the latents round to as they stand."""
