"""The data of a tile: the weights of its networks (weights.py), then the words of its latents (waves.py), little-endian
and of 32 bits each. Nothing else; a tile is decoded without any other."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..contracts import BitstreamError
from . import waves
from .context import FixedContext
from .synthesis import synthesise
from .weights import CodedWeights, pack, unpack

_WORD = np.dtype("<u4")
Decode = Callable[[np.ndarray, FixedContext, int, int], np.ndarray]


def write(weights: CodedWeights, latents: np.ndarray, height: int, width: int) -> bytes:
    """latents: (n,) int32 of a tile of (height, width) pixels. Raises ValueError for one that cannot be coded."""
    return pack(weights) + waves.encode(latents, weights.context(), height, width).astype(_WORD).tobytes()


def read(data: bytes, height: int, width: int) -> tuple[CodedWeights, np.ndarray]:
    """The inverse of `write`, by the kernels, or NumPy without them. Raises BitstreamError, OutOfMemoryError."""
    weights, size = unpack(data)
    context = weights.context()
    if (len(data) - size) % _WORD.itemsize:
        raise BitstreamError(
            f"an entropy-coded payload is a whole number of 32-bit words, got {len(data) - size} bytes"
        )
    words = np.frombuffer(data, _WORD, offset=size).astype(np.uint32)
    return weights, _decoder()(words, context, height, width)


def pixels(weights: CodedWeights, latents: np.ndarray, height: int, width: int, *, grey: bool) -> np.ndarray:
    """(height, width, 3) uint8, or (height, width) if grey: the mean of the colours."""
    from . import native

    floats = weights.floats()
    if native.available():
        with native.NativeFit(height, width) as fit:
            image = fit.render(latents.astype(np.float32), floats)
    else:
        image = synthesise(latents, floats, height, width)
    return levels(image.mean(axis=2) if grey else image)


def levels(image: np.ndarray) -> np.ndarray:
    """float32, 1 being white -> uint8; what is no number is black."""
    return np.rint(np.clip(np.nan_to_num(image, nan=0.0, posinf=1.0, neginf=0.0), 0.0, 1.0) * 255.0).astype(np.uint8)


def _decoder() -> Decode:
    from . import native

    return native.decode if native.available() else waves.decode
