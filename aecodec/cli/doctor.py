"""``aecodec doctor``: whether this machine has what it takes, device by device."""

from __future__ import annotations

import platform
from importlib import metadata
from typing import Any

import click

from ..contracts import AecodecError
from .output import emit_json

PACKAGES = (
    "torch",
    "numpy",
    "pillow",
    "constriction",
    "safetensors",
    "click",
    "rich",
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
    """Versions, devices, and on each device: does the model's golden vector decode to the recorded integers?"""
    versions = {name: _version(name) for name in PACKAGES}
    missing = [name for name in REQUIRED if versions[name] is None]
    try:
        checks = _check_devices(model)
    except AecodecError as error:
        checks = [{"device": "cpu", "exact": False, "detail": str(error)}]
    healthy = not missing and all(check["exact"] for check in checks)
    record: dict[str, Any] = {
        "healthy": healthy,
        "python": platform.python_version(),
        "system": platform.platform(),
        "packages": versions,
        "missing": missing,
        "devices": checks,
    }
    if as_json:
        emit_json(record)
    else:
        _print(record)
    return 0 if healthy else 1


def _check_devices(model: str | None) -> list[dict[str, Any]]:
    """Of every device here: its name, whether the model is exact on it, detail. Raises CheckpointError, UnknownName."""
    from ..checkpoint import check_golden
    from ..device import list_devices
    from ..zoo.registry import find_model

    checks = []
    for device in list_devices():
        check = check_golden(find_model(model), device)
        detail = f"{check.name} {check.found[:16]}" + ("" if check.exact else f", recorded {check.recorded[:16]}")
        checks.append({"device": device, "exact": check.exact, "detail": detail})
    return checks


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _print(record: dict[str, Any]) -> None:
    click.echo(f"Python {record['python']} on {record['system']}")
    for name, version in record["packages"].items():
        need = "required, MISSING" if name in record["missing"] else "not installed (optional)"
        click.echo(f"  {name:<14} {version or need}")
    for check in record["devices"]:
        click.echo(f"  {check['device']:<14} {'exact' if check['exact'] else 'NOT EXACT'}: {check['detail']}")
    click.echo("healthy" if record["healthy"] else "not healthy")
