"""The mean-scale hyperprior codec of Minnen et al. (2018), with its choice of tables made exact.

"Joint Autoregressive and Hierarchical Priors for Learned Image Compression", NeurIPS 2018, the model without
its autoregressive part; compressai calls it mbt2018-mean. One rate per trained model: the quality step is
carried and has no effect. When tables are frozen, the scales' half of the hyper-synthesis h_s is mirrored in
fixed point (entropy/gaussian_scales.py), so that files decode to the same latents on every device.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from ..contracts import LatentCode, Loss, Quantiser
from ..entropy import bottleneck, gaussian_scales
from ..entropy.bottleneck import medians, quantiser_around
from ..entropy.coded import Coded
from ..latents.mean_scale_hyperprior import MeanScaleHyperpriorCoder
from ..latents.planes import channel_tables, nearest_symbols
from ..nn.gdn import analysis, synthesis
from ..nn.quantise import uniform_noise


@dataclass(frozen=True)
class MeanScaleHyperpriorConfig:
    """n: channels N of the transforms and of z; m: channels M of y; mse_weight: lambda, the weight of the
    squared error on [0, 1] (0.013 * 255^2 by default); fixed_medians: the medians came with the weights
    (imported models) instead of being searched when tables are frozen."""

    n: int = 128
    m: int = 192
    mse_weight: float = 845.3
    fixed_medians: bool = False


#: Named sizes: "base" and "high" are the published ones for lower and higher rates.
SIZES = {
    "tiny": MeanScaleHyperpriorConfig(n=32, m=48),
    "base": MeanScaleHyperpriorConfig(),
    "high": MeanScaleHyperpriorConfig(n=192, m=320, mse_weight=3140.0),
}


def hyper_analysis(n: int, m: int) -> nn.Sequential:
    """h_a: y (B, M, H, W) float32 -> z (B, N, H/4, W/4) float32, H and W multiples of 4."""
    from compressai.models.utils import conv

    return nn.Sequential(conv(m, n, kernel_size=3, stride=1), nn.LeakyReLU(), conv(n, n), nn.LeakyReLU(), conv(n, n))


def hyper_synthesis(n: int, m: int) -> nn.Sequential:
    """h_s: z_hat (B, N, h, w) float32 -> (B, 2M, 4h, 4w) float32, scales then means."""
    from compressai.models.utils import conv, deconv

    middle = m * 3 // 2
    last = conv(middle, 2 * m, kernel_size=3, stride=1)
    return nn.Sequential(deconv(n, m), nn.LeakyReLU(), deconv(m, middle), nn.LeakyReLU(), last)


class MeanScaleHyperprior(Coded):
    """See the module's docstring. Pixels in and out are RGB in [0, 1]. Raises MissingDependencyError."""

    coder_class = MeanScaleHyperpriorCoder

    def __init__(self, config: MeanScaleHyperpriorConfig) -> None:
        super().__init__()
        bottleneck.require_compressai()
        self.config = config
        self.g_a = analysis(config.n, config.m)
        self.g_s = synthesis(config.n, config.m)
        self.h_a = hyper_analysis(config.n, config.m)
        self.h_s = hyper_synthesis(config.n, config.m)
        self.entropy_bottleneck = bottleneck.make_bottleneck(config.n)
        self.gaussian_conditional = gaussian_scales.make_gaussian()
        self.fixed_scales = gaussian_scales.FixedScales(self.h_s, config.n, config.m)
        self.tables = {}

    # -- training --------------------------------------------------------------------------------

    def loss(self, batch: torch.Tensor, rng: torch.Generator, progress: float = 0.0) -> Loss:
        """lambda * mse + bpp, with uniform noise for the quantisation of z and of y.

        batch: (B, 3, H, W) float32 in [0, 1], H and W multiples of 64. progress has no effect.
        """
        y = self.g_a(batch).float()
        z = self.h_a(y).float()
        z_hat = z + uniform_noise(z, rng)
        y_hat = y + uniform_noise(y, rng)
        scales, means = self.h_s(z_hat).float().chunk(2, dim=1)
        # The density's small matrices do not survive bfloat16, and neither do small likelihoods.
        with torch.autocast(y.device.type, enabled=False):
            bits = -bottleneck.log2_likelihood(self.entropy_bottleneck, z_hat).sum()
            bits = bits - gaussian_scales.log2_likelihood(self.gaussian_conditional, y_hat, scales, means).sum()
        mse = (self.g_s(y_hat).float() - batch).square().mean()
        bpp = bits / (batch.shape[0] * batch.shape[2] * batch.shape[3])
        return Loss(self.config.mse_weight * mse + bpp, {"bpp": bpp.detach(), "mse": mse.detach()})

    # -- coding ----------------------------------------------------------------------------------

    def freeze(self) -> None:
        """Make the integer forms that files depend on: z's tables, the Gaussians' and the scale predictor."""
        bottleneck.search_quantiles(self.entropy_bottleneck, keep_medians=self.config.fixed_medians)
        scales = gaussian_scales.scale_table()
        self.fixed_scales.freeze(self.h_s, medians(self.entropy_bottleneck), scales)
        self.tables = {
            "y": gaussian_scales.freeze_gaussians(scales, self.gaussian_conditional.tail_mass),
            "z": bottleneck.freeze_bottleneck(self.entropy_bottleneck),
        }

    def calibrate(self, pictures: Iterable[torch.Tensor]) -> None:
        """Nothing to fit: the tables are those of the learnt density and of exact Gaussians."""

    def analyse(self, x: torch.Tensor) -> torch.Tensor:
        """x (1, 3, H, W) float32 in [0, 1] -> y (1, M, H/16, W/16) float32."""
        return self.g_a(x).float()

    def quantise(self, y: torch.Tensor, quality: int) -> LatentCode:
        """y (1, M, H, W) float32 of one tile, sides multiples of 4 -> its integers; the quality step is carried."""
        z = self.h_a(y).float() - medians(self.entropy_bottleneck)
        z_int = nearest_symbols(z[0].detach().cpu().numpy(), channel_tables(*z.shape[1:]), self.tables["z"])
        residual, index = y - self._means(torch.from_numpy(z_int)), self.coder.scale_indices(z_int)
        return LatentCode(
            nearest_symbols(residual[0].detach().cpu().numpy(), index, self.tables["y"]), z_int, quality, index
        )

    def distortion_weight(self, quality: int) -> float:
        """Lambda, the weight of the mean squared error on [0, 1] against bits per pixel."""
        return self.config.mse_weight

    def scaled(self, y: torch.Tensor, quality: int) -> torch.Tensor:
        """y as it is: the quantisation step is 1."""
        return y

    def quantiser(self, z: np.ndarray | None, indices: np.ndarray, quality: int) -> Quantiser:
        """See `TileCodec.quantiser`."""
        return quantiser_around(self._means(torch.from_numpy(z)), indices, self.tables["y"])

    def _means(self, z: torch.Tensor) -> torch.Tensor:
        """z (N, h, w) int32 symbols -> predicted means of y (1, M, 4h, 4w) float32."""
        centre = medians(self.entropy_bottleneck)
        z_hat = z.to(centre.device, torch.float32)[None] + centre
        return self.h_s(z_hat).float().chunk(2, dim=1)[1]

    def dequantise(self, code: LatentCode) -> torch.Tensor:
        """Integers -> y_hat (1, M, H, W) float32."""
        means = self._means(torch.from_numpy(code.hyper_latents()))
        return torch.from_numpy(code.y).to(means.device, torch.float32)[None] + means

    def synthesise(self, y_hat: torch.Tensor, quality: int) -> torch.Tensor:
        """y_hat (1, M, H, W) float32 -> x_hat (1, 3, 16H, 16W) float32, not clipped."""
        return self.g_s(y_hat).float()
