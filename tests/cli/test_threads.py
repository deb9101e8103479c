"""What -j and --threads promise of a process: no more threads than were asked for, whatever computes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import natural_picture
from extras import needs
from PIL import Image

STATUS = Path("/proc/self/status")
#: Eight cores, and networks that live on when a command has ended; stderr tells how many threads there are.
CODE = f"""
import os, sys, time
os.cpu_count = lambda: 8
from aecodec.cli import run
from aecodec.engine.networks import OnnxNetworks
kept, begin = [], OnnxNetworks.__init__
OnnxNetworks.__init__ = lambda self, *given, **named: kept.append(self) or begin(self, *given, **named)
assert run(sys.argv[1:]) == 0
time.sleep(0.3)  # threads that were joined have ended for Python, and soon for the system
status = open({str(STATUS)!r}).read()
print(status.split("Threads:")[1].split()[0], file=sys.stderr)
"""

pytestmark = pytest.mark.skipif(not STATUS.exists(), reason="threads are counted in /proc")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate("ab"):
        Image.fromarray(natural_picture(64, 96, seed)).save(f"{name}.png")
    return tmp_path


def threads_after(*arguments: str) -> int:
    """Threads of a process that has carried out a command: those of its networks; those of jobs have ended."""
    environment = {**os.environ, "AECODEC_DEVICE": "cpu", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-c", CODE, *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return int(done.stderr.split()[-1])


def test_one_thread_is_one_thread(folder: Path) -> None:
    """Beside it there is one of ONNX Runtime's own, which waits."""
    assert threads_after("compress", "a.png", "--threads", "1") <= 2
    assert threads_after("decompress", "a.aec", "b.png", "-f", "--threads", "1") <= 2
    # The count would tell: in each of several pools of three there are two threads beside the caller's.
    assert threads_after("compress", "a.png", "-f", "--threads", "3") >= 6


def test_jobs_share_the_cores(folder: Path) -> None:
    assert threads_after("compress", "-j", "8", "a.png", "b.png") <= 2
    few = threads_after("compress", "-j", "4", "-f", "a.png", "b.png")
    many = threads_after("compress", "-j", "2", "-f", "a.png", "b.png")
    assert few < many
    assert threads_after("compress", "-j", "2", "--threads", "1", "-f", "a.png", "b.png") <= 2


@needs("torch")
@pytest.mark.parametrize("threads", [1, 3])
def test_torch_keeps_to_a_limit_that_is_older_than_it(folder: Path, threads: int) -> None:
    code = (
        "import sys; from aecodec.cli import run; assert run(sys.argv[1:]) == 0; "
        "sys.exit(sys.modules['torch'].get_num_threads())"
    )
    for flags in (["--effort", "1"], ["--effort", "2"]):
        limited = ["--engine", "torch", "--threads", str(threads), *flags]
        command = [sys.executable, "-c", code, "compress", "a.png", "-f", *limited]
        assert subprocess.run(command, capture_output=True, check=False).returncode == threads
