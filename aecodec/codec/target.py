"""The search for the quality whose file just meets a target, and for that of a refined file."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from ..contracts import QUALITY_STEPS, TargetUnreachableError

T = TypeVar("T")
#: A target is met by a file that is at most this much smaller, or this many decibels worse, than asked.
SIZE_TOLERANCE = 0.01
PSNR_TOLERANCE = 0.05
MAX_ENCODES = 8
#: A file with a target is refined at most so often, at different qualities.
MAX_REFINED = 3


@dataclass(frozen=True)
class Target:
    """What is not to be exceeded. value: log of bytes, or dB; both grow nearly linearly with the quality step.

    tolerance: how far below the value is near enough. slope: typical growth per step, to start with. closest: the
    trial nearest to the value is wanted, even if it exceeds it. in_decibels: which of the two the value is.
    """

    value: float
    tolerance: float
    slope: float
    text: str
    closest: bool = False
    in_decibels: bool = False

    @classmethod
    def size(cls, size: int, closest: bool = False) -> Target:
        """At most ``size`` bytes, 1 or more."""
        return cls(math.log(size), -math.log1p(-SIZE_TOLERANCE), 0.0045, f"{size} bytes", closest)

    @classmethod
    def psnr(cls, decibel: float, closest: bool = False) -> Target:
        """At most ``decibel`` dB of PSNR, a positive number."""
        return cls(decibel, PSNR_TOLERANCE, 0.012, f"{decibel:g} dB", closest, in_decibels=True)


@dataclass(frozen=True)
class Found(Generic[T]):
    """The best trial. step: its quality step; trials: how many were made."""

    result: T
    step: int
    trials: int


def search(trial: Callable[[int], tuple[float, T]], target: Target) -> Found[T]:
    """trial(step) -> (value, result); the result of the highest value that does not exceed the target.

    A secant search, kept inside the bracket of trials that fit and trials that do not; the bracket is halved
    whenever the same end has moved twice. It ends within the tolerance or after MAX_ENCODES trials. Raises
    TargetUnreachableError if quality 0 exceeds the target already and the closest trial will not do.
    """
    below, above = (-1, -math.inf), (QUALITY_STEPS + 1, math.inf)
    best: Found[T] | None = None
    nearest: tuple[float, Found[T]] | None = None
    last: tuple[int, float] | None = None
    step, slope, run = QUALITY_STEPS // 2, target.slope, 0
    for count in range(1, MAX_ENCODES + 1):
        value, result = trial(step)
        distance = abs(value - target.value)
        if nearest is None or distance < nearest[0]:
            nearest = distance, Found(result, step, count)
        if value <= target.value:
            best, below, run = Found(result, step, count), (step, value), max(run, 0) + 1
            if value >= target.value - target.tolerance or step == QUALITY_STEPS:
                break
        else:
            above, run = (step, value), min(run, 0) - 1
            if step == 0:
                break
        if above[0] - below[0] <= 1:
            break
        bracketed = best is not None and above[0] <= QUALITY_STEPS
        if bracketed:
            slope = (above[1] - below[1]) / (above[0] - below[0])
        elif last is not None:
            slope = (value - last[1]) / (step - last[0])
        last = (step, value)
        if bracketed and abs(run) >= 2:
            guess = (below[0] + above[0]) // 2
        else:
            # Aim a third of the tolerance below the target.
            guess = math.floor(step + (target.value - target.tolerance / 3.0 - value) / max(slope, 1e-4))
        step = min(max(guess, below[0] + 1, 0), above[0] - 1, QUALITY_STEPS)
        if count == MAX_ENCODES - 1 and best is None:
            # Nothing fitted so far: the last trial decides whether anything does.
            step = 0
    if target.closest and nearest is not None:
        best = nearest[1]
    if best is None:
        raise TargetUnreachableError(f"{target.text} cannot be met: the smallest quality exceeds it")
    return Found(best.result, best.step, count)


def search_on(trial: Callable[[int], tuple[float, T]], start: Found[T], target: Target) -> Found[T]:
    """trial(step) -> (value, result) of a refined file; start: what `search` found without refining.

    A refined file is smaller and nearer to the picture than its start, so the step is moved on from there, by the
    measured slope, at most MAX_REFINED times in all; the refined file that meets the target best wins,
    ``start`` if none does. ``trials`` counts those of the start as well.
    """
    best, best_miss, step, slope = start, math.inf, start.step, target.slope
    measured: dict[int, float] = {}
    while len(measured) < MAX_REFINED and step not in measured:
        value, result = trial(step)
        miss = target.value - value
        if abs(miss) < best_miss and (miss >= 0 or target.closest):
            best, best_miss = Found(result, step, start.trials), abs(miss)
        if 0 <= miss <= target.tolerance or (target.closest and abs(miss) <= target.tolerance):
            break
        if measured:
            last = next(reversed(measured))
            slope = max((value - measured[last]) / (step - last), 0.2 * target.slope)
        measured[step] = value
        step = min(max(step + math.floor((miss - target.tolerance / 3.0) / slope), 0), QUALITY_STEPS)
    return Found(best.result, best.step, start.trials + len(measured))
