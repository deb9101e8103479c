"""The filter by which a decoded picture is brought nearer to its original: the chunk that holds its weights.

A Wiener filter fitted to one picture, as video codecs have in their loops (Tsai et al. 2013, "Adaptive loop filtering
for video coding"). To each plane it adds a sum over all planes p of

    own * (p - 1/2)   and   tap_k * (p[+k] + p[-k] - 2 p)   for each of the 12 pairs of neighbours within 5 x 5,

with p in [0, 1] as synthesised, not clipped, and repeated beyond the borders of the picture. Grey pictures have one
plane, all others three. The data of the chunk:

    0   1   planes          C, 1 or 3
    1   2   steps           of taps, then of own: exponent e, for a step of 2^-e, in the upper four bits, and the order
                            of the code in the lower
    3   n   codes           C x C x 12 taps (out, in, k), then C x C own (out, in), as whole numbers of their steps, at
                            most 2^15 each: exponential Golomb codes from the first bit of a byte, then zeros to its end

k: the places of a 5 x 5 window before its middle, row by row.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..contracts import BitstreamError
from . import golomb

#: Pixels beyond its own place that the filter looks at.
REACH = 2
SIDE = 2 * REACH + 1
PAIRS = SIDE * SIDE // 2
#: The finest step is 2^-FINEST; weights are at most so many steps.
FINEST = 15
MOST = 1 << 15
_HEAD = 3


@dataclass(frozen=True, eq=False)
class PostFilter:
    """taps: (C, C, PAIRS) int32; own: (C, C) int32, whole numbers of steps; exponents: of the steps of taps and own."""

    taps: np.ndarray
    own: np.ndarray
    exponents: tuple[int, int]

    @property
    def planes(self) -> int:
        """C: of the pictures that it is for."""
        return len(self.own)

    def weights(self) -> tuple[np.ndarray, np.ndarray]:
        """Taps and own as they are applied, float64 of their shapes."""
        taps, own = (
            np.ldexp(part.astype(np.float64), -e) for part, e in zip(self._parts(), self.exponents, strict=True)
        )
        return taps, own

    def kernel(self) -> tuple[np.ndarray, np.ndarray]:
        """The filter as a convolution: weights (C out, C in, SIDE, SIDE) and biases (C out,), float32."""
        taps, own = self.weights()
        middle = own + np.eye(self.planes) - 2.0 * taps.sum(axis=2)
        rows = np.concatenate([taps, middle[..., None], taps[..., ::-1]], axis=2)
        biases = -0.5 * own.sum(axis=1)
        return rows.reshape(*own.shape, SIDE, SIDE).astype(np.float32), biases.astype(np.float32)

    def pack(self) -> bytes:
        """Data of its chunk. Raises ValueError for weights or steps that the format cannot hold."""
        if self.planes not in (1, 3) or max(np.abs(part).max() for part in self._parts()) > MOST:
            raise ValueError(f"a post filter has 1 or 3 planes and weights of at most {MOST} steps")
        if not all(0 <= exponent <= FINEST for exponent in self.exponents):
            raise ValueError(f"steps of a post filter are 2^-0 to 2^-{FINEST}")
        heads, text = bytearray([self.planes]), ""
        for part, exponent in zip(self._parts(), self.exponents, strict=True):
            order, _ = golomb.bits_of(part)
            heads.append(exponent << 4 | order)
            text += golomb.text_of(part, order)
        return bytes(heads) + golomb.to_bytes(text)

    @classmethod
    def unpack(cls, data: bytes) -> PostFilter:
        """The inverse of `pack`. Raises BitstreamError for bytes that `pack` never writes."""
        if len(data) <= _HEAD or data[0] not in (1, 3):
            raise BitstreamError(f"the post filter is not valid ({len(data)} bytes)")
        planes, text, at, parts = data[0], golomb.to_text(data[_HEAD:]), 0, []
        for shape, head in zip(((planes, planes, PAIRS), (planes, planes)), data[1:_HEAD], strict=True):
            try:
                numbers, at = golomb.numbers_of(text, at, head & 15, int(np.prod(shape)))
            except BitstreamError as error:
                raise BitstreamError(f"the post filter is damaged: {error}") from None
            if np.abs(numbers).max() > MOST:
                raise BitstreamError(f"a weight of the post filter is beyond {MOST} steps")
            parts.append(numbers.reshape(shape).astype(np.int32))
        if len(text) - at >= 8 or "1" in text[at:]:
            raise BitstreamError("the post filter ends in bits that stand for nothing")
        return cls(parts[0], parts[1], (data[1] >> 4, data[2] >> 4))

    def _parts(self) -> tuple[np.ndarray, np.ndarray]:
        return self.taps, self.own
