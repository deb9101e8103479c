"""A run that is ended from outside leaves no process behind, and its rows to go on with."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import natural_picture
from PIL import Image

from aecodec.bench.measurements import read_rows
from aecodec.cli import run

pytestmark = pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="only Linux tells of a process's children")


def children(process: int) -> list[int]:
    """Of a process, those that live."""
    try:
        return list(map(int, Path(f"/proc/{process}/task/{process}/children").read_text().split()))
    except (OSError, ValueError):
        return []


def lives(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


def wait_until(condition, seconds: float = 120) -> bool:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.05)
    return bool(condition())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_workers_end_with_the_command(tmp_path, number):
    pictures, out = tmp_path / "pictures", tmp_path / "out"
    pictures.mkdir()
    for seed in range(3):
        Image.fromarray(natural_picture(256, 256, seed)).save(pictures / f"{seed}.png")
    options = ["--codecs", "webp", "--metrics", "psnr", "--crops", "0", "--anchor", "webp", "--quiet"]
    command = ["bench", str(pictures), "-o", str(out), *options]
    many = ["--qualities", ",".join(map(str, range(101))), "-j", "2"]
    with subprocess.Popen([sys.executable, "-m", "aecodec", *command, *many]) as bench:
        assert wait_until(lambda: (out / "webp.csv").exists() and len(read_rows(out / "webp.csv")) > 1)
        workers = children(bench.pid)
        assert len(workers) >= 2
        bench.send_signal(number)
        assert bench.wait() == -number
    assert wait_until(lambda: not any(map(lives, workers)), 60), workers
    kept = len(read_rows(out / "webp.csv"))
    assert 0 < kept < 303
    assert run([*command, "--qualities", "0,1", "--resume"]) == 0
    assert len(read_rows(out / "webp.csv")) >= kept
