"""The tiles of a file to pixels, block by block: two rows of blocks of latents are all that is held of small tiles.

A block is a tile, or a part of BLOCK x BLOCK pixels of a larger one, whose integers are decoded as far as they are
wanted and held, while networks see a block at a time. Every block is synthesised in its own window, which sees the
neighbours' latents as far as the transform looks (``context``). A tile that is lost has latents of zero and is filled
with grey; pixels farther than the context from it, and so every tile that does not touch it, are those of the whole
file, exactly.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import numpy as np

from ..coding import container
from ..coding.container import Container
from ..coding.post_filter import PostFilter
from ..contracts import BitstreamError, LatentCode
from ..data.images import Picture
from ..data.tiling import Window, covering
from ..engine.protocol import Engine
from ..metrics.psnr import pooled_psnr
from ..parallel import Run
from .tiles import Grid, cut, cut_code

#: Side in pixels of the largest window that networks are given, without what they see around it.
BLOCK = 1024
#: What a lost tile shows.
LOST_LEVEL = 128


def block_side(tile: int) -> int:
    """Side in pixels of the blocks of tiles of a side."""
    return min(tile, BLOCK)


class TileDecoder:
    """Decodes a parsed file. run: a `map`.

    lost: indices of the tiles asked for so far that are damaged, if the file was parsed in spite of damage.
    """

    def __init__(self, engine: Engine, parsed: Container, run: Run) -> None:
        self._engine, self._parsed, self._run = engine, parsed, run
        header = parsed.header
        self._filter = _filter_of(parsed)
        self._tiles = Grid.of(engine, header.height, header.width, header.tile)
        grid = Grid.of(engine, header.height, header.width, block_side(header.tile))
        # The filter looks at pixels beyond a block, whose latents must be seen as far as the others' are.
        self.grid = grid if self._filter is None else replace(grid, context=grid.context + 1)
        #: Tiles of which blocks are still to come, and the integers that are at hand of each with the window that they
        #: fill; None for a tile that is lost.
        self._codes: dict[int, tuple[Window, LatentCode] | None] = {}
        #: What is at hand of the latents of blocks, each with the window that it fills.
        self._latents: dict[int, tuple[Window, np.ndarray]] = {}
        self.lost: set[int] = set()

    def pixels(self, area: Window | None = None) -> Iterator[tuple[Window, np.ndarray]]:
        """area: whole blocks, in latent positions, all of them by default -> for each, in raster order, its window in
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
        self._codes.clear()

    def latents(self, index: int) -> np.ndarray:
        """y_hat of one block, (N, h, w) float32; zeros, and its tile noted as lost, if that is damaged."""
        place, tile = self.grid.places[index], self._tile_of(index)
        known = self._codes[tile] if tile in self._codes else self._code(tile)
        if known is None:
            self.lost.add(tile)
            return np.zeros((self._engine.latents, *place.size), np.float32)
        there, code = known
        # The same window whatever part of the picture is wanted, so that its numbers are the same to the last bit.
        window = self._seen(place).intersection(self._tiles.places[tile])
        y_hat = self._engine.dequantise(cut_code(code, window.within(there)))
        return y_hat if window == place else np.ascontiguousarray(cut(y_hat, place.within(window)))

    def _seen(self, place: Window) -> Window:
        """A block with what the predictor of its means looks at."""
        return place.grown(self._engine.mean_reach, self.grid.height, self.grid.width)

    def _tile_of(self, index: int) -> int:
        """The tile that a block is in."""
        row, column = divmod(index, self.grid.columns)
        blocks = self._tiles.side // self.grid.side
        return row // blocks * self._tiles.columns + column // blocks

    def _code(self, tile: int, region: Window | None = None) -> tuple[Window, LatentCode] | None:
        """The integers of a tile, as far as blocks that touch a region need them; None if it is damaged and that was
        let pass."""
        place, parsed = self._tiles.places[tile], self._parsed
        there = place
        if region is not None and self.grid.side < self._tiles.side:
            blocks = covering(region.intersection(place), self.grid.height, self.grid.width, self.grid.side)
            there = self._seen(blocks).intersection(place)
        try:
            if tile in parsed.damaged:
                raise BitstreamError(f"tile {tile} is damaged")
            part = None if there == place else there.within(place).slices
            code = self._engine.decode_tile(parsed.tiles[tile], parsed.header.quality, *place.size, part)
            return there, replace(code, indices=None)
        except BitstreamError:
            if not parsed.partial:
                raise
            return None

    def _decode(self, row: int, region: Window) -> None:
        """Have the latents of a row and the next at hand, as far as they touch a region, and the rows of latents above
        them that their windows see; forget all others."""
        grid = self.grid
        wanted = [n for r in (row - 1, row, row + 1) for n in grid.row(r) if grid.places[n].touches(region)]
        for index in self._latents.keys() - set(wanted):
            del self._latents[index]
        self._trim(row - 1)
        missing = [index for index in wanted if index not in self._latents]
        tiles = sorted({self._tile_of(index) for index in missing} - self._codes.keys())
        self._codes.update(zip(tiles, self._run(partial(self._code, region=region), tiles), strict=True))
        for index, latents in zip(missing, self._run(self.latents, missing), strict=True):
            self._latents[index] = grid.places[index], latents
        for tile in [tile for tile in self._codes if self._tiles.places[tile].bottom <= (row + 2) * grid.side]:
            del self._codes[tile]
        self._trim(row - 1)

    def _trim(self, row: int) -> None:
        """Keep only those latents of a row of blocks that the row below looks at."""
        for index in set(self.grid.row(row)) & self._latents.keys():
            place, latents = self._latents[index]
            seen = Window(max(place.bottom - self.grid.context, place.top), place.left, place.bottom, place.right)
            if seen != place:
                self._latents[index] = seen, cut(latents, seen.within(place)).copy()

    def _synthesise(self, index: int) -> np.ndarray:
        """Pixels of one block, (h, w[, 3]) uint8."""
        grid, header = self.grid, self._parsed.header
        place = grid.places[index]
        if self._tile_of(index) in self.lost:
            size = place.times(grid.stride).size
            return np.full(size if header.grey else (*size, 3), LOST_LEVEL, np.uint8)
        window = grid.window(place)
        y_hat = np.empty((self._engine.latents, *window.size), np.float32)
        for other in grid.seen(index):
            there, part = self._latents[other]
            shared = there.intersection(window)
            cut(y_hat, shared.within(window))[...] = cut(part, shared.within(there))
        inner = place.within(window)
        return self._engine.synthesise(y_hat, header.quality, inner, grey=header.grey, post_filter=self._filter)


def _filter_of(parsed: Container) -> PostFilter | None:
    """The filter of a file. Raises BitstreamError for one that does not fit its picture."""
    found, wanted = parsed.post_filter, 1 if parsed.header.grey else 3
    if found is not None and found.planes != wanted:
        raise BitstreamError(f"the post filter is for {found.planes} planes, the picture has {wanted}")
    return found


def file_psnr(engine: Engine, picture: Picture, data: bytes, run: Run) -> float:
    """PSNR in dB of a file against its picture, without holding all of its pixels."""
    return pooled_psnr(compared(engine, picture, container.parse(data), run))


def compared(
    engine: Engine, picture: Picture, parsed: Container, run: Run, area: Window | None = None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Block by block, pixels of a picture and what its file decodes to. area: see `TileDecoder.pixels`."""
    whole = Window(0, 0, *picture.pixels.shape[:2])
    for place, levels in TileDecoder(engine, parsed, run).pixels(area):
        shared = place.intersection(whole)
        yield picture.pixels[shared.slices], levels[shared.within(place).slices]
