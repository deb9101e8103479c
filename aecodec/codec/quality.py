"""What people ask for, a quality of 0 to 100, and the quality steps of files and models, 0 to 1,000.

Steps are even in the logarithm of lambda, the weight of the error against the bits. People's scale is not: half of it
would be pictures that nobody keeps. Quality 50 stands at step 750, where photographs cost about what they do at
`avifenc -q 60` or `cjxl -q 75`; up to there a quality is 15 steps, beyond it 5.
"""

from __future__ import annotations

from ..contracts import QUALITY_STEPS

#: Where the scale bends: this quality is this step.
BEND, BEND_STEP = 50.0, 750


def step_of(quality: float) -> int:
    """Quality in [0, 100] -> the nearest step in [0, QUALITY_STEPS]. Whole qualities are whole steps."""
    low = min(quality, BEND) * BEND_STEP / BEND
    high = max(quality - BEND, 0.0) * (QUALITY_STEPS - BEND_STEP) / (100.0 - BEND)
    return round(low + high)


def quality_of(step: int) -> float:
    """The inverse of `step_of`, to two decimals: `step_of` of it is the same step."""
    low = min(step, BEND_STEP) * BEND / BEND_STEP
    high = max(step - BEND_STEP, 0) * (100.0 - BEND) / (QUALITY_STEPS - BEND_STEP)
    return round(low + high, 2)
