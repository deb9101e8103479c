"""The context network in fixed point: integers alone, the same on every machine, in whatever order they are summed.

Activations have 8 fractional bits and weights 10. A context shows at most 127 of a latent, what leaves a layer is kept
within 16 bits, and no sum may leave 32: `FixedContext` proves it from the weights. NumPy computes with float64, which
holds such sums exactly.
"""

from __future__ import annotations

import numpy as np

from .layout import CONTEXT, FIXED_WEIGHTS, SHAPES
from .tables import FRACTIONS, SCALES, UNIT_SCALE

#: What a context shows of a latent, at most.
CLIP = 127
POINT, WEIGHT_POINT = 8, 10
ACTIVATION_MAX = 32767
#: Rows and columns of the neighbours, each of an earlier wave (waves.py).
ABOVE = (0, 0, 0, -1, -1, -1, -1, -1, -2, -2, -2, -2, -2, -3)
ASIDE = (-1, -2, -3, -2, -1, 0, 1, 2, -2, -1, 0, 1, 2, 0)
#: Of the next coarser grid, around the parent; after them comes the parent's parent.
PARENT_ABOVE = (0, -1, 1, 0, 0)
PARENT_ASIDE = (0, 0, 0, -1, 1)
#: Bits below the unit of sums, of means and of table indices of scales (eight to an octave).
_SUM_POINT = POINT + WEIGHT_POINT
_MEAN_SHIFT = _SUM_POINT - 4
_SCALE_SHIFT = _SUM_POINT - 3
_LARGEST_SUM = (1 << 31) - 1


class FixedContext:
    """weights: (FIXED_WEIGHTS,) int32, matrices with WEIGHT_POINT fractional bits and what is added with
    POINT + WEIGHT_POINT, in the order of `layout.SHAPES`."""

    def __init__(self, weights: np.ndarray) -> None:
        """Raises ValueError for weights with which a sum could leave 32 bits."""
        self.weights = np.ascontiguousarray(weights, np.int32)
        if self.weights.shape != (FIXED_WEIGHTS,):
            raise ValueError(f"{FIXED_WEIGHTS} weights of contexts, found {self.weights.shape}")
        self._layers = []
        parts = dict(zip(list(SHAPES)[:6], np.split(self.weights, _cuts()), strict=True))
        for layer in "123":
            matrix = parts[f"w{layer}"].reshape(-1, CONTEXT).astype(np.int64)
            added = parts[f"b{layer}"].astype(np.int64)
            most = np.abs(matrix).sum(axis=1) * ACTIVATION_MAX + np.abs(added)
            if most.max() > largest_sum():
                raise ValueError("its sums could leave 32 bits")
            self._layers.append((matrix.astype(np.float64), added.astype(np.float64)[:, None]))

    def tables(self, contexts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """contexts: (CONTEXT, n) latents within +-CLIP, as float64 -> of each position the whole number next to its
        mean and the index of its table, (n,) int64 both."""
        x = contexts * float(1 << POINT)
        for matrix, added in self._layers[:2]:
            sums = matrix @ x + added + x * float(1 << WEIGHT_POINT)
            x = np.clip(np.floor((sums + (1 << (WEIGHT_POINT - 1))) / (1 << WEIGHT_POINT)), 0, ACTIVATION_MAX)
        matrix, added = self._layers[2]
        mean, scale = (matrix @ x + added).astype(np.int64)
        mean = np.clip((mean + (1 << (_MEAN_SHIFT - 1))) >> _MEAN_SHIFT, -CLIP * FRACTIONS, CLIP * FRACTIONS)
        scale = np.clip(((scale + (1 << (_SCALE_SHIFT - 1))) >> _SCALE_SHIFT) + UNIT_SCALE, 0, SCALES - 1)
        whole = (mean + FRACTIONS // 2) >> 4
        return whole, FRACTIONS * scale + mean - FRACTIONS * whole + FRACTIONS // 2


def largest_sum() -> int:
    """The largest sum of weights times ACTIVATION_MAX, and what is added, that leaves room for the residual and for
    rounding."""
    return _LARGEST_SUM - (ACTIVATION_MAX << WEIGHT_POINT) - (1 << (_SCALE_SHIFT - 1))


def _cuts() -> np.ndarray:
    return np.cumsum([int(np.prod(shape)) for shape in list(SHAPES.values())[:6]])[:-1]
