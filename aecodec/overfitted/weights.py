"""Weights of the networks as differences from a prior, in whole numbers of a step, and those as exponential Golomb
codes (coding/golomb.py)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..coding import golomb
from ..contracts import BitstreamError
from . import priors
from .context import POINT, WEIGHT_POINT, FixedContext
from .layout import FIXED_GROUPS, FIXED_WEIGHTS, GROUPS, SLICES, WEIGHTS

#: The finest step is 2^-FINEST.
FINEST = WEIGHT_POINT
#: The largest whole number that stands for a weight.
_MOST = 1 << 20


@dataclass(frozen=True)
class CodedWeights:
    """values: (WEIGHTS,) int32; exponents: of each group of GROUPS, whose weights are the prior's and values *
    2^-exponent; prior: a row of `priors.priors`."""

    values: np.ndarray
    exponents: tuple[int, ...]
    prior: int

    @classmethod
    def of(cls, weights: np.ndarray, exponents: tuple[int, ...], prior: int) -> CodedWeights:
        """(WEIGHTS,) float -> each rounded to a step of its group."""
        off = weights - priors.priors()[prior] * 2.0**-priors.POINT
        values = np.empty(WEIGHTS, np.int32)
        for part, exponent in zip(SLICES, exponents, strict=True):
            values[part] = np.clip(np.rint(off[part] * 2.0**exponent), -_MOST, _MOST)
        return cls(values, exponents, prior)

    def whole(self) -> np.ndarray:
        """(WEIGHTS,) int64, in units of 2^-FINEST."""
        found = priors.priors()[self.prior].astype(np.int64)
        for part, exponent in zip(SLICES, self.exponents, strict=True):
            found[part] += self.values[part].astype(np.int64) << (FINEST - exponent)
        return found

    def floats(self) -> np.ndarray:
        """(WEIGHTS,) float32."""
        return (self.whole() * 2.0**-FINEST).astype(np.float32)

    def context(self) -> FixedContext:
        """The context network in fixed point. Raises BitstreamError for one whose sums could leave 32 bits."""
        fixed = self.whole()[:FIXED_WEIGHTS]
        fixed[SLICES[FIXED_GROUPS - 1]] <<= POINT
        try:
            if np.abs(fixed).max() > np.iinfo(np.int32).max:
                raise ValueError("a weight leaves 32 bits")
            return FixedContext(fixed.astype(np.int32))
        except ValueError as error:
            raise BitstreamError(f"the context network of a tile is not exact: {error}") from error


def pack(weights: CodedWeights) -> bytes:
    """The prior's row as a byte; a byte for each group, its exponent in the upper half and the order of its code in the
    lower; then the codes of all values, from the first bit of a byte to the last, and zeros to the end of the last."""
    heads, texts = bytearray([weights.prior]), []
    for part, exponent in zip(SLICES, weights.exponents, strict=True):
        order, _ = golomb.bits_of(weights.values[part])
        heads.append(exponent << 4 | order)
        texts.append(golomb.text_of(weights.values[part], order))
    return bytes(heads) + golomb.to_bytes("".join(texts))


def unpack(data: bytes) -> tuple[CodedWeights, int]:
    """The inverse of `pack`, of bytes that may go on -> the weights, and how many bytes they took.

    Raises BitstreamError for bytes that end too early, or that `pack` never writes.
    """
    count = 1 + len(GROUPS)
    if len(data) <= count:
        raise BitstreamError("the networks of a tile are cut off")
    if data[0] >= len(priors.TRADES):
        raise BitstreamError(f"a tile names prior {data[0]} of {len(priors.TRADES)}")
    exponents = tuple(head >> 4 for head in data[1:count])
    if max(exponents) > FINEST:
        raise BitstreamError(f"weights of a tile have a step of 2^-{max(exponents)}; the finest is 2^-{FINEST}")
    # No network takes more: every code has at most twice LONGEST bits and one, and its order.
    text = golomb.to_text(data[count : count + WEIGHTS * (2 * golomb.LONGEST + golomb.ORDERS) // 8 + 1])
    values, at = np.empty(WEIGHTS, np.int64), 0
    for part, head in zip(SLICES, data[1:count], strict=True):
        values[part], at = golomb.numbers_of(text, at, head & 15, part.stop - part.start)
    size = -(-at // 8)
    if "1" in text[at : 8 * size]:
        raise BitstreamError("the networks of a tile end in bits that stand for nothing")
    if np.abs(values).max() > _MOST:
        raise BitstreamError(f"a weight of a tile is beyond {_MOST} steps")
    return CodedWeights(values.astype(np.int32), exponents, data[0]), count + size
