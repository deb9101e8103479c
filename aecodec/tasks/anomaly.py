"""Anomaly detection: a model that knows normal items reconstructs others badly."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ..contracts import Autoencoder, UsageError, Variational
from ..metrics.detection import threshold_for

#: How an item is scored: its squared error, or minus its ELBO in nats.
SCORES = ("error", "surprise")
_BATCH = 256


@dataclass(frozen=True)
class Detector:
    """threshold: items that score above it are reported; score: one of SCORES; false_alarm_rate: the share of normal
    items that was allowed to lie above; normal_items: how many of them there were."""

    threshold: float
    score: str
    false_alarm_rate: float
    normal_items: int


def check_items(model: Autoencoder, x: torch.Tensor) -> None:
    """Raises UsageError unless x is (N, *shape) of the model."""
    if tuple(x.shape[1:]) != tuple(model.shape):
        raise UsageError(f"the model is for items of shape {tuple(model.shape)}, found {tuple(x.shape[1:])}")


@torch.no_grad()
def scores(model: Autoencoder, x: torch.Tensor, score: str = "error") -> torch.Tensor:
    """x: (N, *shape) float32 -> (N,) float32, larger for stranger items; each item's own, whatever stands beside it.

    "error": mean squared error; "surprise": minus the ELBO in nats, for variational models. Raises UsageError.
    """
    check_items(model, x)
    if score not in SCORES:
        raise UsageError(f"expected a score of {', '.join(SCORES)}, found {score!r}")
    if score == "surprise" and not isinstance(model, Variational):
        raise UsageError("the score 'surprise' needs a variational model")
    parts = []
    for batch in x.split(_BATCH):
        if isinstance(model, Variational) and score == "surprise":
            parts.append(model.surprise(batch))
        else:
            parts.append((model.reconstruct(batch) - batch).square().flatten(1).mean(1))
    return torch.cat(parts).float() if parts else torch.empty(0)


@torch.no_grad()
def heat_map(model: Autoencoder, x: torch.Tensor) -> torch.Tensor:
    """Where the model fails: squared error averaged over channels. x: (N, C, H, W) -> (N, H, W) float32."""
    check_items(model, x)
    return (model.reconstruct(x) - x).square().mean(1)


def fit(model: Autoencoder, normal: torch.Tensor, false_alarm_rate: float = 0.05, score: str = "error") -> Detector:
    """The threshold that at most this share of normal items exceed. normal: (N, *shape), not trained on.

    Raises UsageError.
    """
    try:
        threshold = threshold_for(scores(model, normal, score).cpu().numpy(), false_alarm_rate)
    except ValueError as error:
        raise UsageError(str(error)) from error
    return Detector(threshold, score, false_alarm_rate, len(normal))
