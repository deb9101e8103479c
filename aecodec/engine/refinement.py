"""The latents of one tile, refined by gradient descent on the rate-distortion cost of its own picture.

An encoder network gives every picture its latents in one pass; other latents of the same picture often cost fewer bits
for the same error. Starting from the network's, they are moved by Adam to lower

    bits(residual) + lambda * mse * pixels.

While it moves, a latent stands for a choice between two integers, the upper one with probability w, which sharpens
(nn/quantise.py; Yang, Bamler, Mandt 2020). Instead of drawing from it, the expected cost is taken: the bits, from the
very tables that code the file, are linear between the integers; to the squared error of the mean, each latent adds its
own variance w (1 - w) times the squared error that a change of 1 in it causes, measured per channel. For a synthesis
that is linear near the picture and choices that are independent this is exact, and its minima are at integers: without
the variance, latents settle between them, and rounding loses half of the gain.

Where a family has hyper-latents that can be moved (`HyperCodec`), they go first, for the bits alone: neither synthesis
nor pixels are needed, so a step takes a quarter of the time. Then they stay, and with them the table of each latent;
where tables adapt to what was decoded before, gradients are those of the tables without it, real bits those with it.
Only integers change: any decoder reads them, in the same time.

The bits of real integers and the error of real pixels are compared as it goes on, and the best is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import numpy as np
import torch

from ..coding.rans import ESCAPE_BITS
from ..coding.tables import TOTAL, TableSet
from ..contracts import HyperCodec, LatentCode, Quantiser
from ..data.tiling import Window
from ..nn.quantise import round_half_up, round_ste, soft_round

#: Adam's step in units of the quantisation step, constant and then linear to nearly 0 over the second half.
RATE = 0.1
BETAS = (0.8, 0.95)
#: Temperature of the soft rounding, from the first step to the last.
HOT, COLD = 0.5, 0.1
#: The real cost is looked at so often, once LOOK_FROM of the steps are done; PATIENCE looks without a gain are the end.
LOOKS, LOOK_FROM, PATIENCE = 8, 0.4, 3
#: Steps of the hyper-latents, what Adam's steps add up to about, and their temperatures, from first to last.
HYPER_STEPS, HYPER_PATH = 12, 1.5
HYPER_HOT, HYPER_COLD = 0.3, 0.05
#: Backward passes by which the sensitivity of the pixels to each channel is estimated.
PROBES = 2


def cut(planes: torch.Tensor, window: Window) -> torch.Tensor:
    """(..., H, W) -> a view of the window's rows and columns."""
    rows, columns = window.slices
    return planes[..., rows, columns]


class BitCost:
    """Bits of residuals under frozen tables, linear between integers, so that they have a gradient.

    tables: of y; indices: (N, H, W), which of them codes each latent. Between floor and ceil the line is the expected
    number of bits of a two-point distribution.
    """

    def __init__(self, tables: TableSet, indices: np.ndarray, device: torch.device) -> None:
        # Two slots of escape below every table and one above, so that the line is level out there.
        width = tables.frequencies.shape[1] + 3
        slots = np.arange(width)[None] - 2
        body = tables.lengths[:, None] - (1 if tables.escape else 0)
        inside = (slots >= 0) & (slots < body)
        last = np.maximum(tables.frequencies[np.arange(len(tables)), tables.lengths - 1], 1)
        outside = -np.log2(last / TOTAL) + float(ESCAPE_BITS)
        padded = np.pad(tables.frequencies, ((0, 0), (2, 1)))
        bits = np.where(inside, -np.log2(np.maximum(padded, 1) / TOTAL), outside[:, None])
        which = torch.from_numpy(indices.astype(np.int64)).to(device)[None]
        self._bits = torch.from_numpy(bits.astype(np.float32)).to(device).flatten()
        self._start, self._last = which * width, width - 2
        self._offset = torch.from_numpy(tables.offsets.astype(np.float32)).to(device)[which] - 2.0

    def __call__(self, residual: torch.Tensor) -> torch.Tensor:
        """residual (1, N, H, W) float32 -> bits of all of them, a scalar."""
        low = torch.floor(residual.detach())
        slot = (low - self._offset).clamp(0, self._last).long() + self._start
        below, above = self._bits[slot], self._bits[slot + 1]
        return (below + (residual - low) * (above - below)).sum()


