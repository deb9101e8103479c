"""The self-test of exactness: on every device, the entropy path must give the integers recorded in the model."""

from __future__ import annotations

from typing import Any

import torch

from . import checkpoint
from .golden import golden_digest
from .registry import find_model


def check_devices(model: str | None = None) -> list[dict[str, Any]]:
    """On the CPU and on every accelerator here -> device, exact (bool), detail. Raises CheckpointError."""
    devices = ["cpu"] + [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        devices.append("mps")
    results = []
    for device in devices:
        frozen = checkpoint.load(find_model(model), device)
        found, recorded = golden_digest(frozen.module), frozen.metadata.get("golden")
        exact = found == recorded
        detail = f"{frozen.name} {found[:16]}" + ("" if exact else f", recorded {str(recorded)[:16]}")
        results.append({"device": device, "exact": exact, "detail": detail})
    return results
