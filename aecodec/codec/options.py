"""How a picture is encoded: one dataclass, checked once, for Python, the command and the Pillow plugin alike."""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from ..contracts import UsageError
from ..data.records import shown
from .quality import step_of
from .refine import STEPS, USUAL
from .target import Target


@dataclass(frozen=True)
class Flag:
    """How the command line offers a field. name: the flag, made from the field's unless given; low, high: the range of
    a number; open_low: whether ``low`` itself is outside; size: whether bytes may be written as 60k or 1.5M; whole:
    whether it is a whole number, where no default tells."""

    help: str
    name: str = ""
    short: str = ""
    low: float | None = None
    high: float | None = None
    open_low: bool = False
    size: bool = False
    whole: bool = False


def _option(default: Any, help: str, **flag: Any) -> Any:
    return field(default=default, metadata={"flag": Flag(help, **flag)})


@dataclass(frozen=True)
class EncodeOptions:
    """At a quality (quality.py), or at the highest one that does not exceed a rate or a size in bytes, or at the lowest
    one that reaches a PSNR in dB.

    closest: at the one that comes nearest to the target, above it or below. effort: 1 to 9; above 1, the latents are
    refined for this picture (refine.py), which takes time here and none when decoding; what the engine usually does
    unless given (refine.usual_effort). Of `overfitted`, it is how long networks are fitted, 1 unless given. check:
    decode every tile again and compare its latents; BitstreamError if one differs.

    Raises UsageError for what is out of range or contradicts itself. A newcomer is a field here, which every way in
    offers at once, and the place where it acts.
    """

    quality: float = _option(50.0, "0 to 100.", short="-q", low=0, high=100)
    target_bpp: float | None = _option(None, "Bits per pixel not to exceed.", low=0, high=1e6, open_low=True)
    target_size: int | None = _option(
        None, "File size not to exceed: 60000, 60k, 1.5M.", low=1, high=1 << 53, size=True
    )
    target_psnr: float | None = _option(None, "PSNR in dB to reach.", low=0, high=1e3, open_low=True)
    closest: bool = _option(False, "Come as near to a target as can be, above it or below.")
    effort: int | None = _option(
        None,
        "Smaller files for more time here, none when decoding: above 1, latents are refined for each picture; with the "
        f"model overfitted, 300 to 10000 iterations. Unless given {USUAL} with ONNX Runtime, and 1 with torch and "
        "overfitted.",
        low=min(STEPS),
        high=max(STEPS),
        whole=True,
    )
    check: bool = _option(False, "Decode the latents of each file again before it is written.", name="--verify")

    def __post_init__(self) -> None:
        for option in fields(self):
            value, flag = getattr(self, option.name), option.metadata["flag"]
            if flag.low is not None and value is not None:
                _check(option.name, value, flag)
        targets = sum(value is not None for value in (self.target_bpp, self.target_size, self.target_psnr))
        if targets > 1:
            raise UsageError("targets of rate, size and PSNR exclude each other")
        if self.closest and not targets:
            raise UsageError("the closest file needs a target to come close to")

    @classmethod
    def of(cls, options: EncodeOptions | None = None, changes: Mapping[str, Any] | None = None) -> EncodeOptions:
        """Options, the defaults unless given, with some fields changed. Raises UsageError for a field that is none."""
        changes = changes or {}
        known = [option.name for option in fields(cls)]
        if unknown := sorted(set(changes) - set(known)):
            raise UsageError(f"no option {', '.join(unknown)}; there are: {', '.join(known)}")
        return replace(options or cls(), **changes)

    @property
    def step(self) -> int:
        """The quality as the integer step of files and models."""
        return step_of(self.quality)

    def target(self, pixels: int) -> Target | None:
        """What to search for in the file of a picture of so many pixels."""
        size = self.target_size
        if self.target_bpp is not None:
            size = max(int(self.target_bpp * pixels / 8.0), 1)
        if size is not None:
            return Target.size(size, self.closest)
        return None if self.target_psnr is None else Target.psnr(self.target_psnr, self.closest)


def _finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond the range of a float
        return False


def _check(name: str, value: float, flag: Flag) -> None:
    """Raises UsageError unless a number is finite and in its range."""
    words = name.replace("_", " ")
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not _finite(value):
        raise UsageError(f"{words} is a number, got {shown(value)}")
    if flag.high is not None and flag.low is not None and not flag.low <= value <= flag.high:
        raise UsageError(f"{words} goes from {flag.low:g} to {flag.high:g}, got {value:g}")
    if flag.low is not None and (value < flag.low or (flag.open_low and value == flag.low)):
        bound = f"{'above' if flag.open_low else 'of at least'} {flag.low:g}"
        raise UsageError(f"{words} is a number {bound}, got {value:g}")
