"""``aecodec doctor``: whether this machine has what it takes, device by device."""

from __future__ import annotations

import platform
from importlib import metadata
from importlib.util import find_spec
from typing import Any

import click

from ..contracts import AecodecError
from .output import emit_json, say

PACKAGES = (
    "numpy",
    "pillow",
    "constriction",
    "safetensors",
    "click",
    "rich",
    "onnxruntime",
    "torch",
    "onnx",
    "compressai",
    "pydantic",
    "PyYAML",
    "tensorboard",
    "faiss-gpu",
    "faiss-cpu",
    "matplotlib",
    "bjontegaard",
)
REQUIRED = PACKAGES[:7]


@click.command()
@click.option("-m", "--model", metavar="NAME|PATH", help="Model whose exactness is tested.")
@click.option("--json", "as_json", is_flag=True, help="One JSON line on stdout.")
def doctor(model: str | None, as_json: bool) -> int:
    """Versions and devices, and whether the model's golden vector decodes to the recorded integers here."""
    versions = {name: _version(name) for name in PACKAGES}
    missing = [name for name in REQUIRED if versions[name] is None]
    try:
        check = _check(model)
    except AecodecError as error:
        check = {"exact": False, "detail": str(error)}
    healthy = not missing and check["exact"]
    record: dict[str, Any] = {
        "healthy": healthy,
        "python": platform.python_version(),
        "system": platform.platform(),
        "packages": versions,
        "missing": missing,
        # The integers are the processor's own affair, whatever computes the networks.
        "devices": [{"device": device, **check} for device in _devices()],
    }
    if as_json:
        emit_json(record)
    else:
        _print(record)
    return 0 if healthy else 1


def _check(model: str | None) -> dict[str, Any]:
    """Whether the model is exact, and detail. Raises CheckpointError, UnknownName."""
    from ..engine.opening import check_golden
    from ..zoo.registry import find_model

    check = check_golden(find_model(model))
    detail = f"{check.name} {check.found[:16]}" + ("" if check.exact else f", recorded {check.recorded[:16]}")
    return {"exact": check.exact, "detail": detail}


def _devices() -> list[str]:
    """The processor, and the accelerators that torch knows of, if it is installed."""
    if not find_spec("torch"):
        return ["cpu"]
    from ..device import list_devices

    return list_devices()


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _print(record: dict[str, Any]) -> None:
    say(f"Python {record['python']} on {record['system']}")
    for name, version in record["packages"].items():
        need = "required, MISSING" if name in record["missing"] else "not installed (optional)"
        say(f"  {name:<14} {version or need}")
    for check in record["devices"]:
        say(f"  {check['device']:<14} {'exact' if check['exact'] else 'NOT EXACT'}: {check['detail']}")
    say("healthy" if record["healthy"] else "not healthy")
