"""The self-test of exactness: on every device, the entropy path must give the integers recorded in the model."""

from __future__ import annotations

from typing import Any

import torch

from .. import checkpoint
from ..coding.golden import golden_digest
from ..contracts import CheckpointError
from ..zoo.registry import find_model


def check_devices(model: str | None = None) -> list[dict[str, Any]]:
    """On the CPU and on every accelerator here -> device, exact (bool), detail. Raises CheckpointError."""
    devices = ["cpu"] + [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        devices.append("mps")
    results = []
    for device in devices:
        frozen = checkpoint.load(find_model(model), device)
        if "golden" not in frozen.metadata:
            raise CheckpointError(f"{frozen.name} ({frozen.family}) codes no pictures: it has no exactness to test")
        found, recorded = golden_digest(frozen.module), frozen.metadata["golden"]
        exact = found == recorded
        detail = f"{frozen.name} {found[:16]}" + ("" if exact else f", recorded {recorded[:16]}")
        results.append({"device": device, "exact": exact, "detail": detail})
    return results
