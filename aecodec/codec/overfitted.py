"""The family `overfitted`: networks that are fitted to each tile and travel with it, so that a file needs no model."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import numpy as np

from ..coding import container
from ..coding.container import Container, Header, SemanticHash
from ..contracts import QUALITY_STEPS, BitstreamError, UsageError
from ..data.images import Picture
from ..data.tiling import Window, tiles
from ..metrics.psnr import pooled_psnr
from ..overfitted import fitting, payload
from ..parallel import Run, workers
from ..zoo.registry import OVERFITTED
from .decoder import LOST_LEVEL
from .encoder import Encoded, finish, side_of
from .options import EncodeOptions
from .pictures import TILES, Decoding, PictureCodec
from .refine import LOWEST
from .target import Target, search

#: Of tables, priors and arithmetic: a change of any of them is another format, with another fingerprint.
FINGERPRINT = bytes.fromhex("48944ebb5ca9496b")
#: Sides of tiles: of new ones, and the largest that is read, which bounds memory.
TILE = LARGEST_TILE = 2048
#: Lambda at the lowest and at the highest quality, as of `exact-hyperprior`.
_TRADES = 10.0, 2048.0
#: A fit that goes on from another one takes this share of its iterations, at this share of its rates.
_AGAIN, _AGAIN_PACE = 0.25, 0.3
#: Told what is done of all iterations of all tiles, from 0 to 1 -> whether to go on.
Watch = Callable[[float], bool]


def trade_of(step: int) -> float:
    """Lambda at a quality step: bits per pixel that a mean squared error of 1 (pixels in [0, 1]) is worth."""
    low, high = _TRADES
    return low * (high / low) ** (step / QUALITY_STEPS)


class OverfittedCodec(PictureCodec):
    """Files that hold their own networks. tile: side in pixels of the tiles of new files; watch: told of progress, and
    asked whether to go on; a fit that is told not to leaves the file that it has come to."""

    def __init__(self, *, tile: int = TILE, jobs: int = 1, watch: Watch = lambda share: True) -> None:
        """Raises UsageError for a side that no file has."""
        sides = [side for side in TILES if side <= LARGEST_TILE]
        if tile not in sides:
            raise UsageError(f"a tile's side is a power of 2 from {sides[0]} to {sides[-1]}, got {tile}")
        self.tile, self.jobs, self.watch = tile, jobs, watch

    @property
    def name(self) -> str:
        return OVERFITTED

    @property
    def fingerprint(self) -> bytes:
        return FINGERPRINT

    @property
    def variable_rate(self) -> bool:
        return True

    def _encode(self, picture: Picture, options: EncodeOptions, semantic_hash: SemanticHash | None) -> Encoded:
        height, width = picture.pixels.shape[:2]
        side = side_of(picture, semantic_hash)
        with workers(self.jobs) as run:
            fits = _Fits(picture.pixels, self.tile, options.effort or LOWEST, self.watch, run)

            def trial(step: int) -> Encoded:
                encoded = finish(picture, side, self, step, self.tile, fits.payloads(step))
                return replace(encoded, fitted=fits.share)

            target = options.target(height * width)
            if target is None:
                return trial(options.step)
            found = search(lambda step: self._measured(picture, trial(step), target, run), target)
            return replace(found.result, encodes=found.trials)

    def _measured(self, picture: Picture, encoded: Encoded, target: Target, run: Run) -> tuple[float, Encoded]:
        if not target.in_decibels:
            return math.log(len(encoded.data)), encoded
        whole = Window(0, 0, *picture.pixels.shape[:2])
        decoded = _decoded(container.parse(encoded.data), whole, set(), run)
        return pooled_psnr((picture.pixels[place.slices], levels) for place, levels in decoded), encoded

    def _check_tiles(self, header: Header) -> None:
        if header.tile > LARGEST_TILE:
            raise BitstreamError(
                f"tiles of {header.tile} pixels; those of {OVERFITTED} files have at most {LARGEST_TILE}"
            )

    def _decoding(self, parsed: Container, crop: Window, run: Run) -> Decoding:
        if parsed.post_filter is not None:
            raise BitstreamError(f"files of {OVERFITTED} have no post filter")
        lost: set[int] = set()
        return _decoded(parsed, crop, lost, run), lost


def _decoded(parsed: Container, crop: Window, lost: set[int], run: Run) -> Iterator[tuple[Window, np.ndarray]]:
    header = parsed.header
    places = list(enumerate(tiles(header.height, header.width, header.tile)))
    wanted = [(index, place) for index, place in places if place.touches(crop)]
    for (index, place), levels in zip(wanted, run(partial(_tile_pixels, parsed), wanted), strict=True):
        if levels is None:
            lost.add(index)
            levels = np.full((*place.size, *(() if header.grey else (3,))), LOST_LEVEL, np.uint8)
        yield place, levels


def _tile_pixels(parsed: Container, wanted: tuple[int, Window]) -> np.ndarray | None:
    """(h, w[, 3]) uint8 of one tile; None if it is damaged and that was let pass. Raises BitstreamError."""
    index, place = wanted
    try:
        if index in parsed.damaged:
            raise BitstreamError(f"tile {index} is damaged")
        return payload.pixels(*payload.read(parsed.tiles[index], *place.size), *place.size, grey=parsed.header.grey)
    except BitstreamError:
        if not parsed.partial:
            raise
        return None


class _Fits:
    """The tiles of a picture, each fitted once at full length and from there on again for other qualities."""

    def __init__(self, pixels: np.ndarray, tile: int, effort: int, watch: Watch, run: Run) -> None:
        self._pixels, self._run, self._watch = pixels, run, watch
        height, width = pixels.shape[:2]
        self._places = list(tiles(height, width, tile))
        self._iterations = fitting.ITERATIONS[effort]
        self._states: dict[int, fitting.State] = {}
        self._shares = [0.0] * len(self._places)

    @property
    def share(self) -> float:
        """Of the iterations of all tiles, those that were done the last time."""
        return sum(self._shares) / len(self._shares)

    def payloads(self, step: int) -> list[bytes]:
        """The data of all tiles at a quality step."""
        self._shares = [0.0] * len(self._places)
        return list(self._run(partial(self._payload, trade_of(step)), range(len(self._places))))

    def _payload(self, trade: float, index: int) -> bytes:
        place = self._places[index]
        height, width = place.size
        target = np.asarray(self._pixels[place.slices], np.float32) / 255.0
        if target.ndim == 2:
            target = np.repeat(target[..., None], 3, axis=2)
        fitter = fitting.open_fitter(height, width)
        try:
            fitter.set_target(target)
            state = self._states.get(index)
            first = state is None
            state = state or fitting.begin(fitter, trade)
            iterations = self._iterations if first else max(1, round(_AGAIN * self._iterations))
            fitting.fit(fitter, state, trade, iterations, self._watcher(index), pace=1.0 if first else _AGAIN_PACE)
            self._states[index] = state
            weights = fitting.code(fitter, state, trade)
        finally:
            fitter.close()
        latents = np.rint(state.latents).astype(np.int32)
        data = payload.write(weights, latents, height, width)
        if not np.array_equal(payload.read(data, height, width)[1], latents):
            raise BitstreamError("a tile does not decode to what it was")
        return data

    def _watcher(self, index: int) -> fitting.Watch:
        def watch(done: int, iterations: int) -> bool:
            self._shares[index] = done / iterations
            return self._watch(self.share)

        return watch
