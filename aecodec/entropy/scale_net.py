"""The exact scale net: scale indices of the latents as an integer function of z and the quality step.

What a decoder runs of it is integer arithmetic (latents/exact.py), so the choice of probability tables cannot differ
between devices, thread counts or number formats.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import nn

from ..contracts import QUALITY_KNOT
from ..latents.exact import INDEX_FRACTION, INDEX_LIMIT, ScaleIndices
from ..latents.exact_hyperprior import UPSAMPLE_AFTER
from ..nn.exact import ExactConv
from ..nn.quantise import round_half_up, round_ste

#: Bits after the binary point of hidden activations (uint8).
HIDDEN_FRACTION = 4


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
        self.upsample_after = UPSAMPLE_AFTER
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

    def indices(self) -> ScaleIndices:
        """The frozen integers at work: what files depend on."""
        layers = [layer.frozen() for layer in self._convs()]
        return ScaleIndices(layers, self.upsample_after, self.offset_q.cpu().numpy(), QUALITY_KNOT)
