"""From a checkpoint's path to an engine; what computes is imported only here."""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from ..coding.golden import golden_digest
from ..contracts import CheckpointError, FrozenModel, MissingDependencyError, UsageError
from ..latents import coder_of
from ..latents.protocol import Parts
from ..zoo import stored
from ..zoo.stored import Stored
from .protocol import Engine, RefiningEngine

#: What computes.
ENGINES = ("auto", "onnx", "torch")
#: What needs torch where a model lacks graphs of gradients, for the error.
REFINING = "an effort above 1, with a model that holds no graphs of gradients,"
#: Where a CUDA device shows itself; without one "auto" is the CPU.
_DRIVERS = ("/dev/nvidiactl", "/dev/nvidia0", "/dev/dxg", "C:/Windows/System32/nvcuda.dll")
#: Number formats of the transforms.
PRECISIONS = ("auto", "float32", "bfloat16")


def open_engine(path: Path, *, device: str = "cpu", precision: str = "auto", engine: str = "auto") -> Engine:
    """The checkpoint at a path, loaded.

    auto: ONNX Runtime where the device is the CPU, the precision is not bfloat16, and the checkpoint holds graphs;
    torch otherwise. Raises CheckpointError for one that codes no pictures, UsageError for a device, precision or
    engine that is none, MissingDependencyError where what is needed is not installed.
    """
    if precision not in PRECISIONS:
        raise UsageError(f"precision is one of {', '.join(PRECISIONS)}, got {precision!r}")
    if precision == "bfloat16":
        if engine == "onnx":
            raise UsageError("the engine onnx computes in float32")
        engine = "torch"
    kept = stored.read(path)
    if chosen(kept, path, device, engine) == "onnx":
        from .onnx_engine import OnnxEngine

        return OnnxEngine(kept, path, lambda: open_torch(path, what=REFINING))
    return open_torch(path, device, precision, what=asking(device, precision))


def asking(device: str, precision: str = "auto") -> str:
    """Which option it is that needs torch, for the error of an installation without it."""
    if precision == "bfloat16":
        return "the precision bfloat16"
    return "the engine torch" if _is_cpu(device) else f"the device {device}"


def chosen(kept: Stored, path: Path, device: str, engine: str) -> str:
    """The engine for a checkpoint on a device, "onnx" or "torch"; see `open_engine`."""
    if engine not in ENGINES:
        raise UsageError(f"an engine is one of {', '.join(ENGINES)}, got {engine!r}")
    on_cpu = _is_cpu(device)
    if engine == "torch" or (engine == "auto" and not on_cpu):
        return "torch"
    if not on_cpu:
        raise UsageError(f"the engine onnx computes on the CPU, not on {device}")
    if engine == "onnx" and not kept.graphs:
        raise CheckpointError(f"{path}: holds no graphs; `aecodec models export --onnx` writes them")
    if engine == "onnx" or (kept.graphs and find_spec("onnxruntime")):
        return "onnx"
    if not find_spec("torch"):
        lacking = "onnxruntime is not installed" if kept.graphs else "it holds no graphs for onnxruntime"
        raise CheckpointError(f"{path}: {lacking}, and torch is not installed: pip install 'aecodec[torch]'")
    return "torch"


def _is_cpu(device: str) -> bool:
    """Whether a device, as `device.pick_device` takes it, is the CPU; torch is not loaded to find that out."""
    if device == "auto":
        device = os.environ.get("AECODEC_DEVICE", "auto")
    if device != "auto":
        return device == "cpu"
    return not find_spec("torch") or not any(Path(place).exists() for place in _DRIVERS)


def torch_frozen(path: Path, device: str = "cpu", *, what: str = "this", kept: Stored | None = None) -> FrozenModel:
    """A checkpoint loaded by torch. what: the thing that needs it; kept: what was read of the path already.

    Raises MissingDependencyError without torch.
    """
    if not find_spec("torch"):
        raise MissingDependencyError(f"{what} needs torch: pip install 'aecodec[torch]'")
    from .. import checkpoint
    from ..device import pick_device
    from . import networks
    from .torch_engine import limit_threads as limit_torch

    if networks.threads():  # the limit was set before torch was loaded
        limit_torch(networks.threads())
    return checkpoint.restore(kept or stored.read(path), path, pick_device(device))


def open_torch(path: Path, device: str = "cpu", precision: str = "auto", *, what: str = "this") -> RefiningEngine:
    """The engine of torch. what: the thing that needs it, for the error. Raises MissingDependencyError without
    torch."""
    frozen = torch_frozen(path, device, what=what)
    from .torch_engine import TorchEngine

    return TorchEngine(frozen, precision)


@dataclass(frozen=True)
class GoldenCheck:
    """A model's golden digests, in hexadecimal. found: what its integer path gives; recorded: when it was saved."""

    name: str
    found: str
    recorded: str

    @property
    def exact(self) -> bool:
        """Whether the integers are those recorded."""
        return self.found == self.recorded


def check_golden(path: Path) -> GoldenCheck:
    """Compute a model's golden digest, on this machine's processor, where alone its integer path is run.

    Raises CheckpointError for a file that is damaged or a model that codes no pictures.
    """
    kept = stored.read(path)
    if "golden" not in kept.card:
        raise CheckpointError(f"{kept.name} ({kept.family}) codes no pictures: it has no exactness to test")
    coder = coder_of(kept.family, Parts(kept.config, kept.tensors, kept.tables), path)
    return GoldenCheck(kept.name, golden_digest(coder), kept.card["golden"])


def limit_threads(count: int) -> None:
    """CPU threads of each computation of every engine opened from now on; if torch is loaded, of all of its own."""
    import sys

    from . import networks

    networks.limit_threads(count)
    if "torch" in sys.modules:
        from .torch_engine import limit_threads as limit_torch

        limit_torch(count)
