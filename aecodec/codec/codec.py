"""Pictures <-> bytes of .aec files, by a model that is the same for all of them."""

from __future__ import annotations

from pathlib import Path

from ..coding.container import Container, Header, SemanticHash
from ..contracts import BitstreamError, UsageError
from ..data.images import Picture
from ..data.tiling import Window, covering
from ..engine.opening import open_engine
from ..engine.protocol import Engine
from ..parallel import Run, workers
from ..zoo.registry import find_model
from .decoder import TileDecoder, block_side
from .encoder import Encoded, Encoder
from .options import EncodeOptions
from .pictures import TILES, Decoding, PictureCodec
from .tiles import padded_sides

TILE = 1024


class Codec(PictureCodec):
    """A model ready to turn pictures into .aec bytes and back.

    engine: what computes it. tile: side in pixels of the tiles of new files, a power of 2 from 256 to 16384. jobs: how
    many tiles are worked on at once, each in a thread.
    """

    def __init__(self, engine: Engine, *, tile: int = TILE, jobs: int = 1) -> None:
        """Raises UsageError for a side that is none of TILES or that the model's alignment does not divide."""
        if tile not in TILES:
            raise UsageError(f"a tile's side is a power of 2 from {TILES[0]} to {TILES[-1]}, got {tile}")
        if tile % engine.alignment:
            raise UsageError(f"{engine.name}: its alignment of {engine.alignment} does not divide a tile of {tile}")
        self.engine, self.tile, self.jobs = engine, tile, jobs

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | Path | None = None,
        *,
        device: str = "cpu",
        precision: str = "auto",
        engine: str = "auto",
        tile: int = TILE,
        jobs: int = 1,
    ) -> Codec:
        """A model of the zoo or cache by name, or a checkpoint by path; None is the embedded default.

        device, precision, engine: see `engine.opening.open_engine`. Raises UnknownName, CheckpointError, UsageError,
        MissingDependencyError.
        """
        opened = open_engine(find_model(name_or_path), device=device, precision=precision, engine=engine)
        return cls(opened, tile=tile, jobs=jobs)

    @property
    def name(self) -> str:
        return self.engine.name

    @property
    def fingerprint(self) -> bytes:
        return self.engine.fingerprint

    @property
    def variable_rate(self) -> bool:
        """Whether quality changes anything."""
        return self.engine.variable_rate

    def _encode(self, picture: Picture, options: EncodeOptions, semantic_hash: SemanticHash | None) -> Encoded:
        """The analysis transform runs once whatever the target."""
        with workers(self.jobs) as run:
            return Encoder(self.engine, picture, options, semantic_hash, self.tile, run).encode()

    def _decoding(self, parsed: Container, crop: Window, run: Run) -> Decoding:
        header = parsed.header
        sides = padded_sides(header.height, header.width, self.engine.alignment)
        area = covering(crop, *sides, block_side(header.tile))
        decoder = TileDecoder(self.engine, parsed, run)
        return decoder.pixels(area.divided(self.engine.stride)), decoder.lost

    def _check_tiles(self, header: Header) -> None:
        if header.tile % self.engine.alignment:
            raise BitstreamError(f"tiles of {header.tile} pixels do not fit the model's alignment")
