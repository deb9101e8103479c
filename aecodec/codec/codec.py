"""Pictures <-> bytes of .aec files: windows, tiles and targets."""

from __future__ import annotations

import math
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from .. import checkpoint
from ..coding import container
from ..coding.container import Container, Header, SemanticHash
from ..contracts import (
    QUALITY_STEPS,
    BitstreamError,
    CheckpointError,
    FrozenModel,
    LatentCode,
    ModelMismatchError,
    TileCodec,
    UsageError,
)
from ..data.images import Picture, blank_pixels, pack_alpha, read_picture, to_image, unpack_alpha
from ..data.tiling import Window, covering, cut_padded, tiles
from ..device import has_bfloat16, pick_device
from ..metrics.psnr import pooled_psnr
from ..parallel import Run, workers
from ..zoo.registry import find_model
from . import refine
from .decoder import TileDecoder, cut, padded_sides
from .target import Target, search

TILE = 1024
TILES = tuple(1 << n for n in range(8, 15))
DEFAULT_QUALITY = 50.0
PRECISIONS = ("auto", "float32", "bfloat16")
#: While a target is searched for, the latents of a picture are kept; of more values than this, as float16.
FULL_LATENTS = 1 << 27


@dataclass(frozen=True)
class Encoded:
    """A finished file. quality: the step used; encodes: how often the latents were coded to find it; alpha_bytes:
    what the alpha plane takes of it."""

    data: bytes
    quality: int
    width: int
    height: int
    encodes: int = 1
    alpha_bytes: int = 0

    @property
    def bpp(self) -> float:
        """Bits per pixel of the whole file."""
        return 8.0 * len(self.data) / (self.width * self.height)


def quality_step(quality: float) -> int:
    """Quality 0 ... 100 -> integer step. Raises UsageError outside that range."""
    if not 0.0 <= quality <= 100.0:
        raise UsageError(f"quality goes from 0 to 100, got {quality:g}")
    return round(quality * QUALITY_STEPS / 100.0)


