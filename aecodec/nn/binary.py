"""Making codes binary: thresholds, balanced bits, the gradient that passes through them, and noise before them."""

from __future__ import annotations

import torch

#: Slope of the sigmoid on logits of unit variance.
_SLOPE = 2.0


def above_zero(logits: torch.Tensor) -> torch.Tensor:
    """(B, K) floating -> (B, K) float32 in {0, 1}: the sign of each logit; zero counts as one."""
    return (logits >= 0).to(torch.float32)


def bi_half(logits: torch.Tensor) -> torch.Tensor:
    """(B, K) floating -> (B, K) float32 in {0, 1}: the upper ceil(B / 2) logits of each column become one.

    Of all assignments with half of the batch in each bin it is the nearest to the logits (Li and van Gemert 2021,
    "Deep unsupervised image hashing by maximizing bit entropy", eq. 5). Ties go to the earlier row.
    """
    order = logits.argsort(dim=0, descending=True, stable=True)
    bits = torch.zeros(logits.shape, dtype=torch.float32, device=logits.device)
    return bits.scatter_(0, order[: (len(logits) + 1) // 2], 1.0)


def straight_through(bits: torch.Tensor, probabilities: torch.Tensor) -> torch.Tensor:
    """The value of the bits with the gradient of their probabilities (Bengio, Leonard, Courville 2013).

    bits: (B, K) float32 in {0, 1}; probabilities: (B, K) float32 in [0, 1] -> (B, K) float32 in {0, 1}.
    """
    return bits + (probabilities - probabilities.detach())


def sampled_codes(
    logits: torch.Tensor, rng: torch.Generator, *, noise: float, balanced: bool, hard: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """(2 B, K) floating, one view of a batch above another -> codes in [-1, 1], and the probabilities of a one.

    noise: standard deviation of what is added to the logits; hard: codes are bits, with the gradient of the
    probabilities; balanced: each bit is given to half of each view's pictures.
    """
    noisy = logits + noise * torch.randn(logits.shape, generator=rng, device=logits.device)
    probabilities = torch.sigmoid(_SLOPE * noisy)
    if not hard:
        return 2 * probabilities - 1, probabilities
    values = noisy.detach()
    bits = torch.cat([bi_half(half) for half in values.chunk(2)]) if balanced else above_zero(values)
    return 2 * straight_through(bits, probabilities) - 1, probabilities


def kl_to_fair_coin(p: torch.Tensor) -> torch.Tensor:
    """p: probabilities of a one, of any shape -> mean of KL(Bernoulli(p) || Bernoulli(1/2)) in nats, scalar."""
    p = p.clamp(1e-6, 1 - 1e-6)
    return (p * (2 * p).log() + (1 - p) * (2 - 2 * p).log()).mean()


def correlation(codes: torch.Tensor) -> torch.Tensor:
    """(B, K) in [-1, 1] -> mean over pairs of different bits of their squared mean product."""
    products = codes.T @ codes / len(codes)
    bits = len(products)
    return (products.square().sum() - products.diagonal().square().sum()) / (bits * (bits - 1))


def masked(features: torch.Tensor, share: float, rng: torch.Generator) -> torch.Tensor:
    """(B, D) floating -> (B, D): a random share of the numbers set to zero, the others scaled to keep the mean.

    Drop-out (Srivastava et al. 2014), drawn from the generator. share: in [0, 1); 0 changes and draws nothing.
    """
    if not share:
        return features
    kept = torch.rand(features.shape, generator=rng, device=features.device) >= share
    return features * kept / (1 - share)
