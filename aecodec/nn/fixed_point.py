"""Fixed-point mirrors of trained layers: convolutions and rectifiers whose results are integers.

Where nn/exact.py is a layer that learns on its integer grid, this is for layers that were trained in float,
perhaps by somebody else, and whose output must yet be the same on every device. A value is an integer held in
float64 that stands for value * 2^-12, clamped to a declared range; weights are integers that stand for
w * 2^-16. The integers are buffers: they travel in the checkpoint and are never recomputed when loading, and
latents/exact.py runs them.
"""

from __future__ import annotations

from fractions import Fraction

import torch
from torch import nn

from ..latents import exact
from ..latents.exact import ACTIVATION_FRACTION, WEIGHT_FRACTION
from .quantise import round_half_up

_INT32_MAX = (1 << 31) - 1
#: 2^62 is a float64 and fits int64, which the integer type's own largest value does not.
_BIAS_MAX = 1 << 62


def _grid(values: torch.Tensor, fraction: int, limit: int, dtype: torch.dtype) -> torch.Tensor:
    """Real values -> integers floor(v * 2^fraction + 1/2), saturated at +-limit.

    Whatever saturates (NaN included) exceeds every bound of exactness for certain: a weight that does not fit is
    refused when that is proved, never coded with.
    """
    scaled = round_half_up(values.detach().double() * 2.0**fraction)
    return torch.nan_to_num(scaled, nan=float(limit)).clamp(-limit, limit).to(dtype)


def _pair(sides: tuple[int, ...]) -> tuple[int, int]:
    down, across = sides
    return down, across


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
        self.stride, self.padding = _pair(source.stride), _pair(source.padding)
        self.output_padding = _pair(source.output_padding)
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

    def frozen(self) -> exact.FixedConv:
        """The integers at work."""
        weight, bias = self.weight_q.cpu().numpy(), self.bias_q.cpu().numpy()
        return exact.FixedConv(weight, bias, self.stride, self.padding, self.output_padding, self.transposed)


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

    def frozen(self) -> exact.FixedRectifier:
        """The integers at work."""
        p, q = self.slope_q.tolist()
        return exact.FixedRectifier((p, q))


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

    def frozen(self) -> list[exact.FixedConv | exact.FixedRectifier]:
        """The integers at work, layer by layer."""
        return [mirror.frozen() for mirror in self.layers]  # type: ignore[operator]
