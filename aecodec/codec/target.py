"""The search for the quality whose file just meets a target, a size not to exceed or a PSNR to reach."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from ..contracts import QUALITY_STEPS, TargetUnreachableError

T = TypeVar("T")
#: A target is met by a file that is at most this much smaller, or this many decibels better, than asked.
SIZE_TOLERANCE = 0.01
PSNR_TOLERANCE = 0.05
MAX_ENCODES = 8
#: A file with a target is refined at most so often, at different qualities.
MAX_REFINED = 3


@dataclass(frozen=True)
class Target:
    """What is not to be exceeded, or to be reached. value: log of bytes, or dB; both grow nearly linearly with steps.

    tolerance: how far from the value, on the right side of it, is near enough. slope: typical growth per step, to start
    with. closest: the trial nearest to the value is wanted, on either side. in_decibels: whether the value is a PSNR,
    and so the least that will do, or a size, and so the most.
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
        """At least ``decibel`` dB of PSNR, a positive number."""
        return cls(decibel, PSNR_TOLERANCE, 0.012, f"{decibel:g} dB", closest, in_decibels=True)

    def miss(self, value: float) -> float:
        """How far on the right side of the target a trial is; negative on the wrong one."""
        return value - self.value if self.in_decibels else self.value - value

    def step_from(self, step: int, value: float, slope: float) -> int:
        """The step at which a straight line through a trial is a third of the tolerance on the right side."""
        if self.in_decibels:
            return step + math.ceil((self.value + self.tolerance / 3.0 - value) / slope)
        return step + math.floor((self.value - self.tolerance / 3.0 - value) / slope)

    @property
    def surest(self) -> int:
        """The step that meets the target if any does."""
        return QUALITY_STEPS if self.in_decibels else 0


@dataclass(frozen=True)
class Found(Generic[T]):
    """The best trial. step: its quality step; trials: how many were made."""

    result: T
    step: int
    trials: int


def search(trial: Callable[[int], tuple[float, T]], target: Target) -> Found[T]:
    """trial(step) -> (value, result); the result nearest to the target among those on the right side of it.

    A search by false position (the Illinois form: Dowell and Jarratt 1971), inside the bracket of trials below the
    value and trials above, and by secants until there is one. It ends within the tolerance or after MAX_ENCODES trials.
    Raises TargetUnreachableError if no quality meets the target and the closest trial will not do.
    """
    below, above = (-1, -math.inf), (QUALITY_STEPS + 1, math.inf)
    best: tuple[float, Found[T]] | None = None
    nearest: tuple[float, Found[T]] | None = None
    last: tuple[int, float] | None = None
    step, slope, run = QUALITY_STEPS // 2, target.slope, 0
    for count in range(1, MAX_ENCODES + 1):
        value, result = trial(step)
        found, miss = Found(result, step, count), target.miss(value)
        if nearest is None or abs(miss) < nearest[0]:
            nearest = abs(miss), found
        if miss >= 0 and (best is None or miss <= best[0]):
            best = miss, found
        if value <= target.value:
            below, run = (step, value), max(run, 0) + 1
        else:
            above, run = (step, value), min(run, 0) - 1
        if 0 <= miss <= target.tolerance or above[0] - below[0] <= 1:
            break
        bracketed = below[0] >= 0 and above[0] <= QUALITY_STEPS
        if bracketed:
            # An end that stays while the other moves counts for half as far, and half again, until it is passed.
            low, high = (end[1] - target.value for end in (below, above))
            if run > 1:
                high /= 2.0 ** (run - 1)
            elif run < -1:
                low /= 2.0 ** (-run - 1)
            slope = (high - low) / (above[0] - below[0])
        elif last is not None:
            slope = (value - last[1]) / (step - last[0])
        last = (step, value)
        guess = target.step_from(step, value, max(slope, 1e-4))
        step = min(max(guess, below[0] + 1, 0), above[0] - 1, QUALITY_STEPS)
        if count == MAX_ENCODES - 1 and best is None:
            # Nothing was on the right side so far: the last trial decides whether anything is.
            step = target.surest
    if target.closest and nearest is not None:
        best = nearest
    if best is None:
        end = "highest quality stays below" if target.in_decibels else "smallest quality exceeds"
        raise TargetUnreachableError(f"{target.text} cannot be met: the {end} it")
    return Found(best[1].result, best[1].step, count)


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
        miss = target.miss(value)
        if abs(miss) < best_miss and (miss >= 0 or target.closest):
            best, best_miss = Found(result, step, start.trials), abs(miss)
        if 0 <= miss <= target.tolerance or (target.closest and abs(miss) <= target.tolerance):
            break
        if measured:
            last = next(reversed(measured))
            slope = max((value - measured[last]) / (step - last), 0.2 * target.slope)
        measured[step] = value
        step = min(max(target.step_from(step, value, slope), 0), QUALITY_STEPS)
    return Found(best.result, best.step, start.trials + len(measured))
