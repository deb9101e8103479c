"""ColorVideoVDP of 8-bit pictures: how visible their difference is to a person before a display, by a model of vision.

Mantiuk, Hanji, Ashraf, Asano & Chapiro, "ColorVideoVDP: A visual difference predictor for image, video and display
distortions", ACM Transactions on Graphics 43 (4), 2024, as its authors' package `cvvdp` computes it.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from ..contracts import MissingDependencyError
from .pairs import check_pair

#: The package's default display: 30 inches, 3840 x 2160 pixels seen from 75 cm, 200 cd/m2, in an office.
DISPLAY = "standard_4k"
#: Below this the package's pyramid has no band left.
SMALLEST_SIDE = 16


def cvvdp(a: np.ndarray, b: np.ndarray) -> float:
    """Quality of a decoded picture against its original in just-objectionable differences (JOD): 10 for equal pictures,
    one less where 75 of 100 people would prefer the other picture. **Not symmetric**: a is the original.

    a, b: (H, W) or (H, W, C) uint8 sRGB in [0, 255], of one shape; grey counts as RGB of equal channels. NaN if a side
    is below 16 pixels. Raises ValueError if a dtype is not uint8 or the shapes differ, MissingDependencyError without
    the package.
    """
    check_pair(a, b)
    if a.ndim == 3 and a.shape[2] not in (1, 3):
        raise ValueError(f"expected two pictures of 1 or 3 channels, found {a.shape}")
    if min(a.shape[:2]) < SMALLEST_SIDE:
        return float("nan")
    predictor = _predictor()
    import torch  # the package needs it, and importing the metrics must not load it

    from ..shield import shielded

    original, decoded = (np.broadcast_to(np.atleast_3d(picture), (*picture.shape[:2], 3)).copy() for picture in (a, b))
    with shielded(), torch.inference_mode():
        return float(predictor.predict(decoded, original, dim_order="HWC")[0])


@lru_cache(maxsize=1)
def _predictor() -> Any:
    """The package's metric on the CPU. Raises MissingDependencyError."""
    try:
        import pycvvdp
        import torch
    except ImportError as error:
        raise MissingDependencyError(
            f"the metric cvvdp needs the package cvvdp: pip install 'aecodec[cvvdp]' ({error})"
        ) from error
    return pycvvdp.cvvdp(display_name=DISPLAY, device=torch.device("cpu"))
