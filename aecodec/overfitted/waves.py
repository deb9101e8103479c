"""A tile's latents to words and back, in NumPy: grid after grid from the coarsest, and of each wave after wave.

The wave of row r and column c is c + 3 r. All contexts of a position lie in earlier waves, so a wave is computed and
decoded at once. What decides is integers (context.py), so that every implementation reads the same.
"""

from __future__ import annotations

from collections.abc import Iterator

import constriction
import numpy as np

from ..coding.tables import ESCAPE_BITS
from ..contracts import BitstreamError
from .context import ABOVE, ASIDE, CLIP, PARENT_ABOVE, PARENT_ASIDE, FixedContext
from .layout import GRIDS, count_latents, split_grids
from .tables import REACH, SLOTS, frequencies

SLOPE = 3
#: Cells around a grid that contexts look at.
_RING = 3
#: Symbols that are coded in one call.
_AT_ONCE = 4096
#: The farthest a latent may lie beyond its table.
FARTHEST = (1 << (ESCAPE_BITS - 1)) - 1
_RAW = constriction.stream.model.Uniform(1 << ESCAPE_BITS)
_CATEGORICAL = constriction.stream.model.Categorical(perfect=False)


def _waves(height: int, width: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows and columns of each wave of a grid."""
    for wave in range(width + SLOPE * (height - 1)):
        rows = np.arange(max(0, -(-(wave - width + 1) // SLOPE)), min(height - 1, wave // SLOPE) + 1)
        yield rows, wave - SLOPE * rows


def _ringed(height: int, width: int) -> np.ndarray:
    return np.zeros((height + 2 * _RING, width + 2 * _RING))


def _contexts(here: np.ndarray, coarser: list[np.ndarray], rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """What positions of a grid see: (CONTEXT, n) float64. here, coarser: ringed grids, clipped; the next one first."""
    found = [here[rows + (_RING + up), columns + (_RING + by)] for up, by in zip(ABOVE, ASIDE, strict=True)]
    nothing = np.zeros(len(rows))
    for up, by in zip(PARENT_ABOVE, PARENT_ASIDE, strict=True):
        near = (rows // 2 + (_RING + up), columns // 2 + (_RING + by))
        found.append(coarser[0][near] if coarser else nothing)
    found.append(coarser[1][rows // 4 + _RING, columns // 4 + _RING] if len(coarser) > 1 else nothing)
    return np.stack(found)


def decode(words: np.ndarray, context: FixedContext, height: int, width: int) -> np.ndarray:
    """(n,) uint32 -> the latents of a tile of (height, width) pixels, grid after grid, finest first, int32.

    Raises BitstreamError for words that hold more than the latents, or end in zero.
    """
    latents = np.zeros(count_latents(height, width), np.int32)
    try:
        coder = constriction.stream.stack.AnsCoder(words)
    except ValueError as error:
        raise BitstreamError(f"an entropy-coded payload ends in a zero word: {error}") from error
    seen: list[np.ndarray] = []
    for grid in reversed(split_grids(latents, height, width)):
        here = _ringed(*grid.shape)
        for rows, columns in _waves(*grid.shape):
            whole, table = context.tables(_contexts(here, seen, rows, columns))
            slots = coder.decode(_CATEGORICAL, frequencies()[table].astype(np.float64))
            values = whole + slots - REACH
            for place in np.flatnonzero(slots == SLOTS - 1):
                code = int(coder.decode(_RAW))
                values[place] = whole[place] + ((-REACH - 1 - (code >> 1)) if code & 1 else REACH + 1 + (code >> 1))
            grid[rows, columns] = values
            here[rows + _RING, columns + _RING] = np.clip(values, -CLIP, CLIP)
        seen.insert(0, here)
    if not coder.is_empty():
        raise BitstreamError("an entropy-coded payload holds more than its tile's latents")
    return latents


def encode(latents: np.ndarray, context: FixedContext, height: int, width: int) -> np.ndarray:
    """The inverse of `decode`. Raises ValueError for a latent farther than FARTHEST beyond its table."""
    grids = split_grids(latents, height, width)
    coder = constriction.stream.stack.AnsCoder()
    for k in range(GRIDS):
        ringed = []
        for grid in grids[k : k + 3]:
            around = _ringed(*grid.shape)
            around[_RING:-_RING, _RING:-_RING] = np.clip(grid, -CLIP, CLIP)
            ringed.append(around)
        _encode_grid(coder, grids[k], context, ringed)
    return np.asarray(coder.get_compressed(), np.uint32)


def _encode_grid(
    coder: constriction.stream.stack.AnsCoder, grid: np.ndarray, context: FixedContext, ringed: list[np.ndarray]
) -> None:
    rows, columns = (part.ravel() for part in np.indices(grid.shape))
    order = np.argsort(columns + SLOPE * rows, kind="stable")
    rows, columns = rows[order], columns[order]
    wave = columns + SLOPE * rows
    slots, tables = np.empty(len(rows), np.int32), np.empty(len(rows), np.int64)
    for start in range(0, len(rows), 1 << 16):
        part = slice(start, start + (1 << 16))
        whole, tables[part] = context.tables(_contexts(ringed[0], ringed[1:], rows[part], columns[part]))
        slots[part] = grid[rows[part], columns[part]] - whole + REACH
    outside = (slots < 0) | (slots >= SLOTS - 1)
    below = slots < 0
    excess = np.where(below, -1 - slots, slots - (SLOTS - 1))
    if outside.any() and excess[outside].max() > FARTHEST:
        raise ValueError(f"a latent lies {excess[outside].max()} beyond its table; at most {FARTHEST} can be coded")
    slots[outside] = SLOTS - 1
    # Raw bits stand behind the wave whose symbols they belong to.
    stops = np.searchsorted(wave, np.unique(wave[outside]), side="right")
    ends = sorted({*stops.tolist(), *range(_AT_ONCE, len(rows), _AT_ONCE), len(rows)})
    for start, end in reversed(list(zip([0, *ends[:-1]], ends, strict=True))):
        if end in stops:
            held = np.flatnonzero(outside & (wave == wave[end - 1]))
            coder.encode_reverse((2 * excess[held] + below[held]).astype(np.int32), _RAW)
        coder.encode_reverse(slots[start:end], _CATEGORICAL, frequencies()[tables[start:end]].astype(np.float64))
