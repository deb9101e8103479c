"""Encoder effort: the tiles of a finished file replaced, one by one, by integers that cost less for this picture.

A picture is refined tile by tile, each with its neighbours' latents held fixed around it, so memory is bounded by a
tile. What is done to a tile, and why, is told in engine/descent.py. A refined file never costs more than the one it
started from, and any decoder reads it in the same time.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..coding import container
from ..contracts import BitstreamError, LatentCode, UsageError
from ..data.images import Picture
from ..data.tiling import Window
from ..engine.protocol import Canvas, Engine, RefiningEngine
from ..parallel import Run
from . import tiles
from .decoder import compared
from .tiles import Grid, cut

#: Gradient steps of each level; the lowest changes nothing.
STEPS = {1: 0, 2: 2, 3: 4, 4: 8, 5: 16, 6: 25, 7: 40, 8: 80, 9: 160}
LOWEST = min(STEPS)
#: What an engine that refines by graphs is asked for unless something is said: the level whose CPU time for a picture
#: of Kodak comes nearest to that of AVIF at speed 4 (docs/benchmarks.md). Others take several times as long, most of it
#: for loading torch.
USUAL = 2


def usual_effort(engine: Engine) -> int:
    """The level at which an engine encodes unless it is told."""
    return USUAL if isinstance(engine, RefiningEngine) and engine.refines_cheaply else LOWEST


def refine(
    engine: Engine,
    picture: Picture,
    data: bytes,
    effort: int,
    run: Run = map,
    analyse: Callable[[Window], np.ndarray] | None = None,
) -> bytes:
    """A file at the lowest effort -> one of the same quality that costs no more, itself if none was found.

    effort: a level of STEPS; analyse: y of a tile, where somebody has it already. Raises UsageError if the engine
    cannot refine.
    """
    engine = refining(engine)
    parsed = container.parse(data)
    payloads = _Refiner(engine, picture, parsed, analyse).payloads(STEPS[effort])
    if payloads == list(parsed.tiles):
        return data
    found = container.write(parsed.header, payloads, parsed.side)
    # A picture of one tile costs what its tile does. Of many, each sees neighbours that change after it.
    if len(payloads) == 1 or file_cost(engine, picture, found, run) < file_cost(engine, picture, data, run):
        return found
    return data


def refining(engine: Engine) -> RefiningEngine:
    """The engine, as one that can refine. Raises UsageError if it cannot."""
    if not isinstance(engine, RefiningEngine):
        raise UsageError(f"{engine.name}: this engine cannot refine latents (--effort above {LOWEST})")
    return engine


def file_cost(engine: RefiningEngine, picture: Picture, data: bytes, run: Run = map) -> float:
    """Bits of a file plus lambda times the distortion of the picture it decodes to, per pixel."""
    parsed = container.parse(data)
    weight = engine.distortion_weight(parsed.header.quality)
    distortion = (
        engine.distortion(pixels, levels) * levels.shape[0] * levels.shape[1]
        for pixels, levels in compared(engine, picture, parsed, run)
    )
    return 8.0 * len(data) + weight * sum(distortion)


class _Refiner:
    """One picture and the tiles of its file, which are replaced one after another."""

    def __init__(
        self,
        engine: RefiningEngine,
        picture: Picture,
        parsed: container.Container,
        analyse: Callable[[Window], np.ndarray] | None,
    ) -> None:
        header = parsed.header
        self._engine, self._pixels, self._quality = engine, picture.pixels, header.quality
        self._grid = grid = Grid.of(engine, header.height, header.width, header.tile)
        self._payloads = list(parsed.tiles)
        self._analyse = analyse or (lambda place: tiles.analyse(engine, grid, picture.pixels, place))

    def payloads(self, steps: int) -> list[bytes]:
        """Every tile after so many steps, as it was where that costs no more."""
        for index, before in enumerate(self._payloads):
            found = self._engine.refine(self._code(index), self._canvas(index), steps)
            payload = self._engine.encode_tile(found.code)
            if 8.0 * len(payload) + found.error >= 8.0 * len(before) + found.before:
                continue
            self._payloads[index] = payload
            if not np.array_equal(self._code(index).y, found.code.y):
                raise BitstreamError(f"refined tile {index} does not decode to what it was")
        return self._payloads

    def _code(self, index: int) -> LatentCode:
        return self._engine.decode_tile(self._payloads[index], self._quality, *self._grid.places[index].size)

    def _canvas(self, index: int) -> Canvas:
        """A tile with its neighbours' latents around it, as far as the transform looks."""
        engine, grid = self._engine, self._grid
        place = grid.places[index]
        window = grid.window(place)
        y_hat = np.zeros((engine.latents, *window.size), np.float32)
        for other in grid.seen(index):
            if other != index:
                there = grid.places[other]
                shared = there.intersection(window)
                cut(y_hat, shared.within(window))[...] = cut(engine.dequantise(self._code(other)), shared.within(there))
        height, width = self._pixels.shape[:2]
        # Pixels near the window's edge lack latents of their own neighbourhood and are left out; so is the padding.
        near = place.grown(grid.context // 2, grid.height, grid.width).times(grid.stride).clipped(height, width)
        return Canvas(
            y=self._analyse(place),
            y_hat=y_hat,
            inner=place.within(window),
            target=self._pixels[near.slices],
            measured=near.within(window.times(grid.stride)),
        )
