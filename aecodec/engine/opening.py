"""From a checkpoint's path to an engine; what computes is imported only here."""

from __future__ import annotations

from pathlib import Path

from ..contracts import UsageError
from .protocol import Engine

#: Number formats of the transforms.
PRECISIONS = ("auto", "float32", "bfloat16")


def open_engine(path: Path, *, device: str = "cpu", precision: str = "auto") -> Engine:
    """The checkpoint at a path, loaded. Raises CheckpointError for one that codes no pictures, UsageError for a device
    or precision that is none."""
    if precision not in PRECISIONS:
        raise UsageError(f"precision is one of {', '.join(PRECISIONS)}, got {precision!r}")
    from .. import checkpoint
    from ..device import pick_device
    from .torch_engine import TorchEngine

    return TorchEngine(checkpoint.load(path, pick_device(device)), precision)


def limit_threads(count: int) -> None:
    """CPU threads of each computation of every engine in this process."""
    from .torch_engine import limit_threads as limit_torch

    limit_torch(count)
