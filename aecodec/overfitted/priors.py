"""Networks learnt in advance on photographs: where a fit begins, and what its weights are coded as differences from.

They belong to the format, like the tables. `scripts/overfitted_priors.py` tells how they were made.
"""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np

from .layout import WEIGHTS

FILE = Path(__file__).parent / "priors.npy"
#: Bits below the unit of their weights.
POINT = 10
#: The lambda that each row was learnt at; the first row is no network but zeros.
TRADES = (0.0, 50.0, 200.0, 800.0)


@functools.cache
def priors() -> np.ndarray:
    """(len(TRADES), WEIGHTS) int32, in units of 2^-POINT."""
    found = np.load(FILE, allow_pickle=False).astype(np.int32)
    if found.shape != (len(TRADES), WEIGHTS):
        raise ValueError(f"{FILE.name} holds {found.shape}, not {(len(TRADES), WEIGHTS)}")
    found.setflags(write=False)
    return found


def nearest(trade: float) -> int:
    """The prior learnt at the lambda that is nearest, by its logarithm."""
    return 1 + int(np.argmin(np.abs(np.log(np.array(TRADES[1:]) / trade))))
