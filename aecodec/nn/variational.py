"""Variational autoencoders (Kingma and Welling 2014): their Gaussian algebra, and the bounds that follow from it."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from torch import nn


def reparametrise(mean: torch.Tensor, log_variance: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
    """z = mu + sigma * epsilon with epsilon ~ N(0, I) (sec. 2.4), so that the gradient flows into mu and sigma.

    mean, log_variance: (B, d) float32 -> (B, d) float32.
    """
    noise = torch.randn(mean.shape, generator=rng, device=mean.device)
    return mean + torch.exp(0.5 * log_variance) * noise


def kl_to_standard(mean: torch.Tensor, log_variance: torch.Tensor) -> torch.Tensor:
    """KL(N(mu, sigma^2) || N(0, I)) in closed form (appendix B). (B, d) float32 each -> (B,) nats, not negative."""
    return 0.5 * (mean.square() + log_variance.exp() - 1.0 - log_variance).sum(1)


def standard_log_density(z: torch.Tensor) -> torch.Tensor:
    """log N(z; 0, I). (..., d) float32 -> (...) nats."""
    return -0.5 * (z.square() + math.log(2.0 * math.pi)).sum(-1)


def gaussian_log_density(x: torch.Tensor, mean: torch.Tensor, log_variance: torch.Tensor) -> torch.Tensor:
    """log N(x; mu, sigma^2), summed over all but the first dimension. Float32 of shapes that broadcast -> (B,) nats."""
    each = -0.5 * (log_variance + math.log(2.0 * math.pi) + (x - mean).square() * torch.exp(-log_variance))
    return each.flatten(1).sum(1)


def bernoulli_log_density(x: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    """x log p + (1 - x) log(1 - p) with p = sigmoid(logits), summed over all but the first dimension.

    x: (B, *shape) float32 in [0, 1]; logits: likewise, of any value -> (B,) nats, not positive. For x between 0 and 1
    this is the expectation over binarised x.
    """
    return -F.binary_cross_entropy_with_logits(logits, x, reduction="none").flatten(1).sum(1)


def warmed(weight: float, warm: float, progress: float) -> float:
    """A weight that rises linearly from 0 over the share ``warm`` of the training, at ``progress``, both in [0, 1]."""
    return weight * (min(1.0, progress / warm) if warm else 1.0)


class VariationalModule(nn.Module, ABC):
    """What follows from a Gaussian posterior q(z | x), a decoder and a likelihood p(x | z), under the prior N(0, I).

    x: items, (B, *shape) float32; z: codes, (B, d) float32; nats are of each item, (B,) float32.
    """

    #: Samples of an item that are decoded together.
    samples_at_once = 500

    @abstractmethod
    def posterior(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """x -> mean and log variance of q(z | x), (B, d) float32 each."""

    @abstractmethod
    def decode(self, z: torch.Tensor) -> torch.Tensor:
        """z -> the item that it stands for, like x."""

    @abstractmethod
    def log_density(self, x: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        """log p(x | z) in nats."""

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        """The posterior's mean, (B, d) float32."""
        return self.posterior(x)[0]

    def reconstruct(self, x: torch.Tensor) -> torch.Tensor:
        """decode(encode(x)), like x."""
        return self.decode(self.encode(x))

    @torch.no_grad()
    def elbo(self, x: torch.Tensor, rng: torch.Generator, samples: int = 1) -> torch.Tensor:
        """E_q[log p(x | z)] - KL in nats (Kingma and Welling 2014, eq. 3), the expectation over so many samples."""
        posterior = self.posterior(x)
        draws = [self.log_density(x, reparametrise(*posterior, rng)) for _ in range(samples)]
        return torch.stack(draws).mean(0) - kl_to_standard(*posterior)

    @torch.no_grad()
    def surprise(self, x: torch.Tensor) -> torch.Tensor:
        """KL - log p(x | mu) in nats: minus the ELBO with the posterior's mean instead of samples."""
        posterior = self.posterior(x)
        return kl_to_standard(*posterior) - self.log_density(x, posterior[0])

    @torch.no_grad()
    def log_likelihood(self, x: torch.Tensor, rng: torch.Generator, samples: int = 500) -> torch.Tensor:
        """log 1/K sum_k p(x, z_k) / q(z_k | x) in nats, with K samples z_k ~ q.

        Above the ELBO; it grows with K to log p(x) (Burda et al. 2016, eq. 8).
        """
        mean, log_variance = self.posterior(x)
        total = torch.full((len(x),), -math.inf, dtype=torch.float64, device=x.device)
        for start in range(0, samples, self.samples_at_once):
            count = min(self.samples_at_once, samples - start)
            many = mean.repeat_interleave(count, 0), log_variance.repeat_interleave(count, 0)
            z = reparametrise(*many, rng)
            joint = self.log_density(x.repeat_interleave(count, 0), z) + standard_log_density(z)
            weights = joint - gaussian_log_density(z, *many)
            total = torch.logaddexp(total, torch.logsumexp(weights.double().view(len(x), count), 1))
        return (total - math.log(samples)).float()
