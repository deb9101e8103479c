"""What every picture metric demands of an original and its decoded picture."""

from __future__ import annotations

import numpy as np


def check_pair(a: np.ndarray, b: np.ndarray) -> None:
    """Raises ValueError unless both are uint8 pictures (H, W) or (H, W, C) of one shape."""
    if a.dtype != np.uint8 or b.dtype != np.uint8:
        raise ValueError(f"expected two uint8 pictures, found {a.dtype} and {b.dtype}")
    if a.shape != b.shape or a.ndim not in (2, 3):
        raise ValueError(f"expected two pictures of one shape (H, W) or (H, W, C), found {a.shape} and {b.shape}")
