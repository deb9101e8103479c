"""The search for the quality whose file just fits a size."""

from __future__ import annotations

import math
from collections.abc import Callable

from .contracts import QUALITY_STEPS, TargetUnreachableError, UsageError

#: A target is met when the file is at most this much smaller than asked.
TARGET_TOLERANCE = 0.01
TARGET_ENCODES = 8
#: Typical growth of log(file size) per quality step, to start the search for a target.
TYPICAL_SLOPE = 0.0045


def search_target(encode: Callable[[int], bytes], size: int) -> tuple[bytes, int, int]:
    """The largest file within ``size`` bytes -> (data, quality step, number of encodes).

    log(size) is nearly linear in the quality step, so the search interpolates between the best file that
    fits and the smallest that does not; it ends within TARGET_TOLERANCE below or after TARGET_ENCODES.
    Raises TargetUnreachableError if the smallest file is too large.
    """
    if size < 1:
        raise UsageError(f"the target size is a positive number of bytes, got {size}")
    low, high = (-1, 0.0), (QUALITY_STEPS + 1, math.inf)
    best: tuple[bytes, int] | None = None
    step, slope, smallest = QUALITY_STEPS // 2, TYPICAL_SLOPE, 0
    for count in range(1, TARGET_ENCODES + 1):
        data = encode(step)
        logarithm = math.log(len(data))
        if len(data) <= size:
            best, low = (data, step), (step, logarithm)
            if len(data) >= size * (1.0 - TARGET_TOLERANCE) or step == QUALITY_STEPS:
                return data, step, count
        else:
            high, smallest = (step, logarithm), len(data)
            if step == 0:
                break
        if low[0] >= 0 and high[0] <= QUALITY_STEPS:
            slope = max((high[1] - low[1]) / (high[0] - low[0]), 1e-5)
        if high[0] - low[0] <= 1:
            break
        # Aim a third of the tolerance below the target, and stay strictly inside the bracket.
        guess = step + (math.log(size) - TARGET_TOLERANCE / 3.0 - logarithm) / slope
        step = int(min(max(math.floor(guess), low[0] + 1, 0), high[0] - 1, QUALITY_STEPS))
        if count == TARGET_ENCODES - 1 and best is None:
            step = 0
    if best is None:
        raise TargetUnreachableError(f"{size} bytes cannot be met: the smallest file has {smallest} bytes")
    return best[0], best[1], count
