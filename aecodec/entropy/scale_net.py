"""The exact scale net: scale indices of the latents as an integer function of z and the quality step.

Everything here that a decoder runs is integer arithmetic held in float64 (nn/exact.py), so the choice of
probability tables cannot differ between devices, thread counts or number formats.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import nn

from ..nn.exact import ExactConv
from ..nn.quantise import round_half_up, round_ste
from .scale_mixture import LEVELS

#: Bits after the binary point of hidden activations (uint8) and of scale indices.
HIDDEN_FRACTION = 4
INDEX_FRACTION = 4
INDEX_LIMIT = 1 << 12
#: Partial sums below this are exact in float32 as well as in float64.
EXACT_BOUND = 1 << 24


class ScaleNet(nn.Module):
    """z (B, Z, h, w) integers -> scale index per latent (B, N, 4h, 4w), plus an offset per channel and quality.

    knots: number of quality knots; offsets between two knots are interpolated linearly.
    """

    offset_q: torch.Tensor

    def __init__(self, z_channels: int, latents: int, hidden: int, z_max: int, knots: int) -> None:
        super().__init__()
        inner = {"in_fraction": HIDDEN_FRACTION, "in_max": 255}
        to_hidden = {"out_fraction": HIDDEN_FRACTION, "out_min": 0, "out_max": 255}
        to_index = {"out_fraction": INDEX_FRACTION, "out_min": -INDEX_LIMIT, "out_max": INDEX_LIMIT}
        convs = [
            ExactConv(z_channels, hidden, kernel=1, in_fraction=0, in_max=z_max, **to_hidden),
            ExactConv(hidden, hidden, kernel=3, **inner, **to_hidden),
            ExactConv(hidden, 4 * hidden, kernel=1, **inner, **to_hidden),
            ExactConv(hidden, hidden, kernel=3, **inner, **to_hidden),
            ExactConv(hidden, 4 * hidden, kernel=1, **inner, **to_hidden),
            ExactConv(hidden, hidden, kernel=3, **inner, **to_hidden),
            ExactConv(hidden, latents, kernel=1, **inner, **to_index),
        ]
        self.layers = nn.ModuleList(convs)
        self.upsample_after = (2, 4)
        self.offset = nn.Parameter(torch.zeros(knots, latents))
        self.register_buffer("offset_q", torch.zeros(knots, latents, dtype=torch.int32))
        with torch.no_grad():
            convs[-1].weight.mul_(0.1)
            convs[-1].bias.zero_()

    def _convs(self) -> list[ExactConv]:
        return [cast(ExactConv, layer) for layer in self.layers]

    def forward(self, z: torch.Tensor, position: torch.Tensor, quantised: bool) -> torch.Tensor:
        """Training: z (B, Z, h, w) integers in float32; position (B,) quality in knots -> (B, N, 4h, 4w); all float32.

        The index is real-valued and unclamped; rounding to table indices happens when coding.
        """
        h = z
        for i, layer in enumerate(self.layers):
            h = layer(h, quantised)
            if i in self.upsample_after:
                h = F.pixel_shuffle(h, 2)
        low = position.long().clamp(0, self.offset.shape[0] - 2)
        offset = torch.lerp(self.offset[low], self.offset[low + 1], (position - low)[:, None])
        index = h * 2.0**-INDEX_FRACTION + offset[:, :, None, None]
        return round_ste(index) if quantised else index

    @torch.no_grad()
    def freeze(self) -> None:
        """Write the integer forms of all layers and of the offset table."""
        for layer in self._convs():
            layer.freeze()
        self.offset_q.copy_(round_half_up(self.offset * 2.0**INDEX_FRACTION).to(torch.int32))

    def bound(self) -> int:
        """Largest partial sum that any z in range can cause, from the integer weights alone."""
        return max(layer.bound() for layer in self._convs())

    @torch.no_grad()
    def exact(self, z: torch.Tensor, quality: int, steps_per_knot: int) -> torch.Tensor:
        """z (1, Z, h, w) integers -> table indices (1, N, 4h, 4w) uint8 in [0, LEVELS - 1], by integers only."""
        h = z.to(torch.float64)
        for i, layer in enumerate(self._convs()):
            h = layer.exact(h)
            if i in self.upsample_after:
                h = F.pixel_shuffle(h, 2)
        knot = min(quality // steps_per_knot, self.offset_q.shape[0] - 2)
        beyond = quality - knot * steps_per_knot
        table = self.offset_q.to(torch.int64)
        mixed = table[knot] * (steps_per_knot - beyond) + table[knot + 1] * beyond
        offset = torch.div(2 * mixed + steps_per_knot, 2 * steps_per_knot, rounding_mode="floor")
        fixed = h.to(torch.int64) + offset[None, :, None, None]
        index = (fixed + (1 << (INDEX_FRACTION - 1))) >> INDEX_FRACTION
        return index.clamp(0, LEVELS - 1).to(torch.uint8)
