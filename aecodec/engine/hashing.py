"""What a hasher needs of whatever computes its network, and the network run by ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ..contracts import CheckpointError, UsageError
from ..models import family
from ..zoo import stored
from ..zoo.stored import Stored
from .extractor import FAMILY as EXTRACTOR
from .extractor import ExtractorNetwork
from .networks import OnnxNetworks
from .opening import asking, chosen, torch_frozen


class HashNetwork(Protocol):
    """A hasher's network. name, fingerprint (8 bytes), config: of its checkpoint."""

    name: str
    fingerprint: bytes
    config: dict[str, Any]

    def logits(self, x: np.ndarray) -> np.ndarray:
        """x (n, C, H, W) float32 in [0, 1] -> (n, n_bits) float32; the signs are the code."""
        ...


class OnnxHashNetwork:
    """See `HashNetwork`; on the CPU, in float32."""

    def __init__(self, kept: Stored, path: Path) -> None:
        self.name, self.fingerprint, self.config = kept.name, kept.fingerprint, kept.config
        self._networks = OnnxNetworks(kept, path)

    def logits(self, x: np.ndarray) -> np.ndarray:
        """See `HashNetwork.logits`."""
        return self._networks("logits", x=x)


def open_hash_network(path: Path, *, device: str = "cpu", engine: str = "auto") -> HashNetwork:
    """The checkpoint at a path, loaded; engine: as of `opening.open_engine`.

    Raises CheckpointError for a model that is no hasher, and as `open_engine` does.
    """
    kept = stored.read(path)
    if kept.family == EXTRACTOR:
        if engine == "torch":
            raise UsageError(f"{path}: a feature extractor in ONNX is run by the engine onnx alone")
        return ExtractorNetwork(kept, path)
    if family(kept.family).role != "hasher":
        raise CheckpointError(f"model {kept.name} ({kept.family}) is no hasher")
    if chosen(kept, path, device, engine) == "onnx":
        return OnnxHashNetwork(kept, path)
    frozen = torch_frozen(path, device, what=asking(device))
    from .torch_hashing import TorchHashNetwork

    return TorchHashNetwork(frozen)
