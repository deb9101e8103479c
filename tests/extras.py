"""What of the extras is installed, and the mark of tests that need some of it."""

from __future__ import annotations

from importlib.machinery import PathFinder

import pytest


def is_here(package: str) -> bool:
    """Whether a package can be imported; it is not."""
    return PathFinder.find_spec(package) is not None


def needs(*packages: str) -> pytest.MarkDecorator:
    """The mark of a test, or of one case of it, that is skipped where one of these packages is not installed."""
    missing = [package for package in packages if not is_here(package)]
    return pytest.mark.skipif(bool(missing), reason=f"{' and '.join(missing)} is not installed")
