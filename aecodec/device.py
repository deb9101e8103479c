"""Which devices there are, and which to compute on."""

from __future__ import annotations

import os

import torch

from .contracts import UsageError

#: Kinds of devices that compute; torch has others, "meta" among them, which only tell of shapes.
KINDS = ("cpu", "cuda", "mps")


def pick_device(name: str) -> torch.device:
    """auto, cpu, cuda, cuda:1, mps ... -> device. AECODEC_DEVICE answers for auto. Raises UsageError."""
    if name == "auto":
        name = os.environ.get("AECODEC_DEVICE", "auto")
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        return torch.device("cpu")
    if name.partition(":")[0] not in KINDS:
        raise UsageError(f"a device is auto, cpu, cuda, cuda:N or mps, got {name!r}")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"device {name!r} is not available here ({str(error).splitlines()[0]})") from error
    return device


def list_devices() -> list[str]:
    """Names of the processor and of every accelerator here, as `pick_device` takes them."""
    accelerators = [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    return ["cpu", *accelerators, *(["mps"] if torch.backends.mps.is_available() else [])]


def has_bfloat16(device: torch.device) -> bool:
    """Whether a device multiplies bfloat16 natively; without that, it is slower than float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type != "cpu":
        return False
    capabilities: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))
