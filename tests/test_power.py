"""Loss of power and full disks: whoever is killed while writing leaves the old file or the new one, and no other."""

import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from places import TESTS
from writers import TRAIN

from aecodec import checkpoint
from aecodec.cli import run
from aecodec.index.hash_index import HashIndex


class Server:
    """The process of writers.py."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(TESTS.parent)}
        self.process = subprocess.Popen(
            [sys.executable, str(TESTS / "writers.py"), str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
        )
        assert self._answer() == "ready"

    def kill_while(self, job: str, seconds: float) -> None:
        assert self._ask(f"{job} {seconds}") == str(-signal.SIGKILL)

    def on_a_full_disk(self, job: str, limit: int) -> tuple[int, str]:
        """-> (exit code, what it said on stderr)."""
        code = int(self._ask(f"{job} limit {limit}"))
        return code, (self.folder / "error.txt").read_text()

    def _ask(self, line: str) -> str:
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()
        return self._answer()

    def _answer(self) -> str:
        return self.process.stdout.readline().strip()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    if not hasattr(os, "fork"):
        pytest.skip("processes are killed by signals of POSIX")
    server = Server(tmp_path_factory.mktemp("power"))
    yield server
    server.process.stdin.close()
    server.process.wait()


def content(path: Path) -> str:
    """What stands in a file. Checkpoints are loaded, which checks all of them: their header's order is no one's."""
    if path.suffix == ".safetensors":
        return checkpoint.load(path).fingerprint.hex()
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("job", "suffix"), [("compress", ".aec"), ("decompress", ".png"), ("checkpoint", ".safetensors"), ("index", ".hix")]
)
def test_killed_at_any_moment_a_file_is_the_old_one_or_the_new_one(server, job, suffix):
    versions = [content(server.folder / f"version{number}{suffix}") for number in (0, 1)]
    assert versions[0] != versions[1]
    target, rng, seen = server.folder / f"out{suffix}", random.Random(job), set()
    longest, rounds = 0.05, 0
    while rounds < 30 or not seen:
        server.kill_while(job, rng.uniform(0.0, longest))
        if target.exists():
            seen.add(versions.index(content(target)))
        else:
            # Too slow a machine for the job to end once: wait longer, for as long as the test may run.
            longest *= 1.1
        rounds += 1
    # What a killed process was about to write stays under its temporary name and is in nobody's way.
    for left in server.folder.glob(".out*.tmp"):
        left.unlink()


def test_killed_while_training_a_run_goes_on_from_a_whole_state(server, monkeypatch, capsys):
    state, rng, steps = server.folder / "run" / "state.pt", random.Random(2), []
    for _ in range(6):
        server.kill_while("train", rng.uniform(0.4, 1.0))
        if state.exists():
            steps.append(torch.load(state, weights_only=True)["progress"]["step"])
    assert steps == sorted(steps)
    monkeypatch.chdir(server.folder)
    assert run([*TRAIN, "--set", f"steps={(steps[-1] if steps else 0) + 1}"]) == 0
    assert (server.folder / "run" / "model.safetensors").exists()


# -- full disks ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("job", "suffix", "limit"),
    [
        ("compress", ".aec", 100),
        ("compress", ".aec", 300),
        ("decompress", ".png", 300),
        ("decompress", ".png", 9000),
        ("bitmap", ".bmp", 4096),
        ("checkpoint", ".safetensors", 5000),
        ("index", ".hix", 4096),
    ],
)
def test_where_the_disk_is_full_nothing_is_lost(server, job, suffix, limit):
    """The system refuses every byte beyond a limit that the new file exceeds; the old one stays, alone."""
    target = server.folder / f"out{suffix}"
    target.write_bytes(b"the old file")
    before = set(os.listdir(server.folder)) | {"error.txt"}
    code, said = server.on_a_full_disk(job, limit)
    assert code == 1
    assert said.startswith("aecodec: error: ")
    assert target.read_bytes() == b"the old file"
    assert set(os.listdir(server.folder)) == before


def test_where_the_disk_is_full_training_stops_by_name_and_goes_on_later(server, monkeypatch, capsys):
    folder = server.folder / "run"
    shutil.rmtree(folder, ignore_errors=True)
    code, said = server.on_a_full_disk("train", 5000)
    assert code == 1
    assert said.count("aecodec: error: ") == 1
    assert not (folder / "state.pt").exists()
    assert not list(folder.glob(".*"))
    monkeypatch.chdir(server.folder)
    assert run([*TRAIN, "--set", "steps=1"]) == 0


def test_an_index_that_was_killed_still_opens(server):
    assert len(HashIndex.load(server.folder / "version0.hix")) == 5000
