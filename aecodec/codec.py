"""Image file <-> .aec file: windows, tiles, targets and the public functions over them."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from . import checkpoint
from .coding import container
from .coding.container import Container, Header
from .contracts import (
    QUALITY_STEPS,
    BitstreamError,
    FrozenModel,
    LatentCode,
    ModelMismatchError,
    TargetUnreachableError,
    UsageError,
)
from .data.files import write_atomic
from .data.images import Picture, pad_to_multiple, read_bytes, read_picture, to_image, write_picture
from .device import pick_device
from .registry import find_fingerprint, find_model

TILE = 1024
DEFAULT_QUALITY = 50.0
#: A target is met when the file is at most this much smaller than asked.
TARGET_TOLERANCE = 0.01
TARGET_ENCODES = 8
#: Typical growth of log(file size) per quality step, to start the search for a target.
TYPICAL_SLOPE = 0.0045


@dataclass(frozen=True)
class Encoded:
    """A finished file. quality: step used; header_bytes: header, chunk frames and metadata."""

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

    precision: "float32" or "bfloat16", of the transforms alone; what is entropy-coded never depends on it
    when decoding.
    """

    def __init__(self, frozen: FrozenModel, precision: str = "float32") -> None:
        if precision not in ("float32", "bfloat16"):
            raise UsageError(f"precision is float32 or bfloat16, got {precision!r}")
        self.frozen = frozen
        self.precision = precision
        self.device = next(frozen.codec.parameters()).device
        self._model = frozen.codec
        if TILE % self._model.alignment:
            raise UsageError(f"{frozen.name}: its alignment of {self._model.alignment} does not divide a tile of {TILE}")

    @classmethod
    def from_pretrained(
        cls, name_or_path: str | Path | None = None, *, device: str = "cpu", precision: str = "float32"
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

    def encode(
        self, image: Image.Image, *, quality: float = DEFAULT_QUALITY, target_bpp: float | None = None
    ) -> bytes:
        """Pillow image -> bytes of an .aec file, with the image's ICC, Exif and XMP."""
        return self.encode_picture(read_picture(image), quality=quality, target_bpp=target_bpp).data

    @torch.inference_mode()
    def encode_picture(
        self,
        picture: Picture,
        *,
        quality: float = DEFAULT_QUALITY,
        target_bpp: float | None = None,
        target_size: int | None = None,
        check: bool = False,
    ) -> Encoded:
        """At a quality, or at the highest one whose file stays within a rate or a size in bytes.

        check: decode every tile again and compare its latents; BitstreamError if one differs. Raises TargetUnreachableError if even quality 0 is larger than asked.
        """
        height, width = picture.pixels.shape[:2]
        latents = self._analyse(picture.pixels)

        def at(step: int) -> bytes:
            return self._write(latents, picture, step, check)

        if target_bpp is not None:
            if not (math.isfinite(target_bpp) and target_bpp > 0):
                raise UsageError(f"the target rate is a positive number of bits per pixel, got {target_bpp:g}")
            target_size = int(target_bpp * width * height / 8.0)
        if target_size is not None and not self.variable_rate:
            raise UsageError(f"{self.name} has a single rate; a target needs a model of variable rate")
        if target_size is None:
            step = quality_step(quality)
            return Encoded(at(step), step, width, height)
        data, step, encodes = search_target(at, target_size)
        return Encoded(data, step, width, height, encodes)

    def _analyse(self, pixels: np.ndarray) -> torch.Tensor:
        """(H, W[, 3]) uint8 -> y of the whole padded picture, (1, N, H', W') float32 on the CPU."""
        stride, margin = self._model.stride, self._model.context * self._model.stride
        padded = pad_to_multiple(pixels, self._model.alignment)
        height, width = padded.shape[:2]
        latents: torch.Tensor | None = None
        for top, left, bottom, right in _tiles(height, width, TILE):
            t, l, b, r = max(top - margin, 0), max(left - margin, 0), min(bottom + margin, height), min(right + margin, width)
            x = self._to_tensor(padded[t:b, l:r])
            with self._transforms():
                y = self._model.analyse(x).float().cpu()
            if latents is None:
                latents = torch.empty((1, y.shape[1], height // stride, width // stride))
            inner = y[..., (top - t) // stride : (bottom - t) // stride, (left - l) // stride : (right - l) // stride]
            latents[..., top // stride : bottom // stride, left // stride : right // stride] = inner
        if latents is None:
            raise UsageError("a picture has at least one pixel")
        return latents

    def _write(self, latents: torch.Tensor, picture: Picture, step: int, check: bool) -> bytes:
        """Latents of the whole picture -> a file at a quality step."""
        stride = self._model.stride
        tiles = []
        for top, left, bottom, right in _tiles(latents.shape[2] * stride, latents.shape[3] * stride, TILE):
            y = latents[..., top // stride : bottom // stride, left // stride : right // stride]
            code = self._model.quantise(y.to(self.device), step)
            tiles.append(self._model.encode_tile(code))
            if check and not _same(code, self._model.decode_tile(tiles[-1], step, *y.shape[2:])):
                raise BitstreamError(f"the tile at ({left}, {top}) does not decode to the latents it was made from")
        height, width = picture.pixels.shape[:2]
        header = Header(width, height, picture.channels, step, self.name, self.fingerprint, TILE)
        return container.write(header, tiles, picture.metadata)

    def _to_tensor(self, window: np.ndarray) -> torch.Tensor:
        """(H, W[, 3]) uint8 -> (1, 3, H, W) float32 in [0, 1]; grey is repeated."""
        x = torch.from_numpy(np.ascontiguousarray(window)).to(self.device)
        x = x[None].expand(3, -1, -1) if x.ndim == 2 else x.permute(2, 0, 1)
        return (x[None].float() / 255.0).contiguous(memory_format=torch.channels_last)

    def _transforms(self) -> AbstractContextManager[object]:
        if self.precision == "bfloat16":
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
    def decode_container(self, parsed: Container) -> Picture:
        """A parsed file -> pixels and metadata. Raises BitstreamError or ModelMismatchError."""
        header = parsed.header
        self._check(header)
        latents = self._read_latents(parsed)
        pixels = self._synthesise(latents, header)
        return Picture(pixels[: header.height, : header.width], parsed.metadata)

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

    def _read_latents(self, parsed: Container) -> torch.Tensor:
        """y_hat of the whole padded picture, (1, N, H', W') float32 on the CPU."""
        stride, header = self._model.stride, parsed.header
        height, width = self._padded(header)
        latents: torch.Tensor | None = None
        for payload, (top, left, bottom, right) in zip(parsed.tiles, _tiles(height, width, header.tile), strict=True):
            size = (bottom - top) // stride, (right - left) // stride
            code = self._model.decode_tile(payload, header.quality, *size)
            y_hat = self._model.dequantise(code).cpu()
            if latents is None:
                latents = torch.empty((1, y_hat.shape[1], height // stride, width // stride))
            latents[..., top // stride : bottom // stride, left // stride : right // stride] = y_hat
        if latents is None:
            raise BitstreamError("the file holds no tile")
        return latents

    def _padded(self, header: Header) -> tuple[int, int]:
        multiple = self._model.alignment
        return -(-header.height // multiple) * multiple, -(-header.width // multiple) * multiple

    def _synthesise(self, latents: torch.Tensor, header: Header) -> np.ndarray:
        """Latents of the padded picture -> its pixels, window by window; each sees its neighbours' latents."""
        stride, margin = self._model.stride, self._model.context
        height, width = self._padded(header)
        shape = (height, width) if header.channels == 1 else (height, width, 3)
        pixels = np.empty(shape, np.uint8)
        for top, left, bottom, right in _tiles(height, width, header.tile):
            t, l = max(top // stride - margin, 0), max(left // stride - margin, 0)
            b, r = bottom // stride + margin, right // stride + margin
            window = latents[..., t:b, l:r].to(self.device).contiguous(memory_format=torch.channels_last)
            with self._transforms():
                x_hat = self._model.synthesise(window, header.quality).float()
            x_hat = x_hat[0, :, top - t * stride : bottom - t * stride, left - l * stride : right - l * stride]
            if header.channels == 1:
                x_hat = x_hat.mean(dim=0, keepdim=True)
            levels = torch.floor(x_hat * 255.0 + 0.5).clamp(0, 255).to(torch.uint8).permute(1, 2, 0).cpu().numpy()
            pixels[top:bottom, left:right] = levels[..., 0] if header.channels == 1 else levels
        return pixels


def _same(a: LatentCode, b: LatentCode) -> bool:
    hyper = a.z is b.z if a.z is None or b.z is None else np.array_equal(a.z, b.z)
    return hyper and np.array_equal(a.y, b.y)


def _tiles(height: int, width: int, tile: int) -> Iterator[tuple[int, int, int, int]]:
    """(top, left, bottom, right) of the tiles of a picture, in raster order."""
    for top in range(0, height, tile):
        for left in range(0, width, tile):
            yield top, left, min(top + tile, height), min(left + tile, width)


def search_target(encode: Callable[[int], bytes], size: int) -> tuple[bytes, int, int]:
    """The largest file within ``size`` bytes -> (data, quality step, number of encodes).

    log(size) is nearly linear in the quality step, so the search interpolates between the best file that
    fits and the smallest that does not; it ends within TARGET_TOLERANCE below or after TARGET_ENCODES.
    Raises TargetUnreachableError if the smallest file is too large.
    """
    if size < 1:
        raise UsageError(f"the target size is a positive number of bytes, got {size}")
    low, high = (-1, 0.0), (QUALITY_STEPS + 1, math.inf)
    best: tuple[bytes, int] | None = None
    step, slope, smallest = QUALITY_STEPS // 2, TYPICAL_SLOPE, 0
    for count in range(1, TARGET_ENCODES + 1):
        data = encode(step)
        logarithm = math.log(len(data))
        if len(data) <= size:
            best, low = (data, step), (step, logarithm)
            if len(data) >= size * (1.0 - TARGET_TOLERANCE) or step == QUALITY_STEPS:
                return data, step, count
        else:
            high, smallest = (step, logarithm), len(data)
            if step == 0:
                break
        if low[0] >= 0 and high[0] <= QUALITY_STEPS:
            slope = max((high[1] - low[1]) / (high[0] - low[0]), 1e-5)
        if high[0] - low[0] <= 1:
            break
        # Aim a third of the tolerance below the target, and stay strictly inside the bracket.
        guess = step + (math.log(size) - TARGET_TOLERANCE / 3.0 - logarithm) / slope
        step = int(min(max(math.floor(guess), low[0] + 1, 0), high[0] - 1, QUALITY_STEPS))
        if count == TARGET_ENCODES - 1 and best is None:
            step = 0
    if best is None:
        raise TargetUnreachableError(f"{size} bytes cannot be met: the smallest file has {smallest} bytes")
    return best[0], best[1], count


# -- files ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Compressed:
    """What `compress` did. quality: step / 10; input_bytes: of the original file; bpp: of the new one."""

    output: Path
    input_bytes: int
    output_bytes: int
    width: int
    height: int
    quality: float
    bpp: float
    notices: tuple[str, ...] = ()


def compress(
    source: str | Path,
    target: str | Path | None = None,
    *,
    quality: float = DEFAULT_QUALITY,
    target_bpp: float | None = None,
    target_size: int | None = None,
    model: str | Path | None = None,
    strip: set[str] | frozenset[str] = frozenset(),
    overwrite: bool = False,
    device: str = "cpu",
    codec: Codec | None = None,
) -> Compressed:
    """A picture file -> an .aec file beside it (or at ``target``), written atomically.

    codec: an already loaded one, instead of ``model`` and ``device``. Raises ImageReadError, OutputExistsError,
    OutputError, UnknownName, TargetUnreachableError.
    """
    source = Path(source)
    output = Path(target) if target is not None else source.with_suffix(".aec")
    raw = read_bytes(source)
    picture = read_picture(raw, str(source)).without(set(strip))
    codec = codec or Codec.from_pretrained(model, device=device)
    encoded = codec.encode_picture(picture, quality=quality, target_bpp=target_bpp, target_size=target_size)
    write_atomic(output, encoded.data, overwrite=overwrite)
    return Compressed(
        output, len(raw), len(encoded.data), encoded.width, encoded.height,
        100.0 * encoded.quality / QUALITY_STEPS, encoded.bpp, picture.notices,
    )  # fmt: skip


def codec_for(data: bytes, model: str | Path | None = None, device: str = "cpu", precision: str = "float32") -> Codec:
    """The codec that a file was written with, found by fingerprint. Raises ModelMismatchError."""
    header, _ = container.parse_header(data)
    extra = find_model(model) if model is not None else None
    path = find_fingerprint(header.fingerprint, header.model, extra)
    return Codec(checkpoint.load(path, pick_device(device)), precision)


def decompress(
    source: str | Path,
    target: str | Path | None = None,
    *,
    model: str | Path | None = None,
    overwrite: bool = False,
    device: str = "cpu",
    codec: Codec | None = None,
) -> Path:
    """An .aec file -> a picture beside it (PNG, or the format of ``target``'s suffix), written atomically."""
    source = Path(source)
    output = Path(target) if target is not None else source.with_suffix(".png")
    data = read_bytes(source)
    parsed = container.parse(data)
    if codec is None or codec.fingerprint != parsed.header.fingerprint:
        codec = codec_for(data, model, device)
    write_picture(codec.decode_container(parsed), output, overwrite=overwrite)
    return output


def verify(source: str | Path, *, full: bool = False, model: str | Path | None = None, device: str = "cpu") -> Header:
    """Check every checksum of a file; with ``full``, decode it as well. Raises BitstreamError and its kin."""
    data = read_bytes(Path(source))
    parsed = container.parse(data)
    if full:
        codec_for(data, model, device).decode_container(parsed)
    return parsed.header
