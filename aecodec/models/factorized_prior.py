"""The factorised-prior codec of Balle et al. (2018): GDN transforms and one learnt density per channel.

"Variational Image Compression with a Scale Hyperprior", ICLR 2018, the model without its hyperprior;
compressai calls it bmshj2018-factorized. One rate per trained model: the quality step is carried and has no
effect. Which table codes a symbol depends on its channel alone, so files decode alike everywhere by design.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch

from ..contracts import LatentCode, Loss, Quantiser
from ..entropy.bottleneck import (
    freeze_bottleneck,
    log2_likelihood,
    make_bottleneck,
    medians,
    quantiser_around,
    require_compressai,
    search_quantiles,
)
from ..entropy.coded import Coded
from ..latents.factorized_prior import FactorizedPriorCoder
from ..latents.planes import channel_tables, nearest_symbols
from ..nn.gdn import analysis, synthesis
from ..nn.quantise import uniform_noise


@dataclass(frozen=True)
class FactorizedPriorConfig:
    """n: channels N of the transforms; m: channels M of y; mse_weight: lambda, the weight of the squared error
    on [0, 1] (0.013 * 255^2 by default); fixed_medians: the medians came with the weights (imported models)
    instead of being searched when tables are frozen."""

    n: int = 128
    m: int = 192
    mse_weight: float = 845.3
    fixed_medians: bool = False


#: Named sizes: "base" and "high" are the published ones for lower and higher rates.
SIZES = {
    "tiny": FactorizedPriorConfig(n=32, m=48),
    "base": FactorizedPriorConfig(),
    "high": FactorizedPriorConfig(n=192, m=320, mse_weight=3140.0),
}


class FactorizedPrior(Coded):
    """See the module's docstring. Pixels in and out are RGB in [0, 1]. Raises MissingDependencyError."""

    coder_class = FactorizedPriorCoder

    def __init__(self, config: FactorizedPriorConfig) -> None:
        super().__init__()
        require_compressai()
        self.config = config
        self.g_a = analysis(config.n, config.m)
        self.g_s = synthesis(config.n, config.m)
        self.entropy_bottleneck = make_bottleneck(config.m)
        self.tables = {}

    # -- training --------------------------------------------------------------------------------

    def loss(self, batch: torch.Tensor, rng: torch.Generator, progress: float = 0.0) -> Loss:
        """lambda * mse + bpp, with uniform noise for quantisation (eq. 4 of the paper).

        batch: (B, 3, H, W) float32 in [0, 1], H and W multiples of 16. progress has no effect.
        """
        y = self.g_a(batch).float()
        y_hat = y + uniform_noise(y, rng)
        # The density's small matrices do not survive bfloat16.
        with torch.autocast(y.device.type, enabled=False):
            bits = -log2_likelihood(self.entropy_bottleneck, y_hat).sum()
        mse = (self.g_s(y_hat).float() - batch).square().mean()
        bpp = bits / (batch.shape[0] * batch.shape[2] * batch.shape[3])
        return Loss(self.config.mse_weight * mse + bpp, {"bpp": bpp.detach(), "mse": mse.detach()})

    # -- coding ----------------------------------------------------------------------------------

    def freeze(self) -> None:
        """Find the density's quantiles and make the integer tables that files depend on."""
        search_quantiles(self.entropy_bottleneck, keep_medians=self.config.fixed_medians)
        self.tables = {"y": freeze_bottleneck(self.entropy_bottleneck)}

    def calibrate(self, pictures: Iterable[torch.Tensor]) -> None:
        """Nothing to fit: the tables are those of the learnt densities."""

    def analyse(self, x: torch.Tensor) -> torch.Tensor:
        """x (1, 3, H, W) float32 in [0, 1] -> y (1, M, H/16, W/16) float32."""
        return self.g_a(x).float()

    def quantise(self, y: torch.Tensor, quality: int) -> LatentCode:
        """y (1, M, H, W) of one tile -> its integers; the quality step is carried only."""
        residual = (y - medians(self.entropy_bottleneck))[0].detach().cpu().numpy()
        return LatentCode(nearest_symbols(residual, channel_tables(*y.shape[1:]), self.tables["y"]), None, quality)

    def distortion_weight(self, quality: int) -> float:
        """Lambda, the weight of the mean squared error on [0, 1] against bits per pixel."""
        return self.config.mse_weight

    def scaled(self, y: torch.Tensor, quality: int) -> torch.Tensor:
        """y as it is: the quantisation step is 1."""
        return y

    def quantiser(self, z: np.ndarray | None, indices: np.ndarray, quality: int) -> Quantiser:
        """See `TileCodec.quantiser`."""
        return quantiser_around(medians(self.entropy_bottleneck), indices, self.tables["y"])

    def dequantise(self, code: LatentCode) -> torch.Tensor:
        """Integers -> y_hat (1, M, H, W) float32."""
        centre = medians(self.entropy_bottleneck)
        return torch.from_numpy(code.y).to(centre.device, torch.float32)[None] + centre

    def synthesise(self, y_hat: torch.Tensor, quality: int) -> torch.Tensor:
        """y_hat (1, M, H, W) float32 -> x_hat (1, 3, 16H, 16W) float32, not clipped."""
        return self.g_s(y_hat).float()
