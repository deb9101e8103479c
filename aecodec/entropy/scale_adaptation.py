"""The adaptation of scale indices (latents/adaptation.py) as a part of a model: fitted to tiles of photographs.

The weights of each step and knot minimise the bits under the frozen tables, by Newton's method in which a table's
Fisher information stands for the curvature (Fisher scoring).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from ..coding.tables import ESCAPE_BITS, TOTAL, TableSet
from ..contracts import QUALITY_KNOT, QUALITY_KNOTS
from ..latents.adaptation import (
    ESTIMATES,
    INFORMATION_FRACTION,
    INFORMATION_MAX,
    MAGNITUDE_MAX,
    RATIO_FRACTION,
    SCORE_FRACTION,
    SCORE_MAX,
    WEIGHT_FRACTION,
    Adaptation,
    Walk,
)
from ..latents.context import STEPS, cells_of_step
from ..latents.exact import LEVELS

#: What estimates are drawn to 0 by, in units of information: of neighbours, of a place, of a channel.
PRIOR = (0.4, 0.2, 1.0)
#: Newton's steps, and the largest weight.
NEWTON_STEPS, WEIGHT_MAX = 3, 64.0
#: Bits that a weight of 1 must save, half at first and then as its square, so that few tiles prove little.
RIDGE = 100.0

#: Tiles of one quality, each the residuals (N, H, W), any integers, and the scale net's indices (N, H, W) uint8.
Tiles = Sequence[tuple[np.ndarray, np.ndarray]]


class ScaleAdaptation(nn.Module):
    """The integers of an `Adaptation` as buffers: none, and so no adaptation, until some are set or loaded."""

    NAMES = tuple(f"{name}_q" for name in Adaptation.__dataclass_fields__)

    def set(self, adaptation: Adaptation | None) -> None:
        """Hold an adaptation, or none."""
        for name in self.NAMES:
            self._buffers.pop(name, None)
            if adaptation is not None:
                array = getattr(adaptation, name.removesuffix("_q"))
                self.register_buffer(name, torch.from_numpy(array.copy()))

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *args: Any) -> None:
        # What is held is what was saved, be it nothing; its shapes are the coder's to check.
        self.set(None)
        for name in self.NAMES:
            if f"{prefix}{name}" in state_dict:
                self.register_buffer(name, torch.empty_like(state_dict[f"{prefix}{name}"]))
        super()._load_from_state_dict(state_dict, prefix, *args)  # type: ignore[arg-type]


def fit(tables: TableSet, density: TableSet, tiles: Mapping[int, Tiles]) -> Adaptation:
    """An adaptation under the tables of y.

    density: those tables as the model's density alone gives them; tiles: by the quality step of each knot. A step of a
    knot that gains nothing on its tiles, or has none, is left as the scale net has it.
    """
    adaptation = _scored(tables, density)
    for knot in range(QUALITY_KNOTS):
        mine = tiles.get(knot * QUALITY_KNOT, ())
        if mine:
            adaptation.weights[knot] = _weights(adaptation, tables, knot * QUALITY_KNOT, mine)
    return adaptation


def _bits(tables: TableSet) -> np.ndarray:
    """(LEVELS, A) bits of a residual's magnitude under each table, whose tables are centred on 0; the last column is
    what an escape costs."""
    magnitude = np.arange(-int(tables.offsets.min()) + 2)
    escape = tables.lengths - 1
    slots = np.minimum(magnitude - tables.offsets[:, None], escape[:, None])
    bits = -np.log2(np.take_along_axis(tables.frequencies, slots, axis=1) / TOTAL)
    return bits + np.where(slots == escape[:, None], float(ESCAPE_BITS), 0.0)


def _moments(tables: TableSet) -> tuple[np.ndarray, np.ndarray]:
    """E|r| and Var|r| under each table, (LEVELS,), of magnitudes that count as MAGNITUDE_MAX at most."""
    reach = np.arange(-int(tables.offsets.min()) + 1)
    slots = np.minimum(reach - tables.offsets[:, None], tables.lengths[:, None] - 1)
    inside = slots < tables.lengths[:, None] - 1
    share = np.take_along_axis(tables.frequencies, slots, axis=1) * inside * np.where(reach > 0, 2, 1) / TOTAL
    magnitude = np.minimum(reach, MAGNITUDE_MAX)
    mean = share @ magnitude
    return mean, np.maximum(share @ magnitude**2 - mean**2, 1e-12)


def _scored(tables: TableSet, density: TableSet) -> Adaptation:
    """An adaptation of weight 0: what a residual tells under each table.

    How |r| grows with the index is taken from the density, which is smooth; what it is, from the tables.
    """
    mean, variance = _moments(density)
    slope = np.maximum(np.gradient(mean), 0.0)
    slope[0] = 0.0  # codes nothing, so it tells nothing
    gain = slope / variance

    def grid(values: np.ndarray, fraction: int, largest: int) -> np.ndarray:
        return np.clip(np.rint(values * 2.0**fraction), 0, largest).astype(np.int32)

    return Adaptation(
        gain=grid(gain, SCORE_FRACTION, SCORE_MAX),
        mean=grid(gain * _moments(tables)[0], SCORE_FRACTION, SCORE_MAX),
        information=grid(gain * slope, INFORMATION_FRACTION, INFORMATION_MAX),
        prior=grid(np.array(PRIOR), INFORMATION_FRACTION, INFORMATION_MAX),
        weights=np.zeros((QUALITY_KNOTS, STEPS - 1, 1 + ESTIMATES), np.int32),
    )


def _weights(adaptation: Adaptation, tables: TableSet, quality: int, tiles: Tiles) -> np.ndarray:
    """(STEPS - 1, 1 + ESTIMATES) int32 of one knot."""
    bits = _bits(tables)
    slope = np.gradient(bits, axis=0)
    share = np.exp2(-bits) * np.where(np.arange(bits.shape[1]) > 0, 2.0, 1.0)
    # Bits per squared offset of the index.
    curvature = (share * slope**2).sum(axis=1) * np.log(2.0)
    found = np.zeros((STEPS - 1, 1 + ESTIMATES))
    for _ in range(NEWTON_STEPS):
        normal = np.tile(RIDGE * np.eye(1 + ESTIMATES), (STEPS - 1, 1, 1))
        right = -RIDGE * found
        for step, x, index, magnitude in _samples(adaptation, quality, tiles, bits.shape[1]):
            at = _moved(index, found[step] @ x)
            normal[step] += (x * curvature[at]) @ x.T
            right[step] -= x @ slope[at, magnitude]
        found = np.clip(found + np.linalg.solve(normal, right[..., None])[..., 0], -WEIGHT_MAX, WEIGHT_MAX)
    fraction = np.array([RATIO_FRACTION + WEIGHT_FRACTION, *(WEIGHT_FRACTION,) * ESTIMATES])
    found = np.rint(found * 2.0**fraction) * 2.0**-fraction
    gained = np.zeros(STEPS - 1)
    for step, x, index, magnitude in _samples(adaptation, quality, tiles, bits.shape[1]):
        gained[step] += (bits[index, magnitude] - bits[_moved(index, found[step] @ x), magnitude]).sum()
    return np.where(gained[:, None] > 0, found * 2.0**fraction, 0.0).astype(np.int32)


def _moved(index: np.ndarray, offset: np.ndarray) -> np.ndarray:
    return np.clip(np.floor(index + offset + 0.5), 1, LEVELS - 1).astype(np.int64)


def _samples(
    adaptation: Adaptation, quality: int, tiles: Tiles, magnitudes: int
) -> Iterator[tuple[int, np.ndarray, np.ndarray, np.ndarray]]:
    """The coded latents of every step but the first, some at a time: number of the step less 1, a row of ones and the
    estimates as offsets (1 + ESTIMATES, n) float64, index (n,) and magnitude, which is below ``magnitudes``, (n,)."""
    for y, base in tiles:
        walk = Walk(adaptation, base, quality)
        for step in range(STEPS):
            symbols = cells_of_step(y, step)
            if step:
                index = cells_of_step(base, step).reshape(walk.shape)
                magnitude = np.minimum(np.abs(symbols), magnitudes - 1).reshape(walk.shape)
                for chunk in walk.chunks:
                    coded = index[chunk] > 0
                    known = np.broadcast_arrays(index[chunk], *walk.estimates(chunk))[1:]
                    x = np.stack([estimate[coded] for estimate in known]) * 2.0**-RATIO_FRACTION
                    ones = np.ones((1, x.shape[1]))
                    yield step - 1, np.concatenate([ones, x]), index[chunk][coded], magnitude[chunk][coded]
            walk.learn(symbols)
