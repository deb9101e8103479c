"""Weights of the networks as differences from a prior, in whole numbers of a step, and those as bits: exponential
Golomb codes (Teuhola 1978)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..contracts import BitstreamError
from . import priors
from .context import POINT, WEIGHT_POINT, FixedContext
from .layout import FIXED_GROUPS, FIXED_WEIGHTS, GROUPS, SLICES, WEIGHTS

#: The finest step is 2^-FINEST.
FINEST = WEIGHT_POINT
_ORDERS = 16
#: Zeros before the leading one of a code, at most: no weight that is written comes near.
_LONGEST = 24
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


def bits_of(values: np.ndarray) -> tuple[int, int]:
    """Whole numbers -> the order of the code that is shortest for them, and its bits."""
    numbers = _unsigned(values)
    lengths = [
        int((2 * np.frexp(((numbers >> order) + 1).astype(np.float64))[1] - 1 + order).sum())
        for order in range(_ORDERS)
    ]
    order = int(np.argmin(lengths))
    return order, lengths[order]


def pack(weights: CodedWeights) -> bytes:
    """The prior's row as a byte; a byte for each group, its exponent in the upper half and the order of its code in the
    lower; then the codes of all values, from the first bit of a byte to the last, and zeros to the end of the last."""
    heads, texts = bytearray([weights.prior]), []
    for part, exponent in zip(SLICES, weights.exponents, strict=True):
        order, _ = bits_of(weights.values[part])
        heads.append(exponent << 4 | order)
        for number in _unsigned(weights.values[part]).tolist():
            high = bin((number >> order) + 1)[2:]
            texts.append("0" * (len(high) - 1) + high)
            if order:
                texts.append(format(number & ((1 << order) - 1), f"0{order}b"))
    text = "".join(texts)
    text += "0" * (-len(text) % 8)
    return bytes(heads) + int(text, 2).to_bytes(len(text) // 8, "big")


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
    # No network takes more: every code has at most twice _LONGEST bits and one, and its order.
    body = data[count : count + WEIGHTS * (2 * _LONGEST + _ORDERS) // 8 + 1]
    text = bin(int.from_bytes(b"\1" + body, "big"))[3:]
    values, at = np.empty(WEIGHTS, np.int64), 0
    for part, head in zip(SLICES, data[1:count], strict=True):
        for place in range(part.start, part.stop):
            values[place], at = _next_code(text, at, head & 15)
    size = -(-at // 8)
    if "1" in text[at : 8 * size]:
        raise BitstreamError("the networks of a tile end in bits that stand for nothing")
    signed = np.where(values & 1, -((values + 1) >> 1), values >> 1)
    if np.abs(signed).max() > _MOST:
        raise BitstreamError(f"a weight of a tile is beyond {_MOST} steps")
    return CodedWeights(signed.astype(np.int32), exponents, data[0]), count + size


def _next_code(text: str, at: int, order: int) -> tuple[int, int]:
    """The number whose code begins at a bit, and where it ends."""
    one = text.find("1", at, at + _LONGEST + 1)
    end = 2 * one - at + 1 + order
    if one < 0 or end > len(text):
        raise BitstreamError("the networks of a tile are damaged")
    return int(text[one:end], 2) - (1 << order), end


def _unsigned(values: np.ndarray) -> np.ndarray:
    """0, -1, 1, -2 ... as 0, 1, 2, 3 ..."""
    wide = values.astype(np.int64)
    return np.where(wide < 0, -2 * wide - 1, 2 * wide)
