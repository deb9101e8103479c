"""Exponential Golomb codes (Teuhola 1978) of signed whole numbers, as text of zeros and ones.

Numbers become 0, -1, 1, -2 ... as n = 0, 1, 2, 3 ...; the code of n of order k is floor(n / 2^k) + 1 in binary, after
as many zeros as it has digits less one, then the lowest k bits of n.
"""

from __future__ import annotations

import numpy as np

from ..contracts import BitstreamError

#: Orders of a code, which take four bits to tell.
ORDERS = 16
#: Zeros before the leading one of a code, at most.
LONGEST = 24


def bits_of(values: np.ndarray) -> tuple[int, int]:
    """Whole numbers -> the order of the code that is shortest for them, and its bits."""
    numbers = _unsigned(values)
    lengths = [
        int((2 * np.frexp(((numbers >> order) + 1).astype(np.float64))[1] - 1 + order).sum()) for order in range(ORDERS)
    ]
    order = int(np.argmin(lengths))
    return order, lengths[order]


def text_of(values: np.ndarray, order: int) -> str:
    """The codes of whole numbers, one after another."""
    texts = []
    for number in _unsigned(values).ravel().tolist():
        high = bin((number >> order) + 1)[2:]
        texts.append("0" * (len(high) - 1) + high)
        if order:
            texts.append(format(number & ((1 << order) - 1), f"0{order}b"))
    return "".join(texts)


def numbers_of(text: str, at: int, order: int, count: int) -> tuple[np.ndarray, int]:
    """The inverse of `text_of`, from a place of a text on -> (count,) int64, and where the last code ends.

    Raises BitstreamError where the text ends, or a code is longer than any that is written.
    """
    found = np.empty(count, np.int64)
    for place in range(count):
        one = text.find("1", at, at + LONGEST + 1)
        end = 2 * one - at + 1 + order
        if one < 0 or end > len(text):
            raise BitstreamError("a number is cut off or too long")
        found[place], at = int(text[one:end], 2) - (1 << order), end
    return np.where(found & 1, -((found + 1) >> 1), found >> 1), at


def to_bytes(text: str) -> bytes:
    """A text from the first bit of a byte on, and zeros to the end of the last."""
    text += "0" * (-len(text) % 8)
    return int(text or "0", 2).to_bytes(len(text) // 8, "big")


def to_text(data: bytes) -> str:
    """The inverse of `to_bytes`, those zeros included."""
    return bin(int.from_bytes(b"\1" + data, "big"))[3:]


def _unsigned(values: np.ndarray) -> np.ndarray:
    wide = values.astype(np.int64)
    return np.where(wide < 0, -2 * wide - 1, 2 * wide)
