"""Numbers of the command line: every one is finite and has a lowest and a highest value, told where it is refused."""

from __future__ import annotations

import math
from typing import Any

import click

from ..contracts import UsageError

#: The most of what is counted: files, pictures, steps.
MANY = 1 << 40
#: Seeds of random numbers: as many as every generator takes.
SEED_LIMIT = (1 << 53) - 1
#: Seconds of the longest wait or run: thirty years.
SECONDS_LIMIT = 1e9
#: The largest size in bytes or pixels, and the largest coordinate of a pixel.
SIZE_LIMIT, PLACE_LIMIT = 1 << 53, 1 << 31
#: The largest level that pictures are centred by or divided by.
LEVEL_LIMIT = 1e6


class Whole(click.IntRange):
    """A whole number in [low, high]."""

    def __init__(self, low: int, high: int) -> None:
        super().__init__(low, high)


class Real(click.FloatRange):
    """A finite number in [low, high], or in (low, high] if ``open_low``."""

    def __init__(self, low: float, high: float, *, open_low: bool = False) -> None:
        super().__init__(low, high, min_open=open_low)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Fails for what is no number, not finite or out of range."""
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number.", param, ctx)
        return number


def parse_size(text: str) -> int:
    """60000, 60k, 1.5M (powers of 1000) or 60Ki -> 1 to SIZE_LIMIT. Raises UsageError."""
    units = {"": 1, "k": 1000, "m": 1000**2, "ki": 1024, "mi": 1024**2}
    digits = text.strip().lower().removesuffix("b")
    number = digits.rstrip("kmi")
    try:
        size = int(float(number) * units[digits[len(number) :]])
    except (KeyError, ValueError, OverflowError):
        raise UsageError(f"{_short(text)} is no size; write 60000, 60k or 1.5M") from None
    if not 1 <= size <= SIZE_LIMIT:
        raise UsageError(f"a size is at least 1 and at most {SIZE_LIMIT}, got {_short(text)}")
    return size


def parse_rectangle(text: str, option: str, form: str) -> tuple[int, int, int, int]:
    """Text as in 10,20,300,200 -> left, top, width and height, the first two from 0 up, the others from 1 up.

    option, form: how the command line writes it, for errors. Raises UsageError.
    """
    try:
        left, top, width, height = (int(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"{option} takes {form} in pixels, got {_short(text)}") from None
    if not (min(left, top) >= 0 and min(width, height) >= 1 and max(left, top, width, height) <= PLACE_LIMIT):
        raise UsageError(f"{option} takes {form} in pixels, of at least 0,0,1,1, got {_short(text)}")
    return left, top, width, height


def parse_levels(text: str, option: str) -> tuple[float, ...]:
    """0.485,0.456,0.406, or one number for all channels -> numbers from 0 to LEVEL_LIMIT. Raises UsageError."""
    try:
        levels = tuple(float(part) for part in text.split(","))
    except ValueError:
        levels = ()
    if len(levels) not in (1, 3) or not all(0 <= level <= LEVEL_LIMIT for level in levels):
        raise UsageError(f"{option} takes one number, or three with commas between them, got {_short(text)}")
    return levels


def parse_counts(text: str, option: str) -> tuple[int, ...]:
    """128,128 -> whole numbers of 1 to MANY. Raises UsageError."""
    parts = text.split(",")
    if not all(part.isascii() and part.isdigit() and len(part) < 20 and 1 <= int(part) <= MANY for part in parts):
        raise UsageError(f"{option} takes whole numbers with commas between them, got {_short(text)}")
    return tuple(int(part) for part in parts)


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:60]}...")
