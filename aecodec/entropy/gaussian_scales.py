"""Gaussian tables at 64 scales, and which of them codes each latent as an integer function of z.

The scale predictor was trained in float; files need its choice to be the same everywhere. So half of its
outputs (the scales) is mirrored in fixed point, from the integers of z to a comparison with integer
boundaries. The other half (the means) stays in float: it shifts the latents and cannot desynchronise a stream.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from ..coding.tables import TableSet, freeze_symmetric
from ..latents.exact import ACTIVATION_FRACTION, LEVELS, GaussianIndices
from ..nn.fixed_point import FixedSequence
from ..nn.gdn import forget_constants
from ..nn.quantise import round_half_up

#: Slots of a table beyond its tail, to either side. A slot takes 2^-20 of the mass and codes an outlier in 20
#: bits where an escape takes 36: with few slots at small scales, outliers would cost more than all the rest.
MARGIN = 8


def make_gaussian() -> Any:
    """A compressai GaussianConditional: the likelihood while training, scales bounded below by 0.11."""
    from compressai.entropy_models import GaussianConditional

    return forget_constants(GaussianConditional(None))


def log2_likelihood(gaussian: Any, values: torch.Tensor, scales: torch.Tensor, means: torch.Tensor) -> torch.Tensor:
    """values (noisy latents), scales, means: float32 of equal shape -> log2 P, P bounded below by 1e-9."""
    likelihood = gaussian.likelihood_lower_bound(gaussian._likelihood(values, scales, means))
    return torch.log2(likelihood)


def scale_table() -> torch.Tensor:
    """(LEVELS,) float64 standard deviations: compressai's, 0.11 to 256 in equal ratios."""
    from compressai.models.google import get_scale_table

    return get_scale_table(levels=LEVELS).double()


def freeze_gaussians(scales: torch.Tensor, tail_mass: float) -> TableSet:
    """One integer table per scale over round(y - mean), reaching beyond where tail_mass is left, with escape.

    scales: (n,) float64, positive.

    P(k) = Phi((k + 1/2) / s) - Phi((k - 1/2) / s), from the lower tail, where float64 does not cancel.
    """
    reach_in_sigmas = -float(torch.special.ndtri(torch.tensor(tail_mass / 2, dtype=torch.float64)))
    halves = []
    for scale in scales.tolist():
        k = torch.arange(math.ceil(scale * reach_in_sigmas) + MARGIN + 1, dtype=torch.float64)
        mass = torch.special.ndtr((0.5 - k) / scale) - torch.special.ndtr((-0.5 - k) / scale)
        halves.append(mass.numpy())
    return freeze_symmetric(halves)


class FixedScales(nn.Module):
    """z (Z, h, w) int32 -> table indices (N, 4h, 4w) uint8, by integers only (nn/fixed_point.py).

    hyper_synthesis: the network whose first `latents` outputs are the scales; z_channels: Z.
    """

    medians_q: torch.Tensor
    boundaries_q: torch.Tensor

    def __init__(self, hyper_synthesis: nn.Sequential, z_channels: int, latents: int) -> None:
        super().__init__()
        self.sequence = FixedSequence(hyper_synthesis, latents)
        self.register_buffer("medians_q", torch.zeros(z_channels, dtype=torch.int64))
        self.register_buffer("boundaries_q", torch.zeros(LEVELS - 1, dtype=torch.int64))

    @torch.no_grad()
    def freeze(self, hyper_synthesis: nn.Sequential, medians: torch.Tensor, scales: torch.Tensor) -> None:
        """Write the integers. medians: (Z, 1, 1) float32 of z; scales: (LEVELS,) float64, increasing.

        A scale takes table i if it exceeds i boundaries; the last scale is no boundary. For an integer v,
        v > b is v > floor(b), so flooring the boundaries moves none.
        """
        self.sequence.freeze(hyper_synthesis)
        unit = 2.0**ACTIVATION_FRACTION
        self.medians_q.copy_(round_half_up(medians.flatten().double() * unit))
        self.boundaries_q.copy_(torch.floor(scales[:-1].double() * unit))

    def indices(self) -> GaussianIndices:
        """The frozen integers at work: what files depend on."""
        medians, boundaries = self.medians_q.cpu().numpy(), self.boundaries_q.cpu().numpy()
        return GaussianIndices(self.sequence.frozen(), medians, boundaries)
