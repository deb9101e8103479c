"""Optimisers and learning-rate schedules of the training loop."""

from __future__ import annotations

import math

import torch
from torch import nn

from ..contracts import MissingDependencyError
from .config import TrainConfig


def make_optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """AdamW, SGD with Nesterov momentum, or SOAP (Vyas et al. 2024: Adam in the eigenbasis of Shampoo).

    Raises MissingDependencyError.
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    if config.optimizer == "adamw":
        return torch.optim.AdamW(
            parameters, lr=config.learning_rate, betas=(0.9, 0.98), weight_decay=config.weight_decay, fused=True
        )
    if config.optimizer == "sgd":
        return torch.optim.SGD(
            parameters, lr=config.learning_rate, momentum=0.95, nesterov=True, weight_decay=config.weight_decay
        )
    try:
        from pytorch_optimizer import SOAP
    except ImportError as error:
        raise MissingDependencyError("optimizer soap needs pytorch-optimizer: pip install 'aecodec[train]'") from error
    # The paper's own settings; its first step only fills the preconditioner.
    return SOAP(
        parameters,
        lr=config.learning_rate,
        betas=(0.95, 0.95),
        weight_decay=config.weight_decay,
        precondition_frequency=10,
        max_precondition_dim=1024,
    )


def rate_factor(config: TrainConfig, progress: float, step: int) -> float:
    """Learning rate relative to its peak. progress: share of the training done; step: for the warm-up.

    cosine: from 1 to 0 over the run. wsd (warm-up, stable, decay; Hu et al. 2024, MiniCPM, sec. 4): 1 until
    the last ``decay_share`` of the run, then linear to 0.
    """
    warm = min(1.0, (step + 1) / config.warmup) if config.warmup else 1.0
    if config.schedule == "cosine":
        return warm * 0.5 * (1.0 + math.cos(math.pi * progress))
    return warm * min(1.0, (1.0 - progress) / config.decay_share)
