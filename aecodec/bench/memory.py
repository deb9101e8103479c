"""How much memory this process holds, and held at most, as the system tells (Linux)."""

from __future__ import annotations

import contextlib
from pathlib import Path


def forget_peak() -> None:
    """Start the record of `peak_bytes` anew, where it can be done."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_bytes() -> int | None:
    """The most resident memory of this process since `forget_peak`; None where the system does not tell."""
    return _status("VmHWM:")


def held_bytes() -> int | None:
    """Resident memory of this process now; None where the system does not tell."""
    return _status("VmRSS:")


def _status(key: str) -> int | None:
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith(key)), None)
