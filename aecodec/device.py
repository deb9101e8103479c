"""Which device to compute on."""

from __future__ import annotations

import os

import torch

from .contracts import UsageError


def pick_device(name: str) -> torch.device:
    """auto, cpu, cuda, cuda:1, mps ... -> device. AECODEC_DEVICE answers for auto. Raises UsageError."""
    if name == "auto":
        name = os.environ.get("AECODEC_DEVICE", "auto")
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        return torch.device("cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"device {name!r} is not available here ({str(error).splitlines()[0]})") from error
    return device
