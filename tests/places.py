"""Where things lie in the checkout."""

from __future__ import annotations

from pathlib import Path

TESTS = Path(__file__).resolve().parent
ROOT = TESTS.parent
BENCHMARKS = ROOT / "benchmarks"
SCRIPTS = ROOT / "scripts"
SAMPLES = SCRIPTS / "samples"
#: Files of released format versions, by version.
GOLDEN = TESTS / "golden"
