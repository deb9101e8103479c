"""Costs and gradients by torch, where there is no compiler for the kernels: the same numbers, many times slower."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..contracts import MissingDependencyError
from .context import ABOVE, ASIDE, PARENT_ABOVE, PARENT_ASIDE
from .layout import COLOURS, GRIDS, SHAPES, count_latents, grid_sizes
from .tables import SCALES, UNIT_SCALE

_RING = 4
#: Base-2 logarithms of the smallest and the largest scale, and the probability that any symbol has.
_LOWEST, _HIGHEST, _FLOOR = -UNIT_SCALE / 8.0, (SCALES - 1 - UNIT_SCALE) / 8.0, 2.0**-20


class TorchFit:
    """See `native.NativeFit`, whose methods it has."""

    def __init__(self, height: int, width: int) -> None:
        """Raises MissingDependencyError without torch."""
        try:
            import torch
        except ImportError as error:
            raise MissingDependencyError(
                "fitting a picture needs a C compiler (cc, gcc or clang), or torch: pip install 'aecodec[torch]'"
            ) from error
        self._torch: Any = torch
        self.height, self.width, self.latents = height, width, count_latents(height, width)
        self._sizes = grid_sizes(height, width)
        self._target: Any = None

    def set_target(self, pixels: np.ndarray) -> None:
        self._target = self._torch.from_numpy(np.ascontiguousarray(pixels, np.float32)).permute(2, 0, 1)

    def cost(self, latents: np.ndarray, weights: np.ndarray) -> tuple[float, float]:
        with self._torch.no_grad():
            bits, error = self._cost(self._torch.from_numpy(np.rint(latents)), self._torch.from_numpy(weights))
        return float(bits), float(error)

    def gradients(
        self,
        latents: np.ndarray,
        weights: np.ndarray,
        noise: np.ndarray | None,
        temperature: float,
        amount: float,
        trade: float,
        to_latents: np.ndarray,
        to_weights: np.ndarray,
        turn: int = -1,
    ) -> tuple[float, float]:
        torch = self._torch
        y = torch.from_numpy(latents.copy()).requires_grad_()
        w = torch.from_numpy(weights.copy()).requires_grad_()
        if noise is None:
            rounded = y + (torch.round(y) - y).detach()
        else:
            once = self._soft_round(y, temperature) + amount * torch.from_numpy(noise.copy())
            rounded = self._soft_round(once, temperature)
        bits, error = self._cost(rounded, w)
        (bits / (self.height * self.width) + trade * error).backward()
        to_latents[:], to_weights[:] = y.grad.numpy(), w.grad.numpy()
        return float(bits.detach()), float(error.detach())

    def step(self, latents: np.ndarray, gradient: np.ndarray, moments: np.ndarray, numbers: tuple[float, ...]) -> None:
        length, beta1, beta2, correct1, correct2 = numbers
        first, second = moments
        first += (1.0 - beta1) * (gradient - first)
        second += (1.0 - beta2) * (np.square(gradient) - second)
        latents -= (length * correct1 * first / (np.sqrt(second * correct2) + 1e-8)).astype(np.float32)

    def close(self) -> None:
        self._target = None

    def _soft_round(self, y: Any, temperature: float) -> Any:
        torch = self._torch
        floor = torch.floor(y.detach())
        return floor + 0.5 + torch.tanh((y - floor - 0.5) / temperature) * (0.5 / math.tanh(0.5 / temperature))

    def _cost(self, latents: Any, weights: Any) -> tuple[Any, Any]:
        """Bits, and mean squared error, as scalars with gradients."""
        torch = self._torch
        parts = dict(zip(SHAPES, torch.split(weights, [int(np.prod(shape)) for shape in SHAPES.values()]), strict=True))
        parts = {name: part.reshape(SHAPES[name]) for name, part in parts.items()}
        grids = [
            part.reshape(size)
            for part, size in zip(torch.split(latents, [h * w for h, w in self._sizes]), self._sizes, strict=True)
        ]
        ringed = [torch.nn.functional.pad(grid, [_RING] * 4) for grid in grids]
        bits = sum(self._bits(grids[k], ringed[k], ringed[k + 1 : k + 3], parts) for k in range(GRIDS))
        return bits, torch.mean((self._image(grids, parts) - self._target) ** 2)

    def _bits(self, grid: Any, here: Any, coarser: list[Any], parts: dict[str, Any]) -> Any:
        torch = self._torch
        height, width = grid.shape
        rows, columns = torch.arange(height)[:, None], torch.arange(width)[None]
        found = [here[rows + (_RING + up), columns + (_RING + by)] for up, by in zip(ABOVE, ASIDE, strict=True)]
        for up, by in zip(PARENT_ABOVE, PARENT_ASIDE, strict=True):
            near = rows // 2 + (_RING + up), columns // 2 + (_RING + by)
            found.append(coarser[0][near] if coarser else torch.zeros_like(grid))
        found.append(
            coarser[1][rows // 4 + _RING, columns // 4 + _RING] if len(coarser) > 1 else torch.zeros_like(grid)
        )
        x = torch.stack(found).reshape(len(found), -1)
        for layer in "12":
            x = torch.relu(x + parts[f"w{layer}"] @ x + parts[f"b{layer}"][:, None])
        mean, scale = parts["w3"] @ x + parts["b3"][:, None]
        inverse = torch.exp2(-torch.clamp(scale, _LOWEST, _HIGHEST))
        off = torch.abs(grid.reshape(-1) - mean)
        near, far = 0.5 - off, -0.5 - off
        e1, e0 = torch.exp(-torch.abs(near) * inverse), torch.exp(far * inverse)
        mass = torch.where(off > 0.5, 0.5 * (e1 - e0), 1.0 - 0.5 * (e1 + e0))
        return -torch.log2(torch.clamp(torch.clamp(mass, min=0.0) + _FLOOR, max=1.0)).sum()

    def _image(self, grids: list[Any], parts: dict[str, Any]) -> Any:
        torch = self._torch
        planes = grids[-1][None]
        for level in range(GRIDS - 2, -1, -1):
            for axis in (1, 2):
                planes = self._doubled(planes, parts["taps"][level], axis, self._sizes[level][axis - 1])
            planes = torch.cat([grids[level][None], planes])
        hidden = torch.relu(parts["v1"] @ planes.reshape(GRIDS, -1) + parts["c1"][:, None])
        image = (parts["v2"] @ hidden + parts["c2"][:, None]).reshape(1, COLOURS, self.height, self.width)
        for layer in "12":
            around = torch.nn.functional.pad(image, [1] * 4, mode="replicate")
            image = image + torch.nn.functional.conv2d(around, parts[f"k{layer}"], parts[f"d{layer}"])
            image = torch.relu(image) if layer == "1" else image
        return image[0]

    def _doubled(self, planes: Any, taps: Any, axis: int, size: int) -> Any:
        torch = self._torch
        count = planes.shape[axis]
        near = [
            planes.index_select(axis, torch.clamp(torch.arange(count) + by, 0, count - 1)) for by in (-2, -1, 0, 1, 2)
        ]
        even = sum(taps[j] * near[j] for j in range(4))
        odd = sum(taps[3 - j] * near[j + 1] for j in range(4))
        shape = list(planes.shape)
        shape[axis] = 2 * count
        return torch.stack([even, odd], axis + 1).reshape(shape).narrow(axis, 0, size)
