"""The refinement of a tile by torch: the gradients of descent.py by automatic differentiation, on any device."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import numpy as np
import torch

from ..coding.tables import TableSet
from ..contracts import HyperCodec, LatentCode, Quantiser
from ..data.tiling import Window
from ..nn.quantise import round_half_up, soft_round
from .descent import BETAS, EPSILON, Descent, bit_lines, schedule_of_hyper_latents, schedule_of_latents

#: Steps by which the sensitivity of the distortion to each channel is estimated, and how long they are.
PROBES, PROBE = 2, 0.1


def cut(planes: torch.Tensor, window: Window) -> torch.Tensor:
    """(..., H, W) -> a view of the window's rows and columns."""
    rows, columns = window.slices
    return planes[..., rows, columns]


class BitCost:
    """Bits of residuals under frozen tables, linear between integers, so that they have a gradient: see `bit_lines`.

    tables: of y; indices: (N, H, W), which of them codes each latent.
    """

    def __init__(self, tables: TableSet, indices: np.ndarray, device: torch.device) -> None:
        bits, first = bit_lines(tables)
        width = bits.shape[1]
        which = torch.from_numpy(indices.astype(np.int64)).to(device)[None]
        self._bits = torch.from_numpy(bits).to(device).flatten()
        self._start, self._last = which * width, width - 2
        self._offset = torch.from_numpy(first.astype(np.float32)).to(device)[which]

    def __call__(self, residual: torch.Tensor) -> torch.Tensor:
        """residual (1, N, H, W) float32 -> bits of all of them, a scalar."""
        low = torch.floor(residual.detach())
        slot = (low - self._offset).clamp(0, self._last).long() + self._start
        below, above = self._bits[slot], self._bits[slot + 1]
        return (below + (residual - low) * (above - below)).sum()


class Refinement(Descent):
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
        #: Bits per unit of the distortion of the measured pixels, and per unit of their summed squared error.
        self.price = model.distortion_weight(code.quality) * target.shape[2] * target.shape[3]
        self.weight = model.distortion_weight(code.quality) / target.shape[1]
        with torch.no_grad():
            self.y = model.scaled(y, code.quality).contiguous()
        self.y.requires_grad_()
        self._begin_at(code)

    def _begin_at(self, code: LatentCode) -> None:
        """Take the hyper-latents of a code, and with them tables and means."""
        self.code, self.indices = code, self.model.table_indices(code)
        self.quantiser: Quantiser = self.model.quantiser(code.z, self.indices, code.quality)

    def _decoded(self, y_hat: torch.Tensor) -> torch.Tensor:
        """y_hat of the tile -> the measured pixels, (1, 3 or 1, r, c), not clipped."""
        window = self.y_hat.clone()
        cut(window, self.inner).copy_(y_hat)
        x_hat = self.model.synthesise(window.contiguous(memory_format=torch.channels_last), self.quality).float()
        x_hat = cut(x_hat, self.measured)
        return x_hat.mean(dim=1, keepdim=True) if self.target.shape[1] == 1 else x_hat

    def _settled(self) -> LatentCode:
        """See `Descent`."""
        with torch.no_grad():
            residual = self.quantiser(self.y, round_half_up)[1]
        return LatentCode(residual[0].to(torch.int32).cpu().numpy(), self.code.z, self.quality, self.indices)

    @torch.no_grad()
    def _real_cost(self, code: LatentCode) -> tuple[float, float]:
        """See `Descent`."""
        with self.transforms():
            x_hat = self._decoded(self.model.dequantise(code))
        levels = torch.floor(x_hat.clamp(0, 1) * 255.0 + 0.5) / 255.0
        bits = sum(tables.bits(plane.symbols, plane.tables) for plane, tables in self.model.symbol_planes(code))
        return bits, float(self._error(levels))

    def _error(self, x_hat: torch.Tensor) -> torch.Tensor:
        """What the measured pixels' distortion is worth in bits, a scalar."""
        return self.price * self.model.distortion(self.target, x_hat)[0]

    def _sensitivity(self) -> torch.Tensor:
        """See `Descent`; (1, N, 1, 1).

        Half the diagonal of the distortion's second derivative, whose product with u is how the gradient changes over a
        step along u; with u of independent signs, u times that has the diagonal for its mean (Bekas, Kokiopoulou and
        Saad 2007, "An estimator for the diagonal of a matrix", section 2).
        """
        rng = torch.Generator(device=self.y.device).manual_seed(0)
        power = torch.zeros_like(self.y)
        start = self._slope(self.y)
        for _ in range(PROBES):
            u = torch.randint(0, 2, self.y.shape, generator=rng, device=self.y.device) * 2.0 - 1.0
            power += (self._slope(self.y.detach() + PROBE * u) - start) * u / (2.0 * PROBE * PROBES)
        # Latents that are not coded have no derivative.
        counted = (power != 0).sum(dim=(2, 3), keepdim=True).clamp_min(1)
        return (power.sum(dim=(2, 3), keepdim=True) / counted).clamp_min(0.0) / self.weight

    def _slope(self, y: torch.Tensor) -> torch.Tensor:
        """Derivative in y of what the distortion of unrounded latents is worth, (1, N, H, W)."""
        y = y.detach().requires_grad_()
        with self.transforms():
            x_hat = self._decoded(self.quantiser(y, lambda values: values)[0])
        return torch.autograd.grad(self._error(x_hat), y)[0]

    def _move_hyper_latents(self, steps: int, sensitivity: torch.Tensor) -> None:
        """See `Descent`."""
        if isinstance(self.model, HyperCodec):
            self._begin_at(self._moved(self.model, steps, sensitivity))

    def _moved(self, model: HyperCodec, steps: int, sensitivity: torch.Tensor) -> LatentCode:
        y = self.y.detach()
        with torch.no_grad():
            z = model.hyper_latents(y)
        z.requires_grad_()
        for optimizer, rounding in _annealed(z, schedule_of_hyper_latents(steps)):
            with self.transforms():
                cost = model.hyper_cost(z, y, self.quality, rounding, self.weight * sensitivity)
            cost.backward()
            optimizer.step()
        with torch.no_grad():
            return model.with_hyper_latents(z, y, self.quality)

    def _descend(self, steps: int, sensitivity: torch.Tensor) -> Iterator[int]:
        """See `Descent`."""
        bits_of = BitCost(self.model.tables["y"], self.indices, self.y.device)
        for step, (optimizer, rounding) in enumerate(_annealed(self.y, schedule_of_latents(steps))):
            with self.transforms():
                y_hat, residual = self.quantiser(self.y, rounding)
                x_hat = self._decoded(y_hat)
            share = residual - torch.floor(residual.detach())
            spread = (sensitivity * share * (1.0 - share)).sum()
            (bits_of(residual) + self._error(x_hat.clamp(0, 1)) + self.weight * spread).backward()
            optimizer.step()
            yield step + 1


def _annealed(
    values: torch.Tensor, sizes: Iterator[tuple[float, float]]
) -> Iterator[tuple[torch.optim.Optimizer, Callable[[torch.Tensor], torch.Tensor]]]:
    """For each step Adam, its gradients at zero, and the soft rounding, ever sharper; the caller makes the step."""
    optimizer = torch.optim.Adam([values], lr=0.0, betas=BETAS, eps=EPSILON)
    for size, temperature in sizes:
        optimizer.param_groups[0]["lr"] = size
        optimizer.zero_grad()
        yield optimizer, partial(soft_round, temperature=temperature)
