"""Every block of the README runs as it stands."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from places import ROOT

README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"(?:<!-- (?P<mark>[a-z-]+) -->\n)?```(?P<kind>\w+)\n(?P<code>.*?)```", README, re.S)
RUNNABLE = [(kind, code) for mark, kind, code in BLOCKS if kind in ("sh", "python") and mark != "fresh-machine"]


@pytest.fixture
def workplace(tmp_path: Path) -> Path:
    """A folder with the files that the README speaks of."""
    samples = sorted((ROOT / "scripts" / "samples").glob("*.png"))
    shutil.copy(samples[0], tmp_path / "photo.png")
    (tmp_path / "photos").mkdir()
    for sample in samples[:2]:
        shutil.copy(sample, tmp_path / "photos")
    (tmp_path / "scripts").symlink_to(ROOT / "scripts")
    return tmp_path


@pytest.mark.parametrize(("kind", "code"), RUNNABLE, ids=[f"{n}-{kind}" for n, (kind, _) in enumerate(RUNNABLE)])
def test_block_runs(kind, code, workplace):
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    command = ["bash", "-euo", "pipefail", "-c", code] if kind == "sh" else [sys.executable, "-c", code]
    if kind == "python":
        subprocess.run(["aecodec", "compress", "photo.png"], cwd=workplace, env=environment, check=True)
    result = subprocess.run(command, cwd=workplace, env=environment, capture_output=True, text=True, timeout=250)
    assert result.returncode == 0, result.stderr


def test_there_are_blocks_and_the_fresh_machine_ones_exist():
    assert len(RUNNABLE) >= 4
    fresh = [code for mark, _, code in BLOCKS if mark == "fresh-machine"]
    assert fresh
    for program, script in re.findall(r"(python )?((?:scripts|benchmarks)/[\w.]+)", "".join(fresh)):
        assert os.access(ROOT / script, os.R_OK if program else os.X_OK), script


def test_the_table_is_the_measured_one():
    """The README's BD-rate table is the result file's, figure for figure."""
    measured = (ROOT / "benchmarks" / "results" / "kodak" / "bd_rate.md").read_text()
    rows = [line for line in measured.splitlines() if line.startswith("|")]
    assert rows
    for row in rows:
        assert row in README


def test_every_command_is_mentioned():
    from aecodec.cli import COMMANDS

    for name in COMMANDS:
        assert f"aecodec {name}" in README, name
