"""The C kernels called through ctypes: pictures fitted, latents decoded, colours computed."""

from __future__ import annotations

import ctypes
import functools
import sys
from pathlib import Path

import numpy as np

from ..contracts import BitstreamError, MissingDependencyError, OutOfMemoryError
from ..native_build import Kernels, load
from ..zoo.registry import cache_folder
from .context import FixedContext
from .layout import COLOURS, FIXED_WEIGHTS, WEIGHTS, count_latents
from .tables import starts

_HERE = Path(__file__).parent
KERNELS = Kernels(
    "overfitted",
    "the kernels of overfitted files",
    tuple(
        _HERE / name
        for name in ("overfitted.c", "decoding.h", "context.h", "synthesis.h", "upsampling.h", "fitting.h", "kernels.h")
    ),
    # What lets sums of floats be computed in vectors. Nothing here is infinite, and no integer depends on them.
    ("-fno-math-errno", "-fassociative-math", "-fno-signed-zeros", "-fno-trapping-math"),
)
_MEMORY, _DAMAGED = 1, 2


@functools.cache
def library() -> ctypes.CDLL:
    """The kernels, loaded. Raises MissingDependencyError if they cannot be had or do not decode right."""
    if sys.byteorder != "little" or ctypes.sizeof(ctypes.c_void_p) != 8:
        raise MissingDependencyError(f"{KERNELS.words} need a little-endian 64-bit system")
    return load(KERNELS, cache_folder(), _check)


def available() -> bool:
    """Whether the kernels can be had on this machine."""
    try:
        library()
    except MissingDependencyError:
        return False
    return True


def _declare(loaded: ctypes.CDLL) -> None:
    pointer, real, whole, large = ctypes.c_void_p, ctypes.c_float, ctypes.c_int, ctypes.c_int64
    loaded.overfitted_open.argtypes, loaded.overfitted_open.restype = [whole, whole], pointer
    loaded.overfitted_close.argtypes, loaded.overfitted_close.restype = [pointer], None
    loaded.overfitted_target.argtypes, loaded.overfitted_target.restype = [pointer, pointer], None
    loaded.overfitted_cost.argtypes = [*[pointer] * 4, *[real] * 4, whole, *[pointer] * 3]
    loaded.overfitted_cost.restype = None
    loaded.overfitted_adam.argtypes, loaded.overfitted_adam.restype = [large, *[pointer] * 4, *[real] * 5], None
    loaded.overfitted_render.argtypes, loaded.overfitted_render.restype = [pointer] * 4, None
    loaded.overfitted_decode.argtypes = [whole, whole, pointer, pointer, pointer, large, pointer]
    loaded.overfitted_decode.restype = whole


