"""Peers that are Python packages: measured where they are installed, never required."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

from ...contracts import MissingDependencyError


def require_package(codec: str, module: str, distribution: str = "") -> Any:
    """An optional package, imported; distribution: what it is installed by, where that is another name.

    Raises MissingDependencyError.
    """
    name = distribution or module
    if importlib.util.find_spec(module) is None:
        raise MissingDependencyError(f"codec {codec} needs the package {name}: pip install {name}")
    return importlib.import_module(module)
