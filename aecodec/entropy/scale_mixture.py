"""The zero-mean prior of the latent residual: 64 scales, each a mixture of two logistic densities.

The residual r = y - mu is coded with a table chosen by a scale index. The scale sees the hyper-latent
only, so the density of r given its index is a little heavier-tailed than a Gaussian; a mixture of two
logistics with learnt spread and weights adapts to that and has a closed-form integral.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd.function import once_differentiable

from ..coding.tables import TableSet, freeze_symmetric
from ..latents.exact import LEVELS

SCALE_MIN = 0.08
SCALE_MAX = 100.0
LOG_STEP = math.log(SCALE_MAX / SCALE_MIN) / (LEVELS - 1)
#: Standard deviation of the logistic density with unit scale parameter.
LOGISTIC_STD = math.pi / math.sqrt(3.0)
COMPONENTS = 2
#: Elements that the likelihood handles at a time on a CPU: its dozen of intermediate arrays then stay in a cache.
BLOCK = 1 << 16
#: Largest 1/s: sinh of half of it is a float32. A density as narrow as that gives all of its mass to 0.
INVERSE_MAX = 160.0


def index_of_scale(sigma: torch.Tensor) -> torch.Tensor:
    """Standard deviation -> real-valued scale index (0 at SCALE_MIN, LEVELS - 1 at SCALE_MAX), same shape and type."""
    return torch.log(sigma.clamp_min(1e-6) / SCALE_MIN) / LOG_STEP


class ScaleMixture(nn.Module):
    """P(r | scale index) = integral over [r - 1/2, r + 1/2] of a two-logistic mixture of that spread."""

    def __init__(self) -> None:
        super().__init__()
        self.log_ratio = nn.Parameter(torch.tensor([-0.25, 0.35]))
        self.logit = nn.Parameter(torch.zeros(COMPONENTS))

    def log2_likelihood(self, r: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        """r, index: any equal shape, float32 or float64 -> log2 P(r | index), at most 0, same shape and type.

        index: real-valued, in [0, LEVELS - 1].
        """
        return _LogMass.apply(r, index, *self._mixed()) * (1.0 / math.log(2.0))

    def _mixed(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Logarithms of the components' scales, with a mean of 0, and of their weights, (COMPONENTS,) each."""
        # Of no spread in common: that is the index's part. Else the many latents whose index is 0 and who would be
        # narrower still take all others with them, until the widest table is too narrow for the best quality.
        return self.log_ratio - self.log_ratio.mean(), F.log_softmax(self.logit, dim=0)

    def slopes(self, r: torch.Tensor, index: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The derivatives of `log2_likelihood` in r and in index, of operations that a graph can hold."""
        log_ratio, log_weight = self._mixed()
        inverse = torch.exp(index * -LOG_STEP) * (LOGISTIC_STD / SCALE_MIN)
        (first, by_first, first_by_scale), (second, by_second, second_by_scale) = (
            _logistic(r.abs(), inverse * ratio) for ratio in torch.exp(-log_ratio).unbind()
        )
        share = torch.sigmoid(first - second + (log_weight[0] - log_weight[1]))
        by_r = torch.sign(r) * (by_second + share * (by_first - by_second))
        by_log_scale = second_by_scale + share * (first_by_scale - second_by_scale)
        return by_r * (1.0 / math.log(2.0)), by_log_scale * (LOG_STEP / math.log(2.0))

    @torch.no_grad()
    def freeze(self) -> TableSet:
        """One integer table per scale index, symmetric about 0, with an escape symbol."""
        pmfs = []
        for level in range(LEVELS):
            reach = max(2, math.ceil(10.0 * SCALE_MIN * math.exp(level * LOG_STEP)))
            r = torch.arange(0, reach + 1, dtype=torch.float64)
            log2p = self.log2_likelihood(r, torch.full_like(r, level))
            pmfs.append(np.exp2(log2p.numpy()))
        return freeze_symmetric(pmfs)


class _LogMass(torch.autograd.Function):
    """log P(r | index) in nats and its derivatives, in one pass over blocks that stay in a core's cache."""

    @staticmethod
    def forward(
        ctx: Any, r: torch.Tensor, index: torch.Tensor, log_ratio: torch.Tensor, log_weight: torch.Tensor
    ) -> torch.Tensor:
        ratios, log_weights = torch.exp(-log_ratio).unbind(), log_weight.unbind()
        # Value, d/dr, share of the first component, and for each component its share times d/d(log scale).
        out = torch.empty((3 + COMPONENTS, r.numel()), dtype=r.dtype, device=r.device)
        block = max(1, r.numel()) if r.is_cuda else BLOCK
        pairs = zip(r.reshape(-1).split(block), index.reshape(-1).split(block), out.split(block, dim=1), strict=True)
        for r_block, index_block, out_block in pairs:
            _mixture(r_block, index_block, ratios, log_weights, out_block)
        ctx.save_for_backward(out)
        return out[0].view(r.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, ...]:
        (out,) = ctx.saved_tensors
        g = gradient.reshape(-1)
        _, by_r, share, *by_log_scale = out
        to_log_scale = torch.stack([torch.dot(g, by) for by in by_log_scale])
        to_first = torch.dot(g, share)
        by_index = (by_log_scale[0] + by_log_scale[1]).mul_(g).mul_(LOG_STEP)
        to_weight = torch.stack([to_first, g.sum() - to_first])
        return (by_r * g).view(gradient.shape), by_index.view(gradient.shape), to_log_scale, to_weight


def _mixture(
    r: torch.Tensor,
    index: torch.Tensor,
    ratios: tuple[torch.Tensor, ...],
    log_weights: tuple[torch.Tensor, ...],
    out: torch.Tensor,
) -> None:
    """r, index: (n,) -> out (5, n), see `_LogMass.forward`. Responsibilities are those of a mixture: shares of P."""
    inverse = torch.exp(index * -LOG_STEP).mul_(LOGISTIC_STD / SCALE_MIN)
    magnitude = r.abs()
    terms = [_logistic(magnitude, inverse * ratio) for ratio in ratios]
    first, second = (log_p.add_(weight) for (log_p, _, _), weight in zip(terms, log_weights, strict=True))
    larger = torch.maximum(first, second)
    first, second = first.sub_(larger).exp_(), second.sub_(larger).exp_()
    torch.div(first, second.add_(first), out=out[2])
    torch.add(larger, second.log_(), out=out[0])
    shares = out[2], 1.0 - out[2]
    for row, share, (_, _, by_log_scale) in zip(out[3:], shares, terms, strict=True):
        torch.mul(share, by_log_scale, out=row)
    slope = sum(share * by_magnitude for share, (_, by_magnitude, _) in zip(shares, terms, strict=True))
    torch.mul(torch.sign(r), slope, out=out[1])


def _logistic(magnitude: torch.Tensor, inverse: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """|r| and 1/s, (n,) each -> log P in nats, d log P / d|r|, d log P / d log s, each (n,).

    The mass that a logistic density of scale s gives to [r - 1/2, r + 1/2] is sinh a / (cosh a + cosh b) with
    a = 1/(2 s) and b = |r|/s. Divided by exp(b), so that nothing overflows however far out r lies, it is
    exp(-b) 2 sinh a / D with D = 2 cosh a exp(-b) + 1 + exp(-2 b); then d log P / da = coth a - P and
    d log P / db = -(1 - exp(-2 b)) / D, which is near -1 in the tails, where a gradient must not vanish.
    """
    inverse = inverse.clamp_max_(INVERSE_MAX)
    b, a = magnitude * inverse, 0.5 * inverse
    # Of exponentials and logarithms alone: a processor has vectors for these, but not for sinh, log1p and their kin.
    tail, grown = torch.exp(-b), torch.exp(a)
    shrunk = grown.reciprocal()
    twice_sinh, twice_cosh = grown - shrunk, grown.add_(shrunk)
    squared = torch.square(tail)
    reciprocal = torch.addcmul(squared + 1.0, twice_cosh, tail).reciprocal_()
    mass = tail.mul_(twice_sinh).mul_(reciprocal)
    by_b = squared.sub_(1.0).mul_(reciprocal)
    by_a = twice_cosh.div_(twice_sinh).sub_(mass)
    log_p = torch.log(reciprocal.mul_(twice_sinh)).sub_(b)
    # a and b are both in proportion to 1/s.
    by_log_scale = by_a.mul_(a).addcmul_(by_b, b).neg_()
    return log_p, by_b.mul_(inverse), by_log_scale
