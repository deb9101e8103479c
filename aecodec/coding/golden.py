"""The golden vector of a model: what its integer path makes of fixed integers, recorded when it is saved."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from ..contracts import LatentCode

#: Latent positions of the golden tile, along each side, and the quality steps it is coded at.
SIDE = 16
QUALITIES = (0, 137, 500, 1000)


def golden_code(codec: Any, quality: int, side: int = SIDE) -> LatentCode:
    """A synthetic tile: small integers drawn with NumPy's PCG64, the same on every machine."""
    rng = np.random.Generator(np.random.PCG64(quality))
    y_shape, z_shape = codec.code_shapes(side, side)
    # Sums of dice rather than a normal law: no transcendental function, no rounding.
    y = rng.integers(-2, 3, y_shape, np.int32) + rng.integers(-2, 3, y_shape, np.int32)
    z = None if z_shape is None else rng.integers(-2, 3, z_shape, np.int32)
    return LatentCode(y.astype(np.int32), z, quality)


def golden_digest(codec: Any) -> str:
    """SHA-256 over the payloads and the decoded integers of the synthetic tile at several qualities.

    It depends on the model's integer path and on the entropy coder alone.
    """
    digest = hashlib.sha256()
    for quality in QUALITIES:
        payload = codec.encode_tile(golden_code(codec, quality))
        back: LatentCode = codec.decode_tile(payload, quality, SIDE, SIDE)
        digest.update(payload)
        digest.update(back.y.astype("<i4").tobytes())
        if back.z is not None:
            digest.update(back.z.astype("<i4").tobytes())
    return digest.hexdigest()
