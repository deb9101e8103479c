"""Fixed-point mirrors of trained layers: convolutions and rectifiers whose results are integers.

Where nn/exact.py is a layer that learns on its integer grid, this is for layers that were trained in float,
perhaps by somebody else, and whose output must yet be the same on every device. A value is an integer held in
float64 that stands for value * 2^-12, clamped to a declared range; weights are integers that stand for
w * 2^-16. A sum of products of such integers is exact, in whatever order a direct or matrix-product algorithm
forms it, while no partial sum can reach 2^53; `bound` computes the largest that any input can cause, from the
integers alone. The integers are buffers: they travel in the checkpoint and are never recomputed when loading.
"""

from __future__ import annotations

from fractions import Fraction

import torch
import torch.nn.functional as F
from torch import nn

from .quantise import round_half_up

WEIGHT_FRACTION = 16
ACTIVATION_FRACTION = 12
#: Largest magnitude of an activation integer: real values are clamped to +-4096.
ACTIVATION_MAX = 1 << 24
#: Partial sums below this are exact in float64.
EXACT_BOUND = 1 << 53

_INT32_MAX = (1 << 31) - 1
#: 2^62 is a float64 and fits int64, which the integer type's own largest value does not.
_BIAS_MAX = 1 << 62


def _grid(values: torch.Tensor, fraction: int, limit: int, dtype: torch.dtype) -> torch.Tensor:
    """Real values -> integers floor(v * 2^fraction + 1/2), saturated at +-limit.

    Whatever saturates (NaN included) exceeds EXACT_BOUND for certain, since limit * ACTIVATION_MAX does: a
    weight that does not fit is refused by `bound`, never coded with.
    """
    scaled = round_half_up(values.detach().double() * 2.0**fraction)
    return torch.nan_to_num(scaled, nan=float(limit)).clamp(-limit, limit).to(dtype)


class FixedConv(nn.Module):
    """The fixed-point mirror of a Conv2d or ConvTranspose2d.

    source: the layer to mirror (square or not, any stride and padding; one group, no dilation, zero padding).
    outputs: mirror the first so many output channels only; None for all.
    Raises ValueError for a layer it cannot mirror.
    """

    weight_q: torch.Tensor
    bias_q: torch.Tensor

    def __init__(self, source: nn.Conv2d | nn.ConvTranspose2d, outputs: int | None = None) -> None:
        super().__init__()
        plain = source.groups == 1 and source.padding_mode == "zeros" and set(source.dilation) == {1}
        if not plain or isinstance(source.padding, str):
            raise ValueError(f"only plain convolutions have a fixed-point mirror, got {source}")
        self.transposed = isinstance(source, nn.ConvTranspose2d)
        self.outputs = source.out_channels if outputs is None else outputs
        if not 0 < self.outputs <= source.out_channels:
            raise ValueError(f"{self.outputs} outputs of a layer that has {source.out_channels}")
        self.stride, self.padding, self.output_padding = source.stride, source.padding, source.output_padding
        self.register_buffer("weight_q", torch.zeros_like(self._used(source.weight), dtype=torch.int32))
        self.register_buffer("bias_q", torch.zeros(self.outputs, dtype=torch.int64))

    def _used(self, weight: torch.Tensor) -> torch.Tensor:
        return weight[:, : self.outputs] if self.transposed else weight[: self.outputs]

    @torch.no_grad()
    def freeze(self, source: nn.Conv2d | nn.ConvTranspose2d) -> None:
        """Write the integers of the source's weight and bias."""
        self.weight_q.copy_(_grid(self._used(source.weight), WEIGHT_FRACTION, _INT32_MAX, torch.int32))
        if source.bias is not None:
            fraction = WEIGHT_FRACTION + ACTIVATION_FRACTION
            self.bias_q.copy_(_grid(source.bias[: self.outputs], fraction, _BIAS_MAX, torch.int64))

    def bound(self) -> int:
        """Largest magnitude of any partial sum: max over channels of ||w||_1 * a_max + |b| (+ rounding)."""
        norms = self.weight_q.to(torch.int64).abs().sum(dim=(0, 2, 3) if self.transposed else (1, 2, 3))
        half = 1 << (WEIGHT_FRACTION - 1)
        # Python's integers: the product may exceed 64 bits.
        sums = zip(norms.tolist(), self.bias_q.tolist(), strict=True)
        return max(norm * ACTIVATION_MAX + abs(bias) + half for norm, bias in sums)

    def exact(self, x: torch.Tensor) -> torch.Tensor:
        """x: (B, C, H, W) float64 integers on the CPU -> clamp(floor(acc * 2^-16 + 1/2)), (B, O, H', W') likewise."""
        weight = self.weight_q.to("cpu", torch.float64)
        if self.transposed:
            acc = F.conv_transpose2d(x, weight, None, self.stride, self.padding, self.output_padding)
        else:
            acc = F.conv2d(x, weight, None, self.stride, self.padding)
        acc = acc + self.bias_q.to("cpu", torch.float64)[:, None, None]
        return round_half_up(acc * 2.0**-WEIGHT_FRACTION).clamp(-ACTIVATION_MAX, ACTIVATION_MAX)