class Refinement:
    """One tile on its way down. Tensors of `protocol.Canvas`, on the model's device, a batch of one each.

    target: (1, 3 or 1, r, c) float32 in [0, 1]. transforms: makes a context in which the transforms run.
    """

    def __init__(
        self,
        model: Any,
        code: LatentCode,
        *,
        y: torch.Tensor,
        y_hat: torch.Tensor,
        inner: Window,
        target: torch.Tensor,
        measured: Window,
        transforms: Callable[[], AbstractContextManager[object]],
    ) -> None:
        self.model, self.code, self.quality, self.transforms = model, code, code.quality, transforms
        self.y_hat, self.inner, self.target, self.measured = y_hat, inner, target, measured
        #: Bits per unit of summed squared error.
        self.weight = model.distortion_weight(code.quality) / target.shape[1]
        with torch.no_grad():
            self.y = model.scaled(y, code.quality).contiguous()
        self.y.requires_grad_()
        self._begin_at(code)

    def _begin_at(self, code: LatentCode) -> None:
        """Take the hyper-latents of a code, and with them tables and means."""
        self.code, self.indices = code, self.model.table_indices(code)
        self.quantiser: Quantiser = self.model.quantiser(code.z, self.indices, code.quality)

    def run(self, steps: int) -> LatentCode:
        """The best integers found within so many steps, those it began with among them."""
        best, found = self._real_cost(self.code), self.code
        sensitivity = self._sensitivity()
        if steps and isinstance(self.model, HyperCodec):
            # Better for what follows even where the cost of these integers themselves is no lower.
            self._begin_at(self._moved(self.model, sensitivity))
        looks, idle = _looks(steps), 0
        for step in self._descend(steps, sensitivity):
            if step not in looks:
                continue
            trial = self._settled()
            cost = self._real_cost(trial)
            idle = 0 if cost < best else idle + 1
            if cost < best:
                best, found = cost, trial
            if idle == PATIENCE:
                break
        return found

    def _decoded(self, y_hat: torch.Tensor) -> torch.Tensor:
        """y_hat of the tile -> the measured pixels, (1, 3 or 1, r, c), not clipped."""
        window = self.y_hat.clone()
        cut(window, self.inner).copy_(y_hat)
        x_hat = self.model.synthesise(window.contiguous(memory_format=torch.channels_last), self.quality).float()
        x_hat = cut(x_hat, self.measured)
        return x_hat.mean(dim=1, keepdim=True) if self.target.shape[1] == 1 else x_hat

    def _settled(self) -> LatentCode:
        """The integers that the latents round to as they stand."""
        with torch.no_grad():
            residual = self.quantiser(self.y, round_half_up)[1]
        return LatentCode(residual[0].to(torch.int32).cpu().numpy(), self.code.z, self.quality, self.indices)

    @torch.no_grad()
    def _real_cost(self, code: LatentCode) -> float:
        """Bits of the integers under the file's tables plus the weighted error of the real pixels."""
        with self.transforms():
            x_hat = self._decoded(self.model.dequantise(code))
        levels = torch.floor(x_hat.clamp(0, 1) * 255.0 + 0.5) / 255.0
        bits = sum(tables.bits(plane.symbols, plane.tables) for plane, tables in self.model.symbol_planes(code))
        return bits + self.weight * float((levels - self.target).square().sum())

    def _sensitivity(self) -> torch.Tensor:
        """Squared error that a change of 1 in a residual causes, a mean for each channel, (1, N, 1, 1).

        With v of independent unit normal entries and J the derivative of the pixels, (J^T v)^2 has that mean.
        """
        rng = torch.Generator(device=self.y.device).manual_seed(0)
        power = torch.zeros_like(self.y)
        for _ in range(PROBES):
            with self.transforms():
                x_hat = self._decoded(self.quantiser(self.y, round_ste)[0])
            v = torch.randn(x_hat.shape, generator=rng, device=self.y.device)
            power += torch.autograd.grad((x_hat * v).sum(), self.y)[0].square() / PROBES
        # Latents that are not coded have no derivative.
        counted = (power > 0).sum(dim=(2, 3), keepdim=True).clamp_min(1)
        return power.sum(dim=(2, 3), keepdim=True) / counted

    def _moved(self, model: HyperCodec, sensitivity: torch.Tensor) -> LatentCode:
        """The integers with hyper-latents that cost fewer bits in all."""
        y = self.y.detach()
        with torch.no_grad():
            z = model.hyper_latents(y)
        z.requires_grad_()
        for optimizer, rounding in _annealed(z, HYPER_STEPS, HYPER_PATH / HYPER_STEPS, HYPER_HOT, HYPER_COLD):
            with self.transforms():
                cost = model.hyper_cost(z, y, self.quality, rounding, self.weight * sensitivity)
            cost.backward()
            optimizer.step()
        with torch.no_grad():
            return model.with_hyper_latents(z, y, self.quality)

    def _descend(self, steps: int, sensitivity: torch.Tensor) -> Iterator[int]:
        """Move y down the cost, whose rounding becomes sharper; yields the number of steps made after each."""
        bits_of = BitCost(self.model.tables["y"], self.indices, self.y.device)
        for step, (optimizer, rounding) in enumerate(_annealed(self.y, steps, RATE, HOT, COLD)):
            with self.transforms():
                y_hat, residual = self.quantiser(self.y, rounding)
                x_hat = self._decoded(y_hat)
            share = residual - torch.floor(residual.detach())
            spread = (sensitivity * share * (1.0 - share)).sum()
            error = (x_hat.clamp(0, 1) - self.target).square().sum()
            (bits_of(residual) + self.weight * (error + spread)).backward()
            optimizer.step()
            yield step + 1


def _annealed(
    values: torch.Tensor, steps: int, rate: float, hot: float, cold: float
) -> Iterator[tuple[torch.optim.Optimizer, Callable[[torch.Tensor], torch.Tensor]]]:
    """For each step Adam, its gradients at zero, and the soft rounding, ever sharper; the caller makes the step."""
    optimizer = torch.optim.Adam([values], lr=rate, betas=BETAS)
    for step in range(steps):
        progress = step / max(steps - 1, 1)
        optimizer.param_groups[0]["lr"] = rate * (min(1.0, 2.0 * (1.0 - progress)) + 0.02)
        optimizer.zero_grad()
        yield optimizer, partial(soft_round, temperature=hot + (cold - hot) * progress)


def _looks(steps: int) -> set[int]:
    """The steps after which the real cost is looked at, the last one among them."""
    return {round(steps * (LOOK_FROM + (1 - LOOK_FROM) * look / LOOKS)) for look in range(1, LOOKS + 1)}
