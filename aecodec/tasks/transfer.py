"""Transfer: what a pretrained encoder is worth for classification, by a linear probe or by fine-tuning."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from ..contracts import Autoencoder, Featured, UsageError
from ..shield import shielded
from .loading import check_items

_BATCH = 1024


@shielded()
def features_of(model: Autoencoder, x: torch.Tensor) -> torch.Tensor:
    """The features that a family gives to classifiers, else its code. x: (N, *shape) -> (N, d), with a gradient."""
    return model.features(x) if isinstance(model, Featured) else model.encode(x)


@shielded()
@torch.no_grad()
def extract(model: Autoencoder, x: torch.Tensor) -> torch.Tensor:
    """Features of many items, (N, d) float32. Raises UsageError for items of another shape."""
    check_items(model, x)
    return torch.cat([features_of(model, batch).float() for batch in x.split(_BATCH)])


def check_labels(train: np.ndarray, test: np.ndarray) -> None:
    """Raises UsageError if a class to be told was never taught."""
    unknown = sorted(set(np.unique(test).tolist()) - set(np.unique(train).tolist()))
    if unknown:
        raise UsageError(f"unknown classes in the test labels: {', '.join(map(str, unknown))}")


def few_labels(labels: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Numbers of ``count`` items, every class as often as another, drawn at random, (count,). Raises UsageError."""
    classes = np.unique(labels)
    share, rest = divmod(count, len(classes))
    if rest or not share:
        raise UsageError(f"{count} labels cannot be shared evenly by {len(classes)} classes")
    rng = np.random.default_rng(seed)
    chosen = []
    for name in classes:
        members = np.flatnonzero(labels == name)
        if len(members) < share:
            raise UsageError(f"class {name} has {len(members)} items, {share} are wanted")
        chosen.append(rng.choice(members, share, replace=False))
    return rng.permutation(np.concatenate(chosen))


@dataclass(frozen=True)
class Probe:
    """Multinomial logistic regression on standardised features. classes: (K,) the labels that its outputs mean."""

    weight: torch.Tensor
    bias: torch.Tensor
    mean: torch.Tensor
    scale: torch.Tensor
    classes: np.ndarray

    @shielded()
    def predict(self, features: torch.Tensor) -> np.ndarray:
        """(N, d) -> labels (N,)."""
        logits = (features - self.mean) / self.scale @ self.weight + self.bias
        return self.classes[logits.argmax(1).cpu().numpy()]

    @shielded()
    def error(self, features: torch.Tensor, labels: np.ndarray) -> float:
        """Share of wrong answers, in [0, 1]."""
        return float(np.mean(self.predict(features) != labels))


@shielded()
def fit_probe(features: torch.Tensor, labels: np.ndarray, *, penalty: float = 1e-4, iterations: int = 200) -> Probe:
    """Cross-entropy plus penalty / 2 ||W||^2, minimised by L-BFGS over all items at once; the encoder stays as it is.

    features: (N, d); labels: (N,) integers.
    """
    classes, indices = np.unique(labels, return_inverse=True)
    target = torch.from_numpy(indices).to(features.device)
    mean = features.mean(0)
    # A unit that is hardly ever active must not be blown up to unit variance: the floor is a tenth of the typical one.
    deviation = features.std(0)
    scale = deviation.clamp_min(0.1 * float(deviation.square().mean().sqrt()) + 1e-8)
    x = (features - mean) / scale
    weight = torch.zeros(x.shape[1], len(classes), device=x.device, requires_grad=True)
    bias = torch.zeros(len(classes), device=x.device, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [weight, bias], max_iter=iterations, history_size=20, line_search_fn="strong_wolfe", tolerance_change=1e-7
    )

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(x @ weight + bias, target) + 0.5 * penalty * weight.square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    return Probe(weight.detach(), bias.detach(), mean, scale, classes)


class Classifier(nn.Module):
    """A copy of a model's encoder with a linear layer on its code. frozen: whether the encoder must stay as it is."""

    def __init__(self, model: Any, classes: int, *, frozen: bool) -> None:
        super().__init__()
        self.encoder = copy.deepcopy(model).requires_grad_(not frozen)
        self.head = nn.Linear(model.latents, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(features_of(self.encoder, x))


@shielded()
def fine_tune(
    classifier: Classifier,
    x: torch.Tensor,
    labels: np.ndarray,
    *,
    steps: int = 300,
    learning_rate: float = 1e-3,
    noise: float = 0.1,
    seed: int = 0,
) -> Classifier:
    """Adam on batches of at most 250 of the few labelled items, in place; the rate falls linearly to 0.

    x: (N, *shape); labels: (N,) in [0, classes); noise: sigma of what is added to the items in every step, in units of
    the data. Not a training run: there is nothing to resume, and the same call gives the same weights.
    """
    rng = torch.Generator(device=x.device).manual_seed(seed)
    target = torch.from_numpy(labels).long().to(x.device)
    moving = [p for p in classifier.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(moving, lr=learning_rate)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = learning_rate * (1.0 - step / steps)
        which = torch.randperm(len(x), generator=rng, device=x.device)[:250]
        seen = x[which] + noise * torch.randn(len(which), *x.shape[1:], generator=rng, device=x.device)
        loss = F.cross_entropy(classifier(seen), target[which])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return classifier


@shielded()
@torch.no_grad()
def error_rate(classifier: Classifier, x: torch.Tensor, labels: np.ndarray) -> float:
    """Share of wrong answers, in [0, 1]. x: (N, *shape)."""
    answers = torch.cat([classifier(batch).argmax(1) for batch in x.split(_BATCH)])
    return float(np.mean(answers.cpu().numpy() != labels))
