"""Pictures <-> bytes of .aec files: windows, tiles and targets."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from . import checkpoint
from .coding import container
from .coding.container import Container, Header, SemanticHash
from .contracts import (
    QUALITY_STEPS,
    BitstreamError,
    CheckpointError,
    FrozenModel,
    LatentCode,
    ModelMismatchError,
    TileCodec,
    UsageError,
)
from .data.images import Picture, pack_alpha, pad_to_multiple, read_picture, to_image, unpack_alpha
from .data.tiling import Window, covering, tiles
from .device import has_bfloat16, pick_device
from .metrics.psnr import psnr
from .rate_search import Target, search
from .registry import find_model

TILE = 1024
DEFAULT_QUALITY = 50.0
PRECISIONS = ("auto", "float32", "bfloat16")


@dataclass(frozen=True)
class Encoded:
    """A finished file. quality: the step used; encodes: how often the latents were coded to find it."""

    data: bytes
    quality: int
    width: int
    height: int
    encodes: int = 1

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
    decodes in float32, so that pixels differ by at most one level between machines.
    """

    def __init__(self, frozen: FrozenModel, precision: str = "auto") -> None:
        if precision not in PRECISIONS:
            raise UsageError(f"precision is one of {', '.join(PRECISIONS)}, got {precision!r}")
        self.frozen = frozen
        self.precision = precision
        self.device = next(frozen.module.parameters()).device
        if not isinstance(frozen.module, TileCodec):
            raise CheckpointError(f"{frozen.name} is a model of family {frozen.family}, which codes no pictures")
        self._model: Any = frozen.module
        if TILE % self._model.alignment:
            raise UsageError(
                f"{frozen.name}: its alignment of {self._model.alignment} does not divide a tile of {TILE}"
            )

    @classmethod
    def from_pretrained(
        cls, name_or_path: str | Path | None = None, *, device: str = "cpu", precision: str = "auto"
    ) -> Codec:
        """A model of the zoo or cache by name, or a checkpoint by path; None is the embedded default."""
        return cls(checkpoint.load(find_model(name_or_path), pick_device(device)), precision)

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

    def encode(self, image: Image.Image, *, quality: float = DEFAULT_QUALITY, target_bpp: float | None = None) -> bytes:
        """Pillow image -> bytes of an .aec file, with the image's alpha, ICC, Exif and XMP."""
        return self.encode_picture(read_picture(image), quality=quality, target_bpp=target_bpp).data

    @torch.inference_mode()
    def encode_picture(
        self,
        picture: Picture,
        *,
        quality: float = DEFAULT_QUALITY,
        target_bpp: float | None = None,
        target_size: int | None = None,
        target_psnr: float | None = None,
        check: bool = False,
        semantic_hash: SemanticHash | None = None,
    ) -> Encoded:
        """At a quality, or at the highest one that does not exceed a rate, a size in bytes or a PSNR in dB.

        check: decode every tile again and compare its latents; BitstreamError if one differs. semantic_hash: stored
        in the file as it is given. The analysis transform runs once whatever the target. Raises
        TargetUnreachableError if quality 0 exceeds the target.
        """
        height, width = picture.pixels.shape[:2]
        target = self._target(height * width, target_bpp, target_size, target_psnr)
        latents = self._analyse(picture.pixels)
        if target is None:
            step = quality_step(quality)
            return Encoded(self._write(latents, picture, step, check, semantic_hash), step, width, height)

        def trial(step: int) -> tuple[float, bytes]:
            data = self._write(latents, picture, step, check, semantic_hash)
            if target_psnr is None:
                return math.log(len(data)), data
            return psnr(picture.pixels, self.decode_picture(data).pixels), data

        found = search(trial, target)
        return Encoded(found.result, found.step, width, height, found.trials)

    def _target(self, pixels: int, bpp: float | None, size: int | None, decibel: float | None) -> Target | None:
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
        return Target.size(size) if size is not None else Target.psnr(float(decibel or 0.0))

    def _analyse(self, pixels: np.ndarray) -> torch.Tensor:
        """(H, W[, 3]) uint8 -> y of the whole padded picture, (1, N, H', W') float32 on the CPU."""
        stride, margin = self._model.stride, self._model.context * self._model.stride
        padded = pad_to_multiple(pixels, self._model.alignment)
        height, width = padded.shape[:2]
        channels = self._model.code_shapes(1, 1)[0][0]
        latents = torch.empty((1, channels, height // stride, width // stride))
        for tile in tiles(height, width, TILE):
            window = tile.grown(margin, height, width)
            with self._transforms(encoding=True):
                y = self._model.analyse(self._to_tensor(padded[window.slices])).float().cpu()
            _cut(latents, tile.divided(stride)).copy_(_cut(y, tile.within(window).divided(stride)))
        return latents

    def _write(
        self, latents: torch.Tensor, picture: Picture, step: int, check: bool, semantic_hash: SemanticHash | None
    ) -> bytes:
        """Latents of the whole picture -> a file at a quality step."""
        payloads = []
        for place in tiles(latents.shape[2], latents.shape[3], TILE // self._model.stride):
            code = self._model.quantise(_cut(latents, place).to(self.device), step)
            payloads.append(self._model.encode_tile(code))
            if check and not _same(code, self._model.decode_tile(payloads[-1], step, *place.size)):
                raise BitstreamError(f"the tile at latent {place.top}, {place.left} does not decode to what it was")
        height, width = picture.pixels.shape[:2]
        header = Header(width, height, picture.channels, step, self.name, self.fingerprint, TILE)
        alpha = None if picture.alpha is None else pack_alpha(picture.alpha)
        return container.write(header, payloads, picture.metadata, alpha, semantic_hash)

    def _to_tensor(self, window: np.ndarray) -> torch.Tensor:
        """(H, W[, 3]) uint8 -> (1, 3, H, W) float32 in [0, 1]; grey is repeated."""
        x = torch.from_numpy(np.ascontiguousarray(window)).to(self.device)
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

    @torch.inference_mode()
    def decode_container(self, parsed: Container, crop: Window | None = None) -> Picture:
        """A parsed file -> pixels, alpha and metadata. Raises BitstreamError or ModelMismatchError.

        crop: the part wanted, in pixels; only the tiles that it needs are decoded, and the result equals that
        part of the whole. Raises UsageError if it is not inside the picture.
        """
        header = parsed.header
        self._check(header)
        whole = Window(0, 0, header.height, header.width)
        crop = crop or whole
        if crop != crop.clipped(header.height, header.width) or min(crop.size) < 1:
            raise UsageError(f"the crop is not inside the picture of {header.width} x {header.height} pixels")
        stride, (height, width) = self._model.stride, self._padded(header)
        area = covering(crop, height, width, header.tile).divided(stride)
        latents = self._read_latents(parsed, area.grown(self._model.context, height // stride, width // stride))
        pixels = self._synthesise(latents, header, area)[crop.within(area.times(stride)).slices]
        alpha = None if parsed.alpha is None else unpack_alpha(parsed.alpha, header.height, header.width)[crop.slices]
        return Picture(pixels, parsed.metadata, alpha=alpha)

    def _check(self, header: Header) -> None:
        if header.fingerprint != self.fingerprint:
            raise ModelMismatchError(
                f"the file needs model {header.model} with fingerprint {header.fingerprint.hex()}; "
                f"this is {self.name} with {self.fingerprint.hex()}"
            )
        limit = Image.MAX_IMAGE_PIXELS
        if limit is not None and header.width * header.height > limit:
            raise BitstreamError(f"{header.width} x {header.height} pixels exceed the limit of {limit}")
        if header.tile % self._model.alignment:
            raise BitstreamError(f"tiles of {header.tile} pixels do not fit the model's alignment")

    def _read_latents(self, parsed: Container, region: Window) -> torch.Tensor:
        """y_hat of the padded picture, (1, N, H', W') float32 on the CPU; only tiles that touch a region are filled."""
        stride, header = self._model.stride, parsed.header
        height, width = (side // stride for side in self._padded(header))
        latents = torch.empty((1, self._model.code_shapes(1, 1)[0][0], height, width))
        for payload, place in zip(parsed.tiles, tiles(height, width, header.tile // stride), strict=True):
            if place.touches(region):
                code = self._model.decode_tile(payload, header.quality, *place.size)
                _cut(latents, place).copy_(self._model.dequantise(code))
        return latents

    def _padded(self, header: Header) -> tuple[int, int]:
        """Sides of the picture raised to the model's alignment: (height, width)."""
        multiple = self._model.alignment
        return -(-header.height // multiple) * multiple, -(-header.width // multiple) * multiple

    def _synthesise(self, latents: torch.Tensor, header: Header, area: Window) -> np.ndarray:
        """Latents of the padded picture -> pixels of an area of whole tiles, (h, w[, 3]) uint8.

        Tile by tile; each window sees its neighbours' latents as far as the transform looks.
        """
        stride, (height, width) = self._model.stride, latents.shape[2:]
        sides = area.times(stride).size
        pixels = np.empty(sides if header.grey else (*sides, 3), np.uint8)
        for place in tiles(height, width, header.tile // stride):
            if not place.touches(area):
                continue
            window = place.grown(self._model.context, height, width)
            y_hat = _cut(latents, window).to(self.device).contiguous(memory_format=torch.channels_last)
            with self._transforms(encoding=False):
                x_hat = self._model.synthesise(y_hat, header.quality).float()[0]
            x_hat = _cut(x_hat, place.within(window).times(stride))
            if header.grey:
                x_hat = x_hat.mean(dim=0, keepdim=True)
            levels = torch.floor(x_hat * 255.0 + 0.5).clamp(0, 255).to(torch.uint8).permute(1, 2, 0).cpu().numpy()
            pixels[place.within(area).times(stride).slices] = levels[..., 0] if header.grey else levels
        return pixels


def _cut(planes: torch.Tensor, window: Window) -> torch.Tensor:
    """(..., H, W) -> a view of the window's rows and columns."""
    rows, columns = window.slices
    return planes[..., rows, columns]


def _same(a: LatentCode, b: LatentCode) -> bool:
    hyper = a.z is b.z if a.z is None or b.z is None else np.array_equal(a.z, b.z)
    return hyper and np.array_equal(a.y, b.y)
