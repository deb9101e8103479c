"""Where a benchmark figure comes from: commit, command, libraries and machine."""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

from PIL import features

_ROOT = Path(__file__).resolve().parents[2]
_PACKAGES = ("aecodec", "pillow", "numpy", "onnxruntime", "torch", "constriction", "bjontegaard", "cvvdp")
_PILLOW_LIBRARIES = {"libjpeg-turbo": "libjpeg_turbo", "libwebp": "webp", "libavif": "avif", "OpenJPEG": "jpg_2000"}


def _git(*arguments: str) -> str | None:
    try:
        result = subprocess.run(["git", *arguments], cwd=_ROOT, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return result.stdout.strip()


def commit() -> str | None:
    """The checked-out commit, "-dirty" appended if tracked files differ from it; None outside a repository."""
    head = _git("rev-parse", "--verify", "--quiet", "HEAD")
    if not head:
        return None
    return f"{head}-dirty" if _git("status", "--porcelain", "--untracked-files=no") else head


def _package_version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _processor() -> str:
    """The CPU's model name, as far as the system tells it."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass  # no Linux: what platform knows has to do
    return platform.processor() or platform.machine()


def command() -> str:
    """The command line, absolute paths by their last name alone: where a folder lay says nothing elsewhere."""
    program, *arguments = sys.argv
    run = ["-m", "aecodec"] if program.endswith("__main__.py") else [program]
    return shlex.join(["python", *map(_shown, [*run, *arguments])])


def _shown(argument: str) -> str:
    """``/long/PATH`` -> PATH, ``name=/long/PATH`` -> name=PATH."""
    name, mark, value = argument.rpartition("=")
    return name + mark + (Path(value).name if os.path.isabs(value) else value)


def collect(**more: Any) -> dict[str, Any]:
    """Everything that a result file must say about the run that made it; `more` is added as it is.

    The load average tells whether other programs competed for the cores: wall-clock times of a busy machine are
    upper bounds.
    """
    versions = {name: _package_version(name) for name in _PACKAGES}
    versions.update({name: features.version(feature) for name, feature in _PILLOW_LIBRARIES.items()})
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "command": command(),
        "commit": commit(),
        "python": platform.python_version(),
        "versions": {name: version for name, version in versions.items() if version},
        "machine": {
            "cpu": _processor(),
            "cores": os.cpu_count(),
            "system": f"{platform.system()} {platform.machine()}",
            "load_average": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        },
        **more,
    }
