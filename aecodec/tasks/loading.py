"""What a task begins with: a model that keeps a given protocol, and items of the model's shape, or one clear error."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from .. import checkpoint
from ..contracts import Autoencoder, CheckpointError, FrozenModel, UsageError
from ..data.arrays import as_float, holds_arrays, read_array
from ..data.resized import read_folder, read_view, view_of
from ..shield import shielded
from ..zoo.registry import find_model


@shielded()
def load_for(
    task: str, protocol: Any, model: str | Path | None, device: torch.device | str = "cpu"
) -> tuple[FrozenModel, Any]:
    """The frozen model and its module, which keeps ``protocol``. Raises CheckpointError where it does not."""
    frozen = checkpoint.load(find_model(model), device)
    if not isinstance(frozen.module, protocol):
        raise CheckpointError(f"{frozen.name} is a model of family {frozen.family}, which is of no use for {task}")
    return frozen, frozen.module


def check_items(model: Autoencoder, x: torch.Tensor) -> None:
    """Raises UsageError unless x is (N, *shape) of the model."""
    if tuple(x.shape[1:]) != tuple(model.shape):
        raise UsageError(f"the model is for items of shape {tuple(model.shape)}, found {tuple(x.shape[1:])}")


@shielded()
def read_items(model: Autoencoder, source: str | Path) -> torch.Tensor:
    """A folder of pictures, in the view that the model takes, or an array of an .npz -> (N, *shape) float32."""
    if holds_arrays(source):
        return as_float(torch.from_numpy(read_array(source)))
    view, side = view_of(tuple(model.shape))
    return as_float(torch.from_numpy(read_folder(Path(source), side, view)))


@shielded()
def read_item(model: Autoencoder, path: Path) -> torch.Tensor:
    """One picture file -> (1, *shape) float32."""
    view, side = view_of(tuple(model.shape))
    return as_float(torch.from_numpy(read_view(path, side, view))[None])
