"""The flagship: one variable-rate codec whose files decode to the same latents on every device.

Transforms: cheap residual blocks beside a linear block transform (nn/transforms.py). Entropy: hyper-latent
z, scale indices from z and the quality step by exact integers (entropy/scale_net.py), means by a four-step
context model (entropy/context.py). Once frozen, the indices adapt to a tile while it is decoded
(entropy/scale_adaptation.py). Quality is continuous: per-channel log-gains at eleven knots.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from ..coding.tables import TableCounts
from ..contracts import QUALITY_KNOT, QUALITY_KNOTS, QUALITY_STEPS, BatchSource, LatentCode, Loss, Quantiser
from ..entropy.coded import Coded
from ..entropy.context import STEPS, HyperFeatures, MeanContext, group_by_step, ungroup
from ..entropy.hyper_prior import HyperAnalysis, HyperPrior
from ..entropy.scale_adaptation import ScaleAdaptation, fit
from ..entropy.scale_mixture import LOG_STEP, ScaleMixture, index_of_scale
from ..entropy.scale_net import ScaleNet
from ..latents.adaptation import Adaptation
from ..latents.exact import LEVELS
from ..latents.exact_hyperprior import ExactHyperpriorCoder
from ..nn.quantise import round_half_up, round_ste, uniform_noise
from ..nn.transforms import (
    Analysis,
    Synthesis,
    from_blocks,
    join_blocks,
    split_blocks,
    start_from_components,
    to_blocks,
)
from ..nn.visual import seen, seen_in_turn


@dataclass(frozen=True)
class ExactHyperpriorConfig:
    """channels: width C of the transforms; latents: N channels of y, a multiple of 4; hyper_latents: Z channels of z;
    features: width of the mean predictor; scale_hidden: width of the scale net; z_max: largest |z|;
    lambda_low, lambda_high: weights of the squared error (on [0, 1]) at qualities 0 and 100;
    quantise_from: share of the training after which the scale net is trained on its integer grid;
    rate_balance: a picture at lambda weighs lambda^-rate_balance in the loss, so that the costs of low and high
    rates, which differ by lambda^0.5 or so, count alike;
    visual: share of the distortion that is of what eyes see; the rest is squared error."""

    channels: int = 128
    latents: int = 256
    hyper_latents: int = 64
    analysis_blocks: int = 4
    synthesis_blocks: int = 5
    features: int = 96
    scale_hidden: int = 64
    z_max: int = 32
    lambda_low: float = 10.0
    lambda_high: float = 2048.0
    quantise_from: float = 0.6
    rate_balance: float = 0.0
    visual: float = 0.0


#: Near-optimal quantisation steps of a linear transform are this / sqrt(lambda).
STEP_ROOT_LAMBDA = 5.1
#: Crops whose blocks the linear transform starts from: so many draws of so many.
INITIAL_DRAWS, INITIAL_CROPS = 16, 48
#: Latents at each knot to which the adaptation of scales is fitted, in whole tiles.
ADAPTED_LATENTS = 1 << 23

#: Named sizes of the flagship.
SIZES = {
    "tiny": ExactHyperpriorConfig(),
    "small": ExactHyperpriorConfig(
        channels=192, latents=256, hyper_latents=96, analysis_blocks=6, synthesis_blocks=8, features=160
    ),
    "large": ExactHyperpriorConfig(
        channels=288, latents=256, hyper_latents=96, analysis_blocks=8, synthesis_blocks=11, features=192
    ),
}


class ExactHyperprior(Coded):
    """See the module's docstring. Pixels in and out are RGB in [0, 1]."""

    coder_class = ExactHyperpriorCoder

    def __init__(self, config: ExactHyperpriorConfig) -> None:
        super().__init__()
        self.config = c = config
        if c.latents % STEPS:
            raise ValueError(f"latents: a multiple of {STEPS}, not {c.latents}")
        self.analysis = Analysis(c.channels, c.latents, c.analysis_blocks)
        self.synthesis = Synthesis(c.channels, c.latents, c.synthesis_blocks)
        self.hyper_analysis = HyperAnalysis(c.latents, c.features, c.hyper_latents)
        self.hyper_features = HyperFeatures(c.hyper_latents, c.features)
        self.mean_context = MeanContext(c.latents, c.features)
        self.scale_net = ScaleNet(c.hyper_latents, c.latents, c.scale_hidden, c.z_max, QUALITY_KNOTS)
        self.adaptation = ScaleAdaptation()
        self.mixture = ScaleMixture()
        self.hyper_prior = HyperPrior(c.hyper_latents, QUALITY_KNOTS, c.z_max)
        # Log-gains at the knots: steps in proportion to 1/sqrt(lambda).
        spread = 0.25 * math.log(c.lambda_high / c.lambda_low)
        start = torch.linspace(-spread, spread, QUALITY_KNOTS)[:, None]
        self.y_gain = nn.Parameter(start.repeat(1, c.latents))
        self.y_inverse = nn.Parameter(-start.repeat(1, c.latents))
        self.branch_out = nn.Parameter(torch.zeros(QUALITY_KNOTS, c.channels))
        with torch.no_grad():
            self.scale_net.offset.copy_(start.repeat(1, c.latents) / LOG_STEP + index_of_scale(torch.tensor(1.0)))
        self.tables = {}

    # -- quality ---------------------------------------------------------------------------------

    def gain(self, knots: torch.Tensor, position: torch.Tensor) -> torch.Tensor:
        """knots (K, C) log-gains, position (B,) in [0, K - 1] -> gains (B, C), positive; all float32.

        Log-gains between two knots are interpolated linearly.
        """
        low = position.long().clamp(0, QUALITY_KNOTS - 2)
        return torch.exp(torch.lerp(knots[low], knots[low + 1], (position - low)[:, None]))

    def lagrangian(self, position: torch.Tensor) -> torch.Tensor:
        """position (B,) float32 in knots, [0, K - 1] -> lambda (B,) float32, geometric between the two ends."""
        c = self.config
        share = position / (QUALITY_KNOTS - 1)
        low, high = (torch.full_like(share, math.log(end)) for end in (c.lambda_low, c.lambda_high))
        return torch.exp(torch.lerp(low, high, share))

    def _middle(self) -> float:
        """Lambda half way between the two ends."""
        return math.sqrt(self.config.lambda_low * self.config.lambda_high)

    # -- start -----------------------------------------------------------------------------------

    @torch.no_grad()
    def initialise(self, source: BatchSource, rng: torch.Generator) -> None:
        """Start as a transform codec with adapted tables instead of from noise.

        The linear transform becomes the principal components of random blocks, and the scales become theirs.
        source: of pictures, (3, H, W) in [0, 1], sides multiples of 16.
        """
        crops = (source.draw(INITIAL_CROPS, rng) for _ in range(INITIAL_DRAWS))
        # A step of 1 is near-optimal in the middle of the range.
        scale = math.sqrt(self._middle()) / STEP_ROOT_LAMBDA
        sigma = start_from_components(self.analysis, self.synthesis, crops, scale).float()
        self.scale_net.offset.add_(index_of_scale(sigma)[None] - index_of_scale(torch.tensor(1.0)))

    # -- training --------------------------------------------------------------------------------

    def loss(self, batch: torch.Tensor, rng: torch.Generator, progress: float = 0.0) -> Loss:
        """lambda * distortion + bpp at a random quality per picture, balanced. batch: (B, 3, H, W) in [0, 1]."""
        position = torch.rand(len(batch), generator=rng, device=batch.device) * (QUALITY_KNOTS - 1)
        # As blocks from the beginning to the end: pixels need not be put into rows for their squared error.
        blocks = to_blocks(batch - 0.5)
        decoded, bits = self.forward(blocks, position, rng, quantised=progress >= self.config.quantise_from)
        mse = (decoded - blocks).square().mean(dim=(1, 2, 3))
        distortion = self.mixed(mse, batch, from_blocks(decoded) + 0.5) if self.config.visual else mse
        bpp = bits / (batch.shape[2] * batch.shape[3])
        return Loss(self.balanced(distortion, bpp, position), {"bpp": bpp.mean().detach(), "mse": mse.mean().detach()})

    def mixed(self, mse: torch.Tensor, x: torch.Tensor, x_hat: torch.Tensor) -> torch.Tensor:
        """The mean of mse (B,) and what eyes see of x_hat, as x (B, 3, H, W) float32 in [0, 1] or near it -> (B,)."""
        # Variances are small differences of large numbers: nothing for bfloat16.
        with torch.autocast(x.device.type, enabled=False):
            return torch.lerp(mse, seen_in_turn(x, x_hat), self.config.visual)

    def balanced(self, distortion: torch.Tensor, bpp: torch.Tensor, position: torch.Tensor) -> torch.Tensor:
        """The mean over pictures of lambda * distortion + bpp, balanced between rates; of (B,) float32 each."""
        weight = self.lagrangian(position)
        return ((weight / self._middle()) ** -self.config.rate_balance * (weight * distortion + bpp)).mean()

    def forward(
        self, blocks: torch.Tensor, position: torch.Tensor, rng: torch.Generator | None, quantised: bool
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Pictures (B, 3, H, W) in [-1/2, 1/2] as `to_blocks` gives them -> decoded, likewise, and estimated bits (B,).

        position: (B,) float32, quality in knots; quantised: whether the scale net works on its integer grid.
        """
        y = self.analysis.of_blocks(blocks, split_blocks(blocks)).float()
        y = y * self.gain(self.y_gain, position)[:, :, None, None]
        z = self.hyper_analysis(y).float()
        z_hat = round_ste(z).clamp(-self.config.z_max, self.config.z_max)
        knot = (position + 0.5).long()
        bits = -self.hyper_prior.log2_likelihood(z + uniform_noise(z, rng), knot).sum(dim=(1, 2, 3))
        index = group_by_step(self.scale_net_float(z_hat, position, quantised))
        wanted = group_by_step(y)
        y_hat, mean = self._walk(z_hat, index, wanted)
        noisy = torch.stack(wanted) - torch.stack(mean)
        noisy = noisy + uniform_noise(noisy, rng)
        y_bits = -self.mixture.log2_likelihood(noisy, torch.stack(index).clamp(0, LEVELS - 1))
        bits = bits + y_bits.view(STEPS, 4, len(blocks), -1).sum(dim=(0, 1, 3))
        y_out = ungroup(y_hat, y.shape) * self.gain(self.y_inverse, position)[:, :, None, None]
        coarse, fine = self.synthesis.as_blocks(y_out, self.gain(self.branch_out, position))
        return coarse.float() + join_blocks(fine), bits

    def _walk(
        self, z_hat: torch.Tensor, index: list[torch.Tensor], wanted: list[torch.Tensor]
    ) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """z_hat (B, Z, h, w) float32; scale indices and y by step, as `group_by_step` gives them -> y_hat and means.

        Residuals are rounded, straight through; latents of scale index 0 are not coded, and miss theirs.
        """

        def known(step: int, mean: torch.Tensor) -> torch.Tensor:
            return mean + torch.where(index[step] < 0.5, 0.0, round_ste(wanted[step] - mean))

        return self.mean_context.walk(self.hyper_features(z_hat), known)

    def scale_net_float(self, z_hat: torch.Tensor, position: torch.Tensor, quantised: bool) -> torch.Tensor:
        """The scale net outside autocast: its integers do not survive bfloat16. Shapes as of `ScaleNet.forward`."""
        with torch.autocast(z_hat.device.type, enabled=False):
            return self.scale_net(z_hat, position, quantised)

    # -- coding ----------------------------------------------------------------------------------

    def freeze(self) -> None:
        """Make the integer forms that files depend on: scale net, offsets, probability tables. No adaptation."""
        self.scale_net.freeze()
        self._adapt(None)
        self.tables = {"y": self.mixture.freeze(), "z": self.hyper_prior.freeze()}

    @torch.no_grad()
    def calibrate(self, pictures: Iterable[torch.Tensor]) -> None:
        """Fit the frozen tables, and the adaptation of their choice, to the integers of pictures at every knot.

        Training sees noise in place of rounding, so the densities it learns are not quite those of the
        rounded latents. pictures: (1, 3, H, W) float32 in [0, 1] each, sides multiples of ``alignment``; without any,
        the tables stay as they are and nothing adapts. The adaptation is fitted to whole tiles, the first
        ADAPTED_LATENTS of them at each knot: it learns most from pictures as large as those it is for.
        """
        self._adapt(None)
        counts = {name: TableCounts(tables) for name, tables in self.tables.items()}
        tiles: dict[int, list[tuple[np.ndarray, np.ndarray]]] = {}
        kept = 0
        for picture in pictures:
            y = self.analyse(picture)
            for quality in range(0, QUALITY_STEPS + 1, QUALITY_KNOT):
                code = self.quantise(y, quality)
                for name, (plane, _) in zip(("z", "y"), self.symbol_planes(code), strict=True):
                    counts[name].add(plane.symbols, plane.tables)
                if kept < ADAPTED_LATENTS:
                    magnitude = np.minimum(np.abs(code.y), np.iinfo(np.int16).max).astype(np.int16)
                    tiles.setdefault(quality, []).append((magnitude, self.table_indices(code)))
            kept += y.numel()
        if kept:
            self.tables = {"y": counts["y"].refit(symmetric=True), "z": counts["z"].refit(symmetric=False)}
            self._adapt(fit(self.tables["y"], self.mixture.freeze(), tiles))

    def _adapt(self, adaptation: Adaptation | None) -> None:
        self.adaptation.set(adaptation)
        self._coder = None

    def analyse(self, x: torch.Tensor) -> torch.Tensor:
        """x (1, 3, H, W) float32 in [0, 1] -> y (1, N, H/16, W/16) float32, the same for every quality."""
        return self.analysis(x - 0.5).float()

    def _position(self, quality: int) -> torch.Tensor:
        return torch.tensor([quality / QUALITY_KNOT], device=self.y_gain.device)

    def scaled(self, y: torch.Tensor, quality: int) -> torch.Tensor:
        """y as `analyse` gives it -> y in units of the quality's quantisation step, same shape and type."""
        return y * self.gain(self.y_gain, self._position(quality))[:, :, None, None]

    def distortion_weight(self, quality: int) -> float:
        """Lambda of a quality step, the weight of the distortion on [0, 1] against bits per pixel."""
        return float(self.lagrangian(self._position(quality)))

    def distortion(self, x: torch.Tensor, x_hat: torch.Tensor) -> torch.Tensor:
        """See `TileCodec.distortion`."""
        mse = super().distortion(x, x_hat)
        return torch.lerp(mse, seen(x, x_hat), self.config.visual) if self.config.visual else mse

    def quantise(self, y: torch.Tensor, quality: int) -> LatentCode:
        """y (1, N, H, W) float32 of one tile, H and W multiples of 4 -> its integers at a quality step."""
        y = self.scaled(y, quality)
        return self.with_hyper_latents(self.hyper_latents(y), y, quality)

    def hyper_latents(self, y: torch.Tensor) -> torch.Tensor:
        """See `HyperCodec.hyper_latents`."""
        return self.hyper_analysis(y).float()

    def with_hyper_latents(self, z: torch.Tensor, y: torch.Tensor, quality: int) -> LatentCode:
        """See `HyperCodec.with_hyper_latents`."""
        z = round_half_up(z).clamp(-self.config.z_max, self.config.z_max)
        z_int = z[0].to(torch.int32).cpu().numpy()
        index = self.coder.scale_indices(z_int, quality)
        residual = self.quantiser(z_int, index, quality)(y, round_half_up)[1]
        return LatentCode(residual[0].to(torch.int32).cpu().numpy(), z_int, quality, index)

    def hyper_cost(
        self,
        z: torch.Tensor,
        y: torch.Tensor,
        quality: int,
        rounding: Callable[[torch.Tensor], torch.Tensor],
        weight: torch.Tensor,
    ) -> torch.Tensor:
        """See `HyperCodec.hyper_cost`. Bits of z are those of its prior, linear between integers; of y, the mixture's
        at residuals that are not rounded. Latents of scale index 0 are not coded: they miss their residual."""
        position = self._position(quality)
        knot = (position + 0.5).long()
        z_hat = rounding(z).clamp(-self.config.z_max, self.config.z_max)
        low = torch.floor(z_hat.detach())
        below, above = (self.hyper_prior.log2_likelihood(value, knot) for value in (low, low + 1.0))
        bits = -torch.lerp(below, above, z_hat - low).sum()
        index = group_by_step(self.scale_net_float(z_hat, position, quantised=False).clamp(0, LEVELS - 1))
        wanted, weights = group_by_step(y), group_by_step(weight.expand_as(y))

        y_hat, mean = self._walk(z_hat, index, wanted)
        for step, target in enumerate(wanted):
            bits = bits - self.mixture.log2_likelihood(target - mean[step], index[step]).sum()
            bits = bits + (weights[step] * (target - y_hat[step]).square()).sum()
        return bits

    def quantiser(self, z: np.ndarray | None, indices: np.ndarray, quality: int) -> Quantiser:
        """See `TileCodec.quantiser`: rounds to what the tables can express, and to 0 where the scale index is 0."""
        reach = torch.from_numpy(self.coder.reach(indices)).to(self.y_gain.device, torch.float32)

        def quantise(
            y: torch.Tensor, rounding: Callable[[torch.Tensor], torch.Tensor]
        ) -> tuple[torch.Tensor, torch.Tensor]:
            return self._reconstruct(z, quality, lambda mean: torch.clamp(rounding(y - mean), -reach, reach))

        return quantise

    def _reconstruct(
        self, z: np.ndarray | None, quality: int, residual_of: Callable[[torch.Tensor], torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """z (Z, h, w) int32 -> (y_hat without the quality's gain, residual), both (1, N, 4h, 4w) float32.

        residual_of: as of `MeanContext.reconstruct`.
        """
        z_hat = torch.from_numpy(z).to(self.y_gain.device, torch.float32)[None]
        height, width = 4 * z_hat.shape[2], 4 * z_hat.shape[3]
        unknown = torch.zeros((1, self.config.latents, height, width), device=z_hat.device)
        y_hat, residual, _ = self.mean_context.reconstruct(self.hyper_features(z_hat), unknown, residual_of)
        return y_hat * self.gain(self.y_inverse, self._position(quality))[:, :, None, None], residual

    def dequantise(self, code: LatentCode) -> torch.Tensor:
        """Integers -> y_hat (1, N, H, W) float32 with the quality's gains undone."""
        residual = torch.from_numpy(code.y).to(self.y_gain.device, torch.float32)[None]
        return self._reconstruct(code.hyper_latents(), code.quality, lambda mean: residual)[0]

    def synthesise(self, y_hat: torch.Tensor, quality: int) -> torch.Tensor:
        """y_hat (1, N, H, W) float32 -> x_hat (1, 3, 16H, 16W) float32, not clipped."""
        return self.synthesis(y_hat, self.gain(self.branch_out, self._position(quality))).float() + 0.5
