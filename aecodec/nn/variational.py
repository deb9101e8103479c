"""The Gaussian algebra of variational autoencoders (Kingma and Welling 2014), in nats, one number per item."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F


def reparametrise(mean: torch.Tensor, log_variance: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
    """z = mu + sigma * epsilon with epsilon ~ N(0, I) (sec. 2.4), so that the gradient flows into mu and sigma."""
    noise = torch.randn(mean.shape, generator=rng, device=mean.device)
    return mean + torch.exp(0.5 * log_variance) * noise


def kl_to_standard(mean: torch.Tensor, log_variance: torch.Tensor) -> torch.Tensor:
    """KL(N(mu, sigma^2) || N(0, I)) in closed form (appendix B). (B, d) -> (B,)."""
    return 0.5 * (mean.square() + log_variance.exp() - 1.0 - log_variance).sum(1)


def standard_log_density(z: torch.Tensor) -> torch.Tensor:
    """log N(z; 0, I). (..., d) -> (...)."""
    return -0.5 * (z.square() + math.log(2.0 * math.pi)).sum(-1)


def gaussian_log_density(x: torch.Tensor, mean: torch.Tensor, log_variance: torch.Tensor) -> torch.Tensor:
    """log N(x; mu, sigma^2), summed over all but the first dimension. Broadcastable shapes -> (B,)."""
    each = -0.5 * (log_variance + math.log(2.0 * math.pi) + (x - mean).square() * torch.exp(-log_variance))
    return each.flatten(1).sum(1)


def bernoulli_log_density(x: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    """x log p + (1 - x) log(1 - p) with p = sigmoid(logits), summed over all but the first dimension -> (B,).

    For x between 0 and 1 this is the expectation over binarised x.
    """
    return -F.binary_cross_entropy_with_logits(logits, x, reduction="none").flatten(1).sum(1)


LogDensity = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


@torch.no_grad()
def evidence_bound(
    x: torch.Tensor,
    posterior: tuple[torch.Tensor, torch.Tensor],
    log_density: LogDensity,
    samples: int,
    rng: torch.Generator,
) -> torch.Tensor:
    """The ELBO, E_q[log p(x | z)] - KL (Kingma and Welling 2014, eq. 3), the expectation over so many samples.

    x: (B, *shape); posterior: mean and log variance, (B, d) each; log_density(x, z): log p(x | z), (B,). -> (B,) nats.
    """
    draws = [log_density(x, reparametrise(*posterior, rng)) for _ in range(samples)]
    return torch.stack(draws).mean(0) - kl_to_standard(*posterior)


@torch.no_grad()
def mean_surprise(
    x: torch.Tensor, posterior: tuple[torch.Tensor, torch.Tensor], log_density: LogDensity
) -> torch.Tensor:
    """KL - log p(x | mu): minus the ELBO with the posterior's mean instead of samples. -> (B,) nats."""
    return kl_to_standard(*posterior) - log_density(x, posterior[0])


@torch.no_grad()
def importance_bound(
    x: torch.Tensor,
    posterior: tuple[torch.Tensor, torch.Tensor],
    log_density: LogDensity,
    samples: int,
    rng: torch.Generator,
    chunk: int = 500,
) -> torch.Tensor:
    """log 1/K sum_k p(x, z_k) / q(z_k | x) with z_k ~ q: grows with K to log p(x) (Burda et al. 2016, eq. 8).

    x: (B, *shape); posterior: mean and log variance, (B, d) each; log_density(x, z): log p(x | z), (B,). -> (B,) nats.
    """
    mean, log_variance = posterior
    total = torch.full((len(x),), -math.inf, dtype=torch.float64, device=x.device)
    for start in range(0, samples, chunk):
        count = min(chunk, samples - start)
        many = mean.repeat_interleave(count, 0), log_variance.repeat_interleave(count, 0)
        z = reparametrise(*many, rng)
        weights = (
            log_density(x.repeat_interleave(count, 0), z) + standard_log_density(z) - gaussian_log_density(z, *many)
        )
        total = torch.logaddexp(total, torch.logsumexp(weights.double().view(len(x), count), 1))
    return (total - math.log(samples)).float()
