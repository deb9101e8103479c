"""The tiles of a picture: where they lie, what each sees of its neighbours, and their way to latents and bytes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..coding.container import Container
from ..contracts import BitstreamError, LatentCode
from ..data.tiling import Window, cut_padded, tiles
from ..engine.protocol import Engine


def padded_sides(height: int, width: int, alignment: int) -> tuple[int, int]:
    """The sides of a picture raised to a model's alignment."""
    return -(-height // alignment) * alignment, -(-width // alignment) * alignment


def cut(planes: np.ndarray, window: Window) -> np.ndarray:
    """(..., H, W) -> a view of the window's rows and columns."""
    rows, columns = window.slices
    return planes[..., rows, columns]


def cut_code(code: LatentCode, window: Window) -> LatentCode:
    """The integers of a window of a tile, whose hyper-latents lie in whole cells of it."""
    if window.size == code.y.shape[1:]:
        return code
    z = code.z
    if z is not None:
        z = np.ascontiguousarray(cut(z, window.divided(code.y.shape[1] // z.shape[1])))
    return LatentCode(np.ascontiguousarray(cut(code.y, window)), z, code.quality)


@dataclass(frozen=True)
class Grid:
    """A picture padded to a model's alignment, cut into tiles; everything in latent positions.

    height, width: of the padded picture; side: of a tile; stride: pixels per position; context: how far beyond a tile
    the transforms look.
    """

    height: int
    width: int
    side: int
    stride: int
    context: int

    @classmethod
    def of(cls, engine: Engine, height: int, width: int, tile: int) -> Grid:
        """height, width: of the picture; tile: side of its tiles, all in pixels."""
        sides = padded_sides(height, width, engine.alignment)
        rows, columns = (side // engine.stride for side in sides)
        return cls(rows, columns, tile // engine.stride, engine.stride, engine.context)

    @cached_property
    def places(self) -> list[Window]:
        """The tiles in raster order."""
        return list(tiles(self.height, self.width, self.side))

    @property
    def columns(self) -> int:
        """Tiles in a row."""
        return -(-self.width // self.side)

    def window(self, place: Window) -> Window:
        """A tile with what the transforms see around it."""
        return place.grown(self.context, self.height, self.width)

    def row(self, row: int) -> range:
        """Indices of the tiles of a row; none where there is no such row."""
        first = row * self.columns
        return range(max(first, 0), max(min(first + self.columns, len(self.places)), 0))

    def seen(self, index: int) -> Iterator[int]:
        """Indices of the tiles that a tile's window touches, itself among them."""
        row, window = index // self.columns, self.window(self.places[index])
        for other in (n for r in (row - 1, row, row + 1) for n in self.row(r)):
            if self.places[other].touches(window):
                yield other


def latent_codes(engine: Engine, parsed: Container) -> Iterator[LatentCode]:
    """The integers of every tile of a parsed file, in raster order. Raises BitstreamError."""
    header = parsed.header
    places = Grid.of(engine, header.height, header.width, header.tile).places
    for payload, place in zip(parsed.tiles, places, strict=True):
        yield engine.decode_tile(payload, header.quality, *place.size)


def analyse(engine: Engine, grid: Grid, pixels: np.ndarray, place: Window) -> np.ndarray:
    """(H, W[, 3]) uint8 of the whole picture -> y of one tile, (N, h, w) float32; its window sees its neighbours."""
    window = grid.window(place)
    y = engine.analyse(cut_padded(pixels, window.times(grid.stride)))
    return np.ascontiguousarray(cut(y, place.within(window)))


def encode(engine: Engine, y: np.ndarray, quality: int, *, check: bool = False) -> bytes:
    """y (N, h, w) float32 of one tile -> its payload at a quality step.

    check: decode it again; BitstreamError if its integers differ.
    """
    code = engine.quantise(y, quality)
    payload = engine.encode_tile(code)
    if check and not _same(code, engine.decode_tile(payload, quality, y.shape[1], y.shape[2])):
        raise BitstreamError("a tile does not decode to what it was")
    return payload


def _same(a: LatentCode, b: LatentCode) -> bool:
    hyper = a.z is b.z if a.z is None or b.z is None else np.array_equal(a.z, b.z)
    return hyper and np.array_equal(a.y, b.y)
