"""The mass that a logistic density gives to an integer."""

from __future__ import annotations

import torch
import torch.nn.functional as F


def log_mass(distance: torch.Tensor, inverse_scale: torch.Tensor) -> torch.Tensor:
    """log of the integral over [r - 1/2, r + 1/2] of a logistic density, in nats, at most 0.

    distance: |r - mean|, floating; inverse_scale: 1 / s, positive, of a shape that broadcasts with it. With
    u = (1/2 - |r|)/s and v = (-1/2 - |r|)/s, sigmoid(u) - sigmoid(v) is sigmoid(u) sigmoid(-v) (1 - exp(v - u)): every
    factor is far from cancellation, so the gradient never vanishes in the tails.
    """
    u, minus_v = (0.5 - distance) * inverse_scale, (0.5 + distance) * inverse_scale
    return F.logsigmoid(u) + F.logsigmoid(minus_v) + torch.log(-torch.expm1(-inverse_scale))
