"""A hasher's network: run by ONNX Runtime, and opened by whatever is to compute it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..contracts import CheckpointError, UsageError
from ..models import family
from ..zoo import stored
from ..zoo.stored import Stored
from .extractor import FAMILY as EXTRACTOR
from .extractor import ExtractorNetwork
from .joined import FAMILY as JOINED
from .joined import JoinedNetwork
from .networks import OnnxNetworks
from .opening import asking, chosen, torch_frozen
from .protocol import HashNetwork


class OnnxHashNetwork:
    """See `HashNetwork`; on the CPU, in float32."""

    def __init__(self, kept: Stored, path: Path) -> None:
        self.name, self.fingerprint, self.config = kept.name, kept.fingerprint, kept.config
        self._networks = OnnxNetworks(kept, path)

    def logits(self, x: np.ndarray, bits: int | None = None) -> np.ndarray:
        """See `HashNetwork.logits`."""
        return self._networks("logits", x=x)


def open_hash_network(path: Path, *, device: str = "cpu", engine: str = "auto") -> HashNetwork:
    """The checkpoint at a path, loaded; engine: as of `opening.open_engine`.

    Raises CheckpointError for a model that is no hasher, and as `open_engine` does.
    """

    def opened(kept: Stored) -> HashNetwork:
        if kept.family == EXTRACTOR:
            if engine == "torch":
                raise UsageError(f"{path}: a feature extractor in ONNX is run by the engine onnx alone")
            return ExtractorNetwork(kept, path)
        if family(kept.family).role != "hasher":
            raise CheckpointError(f"model {kept.name} ({kept.family}) is no hasher")
        if chosen(kept, path, device, engine) == "onnx":
            return OnnxHashNetwork(kept, path)
        frozen = torch_frozen(path, device, what=asking(device), kept=kept)
        from .torch_hashing import TorchHashNetwork

        return TorchHashNetwork(frozen)

    whole = stored.read(path)
    return JoinedNetwork(whole, path, opened) if whole.family == JOINED else opened(whole)
