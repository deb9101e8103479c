"""The tiles of a file to pixels, one row of tiles after another: two rows of latents are all that is held.

Every tile is synthesised in its own window, which sees the neighbours' latents as far as the transform looks
(``context``). A tile that is lost has latents of zero and is filled with grey; pixels farther than the context
from it, and so every tile that does not touch it, are those of the whole file, exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch

from ..coding.container import Container
from ..contracts import BitstreamError
from ..data.tiling import Window, tiles
from ..parallel import Run

#: What a lost tile shows.
LOST_LEVEL = 128


def padded_sides(height: int, width: int, alignment: int) -> tuple[int, int]:
    """The sides of a picture raised to a model's alignment."""
    return -(-height // alignment) * alignment, -(-width // alignment) * alignment


def cut(planes: torch.Tensor, window: Window) -> torch.Tensor:
    """(..., H, W) -> a view of the window's rows and columns."""
    rows, columns = window.slices
    return planes[..., rows, columns]


class TileDecoder:
    """Decodes a parsed file. model: a TileCodec; transforms: a context in which its transforms run; run: a `map`.

    lost: numbers of the tiles asked for so far that are damaged, if the file was parsed in spite of damage.
    """

    def __init__(
        self,
        model: Any,
        device: torch.device,
        transforms: Callable[[], AbstractContextManager[object]],
        parsed: Container,
        run: Run,
    ) -> None:
        self._model, self._device, self._transforms, self._parsed, self._run = model, device, transforms, parsed, run
        height, width = padded_sides(parsed.header.height, parsed.header.width, model.alignment)
        #: The padded picture and its tiles, in latent positions.
        self.height, self.width = height // model.stride, width // model.stride
        self._side = parsed.header.tile // model.stride
        self._places = list(tiles(self.height, self.width, self._side))
        self._columns = -(-self.width // self._side)
        #: What is at hand of the latents of tiles, each with the window that it fills.
        self._latents: dict[int, tuple[Window, torch.Tensor]] = {}
        self.lost: set[int] = set()

    def pixels(self, area: Window) -> Iterator[tuple[Window, np.ndarray]]:
        """area: whole tiles, in latent positions -> for each of them, in raster order, its window in pixels of the
        padded picture and its (h, w[, 3]) uint8. Raises BitstreamError for a tile that is damaged, unless that was let
        pass.
        """
        region = area.grown(self._model.context, self.height, self.width)
        for row in range(area.top // self._side, -(-area.bottom // self._side)):
            self._decode(row, region)
            inside = [number for number in self._row(row) if self._places[number].touches(area)]
            for number, levels in zip(inside, self._run(self._synthesise, inside), strict=True):
                yield self._places[number].times(self._model.stride), levels
        self._latents.clear()

    def latents(self, number: int) -> torch.Tensor:
        """y_hat of one tile, (1, N, h, w) float32 on the CPU; zeros, and the tile noted as lost, if it is damaged."""
        place, header = self._places[number], self._parsed.header
        try:
            if number in self._parsed.damaged:
                raise BitstreamError(f"tile {number} is damaged")
            with torch.inference_mode():
                code = self._model.decode_tile(self._parsed.tiles[number], header.quality, *place.size)
                return self._model.dequantise(code).cpu()
        except BitstreamError:
            if not self._parsed.partial:
                raise
            self.lost.add(number)
            return torch.zeros((1, self._model.code_shapes(1, 1)[0][0], *place.size))

    def _row(self, row: int) -> range:
        """Numbers of the tiles of a row; none where there is no such row."""
        first = row * self._columns
        return range(max(first, 0), max(min(first + self._columns, len(self._places)), 0))

    def _decode(self, row: int, region: Window) -> None:
        """Have the latents of a row and the next at hand, as far as they touch a region, and the rows of latents above
        them that their windows see; forget all others."""
        wanted = [n for r in (row - 1, row, row + 1) for n in self._row(r) if self._places[n].touches(region)]
        for number in self._latents.keys() - set(wanted):
            del self._latents[number]
        self._trim(row - 1)
        missing = [number for number in wanted if number not in self._latents]
        for number, latents in zip(missing, self._run(self.latents, missing), strict=True):
            self._latents[number] = self._places[number], latents
        self._trim(row - 1)

    def _trim(self, row: int) -> None:
        """Keep only those latents of a row of tiles that the row below looks at."""
        for number in set(self._row(row)) & self._latents.keys():
            place, latents = self._latents[number]
            seen = Window(max(place.bottom - self._model.context, place.top), place.left, place.bottom, place.right)
            if seen != place:
                self._latents[number] = seen, cut(latents, seen.within(place)).clone()

    def _synthesise(self, number: int) -> np.ndarray:
        """Pixels of one tile, (h, w[, 3]) uint8."""
        place, header, stride = self._places[number], self._parsed.header, self._model.stride
        size = place.times(stride).size
        if number in self.lost:
            return np.full(size if header.grey else (*size, 3), LOST_LEVEL, np.uint8)
        window = place.grown(self._model.context, self.height, self.width)
        with torch.inference_mode():
            y_hat = self._assemble(number, window).to(self._device).contiguous(memory_format=torch.channels_last)
            with self._transforms():
                x_hat = self._model.synthesise(y_hat, header.quality).float()[0]
            x_hat = cut(x_hat, place.within(window).times(stride))
            if header.grey:
                x_hat = x_hat.mean(dim=0, keepdim=True)
            levels = torch.floor(x_hat * 255.0 + 0.5).clamp(0, 255).to(torch.uint8).permute(1, 2, 0).cpu().numpy()
        return levels[..., 0] if header.grey else levels

    def _assemble(self, number: int, window: Window) -> torch.Tensor:
        """The latents of a tile's window, from the tile and its neighbours."""
        latents = torch.empty((1, self._latents[number][1].shape[1], *window.size))
        row = number // self._columns
        for other in (n for r in (row - 1, row, row + 1) for n in self._row(r)):
            if self._places[other].touches(window):
                place, part = self._latents[other]
                shared = place.intersection(window)
                cut(latents, shared.within(window)).copy_(cut(part, shared.within(place)))
        return latents
