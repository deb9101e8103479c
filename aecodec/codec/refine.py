"""Encoder effort: the latents of one picture refined by gradient descent on its own rate-distortion cost.

An encoder network gives every picture its latents in one pass; other latents of the same picture often cost fewer bits
for the same error. Starting from the network's, they are moved by Adam to lower

    bits(residual) + lambda * mse * pixels.

While it moves, a latent stands for a choice between two integers, the upper one with probability w, which sharpens
(nn/quantise.py; Yang, Bamler, Mandt 2020). Instead of drawing from it, the expected cost is taken: the bits, from the
very tables that code the file, are linear between the integers; to the squared error of the mean, each latent adds its
own variance w (1 - w) times the squared error that a change of 1 in it causes, measured per channel. For a synthesis
that is linear near the picture and choices that are independent this is exact, and its minima are at integers: without
the variance, latents settle between them, and rounding loses half of the gain. The hyper-latent stays as it is, so the
table of each latent is fixed. Only integers in the file change: any decoder reads it, in the same time.

A picture is refined tile by tile, each with its neighbours' latents held fixed around it, so memory is bounded by a
tile. The bits of real integers and the error of real pixels are compared as it goes on, and the best is kept: a
refined file never costs more than the one it started from.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..coding import container
from ..coding.tables import TOTAL, TableSet
from ..contracts import QUALITY_STEPS, BitstreamError, LatentCode, Refinable, UsageError, Walk
from ..data.images import Picture
from ..data.tiling import Window, cut_padded, tiles
from ..nn.quantise import round_half_up, round_ste, soft_round
from ..parallel import workers
from .decoder import cut

if TYPE_CHECKING:
    from .codec import Codec, Encoded
    from .target import Target

#: Gradient steps of each level; the lowest changes nothing.
STEPS = {1: 0, 2: 4, 3: 6, 4: 10, 5: 16, 6: 25, 7: 40, 8: 80, 9: 160}
DEFAULT_EFFORT = 1
#: Adam's step in units of the quantisation step, constant and then linear to nearly 0 over the second half.
RATE = 0.1
BETAS = (0.8, 0.95)
#: Temperature of the soft rounding, from the first step to the last.
HOT, COLD = 0.5, 0.1
#: The real cost is looked at so often, once LOOK_FROM of the steps are done; PATIENCE looks without a gain are the end.
LOOKS, LOOK_FROM, PATIENCE = 8, 0.4, 3
#: A file with a target is refined at most so often, at different qualities.
TRIALS = 3
#: Backward passes by which the sensitivity of the pixels to each channel is estimated.
PROBES = 2
#: Bits of an escaped value beyond its escape symbol.
ESCAPE = 16.0


def check_effort(effort: int) -> int:
    """A level, as it is. Raises UsageError for what is none."""
    if effort not in STEPS:
        raise UsageError(f"effort goes from {min(STEPS)} to {max(STEPS)}, got {effort}")
    return effort


class BitCost:
    """Bits of residuals under frozen tables, linear between integers, so that they have a gradient.

    tables: of y; numbers: (N, H, W) table number of each latent. Between floor and ceil the line is the expected
    number of bits of a two-point distribution.
    """

    def __init__(self, tables: TableSet, numbers: np.ndarray, device: torch.device) -> None:
        # Two slots of escape below every table and one above, so that the line is level out there.
        width = tables.frequencies.shape[1] + 3
        slots = np.arange(width)[None] - 2
        body = tables.lengths[:, None] - (1 if tables.escape else 0)
        inside = (slots >= 0) & (slots < body)
        last = np.maximum(tables.frequencies[np.arange(len(tables)), tables.lengths - 1], 1)
        outside = -np.log2(last / TOTAL) + ESCAPE
        padded = np.pad(tables.frequencies, ((0, 0), (2, 1)))
        bits = np.where(inside, -np.log2(np.maximum(padded, 1) / TOTAL), outside[:, None])
        which = torch.from_numpy(numbers.astype(np.int64)).to(device)[None]
        self._bits = torch.from_numpy(bits.astype(np.float32)).to(device).flatten()
        self._start, self._last = which * width, width - 2
        self._offset = torch.from_numpy(tables.offsets.astype(np.float32)).to(device)[which] - 2.0

    def __call__(self, residual: torch.Tensor) -> torch.Tensor:
        """residual (1, N, H, W) float32 -> bits of all of them, a scalar."""
        low = torch.floor(residual.detach())
        slot = (low - self._offset).clamp(0, self._last).long() + self._start
        below, above = self._bits[slot], self._bits[slot + 1]
        return (below + (residual - low) * (above - below)).sum()


@dataclass(frozen=True)
class _Canvas:
    """The part of a picture that a tile's latents are judged on.

    inner: the tile in the window that is synthesised; y_hat: latents of that window; measured: the pixels of the window
    that count; target: those pixels, (1, 3 or 1, h, w) in [0, 1]; weight: bits per unit of summed squared error.
    """

    inner: Window
    y_hat: torch.Tensor
    measured: Window
    target: torch.Tensor
    weight: float


class _Refiner:
    """One picture and the tiles of its file, which are replaced one after another."""

    def __init__(self, codec: Codec, picture: Picture, data: bytes) -> None:
        model = codec.frozen.module
        if not isinstance(model, Refinable):
            raise UsageError(f"{codec.name}: a model of family {codec.frozen.family} cannot be refined (--effort)")
        self.codec, self.picture, self.model = codec, picture, model
        self.parsed = container.parse(data)
        self.quality = self.parsed.header.quality
        self.payloads = list(self.parsed.tiles)
        self.sides = codec._latent_sides(*picture.pixels.shape[:2])
        self.places = list(tiles(*self.sides, self.parsed.header.tile // model.stride))

    def run(self, steps: int) -> bytes:
        """Refine every tile -> a file."""
        for number in range(len(self.places)):
            self._refine(number, steps)
        parsed = self.parsed
        return container.write(parsed.header, self.payloads, parsed.metadata, parsed.alpha, parsed.semantic_hash)

    def _code(self, number: int) -> LatentCode:
        return self.model.decode_tile(self.payloads[number], self.quality, *self.places[number].size)

    def _canvas(self, number: int) -> _Canvas:
        """A tile with its neighbours' latents around it, as far as the transform looks."""
        model, place = self.model, self.places[number]
        window = place.grown(model.context, *self.sides)
        rows, columns = window.size
        y_hat = torch.zeros((1, model.code_shapes(1, 1)[0][0], rows, columns), device=self.codec.device)
        for other, neighbour in enumerate(self.places):
            if other != number and neighbour.touches(window):
                shared = neighbour.intersection(window)
                latents = model.dequantise(self._code(other))
                cut(y_hat, shared.within(window)).copy_(cut(latents, shared.within(neighbour)))
        height, width = self.picture.pixels.shape[:2]
        # Pixels near the window's edge lack latents of their own neighbourhood and are left out; so is the padding.
        seen = place.grown(model.context // 2, *self.sides).times(model.stride).clipped(height, width)
        target = self.codec._to_tensor(self.picture.pixels[seen.slices])
        if self.picture.pixels.ndim == 2:
            target = target[:, :1]
        weight = model.distortion_weight(self.quality) / target.shape[1]
        return _Canvas(place.within(window), y_hat, seen.within(window.times(model.stride)), target, weight)

    def _start(self, number: int) -> torch.Tensor:
        """The latents that the encoder network gives a tile, scaled, (1, N, H, W) float32."""
        place, model = self.places[number], self.model
        window = place.grown(model.context, *self.sides)
        with torch.no_grad(), self.codec._transforms(encoding=True):
            pixels = cut_padded(self.picture.pixels, window.times(model.stride))
            y = model.analyse(self.codec._to_tensor(pixels)).float()
        return model.scaled(cut(y, place.within(window)), self.quality).contiguous()

    def _decoded(self, canvas: _Canvas, y_hat: torch.Tensor) -> torch.Tensor:
        """y_hat of the tile -> the measured pixels, (1, 3 or 1, h, w), not clipped."""
        whole = canvas.y_hat.clone()
        cut(whole, canvas.inner).copy_(y_hat)
        x_hat = self.model.synthesise(whole.contiguous(memory_format=torch.channels_last), self.quality).float()
        x_hat = cut(x_hat, canvas.measured)
        return x_hat.mean(dim=1, keepdim=True) if canvas.target.shape[1] == 1 else x_hat

    @torch.no_grad()
    def _cost(self, canvas: _Canvas, code: LatentCode) -> float:
        """Bits of the integers under the file's tables plus the weighted error of the real pixels."""
        with self.codec._transforms(encoding=True):
            x_hat = self._decoded(canvas, self.model.dequantise(code))
        levels = torch.floor(x_hat.clamp(0, 1) * 255.0 + 0.5) / 255.0
        bits = sum(tables.bits(plane.symbols, plane.tables) for plane, tables in self.model.symbol_planes(code))
        return bits + canvas.weight * float((levels - canvas.target).square().sum())

    def _sensitivity(self, canvas: _Canvas, walk: Walk, y: torch.Tensor) -> torch.Tensor:
        """Squared error that a change of 1 in a residual causes, a mean for each channel, (1, N, 1, 1).

        With v of independent unit normal entries and J the derivative of the pixels, (J^T v)^2 has that mean.
        """
        rng = torch.Generator(device=y.device).manual_seed(0)
        squares = torch.zeros_like(y)
        for _ in range(PROBES):
            with self.codec._transforms(encoding=True):
                x_hat = self._decoded(canvas, walk(y, round_ste)[0])
            v = torch.randn(x_hat.shape, generator=rng, device=y.device)
            squares += torch.autograd.grad((x_hat * v).sum(), y)[0].square() / PROBES
        # Latents that are not coded have no derivative.
        counted = (squares > 0).sum(dim=(2, 3), keepdim=True).clamp_min(1)
        return squares.sum(dim=(2, 3), keepdim=True) / counted

    def _refine(self, number: int, steps: int) -> None:
        """Replace the payload of a tile by the best one found."""
        code, canvas = self._code(number), self._canvas(number)
        numbers = self.model.table_numbers(code)
        walk = self.model.walk(code.z, numbers, self.quality)
        bits_of = BitCost(self.model.tables["y"], numbers, self.codec.device)
        y = self._start(number).requires_grad_()
        sensitivity = self._sensitivity(canvas, walk, y)

        def cost(rounding: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
            with self.codec._transforms(encoding=True):
                y_hat, residual = walk(y, rounding)
                x_hat = self._decoded(canvas, y_hat)
            share = residual - torch.floor(residual.detach())
            spread = (sensitivity * share * (1.0 - share)).sum()
            error = (x_hat.clamp(0, 1) - canvas.target).square().sum()
            return bits_of(residual) + canvas.weight * (error + spread)

        def settled() -> LatentCode:
            with torch.no_grad():
                residual = walk(y, round_half_up)[1]
            return LatentCode(residual[0].to(torch.int32).cpu().numpy(), code.z, self.quality, numbers)

        best = self._cost(canvas, code)
        looks, idle = _looks(steps), 0
        for step in _descend(y, steps, cost):
            if step not in looks:
                continue
            trial = settled()
            found = self._cost(canvas, trial)
            idle = 0 if found < best else idle + 1
            if found < best:
                best, code = found, trial
            if idle == PATIENCE:
                break
        self.payloads[number] = self.model.encode_tile(code)
        if not np.array_equal(self._code(number).y, code.y):
            raise BitstreamError(f"refined tile {number} does not decode to what it was")


def _looks(steps: int) -> set[int]:
    """The steps after which the real cost is looked at, the last one among them."""
    return {round(steps * (LOOK_FROM + (1 - LOOK_FROM) * look / LOOKS)) for look in range(1, LOOKS + 1)}


def _descend(
    y: torch.Tensor, steps: int, cost: Callable[[Callable[[torch.Tensor], torch.Tensor]], torch.Tensor]
) -> Iterator[int]:
    """Move y down the cost, whose rounding becomes sharper; yields the number of steps made after each."""
    optimizer = torch.optim.Adam([y], lr=RATE, betas=BETAS)
    for step in range(steps):
        share = step / max(steps - 1, 1)
        temperature = HOT + (COLD - HOT) * share
        optimizer.param_groups[0]["lr"] = RATE * (min(1.0, 2.0 * (1.0 - share)) + 0.02)
        optimizer.zero_grad()
        cost(partial(soft_round, temperature=temperature)).backward()
        optimizer.step()
        yield step + 1


def _decibels(codec: Codec, picture: Picture, data: bytes) -> float:
    """PSNR of a file."""
    with workers(codec.jobs) as run:
        return codec._psnr(picture, data, run)


def file_cost(codec: Codec, picture: Picture, data: bytes) -> float:
    """Bits of a file plus lambda times the mean squared error of the picture it decodes to, per pixel."""
    height, width = picture.pixels.shape[:2]
    quality = container.parse_header(data)[0].quality
    mse = 10.0 ** (-_decibels(codec, picture, data) / 10.0)
    return 8.0 * len(data) + codec.frozen.module.distortion_weight(quality) * mse * height * width


def refined(codec: Codec, picture: Picture, start: Encoded, effort: int) -> Encoded:
    """A file at the lowest effort -> one of the same quality that costs no more, `start` itself if none was found.

    Raises UsageError if the family cannot be refined.
    """
    # Tensors made in inference mode have no gradients; a caller may be in it.
    with torch.inference_mode(False), torch.enable_grad():
        data = _Refiner(codec, picture, start.data).run(STEPS[check_effort(effort)])
    if file_cost(codec, picture, data) >= file_cost(codec, picture, start.data):
        return start
    return replace(start, data=data)


def encode(codec: Codec, picture: Picture, effort: int, target: Target | None, **asked: Any) -> Encoded:
    """What `codec.encode_picture(picture, **asked)` gives, refined.

    With a target, that search comes first, at the lowest effort. A refined file is smaller and nearer to the picture
    than its start, so the quality is moved on from there, by the measured slope, and refined again, at most TRIALS
    times in all; the refined file that meets the target best wins. Raises TargetUnreachableError as the search does.
    """
    start: Encoded = codec.encode_picture(picture, **asked)
    if target is None:
        return refined(codec, picture, start, effort)
    plainly = {**asked, "target_bpp": None, "target_size": None, "target_psnr": None, "closest": False}
    best, best_miss, step, slope = start, math.inf, start.quality, target.slope
    measured: dict[int, float] = {}
    while len(measured) < TRIALS and step not in measured:
        plainly["quality"] = 100.0 * step / QUALITY_STEPS
        plain = start if step == start.quality else codec.encode_picture(picture, **plainly)
        trial = refined(codec, picture, plain, effort)
        in_decibels = asked.get("target_psnr") is not None
        value = _decibels(codec, picture, trial.data) if in_decibels else math.log(len(trial.data))
        miss = target.value - value
        if abs(miss) < best_miss and (miss >= 0 or target.closest):
            best, best_miss = trial, abs(miss)
        if 0 <= miss <= target.tolerance or (target.closest and abs(miss) <= target.tolerance):
            break
        if measured:
            last = next(reversed(measured))
            slope = max((value - measured[last]) / (step - last), 0.2 * target.slope)
        measured[step] = value
        step = min(max(step + math.floor((miss - target.tolerance / 3.0) / slope), 0), QUALITY_STEPS)
    return replace(best, encodes=start.encodes + len(measured))
