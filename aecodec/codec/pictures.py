"""What every codec of pictures does with .aec files, whatever its tiles hold."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..coding import container
from ..coding.container import Container, Header, SemanticHash
from ..contracts import BitstreamError, ModelMismatchError, PictureTooLargeError, UsageError
from ..data.images import Picture, blank_pixels, read_picture, to_image, unpack_alpha
from ..data.pixels import over_limit
from ..data.tiling import Window
from ..parallel import Run, workers
from .encoder import Encoded
from .options import EncodeOptions

TILES = tuple(1 << n for n in range(8, 15))
#: Windows of a picture, some beyond its edges, with their pixels; and the indices of tiles that turned out to be lost.
Decoding = tuple[Iterator[tuple[Window, np.ndarray]], set[int]]


class PictureCodec(ABC):
    """Turns pictures into .aec bytes and back. jobs: how many tiles are worked on at once, each in a thread."""

    jobs: int

    @property
    @abstractmethod
    def name(self) -> str:
        """What files call it."""

    @property
    @abstractmethod
    def fingerprint(self) -> bytes:
        """8 bytes that files know it by."""

    @property
    @abstractmethod
    def variable_rate(self) -> bool:
        """Whether quality changes anything."""

    # -- encoding --------------------------------------------------------------------------------

    def encode(
        self, image: str | Path | Image.Image | np.ndarray, options: EncodeOptions | None = None, **changes: Any
    ) -> bytes:
        """A path, a Pillow image, or pixels, (H, W) or (H, W, 3) uint8 -> bytes of an .aec file, with an image's alpha,
        ICC, Exif and XMP.

        changes: fields of EncodeOptions by name, as in ``encode(image, quality=60)``. Raises as `read_picture` and
        `encode_picture` do.
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

        semantic_hash: stored in the file as it is given. Raises TargetUnreachableError if quality 0 exceeds the target,
        UsageError for options that contradict each other or that the codec cannot follow.
        """
        return self._encode(picture, EncodeOptions.of(options, changes), semantic_hash)

    @abstractmethod
    def _encode(self, picture: Picture, options: EncodeOptions, semantic_hash: SemanticHash | None) -> Encoded: ...

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
        with workers(self.jobs) as run:
            decoded, lost = self._decoding(parsed, crop, run)
            for place, levels in decoded:
                shared = place.intersection(crop)
                pixels[shared.within(crop).slices] = levels[shared.within(place).slices]
        alpha, notices = _alpha(parsed)
        if lost:
            indices = ", ".join(str(index) for index in sorted(lost))
            notices += (f"of {len(parsed.tiles)} tiles these are lost and filled with grey: {indices}",)
        alpha = None if alpha is None else alpha[crop.slices]
        return Picture(pixels, parsed.metadata, notices, alpha, tuple(sorted(lost)))

    def _check(self, header: Header, limited: bool) -> None:
        if header.fingerprint != self.fingerprint:
            raise ModelMismatchError(
                f"the file needs model {header.model} with fingerprint {header.fingerprint.hex()}; "
                f"this is {self.name} with {self.fingerprint.hex()}"
            )
        if limited and (excess := over_limit(header.width, header.height)):
            raise PictureTooLargeError(excess)
        self._check_tiles(header)

    @abstractmethod
    def _check_tiles(self, header: Header) -> None:
        """Raises BitstreamError for tiles of a side that no file of this codec has."""

    @abstractmethod
    def _decoding(self, parsed: Container, crop: Window, run: Run) -> Decoding:
        """The windows that cover a crop."""


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
