"""A checkpoint by name or path that keeps a given protocol, or one clear error."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from .. import checkpoint
from ..contracts import CheckpointError, FrozenModel
from ..zoo.registry import find_model


def load_for(
    task: str, protocol: Any, model: str | Path | None, device: torch.device | str = "cpu"
) -> tuple[FrozenModel, Any]:
    """The frozen model and its module, which keeps ``protocol``. Raises CheckpointError where it does not."""
    frozen = checkpoint.load(find_model(model), device)
    if not isinstance(frozen.module, protocol):
        raise CheckpointError(f"{frozen.name} is a model of family {frozen.family}, which is of no use for {task}")
    return frozen, frozen.module
