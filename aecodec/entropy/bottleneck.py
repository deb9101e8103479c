"""The fully factorised prior: compressai's entropy bottleneck, its quantiles by bisection, its tables as integers.

A monotone network per channel is the cumulative distribution of that channel's latents (Balle et al. 2018,
"Variational Image Compression with a Scale Hyperprior", sec. 6.1). Symbols are distances to the median.
"""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np
import torch

from ..coding.tables import TableSet, freeze_pmfs
from ..contracts import MissingDependencyError, Quantiser
from ..latents.planes import symbol_range
from ..nn.gdn import forget_constants

#: Quantiles are searched within +-2^15, and a table reaches at most so far to either side of its median:
#: the rest escapes. Without a limit one flat channel would make every row of the stored table as long.
SEARCH_RADIUS = float(1 << 15)
MAX_REACH = 2047
#: Enough halvings to bring 2^16 below the resolution of float64 near 1.
HALVINGS = 70


def require_compressai() -> None:
    """Raise MissingDependencyError, saying what to install, unless compressai can be imported."""
    try:
        with warnings.catch_warnings():
            # Importing it calls parts of torch that torch has deprecated; its users can do nothing about that.
            warnings.simplefilter("ignore", FutureWarning)
            import_module("compressai.entropy_models")
    except ImportError as error:
        raise MissingDependencyError(
            f"this model family is built on compressai, which cannot be imported ({error}): "
            "pip install 'aecodec[compressai]', on Python 3.10 to 3.12: it needs NumPy 1, which newer ones lack"
        ) from error


def make_bottleneck(channels: int) -> Any:
    """A compressai EntropyBottleneck; its quantiles are searched when tables are frozen, not trained."""
    from compressai.entropy_models import EntropyBottleneck

    bottleneck = forget_constants(EntropyBottleneck(channels))
    bottleneck.quantiles.requires_grad_(False)
    return bottleneck


def medians(bottleneck: Any) -> torch.Tensor:
    """Of each channel, (C, 1, 1) float32."""
    return bottleneck.quantiles.detach()[:, :, 1:2]


def log2_likelihood(bottleneck: Any, values: torch.Tensor) -> torch.Tensor:
    """values: (B, C, H, W) float32, noisy latents -> log2 P, same shape, P bounded below by 1e-9."""
    batch, channels, height, width = values.shape
    flat = values.transpose(0, 1).reshape(channels, 1, -1)
    likelihood = bottleneck.likelihood_lower_bound(bottleneck._likelihood(flat)[0])
    return torch.log2(likelihood).reshape(channels, batch, height, width).transpose(0, 1)


@torch.no_grad()
def search_quantiles(bottleneck: Any, *, keep_medians: bool) -> None:
    """Find by bisection where each cumulative passes tail/2, 1/2 and 1 - tail/2, and store it.

    keep_medians: leave the medians as they are. What is found is rounded to half precision, so that a
    checkpoint of that precision holds the very medians that its tables were made for.
    """
    density = copy.deepcopy(bottleneck).double()
    logit = math.log(2.0 / bottleneck.tail_mass - 1.0)
    goals = torch.tensor([-logit, 0.0, logit], dtype=torch.float64, device=density.quantiles.device)
    low = torch.full_like(density.quantiles, -SEARCH_RADIUS)
    high = -low
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        below = density._logits_cumulative(middle, stop_gradient=True) < goals
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    found = ((low + high) / 2).half().to(bottleneck.quantiles.dtype)
    if keep_medians:
        found[:, :, 1:2] = medians(bottleneck)
    bottleneck.quantiles.copy_(found)


@torch.no_grad()
def freeze_bottleneck(bottleneck: Any) -> TableSet:
    """One integer table per channel over round(value - median), from quantile to quantile, with escape."""
    density = copy.deepcopy(bottleneck).double().cpu()
    low, middle, high = density.quantiles[:, 0].unbind(dim=1)
    below = torch.ceil(middle - low).clamp(0, MAX_REACH).long()
    above = torch.ceil(high - middle).clamp(0, MAX_REACH).long()
    start, stop = -int(below.max()), int(above.max()) + 1
    symbols = torch.arange(start, stop, dtype=torch.float64)
    pmf = density._likelihood(symbols + middle[:, None, None], stop_gradient=True)[0][:, 0].numpy()
    rows = [row[-b - start : a + 1 - start] for row, b, a in zip(pmf, below.tolist(), above.tolist(), strict=True)]
    return freeze_pmfs(rows, offsets=[-b for b in below.tolist()], escape=True)


def quantiser_around(centre: torch.Tensor, indices: np.ndarray, tables: TableSet) -> Quantiser:
    """The `TileCodec.quantiser` of a family whose prediction of y does not depend on y.

    centre: the prediction, float32 that broadcasts to (1, C, H, W); indices: (C, H, W) table indices.
    """
    lowest, highest = (
        torch.from_numpy(side).to(centre.device, torch.float32) for side in symbol_range(indices, tables)
    )

    def quantise(
        y: torch.Tensor, rounding: Callable[[torch.Tensor], torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        residual = torch.clamp(rounding(y - centre), lowest, highest)
        return residual + centre, residual

    return quantise
