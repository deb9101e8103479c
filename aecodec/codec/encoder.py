"""One picture on its way to a file: its tiles analysed once, and coded as often as a target asks."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from ..coding import container
from ..coding.container import Header, SemanticHash
from ..contracts import UsageError
from ..data.images import Picture, pack_alpha
from ..data.tiling import Window
from ..engine.protocol import Engine
from ..parallel import Run
from . import tiles
from .decoder import file_psnr
from .options import EncodeOptions
from .post_filter import with_post_filter
from .refine import LOWEST, refine, refining, usual_effort
from .target import Found, Target, search, search_on
from .tiles import Grid

#: While a target is searched for, the latents of a picture are kept; of more values than this, as float16.
FULL_LATENTS = 1 << 27


@dataclass(frozen=True)
class Encoded:
    """A finished file. quality: the step used; encodes: how often the latents were coded to find it; alpha_bytes:
    what the alpha plane takes of it; fitted: the share of its iterations that a fit came to before it was stopped, 1
    where nothing was."""

    data: bytes
    quality: int
    width: int
    height: int
    encodes: int = 1
    alpha_bytes: int = 0
    fitted: float = 1.0

    @property
    def bpp(self) -> float:
        """Bits per pixel of the whole file."""
        return 8.0 * len(self.data) / (self.width * self.height)


class Encoder:
    """Encodes one picture. tile: side of its tiles in pixels; run: a `map`."""

    def __init__(
        self,
        engine: Engine,
        picture: Picture,
        options: EncodeOptions,
        semantic_hash: SemanticHash | None,
        tile: int,
        run: Run,
    ) -> None:
        self._engine, self._picture, self._options, self._run = engine, picture, options, run
        self._effort = usual_effort(engine) if options.effort is None else options.effort
        self._height, self._width = picture.pixels.shape[:2]
        self._tile = tile
        self._grid = Grid.of(engine, self._height, self._width, tile)
        self._side = side_of(picture, semantic_hash)

    def encode(self) -> Encoded:
        """As the options ask. Raises TargetUnreachableError, UsageError, BitstreamError."""
        if self._effort > LOWEST:
            refining(self._engine)
        target = self._options.target(self._height * self._width)
        if target is None:
            return self._refined(self._at(self._options.step))
        if not self._engine.variable_rate:
            raise UsageError(f"{self._engine.name} has a single rate; a target needs a model of variable rate")
        found = search(lambda step: self._measured(self._again(step), target), target)
        del self._latents
        if self._effort > LOWEST:
            found = search_on(lambda step: self._measured(self._moved(step, found), target), found, target)
        return replace(found.result, encodes=found.trials)

    def _at(self, step: int) -> Encoded:
        """One pass at a quality step; the latents of a tile are forgotten as soon as it is coded."""
        return self._finish(step, self._run(lambda place: self._code(self._analyse(place), step), self._grid.places))

    def _again(self, step: int) -> Encoded:
        """As `_at`, from latents that are kept from one call to the next."""
        return self._finish(step, self._run(lambda y: self._code(y.astype(np.float32), step), self._latents))

    def _moved(self, step: int, start: Found[Encoded]) -> Encoded:
        return self._refined(start.result if step == start.step else self._at(step))

    def _refined(self, start: Encoded) -> Encoded:
        """The file after the effort asked for."""
        if self._effort == LOWEST:
            return start
        engine = refining(self._engine)
        data = refine(engine, self._picture, start.data, self._effort, self._run, self._analyse)
        return replace(start, data=with_post_filter(engine, self._picture, data, self._run))

    def _measured(self, encoded: Encoded, target: Target) -> tuple[float, Encoded]:
        """What a target is about, and the file."""
        if target.in_decibels:
            return file_psnr(self._engine, self._picture, encoded.data, self._run), encoded
        return math.log(len(encoded.data)), encoded

    @cached_property
    def _latents(self) -> list[np.ndarray]:
        """y of every tile, float16 where all of them would take too much memory."""
        half = self._engine.latents * self._grid.height * self._grid.width > FULL_LATENTS

        def kept(place: Window) -> np.ndarray:
            y = self._analyse(place)
            return y.astype(np.float16) if half else y

        return list(self._run(kept, self._grid.places))

    def _analyse(self, place: Window) -> np.ndarray:
        if len(self._grid.places) == 1:
            return self._whole
        return tiles.analyse(self._engine, self._grid, self._picture.pixels, place)

    @cached_property
    def _whole(self) -> np.ndarray:
        """y of a picture of one tile, which its refinement needs again."""
        return tiles.analyse(self._engine, self._grid, self._picture.pixels, self._grid.places[0])

    def _code(self, y: np.ndarray, step: int) -> bytes:
        return tiles.encode(self._engine, y, step, check=self._options.check)

    def _finish(self, step: int, payloads: Iterable[bytes]) -> Encoded:
        """The payloads of all tiles -> a file. Raises UsageError for metadata that no file can hold."""
        return finish(self._picture, self._side, self._engine, step, self._tile, payloads)


class Signed(Protocol):
    """Whose name and fingerprint a file bears."""

    @property
    def name(self) -> str: ...

    @property
    def fingerprint(self) -> bytes: ...


def side_of(picture: Picture, semantic_hash: SemanticHash | None) -> dict[str, Any]:
    """What the file of a picture holds beside its tiles."""
    alpha = None if picture.alpha is None else pack_alpha(picture.alpha)
    return {**picture.metadata, "alpha": alpha, "semantic_hash": semantic_hash}


def finish(
    picture: Picture, side: dict[str, Any], model: Signed, step: int, tile: int, payloads: Iterable[bytes]
) -> Encoded:
    """The payloads of all tiles -> a file. Raises UsageError for metadata that no file can hold."""
    height, width = picture.pixels.shape[:2]
    header = Header(width, height, picture.channels, step, model.name, model.fingerprint, tile)
    finished = list(payloads)
    try:
        data = container.write(header, finished, side)
    except ValueError as error:
        raise UsageError(f"the file cannot be written: {error}") from error
    return Encoded(data, step, width, height, alpha_bytes=len(side["alpha"] or b""))