class FixedRectifier(nn.Module):
    """The mirror of a LeakyReLU or ReLU: a negative integer a becomes floor(a * p / q + 1/2), slope p / q.

    source: its slope must lie in [0, 1], so that magnitudes never grow. Raises ValueError otherwise.
    """

    slope_q: torch.Tensor

    def __init__(self, source: nn.LeakyReLU | nn.ReLU) -> None:
        super().__init__()
        if not 0.0 <= self._slope(source) <= 1.0:
            raise ValueError(f"only slopes in [0, 1] have a fixed-point mirror, got {source}")
        self.register_buffer("slope_q", torch.tensor([0, 1], dtype=torch.int64))

    @staticmethod
    def _slope(source: nn.LeakyReLU | nn.ReLU) -> float:
        return float(source.negative_slope) if isinstance(source, nn.LeakyReLU) else 0.0

    def freeze(self, source: nn.LeakyReLU | nn.ReLU) -> None:
        """Write the slope as the nearest fraction with a denominator of at most 2^16."""
        slope = Fraction(self._slope(source)).limit_denominator(1 << 16)
        self.slope_q.copy_(torch.tensor([slope.numerator, slope.denominator]))

    def bound(self) -> int:
        """Largest magnitude of 2 p a + q, the numerator that is divided."""
        p, q = self.slope_q.tolist()
        return int(2 * p * ACTIVATION_MAX + q)

    def exact(self, x: torch.Tensor) -> torch.Tensor:
        """x: any shape, float64 holding integers -> the same, by 64-bit integer division."""
        p, q = self.slope_q.tolist()
        scaled = torch.div(2 * p * x.to(torch.int64) + q, 2 * q, rounding_mode="floor")
        return torch.where(x < 0, scaled.to(torch.float64), x)


def _mirror_of(layer: nn.Module, outputs: int | None) -> FixedConv | FixedRectifier:
    if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
        return FixedConv(layer, outputs)
    if isinstance(layer, nn.LeakyReLU | nn.ReLU):
        return FixedRectifier(layer)
    raise ValueError(f"no fixed-point mirror of {layer}")


class FixedSequence(nn.Module):
    """The mirror of a Sequential of convolutions and rectifiers that ends in a convolution.

    outputs: mirror the first so many output channels of the last layer only; None for all.
    Raises ValueError for a layer it cannot mirror.
    """

    def __init__(self, source: nn.Sequential, outputs: int | None = None) -> None:
        super().__init__()
        layers = list(source)
        mirrors = [_mirror_of(layer, None) for layer in layers[:-1]] + [_mirror_of(layers[-1], outputs)]
        self.layers = nn.ModuleList(mirrors)

    def freeze(self, source: nn.Sequential) -> None:
        """Write the integers of every layer."""
        for mirror, layer in zip(self.layers, source, strict=True):
            mirror.freeze(layer)  # type: ignore[operator]

    def bound(self) -> int:
        """Largest partial sum that any input can cause; exact arithmetic needs it below EXACT_BOUND."""
        return max(mirror.bound() for mirror in self.layers)  # type: ignore[operator]

    @torch.no_grad()
    def exact(self, x: torch.Tensor) -> torch.Tensor:
        """x (B, C, H, W) float64 integers on the CPU, clamped on entry -> float64 integers, |.| <= 2^24.

        It runs on the CPU whatever the device of the rest: convolutions of float64 are matrix products there,
        whereas other devices may choose Winograd or FFT algorithms, whose partial sums are not bounded.
        """
        with torch.autocast("cpu", enabled=False):
            x = x.clamp(-ACTIVATION_MAX, ACTIVATION_MAX)
            for mirror in self.layers:
                x = mirror.exact(x)  # type: ignore[operator]
        return x
