"""A hasher's network run by torch, on any device."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import torch

from ..contracts import FrozenModel
from ..nn.fold import fold_batch_norms
from ..shield import shield
from .torch_engine import Forked


@shield
class TorchHashNetwork(Forked):
    """See `protocol.HashNetwork`. In float32, without autocast or TF32."""

    def __init__(self, frozen: FrozenModel) -> None:
        super().__init__()
        self.name, self.fingerprint, self.config = frozen.name, frozen.fingerprint, asdict(frozen.module.config)
        self._model = frozen.module
        fold_batch_norms(self._model)
        self._model.to(memory_format=torch.channels_last)
        self._device = next(self._model.parameters()).device

    @torch.inference_mode()
    def logits(self, x: np.ndarray, bits: int | None = None) -> np.ndarray:
        """See `HashNetwork.logits`."""
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            batch = torch.from_numpy(np.ascontiguousarray(x)).to(self._device)
            logits: np.ndarray = self._model.logits(batch.contiguous(memory_format=torch.channels_last)).cpu().numpy()
            return logits