class Codec:
    """A model ready to turn pictures into .aec bytes and back.

    precision: "float32", "bfloat16" or "auto", of the transforms alone; the latents that a file decodes to never
    depend on it. "auto" encodes in bfloat16 where the processor has it, which costs next to nothing in PSNR, and
    decodes in float32, so that pixels differ by at most one level between machines. tile: side in pixels of the tiles
    of new files, a power of 2 from 256 to 16384. jobs: how many tiles are worked on at once, each in a thread.
    """

    def __init__(self, frozen: FrozenModel, precision: str = "auto", *, tile: int = TILE, jobs: int = 1) -> None:
        if precision not in PRECISIONS:
            raise UsageError(f"precision is one of {', '.join(PRECISIONS)}, got {precision!r}")
        if tile not in TILES:
            raise UsageError(f"a tile's side is a power of 2 from {TILES[0]} to {TILES[-1]}, got {tile}")
        self.tile, self.jobs = tile, jobs
        self.frozen = frozen
        self.precision = precision
        self.device = next(frozen.module.parameters()).device
        if not isinstance(frozen.module, TileCodec):
            raise CheckpointError(f"{frozen.name} is a model of family {frozen.family}, which codes no pictures")
        self._model: Any = frozen.module
        if tile % self._model.alignment:
            raise UsageError(
                f"{frozen.name}: its alignment of {self._model.alignment} does not divide a tile of {tile}"
            )

    @classmethod
    def from_pretrained(
        cls, name_or_path: str | Path | None = None, *, device: str = "cpu", precision: str = "auto", jobs: int = 1
    ) -> Codec:
        """A model of the zoo or cache by name, or a checkpoint by path; None is the embedded default."""
        return cls(checkpoint.load(find_model(name_or_path), pick_device(device)), precision, jobs=jobs)

    @property
    def name(self) -> str:
        return self.frozen.name

    @property
    def variable_rate(self) -> bool:
        """Whether quality changes anything."""
        return bool(self._model.variable_rate)

    @property
    def fingerprint(self) -> bytes:
        return self.frozen.fingerprint

    # -- encoding --------------------------------------------------------------------------------

    def encode(
        self,
        image: Image.Image,
        *,
        quality: float = DEFAULT_QUALITY,
        target_bpp: float | None = None,
        effort: int = refine.DEFAULT_EFFORT,
    ) -> bytes:
        """Pillow image -> bytes of an .aec file, with the image's alpha, ICC, Exif and XMP."""
        return self.encode_picture(read_picture(image), quality=quality, target_bpp=target_bpp, effort=effort).data

    def encode_picture(
        self,
        picture: Picture,
        *,
        quality: float = DEFAULT_QUALITY,
        target_bpp: float | None = None,
        target_size: int | None = None,
        target_psnr: float | None = None,
        closest: bool = False,
        check: bool = False,
        semantic_hash: SemanticHash | None = None,
        effort: int = refine.DEFAULT_EFFORT,
    ) -> Encoded:
        """At a quality, or at the highest one that does not exceed a rate, a size in bytes or a PSNR in dB.

        closest: at the one that comes nearest to the target, above it or below.
        check: decode every tile again and compare its latents; BitstreamError if one differs. semantic_hash: stored
        in the file as it is given. The analysis transform runs once whatever the target. effort: 1 to 9; above 1, the
        latents are refined for this picture (refine.py), which takes time here and none when decoding. Raises
        TargetUnreachableError if quality 0 exceeds the target, UsageError if the family cannot be refined.
        """
        height, width = picture.pixels.shape[:2]
        target = self._target(height * width, target_bpp, target_size, target_psnr, closest)
        if refine.check_effort(effort) > refine.DEFAULT_EFFORT:
            return refine.encode(
                self,
                picture,
                effort,
                target,
                quality=quality,
                target_bpp=target_bpp,
                target_size=target_size,
                target_psnr=target_psnr,
                closest=closest,
                check=check,
                semantic_hash=semantic_hash,
            )
        alpha = None if picture.alpha is None else pack_alpha(picture.alpha)
        places = self._places(height, width)
        with workers(self.jobs) as run:
            if target is None:
                step = quality_step(quality)
                payloads = run(
                    lambda place: self._encode_tile(self._analyse(picture.pixels, place), step, check), places
                )
                return self._finish(picture, step, payloads, alpha, semantic_hash)
            latents = list(run(lambda place: self._kept(self._analyse(picture.pixels, place), len(places)), places))

            def trial(step: int) -> tuple[float, Encoded]:
                payloads = run(lambda y: self._encode_tile(y.float(), step, check), latents)
                encoded = self._finish(picture, step, payloads, alpha, semantic_hash)
                if target_psnr is None:
                    return math.log(len(encoded.data)), encoded
                return self._psnr(picture, encoded.data, run), encoded

            found = search(trial, target)
        return replace(found.result, encodes=found.trials)

    def _target(
        self, pixels: int, bpp: float | None, size: int | None, decibel: float | None, closest: bool
    ) -> Target | None:
        """At most one of the three -> what to search for. Raises UsageError."""
        if sum(value is not None for value in (bpp, size, decibel)) > 1:
            raise UsageError("targets of rate, size and PSNR exclude each other")
        if bpp is not None:
            if not (math.isfinite(bpp) and bpp > 0):
                raise UsageError(f"the target rate is a positive number of bits per pixel, got {bpp:g}")
            size = max(int(bpp * pixels / 8.0), 1)
        if size is None and decibel is None:
            return None
        if not self.variable_rate:
            raise UsageError(f"{self.name} has a single rate; a target needs a model of variable rate")
        return Target.size(size, closest) if size is not None else Target.psnr(float(decibel or 0.0), closest)

    def _latent_sides(self, height: int, width: int) -> tuple[int, int]:
        """The sides of the padded picture in latent positions."""
        height, width = padded_sides(height, width, self._model.alignment)
        return height // self._model.stride, width // self._model.stride

    def _places(self, height: int, width: int) -> list[Window]:
        """The tiles of the padded picture, in latent positions."""
        return list(tiles(*self._latent_sides(height, width), self.tile // self._model.stride))

    @torch.inference_mode()
    def _analyse(self, pixels: np.ndarray, place: Window) -> torch.Tensor:
        """(H, W[, 3]) uint8 -> y of one tile, (1, N, h, w) float32 on the CPU; its window sees its neighbours."""
        window = place.grown(self._model.context, *self._latent_sides(*pixels.shape[:2]))
        with self._transforms(encoding=True):
            y = self._model.analyse(self._to_tensor(cut_padded(pixels, window.times(self._model.stride))))
        return cut(y, place.within(window)).float().cpu().contiguous()

    @staticmethod
    def _kept(y: torch.Tensor, tiles_in_all: int) -> torch.Tensor:
        """The latents of a tile as they wait for their quality."""
        return y if y.numel() * tiles_in_all <= FULL_LATENTS else y.half()

    @torch.inference_mode()
    def _encode_tile(self, y: torch.Tensor, step: int, check: bool) -> bytes:
        """Latents of one tile -> its payload at a quality step."""
        code = self._model.quantise(y.to(self.device), step)
        payload = self._model.encode_tile(code)
        if check and not _same(code, self._model.decode_tile(payload, step, *y.shape[2:])):
            raise BitstreamError("a tile does not decode to what it was")
        return payload

    def _finish(
        self,
        picture: Picture,
        step: int,
        payloads: Iterable[bytes],
        alpha: bytes | None,
        semantic_hash: SemanticHash | None,
    ) -> Encoded:
        """The payloads of all tiles -> a file. Raises UsageError for metadata that no file can hold."""
        height, width = picture.pixels.shape[:2]
        header = Header(width, height, picture.channels, step, self.name, self.fingerprint, self.tile)
        finished = list(payloads)
        try:
            data = container.write(header, finished, picture.metadata, alpha, semantic_hash)
        except ValueError as error:
            raise UsageError(f"the file cannot be written: {error}") from error
        return Encoded(data, step, width, height, alpha_bytes=len(alpha or b""))

    def _psnr(self, picture: Picture, data: bytes, run: Run) -> float:
        """PSNR in dB of a file against its picture, without holding all of its pixels."""
        whole = Window(0, 0, *picture.pixels.shape[:2])
        decoder = self._decoder(container.parse(data), run)
        pairs = decoder.pixels(Window(0, 0, decoder.height, decoder.width))
        return pooled_psnr(
            (picture.pixels[place.intersection(whole).slices], levels[place.intersection(whole).within(place).slices])
            for place, levels in pairs
        )

    def _to_tensor(self, window: np.ndarray) -> torch.Tensor:
        """(H, W[, 3]) uint8 -> (1, 3, H, W) float32 in [0, 1]; grey is repeated."""
        x = torch.from_numpy(np.array(window, order="C")).to(self.device)
        x = x[None].expand(3, -1, -1) if x.ndim == 2 else x.permute(2, 0, 1)
        return (x[None].float() / 255.0).contiguous(memory_format=torch.channels_last)

    def _transforms(self, *, encoding: bool) -> AbstractContextManager[object]:
        if self.precision == "bfloat16" or (self.precision == "auto" and encoding and has_bfloat16(self.device)):
            return torch.autocast(self.device.type, torch.bfloat16)
        return nullcontext()

    # -- decoding --------------------------------------------------------------------------------

    def decode(self, data: bytes) -> Image.Image:
        """Bytes of an .aec file -> Pillow image. Raises BitstreamError or ModelMismatchError."""
        return to_image(self.decode_picture(data))

    def decode_picture(self, data: bytes) -> Picture:
        """Bytes of an .aec file -> pixels and metadata."""
        return self.decode_container(container.parse(data))

    def decode_container(
        self, parsed: Container, crop: Window | None = None, *, windowed: bool = False, limited: bool = True
    ) -> Picture:
        """A parsed file -> pixels, alpha and metadata. Raises BitstreamError or ModelMismatchError.

        crop: the part wanted, in pixels; only the tiles that it needs are decoded, and the result equals that
        part of the whole. Raises UsageError if it is not inside the picture. windowed: build the pixels in
        Pillow's memory, as `WindowedPixels`. limited: honour Image.MAX_IMAGE_PIXELS.
        """
        header = parsed.header
        self._check(header, limited)
        crop = crop or Window(0, 0, header.height, header.width)
        if crop != crop.clipped(header.height, header.width) or min(crop.size) < 1:
            raise UsageError(f"the crop is not inside the picture of {header.width} x {header.height} pixels")
        pixels = blank_pixels(*crop.size, header.grey, windowed=windowed)
        with workers(self.jobs) as run:
            decoder = self._decoder(parsed, run)
            sides = padded_sides(header.height, header.width, self._model.alignment)
            area = covering(crop, *sides, header.tile)
            for place, levels in decoder.pixels(area.divided(self._model.stride)):
                shared = place.intersection(crop)
                pixels[shared.within(crop).slices] = levels[shared.within(place).slices]
        alpha, notices = self._alpha(parsed)
        if decoder.lost:
            numbers = ", ".join(str(number) for number in sorted(decoder.lost))
            notices += (f"of {len(parsed.tiles)} tiles these are lost and filled with grey: {numbers}",)
        alpha = None if alpha is None else alpha[crop.slices]
        return Picture(pixels, parsed.metadata, notices, alpha, tuple(sorted(decoder.lost)))

    def _alpha(self, parsed: Container) -> tuple[np.ndarray | None, tuple[str, ...]]:
        """The alpha plane, opaque where it is lost, and notices."""
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

    def _decoder(self, parsed: Container, run: Run) -> TileDecoder:
        return TileDecoder(self._model, self.device, lambda: self._transforms(encoding=False), parsed, run)

    def _check(self, header: Header, limited: bool) -> None:
        if header.fingerprint != self.fingerprint:
            raise ModelMismatchError(
                f"the file needs model {header.model} with fingerprint {header.fingerprint.hex()}; "
                f"this is {self.name} with {self.fingerprint.hex()}"
            )
        limit = Image.MAX_IMAGE_PIXELS
        if limited and limit is not None and header.width * header.height > limit:
            raise BitstreamError(
                f"{header.width} x {header.height} pixels exceed the limit of {limit} "
                "(--max-pixels or Image.MAX_IMAGE_PIXELS raises it)"
            )
        if header.tile % self._model.alignment:
            raise BitstreamError(f"tiles of {header.tile} pixels do not fit the model's alignment")


def _same(a: LatentCode, b: LatentCode) -> bool:
    hyper = a.z is b.z if a.z is None or b.z is None else np.array_equal(a.z, b.z)
    return hyper and np.array_equal(a.y, b.y)
