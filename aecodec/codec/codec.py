"""Pictures <-> bytes of .aec files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..coding import container
from ..coding.container import Container, Header, SemanticHash
from ..contracts import BitstreamError, ModelMismatchError, PictureTooLargeError, UsageError
from ..data.images import Picture, blank_pixels, read_picture, to_image, unpack_alpha
from ..data.pixels import over_limit
from ..data.tiling import Window, covering
from ..engine.opening import open_engine
from ..engine.protocol import Engine
from ..parallel import workers
from ..zoo.registry import find_model
from .decoder import TileDecoder, block_side
from .encoder import Encoded, Encoder
from .options import EncodeOptions
from .tiles import padded_sides

TILE = 1024
TILES = tuple(1 << n for n in range(8, 15))


class Codec:
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

    # -- encoding --------------------------------------------------------------------------------

    def encode(self, image: Image.Image, options: EncodeOptions | None = None, **changes: Any) -> bytes:
        """Pillow image -> bytes of an .aec file, with the image's alpha, ICC, Exif and XMP.

        changes: fields of EncodeOptions by name, as in ``encode(image, quality=60)``. Raises as `encode_picture` does.
        """
        return self.encode_picture(read_picture(image), options, **changes).data

    def encode_picture(
        self,
        picture: Picture,
        options: EncodeOptions | None = None,
        *,
        semantic_hash: SemanticHash | None = None,
        **changes: Any,
    ) -> Encoded:
        """A file of a picture as the options ask, some fields of which may be changed by name.

        semantic_hash: stored in the file as it is given. The analysis transform runs once whatever the target. Raises
        TargetUnreachableError if quality 0 exceeds the target, UsageError for options that contradict each other or
        that the model or its engine cannot follow.
        """
        asked = EncodeOptions.of(options, changes)
        with workers(self.jobs) as run:
            return Encoder(self.engine, picture, asked, semantic_hash, self.tile, run).encode()

    # -- decoding --------------------------------------------------------------------------------

    def decode(self, data: bytes) -> Image.Image:
        """Bytes of an .aec file -> Pillow image. Raises BitstreamError, ModelMismatchError or PictureTooLargeError."""
        return to_image(self.decode_picture(data))

    def decode_picture(self, data: bytes) -> Picture:
        """Bytes of an .aec file -> pixels and metadata."""
        return self.decode_container(container.parse(data))

    def decode_container(
        self, parsed: Container, crop: Window | None = None, *, windowed: bool = False, limited: bool = True
    ) -> Picture:
        """A parsed file -> pixels, alpha and metadata.

        Raises BitstreamError, ModelMismatchError or PictureTooLargeError.

        crop: the part wanted, in pixels; only the tiles that it needs are decoded, of large ones only the blocks, and
        the result equals that part of the whole. Raises UsageError if it is not inside the picture. windowed: build
        the pixels in Pillow's memory, as `WindowedPixels`. limited: honour Image.MAX_IMAGE_PIXELS.
        """
        header = parsed.header
        self._check(header, limited)
        crop = crop or Window(0, 0, header.height, header.width)
        if crop != crop.clipped(header.height, header.width) or min(crop.size) < 1:
            raise UsageError(f"the crop is not inside the picture of {header.width} x {header.height} pixels")
        pixels = blank_pixels(*crop.size, header.grey, windowed=windowed)
        area = covering(
            crop, *padded_sides(header.height, header.width, self.engine.alignment), block_side(header.tile)
        )
        with workers(self.jobs) as run:
            decoder = TileDecoder(self.engine, parsed, run)
            for place, levels in decoder.pixels(area.divided(self.engine.stride)):
                shared = place.intersection(crop)
                pixels[shared.within(crop).slices] = levels[shared.within(place).slices]
        alpha, notices = _alpha(parsed)
        if decoder.lost:
            indices = ", ".join(str(index) for index in sorted(decoder.lost))
            notices += (f"of {len(parsed.tiles)} tiles these are lost and filled with grey: {indices}",)
        alpha = None if alpha is None else alpha[crop.slices]
        return Picture(pixels, parsed.metadata, notices, alpha, tuple(sorted(decoder.lost)))

    def _check(self, header: Header, limited: bool) -> None:
        if header.fingerprint != self.fingerprint:
            raise ModelMismatchError(
                f"the file needs model {header.model} with fingerprint {header.fingerprint.hex()}; "
                f"this is {self.name} with {self.fingerprint.hex()}"
            )
        if limited and (excess := over_limit(header.width, header.height)):
            raise PictureTooLargeError(excess)
        if header.tile % self.engine.alignment:
            raise BitstreamError(f"tiles of {header.tile} pixels do not fit the model's alignment")


def _alpha(parsed: Container) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """The alpha plane, (H, W) uint8, opaque where it is lost, and notices."""
    header, notices = parsed.header, parsed.notices
    try:
        if parsed.alpha is not None:
            return unpack_alpha(parsed.alpha, header.height, header.width), notices
    except BitstreamError:
        if not parsed.partial:
            raise
    if not header.alpha:
        return None, notices
    return np.full((header.height, header.width), 255, np.uint8), (*notices, "the alpha plane is lost")
