"""A feature extractor of the package timm, with weights from a file or from the user's own cache, never downloaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..contracts import CheckpointError, MissingDependencyError
from ..data.pickled import read_pickled

PREFIX = "timm:"
#: Names under which a repository of weights keeps them.
_CACHED_FILES = ("model.safetensors", "pytorch_model.bin")


class Backbone(nn.Module):
    """x (B, C, H, W) float32 in [0, 1] -> features (B, width) float32, pooled; C must be that of the extractor.

    ``name``: what ``timm.create_model`` takes. Weights are random until `load_weights`. Raises ImportError without
    timm, RuntimeError for a name that it does not know.
    """

    def __init__(self, name: str, channels: int) -> None:
        super().__init__()
        import timm

        if not timm.is_model(name):
            raise RuntimeError(f"timm has no model {name!r}")
        net: Any = timm.create_model(name, pretrained=False, num_classes=0, in_chans=channels)
        self.net = net
        settings = net.pretrained_cfg
        self.repository: str | None = settings.get("hf_hub_id")
        self.width = int(net.num_features)
        mean, std = (list(settings.get(key) or default) for key, default in (("mean", (0.5,)), ("std", (0.5,))))
        if len(mean) != channels:
            mean, std = [sum(mean) / len(mean)] * channels, [sum(std) / len(std)] * channels
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1))

    mean: torch.Tensor
    std: torch.Tensor

    @classmethod
    def named(cls, name: str, channels: int) -> Backbone:
        """name: as configurations have it, "timm:NAME". Raises MissingDependencyError without timm; RuntimeError."""
        try:
            return cls(name.removeprefix(PREFIX), channels)
        except ImportError as error:
            raise MissingDependencyError(f"backbone {name} needs {error.name}: pip install 'aecodec[timm]'") from error

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net((x - self.mean) / self.std)

    def load_weights(self, source: str) -> None:
        """source: a .safetensors or .pth file, or "cache" for what was downloaded for timm before.

        The classifier at the end is left out. Raises FileNotFoundError if there is no such file, RuntimeError if its
        tensors do not fit, CheckpointError if it is damaged.
        """
        path = self._cached() if source == "cache" else Path(source)
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no such file of weights")
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            state: dict[str, Any] = dict(load_file(path))
        else:
            state = read_pickled(path, CheckpointError)
        state = state.get("state_dict", state) if isinstance(state, dict) else {}
        if not isinstance(state, dict):
            raise CheckpointError(f"{path}: not a file of weights")
        missing, _ = self.net.load_state_dict(state, strict=False)
        if missing:
            raise RuntimeError(f"{path}: lacks {len(missing)} tensors of the extractor, {missing[0]} among them")

    def _cached(self) -> Path:
        from huggingface_hub import try_to_load_from_cache

        if self.repository:
            for name in _CACHED_FILES:
                found = try_to_load_from_cache(self.repository, name)
                if isinstance(found, str):
                    return Path(found)
        raise FileNotFoundError(f"no weights of {self.repository or 'this model'} in the cache of timm's downloads")
