"""The tiles of a file to pixels, one row of tiles after another: two rows of latents are all that is held.

Every tile is synthesised in its own window, which sees the neighbours' latents as far as the transform looks
(``context``). A tile that is lost has latents of zero and is filled with grey; pixels farther than the context
from it, and so every tile that does not touch it, are those of the whole file, exactly.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..coding import container
from ..coding.container import Container
from ..contracts import BitstreamError
from ..data.images import Picture
from ..data.tiling import Window
from ..engine.protocol import Engine
from ..metrics.psnr import pooled_psnr
from ..parallel import Run
from .tiles import Grid, cut

#: What a lost tile shows.
LOST_LEVEL = 128


class TileDecoder:
    """Decodes a parsed file. run: a `map`.

    lost: indices of the tiles asked for so far that are damaged, if the file was parsed in spite of damage.
    """

    def __init__(self, engine: Engine, parsed: Container, run: Run) -> None:
        self._engine, self._parsed, self._run = engine, parsed, run
        header = parsed.header
        self.grid = Grid.of(engine, header.height, header.width, header.tile)
        #: What is at hand of the latents of tiles, each with the window that it fills.
        self._latents: dict[int, tuple[Window, np.ndarray]] = {}
        self.lost: set[int] = set()

    def pixels(self, area: Window | None = None) -> Iterator[tuple[Window, np.ndarray]]:
        """area: whole tiles, in latent positions, all of them by default -> for each, in raster order, its window in
        pixels of the padded picture and its (h, w[, 3]) uint8. Raises BitstreamError for a tile that is damaged, unless
        that was let pass.
        """
        grid = self.grid
        area = area or Window(0, 0, grid.height, grid.width)
        region = area.grown(grid.context, grid.height, grid.width)
        for row in range(area.top // grid.side, -(-area.bottom // grid.side)):
            self._decode(row, region)
            inside = [index for index in grid.row(row) if grid.places[index].touches(area)]
            for index, levels in zip(inside, self._run(self._synthesise, inside), strict=True):
                yield grid.places[index].times(grid.stride), levels
        self._latents.clear()

    def latents(self, index: int) -> np.ndarray:
        """y_hat of one tile, (N, h, w) float32; zeros, and the tile noted as lost, if it is damaged."""
        place, parsed = self.grid.places[index], self._parsed
        try:
            if index in parsed.damaged:
                raise BitstreamError(f"tile {index} is damaged")
            code = self._engine.decode_tile(parsed.tiles[index], parsed.header.quality, *place.size)
            return self._engine.dequantise(code)
        except BitstreamError:
            if not parsed.partial:
                raise
            self.lost.add(index)
            return np.zeros((self._engine.latents, *place.size), np.float32)

    def _decode(self, row: int, region: Window) -> None:
        """Have the latents of a row and the next at hand, as far as they touch a region, and the rows of latents above
        them that their windows see; forget all others."""
        grid = self.grid
        wanted = [n for r in (row - 1, row, row + 1) for n in grid.row(r) if grid.places[n].touches(region)]
        for index in self._latents.keys() - set(wanted):
            del self._latents[index]
        self._trim(row - 1)
        missing = [index for index in wanted if index not in self._latents]
        for index, latents in zip(missing, self._run(self.latents, missing), strict=True):
            self._latents[index] = grid.places[index], latents
        self._trim(row - 1)

    def _trim(self, row: int) -> None:
        """Keep only those latents of a row of tiles that the row below looks at."""
        for index in set(self.grid.row(row)) & self._latents.keys():
            place, latents = self._latents[index]
            seen = Window(max(place.bottom - self.grid.context, place.top), place.left, place.bottom, place.right)
            if seen != place:
                self._latents[index] = seen, cut(latents, seen.within(place)).copy()

    def _synthesise(self, index: int) -> np.ndarray:
        """Pixels of one tile, (h, w[, 3]) uint8."""
        grid, header = self.grid, self._parsed.header
        place = grid.places[index]
        if index in self.lost:
            size = place.times(grid.stride).size
            return np.full(size if header.grey else (*size, 3), LOST_LEVEL, np.uint8)
        window = grid.window(place)
        y_hat = np.empty((self._engine.latents, *window.size), np.float32)
        for other in grid.seen(index):
            there, part = self._latents[other]
            shared = there.intersection(window)
            cut(y_hat, shared.within(window))[...] = cut(part, shared.within(there))
        return self._engine.synthesise(y_hat, header.quality, place.within(window), grey=header.grey)


def file_psnr(engine: Engine, picture: Picture, data: bytes, run: Run) -> float:
    """PSNR in dB of a file against its picture, without holding all of its pixels."""
    whole = Window(0, 0, *picture.pixels.shape[:2])
    return pooled_psnr(
        (picture.pixels[place.intersection(whole).slices], levels[place.intersection(whole).within(place).slices])
        for place, levels in TileDecoder(engine, container.parse(data), run).pixels()
    )