def _check(loaded: ctypes.CDLL) -> None:
    """Decodes what NumPy has encoded. Raises MissingDependencyError for a library that reads it otherwise."""
    from . import waves

    try:
        _declare(loaded)
    except AttributeError as error:
        raise MissingDependencyError(f"{KERNELS.words} lack a function ({error})") from error
    pattern = np.arange(FIXED_WEIGHTS, dtype=np.int64) * 2654435761 % 401 - 200
    context = FixedContext(pattern.astype(np.int32))
    latents = (np.arange(count_latents(19, 23), dtype=np.int64) * 40503 % 65536 // 2**13 - 4).astype(np.int32)
    words = waves.encode(latents, context, 19, 23)
    if not np.array_equal(_decoded(loaded, words, context, 19, 23), latents):
        raise MissingDependencyError(f"{KERNELS.words} do not decode right")


def decode(words: np.ndarray, context: FixedContext, height: int, width: int) -> np.ndarray:
    """See `waves.decode`. Raises BitstreamError, OutOfMemoryError."""
    return _decoded(library(), words, context, height, width)


def _decoded(loaded: ctypes.CDLL, words: np.ndarray, context: FixedContext, height: int, width: int) -> np.ndarray:
    words = np.ascontiguousarray(words, np.uint32)
    if len(words) and not words[-1]:
        raise BitstreamError("an entropy-coded payload ends in a zero word")
    latents, quantiles = np.zeros(count_latents(height, width), np.int32), starts()
    fault = loaded.overfitted_decode(
        height,
        width,
        context.weights.ctypes.data,
        quantiles.ctypes.data,
        words.ctypes.data,
        len(words),
        latents.ctypes.data,
    )
    if fault == _MEMORY:
        raise OutOfMemoryError("no memory to decode a tile")
    if fault == _DAMAGED:
        raise BitstreamError("an entropy-coded payload holds more than its tile's latents")
    return latents


class NativeFit:
    """A tile of (height, width) pixels in memory of the library. Calls must not overlap."""

    def __init__(self, height: int, width: int) -> None:
        """Raises MissingDependencyError without the library, OutOfMemoryError."""
        self._library, self.height, self.width = library(), height, width
        self._place = self._library.overfitted_open(height, width)
        if not self._place:
            raise OutOfMemoryError("no memory for the planes of a tile")
        self.latents = count_latents(height, width)

    def close(self) -> None:
        """Frees the memory; nothing may be called afterwards."""
        if self._place:
            self._library.overfitted_close(self._place)
            self._place = None

    def __enter__(self) -> NativeFit:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def set_target(self, pixels: np.ndarray) -> None:
        """pixels: (height, width, COLOURS) float32, 1 being white."""
        given = np.ascontiguousarray(pixels, np.float32)
        if given.shape != (self.height, self.width, COLOURS):
            raise ValueError(f"{given.shape} is no picture of {self.height} x {self.width}")
        self._library.overfitted_target(self._place, given.ctypes.data)

    def cost(self, latents: np.ndarray, weights: np.ndarray) -> tuple[float, float]:
        """Rounded latents and (WEIGHTS,) float32 -> bits of the latents, mean squared error."""
        return self._cost(latents, weights, None, (0.0, 0.0, 0.0, 0.0), -1, None, None)

    def gradients(
        self,
        latents: np.ndarray,
        weights: np.ndarray,
        noise: np.ndarray | None,
        temperature: float,
        amount: float,
        trade: float,
        to_latents: np.ndarray,
        to_weights: np.ndarray,
        turn: int = -1,
    ) -> tuple[float, float]:
        """As `cost` of softly rounded latents; gradients of bits per pixel + trade * error are written.

        noise: of the latents, standard normal, times ``amount``; None: they are rounded, with a slope of 1.
        turn: below 0, all is computed to float32. Else, the number of the iteration: the weights learn from a quarter
        of the picture, another one each time, and what processors do faster in 16-bit floats is done in them.
        """
        return self._cost(latents, weights, noise, (temperature, amount, 1.0, trade), turn, to_latents, to_weights)

    def _cost(
        self,
        latents: np.ndarray,
        weights: np.ndarray,
        noise: np.ndarray | None,
        numbers: tuple[float, float, float, float],
        turn: int,
        to_latents: np.ndarray | None,
        to_weights: np.ndarray | None,
    ) -> tuple[float, float]:
        for given, size in ((latents, self.latents), (weights, WEIGHTS), (to_latents, self.latents)):
            _expect(given, size)
        found = np.zeros(2)
        self._library.overfitted_cost(
            self._place,
            latents.ctypes.data,
            weights.ctypes.data,
            None if noise is None else noise.ctypes.data,
            *numbers,
            turn,
            None if to_latents is None else to_latents.ctypes.data,
            None if to_weights is None else to_weights.ctypes.data,
            found.ctypes.data,
        )
        return float(found[0]), float(found[1])

    def step(self, latents: np.ndarray, gradient: np.ndarray, moments: np.ndarray, numbers: tuple[float, ...]) -> None:
        """Adam on latents, in place. moments: (2, n) float32; numbers: length, both betas, both corrections."""
        first, second = moments
        self._library.overfitted_adam(
            len(latents), latents.ctypes.data, gradient.ctypes.data, first.ctypes.data, second.ctypes.data, *numbers
        )

    def render(self, latents: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Whole latents as float32 and (WEIGHTS,) float32 -> (height, width, COLOURS) float32, not clipped."""
        _expect(latents, self.latents)
        _expect(weights, WEIGHTS)
        out = np.empty((self.height, self.width, COLOURS), np.float32)
        self._library.overfitted_render(self._place, latents.ctypes.data, weights.ctypes.data, out.ctypes.data)
        return out


def _expect(given: np.ndarray | None, size: int) -> None:
    if given is not None and (given.dtype != np.float32 or given.shape != (size,) or not given.flags.c_contiguous):
        raise ValueError(f"{size} float32 are expected, found {given.dtype} of shape {given.shape}")
