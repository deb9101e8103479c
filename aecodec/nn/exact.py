"""Convolutions whose results are integers and come out the same on every device.

A value is an integer held in a floating tensor, standing for value * 2^-fraction. Weights are int8 with
one power-of-two scale per output channel. What is trained and frozen here is run by latents/exact.py.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import nn

from ..latents import exact
from .quantise import round_half_up, round_ste

WEIGHT_MAX = 127
MAX_SHIFT = 20


class ExactConv(nn.Module):
    """A 1x1 or depthwise 3x3 convolution with a learnt float weight and an exact frozen form.

    Training sees real weights (``quantised=False``), then their int8 grid with straight-through
    gradients (``quantised=True``); `freeze` stores the integers that files depend on.

    in_fraction, out_fraction: bits after the binary point of input and output values.
    in_max: largest magnitude of an input integer. out_min, out_max: range that outputs are clamped to.
    """

    weight_q: torch.Tensor
    bias_q: torch.Tensor
    shift_q: torch.Tensor

    def __init__(
        self,
        cin: int,
        cout: int,
        *,
        kernel: int,
        in_fraction: int,
        out_fraction: int,
        in_max: int,
        out_min: int,
        out_max: int,
    ) -> None:
        super().__init__()
        groups = cin if kernel > 1 else 1
        self.groups, self.padding = groups, kernel // 2
        self.in_fraction, self.out_fraction = in_fraction, out_fraction
        self.in_max, self.out_min, self.out_max = in_max, out_min, out_max
        conv = nn.Conv2d(cin, cout, kernel, groups=groups)
        self.weight, self.bias = conv.weight, cast(nn.Parameter, conv.bias)
        self.register_buffer("weight_q", torch.zeros(conv.weight.shape, dtype=torch.int8))
        self.register_buffer("bias_q", torch.zeros(cout, dtype=torch.int32))
        self.register_buffer("shift_q", torch.zeros(cout, dtype=torch.int32))

    def _shift(self) -> torch.Tensor:
        """Per output channel, the power of two that brings the largest weight just inside int8."""
        top = self.weight.detach().abs().amax(dim=(1, 2, 3)).clamp_min(1e-6)
        return torch.floor(torch.log2(WEIGHT_MAX / top)).clamp(0, MAX_SHIFT)

    def forward(self, x: torch.Tensor, quantised: bool) -> torch.Tensor:
        """x: (B, cin, H, W) float32 in input units -> (B, cout, H, W) float32 in output units, clamped."""
        weight: torch.Tensor = self.weight
        bias: torch.Tensor = self.bias
        if quantised:
            shift = self._shift()
            step = torch.exp2(shift)
            weight = round_ste(weight * step[:, None, None, None]).clamp(-WEIGHT_MAX, WEIGHT_MAX)
            weight = weight / step[:, None, None, None]
            bias_step = torch.exp2(shift + self.in_fraction)
            bias = round_ste(bias * bias_step) / bias_step
        out = F.conv2d(x, weight, padding=self.padding, groups=self.groups)
        out = out * 2.0 ** (self.out_fraction - self.in_fraction)
        out = out + (bias * 2.0**self.out_fraction)[:, None, None]
        if quantised:
            out = round_ste(out)
        return out.clamp(self.out_min, self.out_max)

    @torch.no_grad()
    def freeze(self) -> None:
        """Write the integer weight, bias and shift from the learnt ones."""
        shift = self._shift()
        step = torch.exp2(shift)
        grid = round_half_up(self.weight * step[:, None, None, None]).clamp(-WEIGHT_MAX, WEIGHT_MAX)
        self.weight_q.copy_(grid.to(torch.int8))
        # Out of int32's range a conversion would wrap; a clamped bias exceeds every bound.
        bias = round_half_up(self.bias * torch.exp2(shift + self.in_fraction)).clamp(-(2.0**30), 2.0**30)
        self.bias_q.copy_(bias.to(torch.int32))
        self.shift_q.copy_((shift + self.in_fraction - self.out_fraction).to(torch.int32))

    def frozen(self) -> exact.ExactConv:
        """The integers at work."""
        weight, bias, shift = (t.cpu().numpy() for t in (self.weight_q, self.bias_q, self.shift_q))
        return exact.ExactConv(weight, bias, shift, self.in_max, self.out_min, self.out_max)
