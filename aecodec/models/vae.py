"""The variational autoencoder (Kingma and Welling 2014): E_q[log p(x | z)] - beta KL(q(z | x) || N(0, I))."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import nn

from ..contracts import Loss
from ..nn.stacks import make_decoder, make_encoder
from ..nn.variational import (
    VariationalModule,
    bernoulli_log_density,
    gaussian_log_density,
    kl_to_standard,
    reparametrise,
    warmed,
)


@dataclass(frozen=True)
class VaeConfig:
    """shape: of one item; latents: d; kind, hidden, width, levels, act: as of the autoencoder family.

    likelihood: "bernoulli" (pixels are drawn as 0 or 1 anew in every step, Burda et al. 2016) or "gaussian" (one learnt
    sigma for all pixels, Rybkin et al. 2021); beta: weight of the KL term (Higgins et al. 2017), 1 for the ELBO;
    warm: share of the training over which beta rises from 0.
    """

    shape: tuple[int, ...] = (1, 28, 28)
    latents: int = 32
    kind: str = "mlp"
    hidden: tuple[int, ...] = (400, 400)
    width: int = 16
    levels: int = 3
    act: str = "relu"
    likelihood: str = "bernoulli"
    beta: float = 1.0
    warm: float = 0.0


SIZES = {
    "tiny": VaeConfig(latents=4, hidden=(32,)),
    "base": VaeConfig(),
    "plane": VaeConfig(latents=2),
    "conv": VaeConfig(kind="conv"),
    "faces": VaeConfig(kind="conv", likelihood="gaussian", width=32, levels=3, latents=32),
}
RECIPE = {"size": "base", "steps": 40000, "batch": 256, "learning_rate": 1e-3, "ema": 0.999, "hold_out": 1000}

#: exp(-2 * 7) of squared [0, 1] units: a quarter of a grey level, beyond which 8-bit data cannot be known.
_SMALLEST_LOG_SIGMA = -7.0
#: Log variances of the posterior are kept within this, where exp() is harmless.
_LOG_VARIANCE_LIMIT = 12.0


class Vae(VariationalModule):
    """See the module's docstring. Raises ValueError for an unknown likelihood or a negative beta."""

    def __init__(self, config: VaeConfig) -> None:
        super().__init__()
        if config.likelihood not in ("bernoulli", "gaussian"):
            raise ValueError(f"expected a likelihood of bernoulli or gaussian, found {config.likelihood!r}")
        if config.beta < 0:
            raise ValueError(f"expected beta of at least 0, found {config.beta}")
        self.config = config
        self.shape, self.latents = tuple(config.shape), config.latents
        layout = (config.kind, self.shape, config.hidden, config.width, config.levels)
        self.encoder = make_encoder(*layout, 2 * config.latents, config.act)
        self.decoder = make_decoder(*layout, config.latents, config.act)
        self.log_sigma = nn.Parameter(torch.tensor(-1.5)) if config.likelihood == "gaussian" else None

    # -- the two networks --------------------------------------------------------------------------------------------

    def posterior(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """x: (B, *shape) float32 -> mean and log variance of q(z | x), (B, latents) float32 each."""
        mean, log_variance = self.encoder(x).float().chunk(2, 1)
        return mean, log_variance.clamp(-_LOG_VARIANCE_LIMIT, _LOG_VARIANCE_LIMIT)

    def decode(self, z: torch.Tensor) -> torch.Tensor:
        """z (B, latents) float32 -> the mean of p(x | z), (B, *shape) float32, in [0, 1] if that is Bernoulli."""
        return self._mean(self.decoder(z).float())

    def log_density(self, x: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        """log p(x | z) in nats, (B,) float32. x: (B, *shape), z: (B, latents)."""
        return self._log_density(x, self.decoder(z).float())

    def _log_density(self, x: torch.Tensor, raw: torch.Tensor) -> torch.Tensor:
        """raw: what the decoder gives, logits or means."""
        if self.log_sigma is None:
            return bernoulli_log_density(x, raw)
        return gaussian_log_density(x, raw, 2.0 * self.log_sigma.clamp_min(_SMALLEST_LOG_SIGMA))

    def _mean(self, raw: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid(raw) if self.log_sigma is None else raw

    # -- training and measures ---------------------------------------------------------------------------------------

    def loss(self, batch: torch.Tensor, rng: torch.Generator, progress: float = 0.0) -> Loss:
        """Minus the ELBO in nats per item, its KL weighted by beta; parts: mse of the decoded mean, kl, nats.

        batch: (B, *shape) float32, in [0, 1] with the Bernoulli likelihood.
        """
        x = torch.bernoulli(batch, generator=rng) if self.log_sigma is None else batch
        mean, log_variance = self.posterior(x)
        raw = self.decoder(reparametrise(mean, log_variance, rng)).float()
        log_density = self._log_density(x, raw)
        kl = kl_to_standard(mean, log_variance)
        parts = {
            "mse": (self._mean(raw.detach()) - batch).square().mean(),
            "kl": kl.mean().detach(),
            "nats": (kl - log_density).mean().detach(),
        }
        beta = warmed(self.config.beta, self.config.warm, progress)
        return Loss((beta * kl - log_density).mean(), parts)

    def bits_per_dimension(self, nats: torch.Tensor) -> torch.Tensor:
        """nats: (...) float32, of items -> bits per sample of the item, same shape."""
        return nats / (math.log(2.0) * math.prod(self.shape))
