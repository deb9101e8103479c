"""A process that moves, links or puts back pictures is killed at any moment, and no picture is lost by it."""

from __future__ import annotations

import errno
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from planted_pictures import furnish, held, state
from search_actions import ACTIONS

from aecodec.search.journal import is_picture_name
from aecodec.search.moving import perform
from aecodec.search.undoing import undo

#: What the system is asked to do to files: a process may be killed before each.
EVENTS = {"open", "os.link", "os.rename", "os.remove", "os.symlink", "os.mkdir", "os.chmod", "os.utime", "os.truncate"}


def killed(work: Callable[[], None], moment: int) -> bool:
    """Do something in a process that is killed before it touches a file for the moment-th time -> whether it was."""
    process = os.fork()
    if not process:
        left = moment

        def hook(event: str, arguments: tuple) -> None:
            nonlocal left
            if event in EVENTS:
                left -= 1
                if left < 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(hook)
        try:
            work()
        finally:
            os._exit(0)
    _, status = os.waitpid(process, 0)
    return os.WIFSIGNALED(status)


def far_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every folder is on a file system of its own."""
    real = os.link

    def link(source, target, **how):
        if Path(source).parent.name != Path(target).parent.name:
            raise OSError(errno.EXDEV, "another file system")
        real(source, target, **how)

    monkeypatch.setattr(os, "link", link)


@pytest.fixture(autouse=True)
def _loaded() -> None:
    """What a process does once, so that no killed one has to."""
    is_picture_name(Path("a.png"))


@pytest.fixture(params=["one file system", "two file systems", "no hard links"])
def _system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)  # a killed process does not take the system with it
    if request.param == "two file systems":
        far_away(monkeypatch)
    elif request.param == "no hard links":
        monkeypatch.setattr(os, "link", lambda *_, **__: (_ for _ in ()).throw(OSError(errno.EPERM, "no links")))


@pytest.mark.usefixtures("_system")
@pytest.mark.parametrize("kind", ["move", "trash"])
def test_pictures_survive_a_kill_before_any_touch_of_a_file(kind, tmp_path):
    """Moving is killed at each moment, then putting back at each; in the end all is as it was."""
    root, log = tmp_path / "photos", tmp_path / "a.log"
    pairs = furnish(root)[-1:]
    before = state(root)
    contents = set(held(root).values())
    moment = 0
    while killed(lambda: list(perform(pairs, ACTIONS[kind](tmp_path), log, [root])), moment):
        assert contents <= set(held(tmp_path).values()), moment
        if log.exists() and log.read_bytes().count(b"\n"):
            assert all(one.error is None for one in undo(log))
        assert state(root) == before, moment
        log.unlink(missing_ok=True)
        moment += 1
    assert moment > 5
    assert contents == set(held(tmp_path).values())
    moment = 0
    while killed(lambda: list(undo(log)), moment):
        assert contents <= set(held(tmp_path).values()), moment
        moment += 1
    assert moment > 3
    assert state(root) == before
    assert not list(tmp_path.rglob("*.tmp"))


@pytest.mark.parametrize("kind", ["hard", "sym"])
def test_linked_pictures_survive_a_kill_before_any_touch_of_a_file(kind, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    root, log = tmp_path / "photos", tmp_path / "a.log"
    pairs = furnish(root, b"the same")[-1:]
    before = state(root)
    names = dict.fromkeys(before, b"the same")
    moment = 0
    while killed(lambda: list(perform(pairs, ACTIONS[kind](tmp_path), log, [root])), moment):
        assert {name: one[-1] for name, one in state(root).items()} == names, moment
        if log.exists() and log.read_bytes().count(b"\n"):
            assert all(one.error is None for one in undo(log))
        assert state(root) == before, moment
        log.unlink(missing_ok=True)
        moment += 1
    assert moment > 5
    moment = 0
    while killed(lambda: list(undo(log)), moment):
        assert {name: one[-1] for name, one in state(root).items()} == names, moment
        moment += 1
    assert moment > 3
    assert state(root) == before
    assert not list(root.glob(".*.tmp"))


#: What a process of its own does: a log is read again for each step that it takes back.
WORK = """
import json, sys
from pathlib import Path
from planted_pictures import chosen
from search_actions import ACTIONS
from aecodec.search.moving import alone, perform
from aecodec.search.undoing import undo
job = json.loads(sys.argv[1])
root, log = Path(job["root"]), Path(job["log"])
if job["undo"]:
    for step in undo(log): print(step.error or "back", flush=True)
else:
    kept = chosen(root / "keep.png", root)
    others = [chosen(path, root) for path in sorted(root.rglob("*.png")) if path.name != "keep.png"]
    with alone([root]):
        for step in perform([(kept, other) for other in others], ACTIONS[job["kind"]](root.parent), log, [root]):
            print(step.error or "done", flush=True)
"""


def shot(job: dict, steps: int, after: float) -> bool:
    """Run it and kill it so many seconds after it has told of some steps -> whether it had not ended by itself."""
    tests = Path(__file__).parents[1]
    path = os.pathsep.join([str(tests), str(tests.parent), os.environ.get("PYTHONPATH", "")])
    process = subprocess.Popen(
        [sys.executable, "-c", WORK, json.dumps(job)], stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": path}
    )
    assert process.stdout is not None
    for _ in range(steps):
        process.stdout.readline()
    time.sleep(after)
    process.kill()
    process.communicate()
    return process.returncode == -signal.SIGKILL


def survives(folder: Path, kind: str, seed: int, count: int = 40) -> tuple[int, int]:
    """Move or link many pictures, kill at a random moment; put back, kill, until that ends by itself. Raises
    AssertionError if a picture is lost, else -> how often moving and putting back were killed."""
    rng, root, log = random.Random(seed), folder / "photos", folder / "a.log"
    root.mkdir(parents=True)
    for number in range(count + 1):
        name = f"p{number:03d}.png" if number else "keep.png"
        (root / name).write_bytes(b"the same" if kind in ("hard", "sym") else bytes([number]) * 5000)
        os.utime(root / name, ns=(10**18 + number, 10**18 + number))
    before, contents = state(root), Counter(held(root).values())
    job = {"root": str(root), "log": str(log), "kind": kind, "undo": False}
    moving = shot(job, rng.randint(1, count), rng.uniform(0, 0.01))
    assert contents.keys() <= set(held(folder).values())
    putting = 0
    while (
        log.exists()
        and log.read_bytes().count(b"\n")
        and shot({**job, "undo": True}, rng.randint(1, count), rng.uniform(0, 0.01))
    ):
        putting += 1
        assert contents.keys() <= set(held(folder).values())
        if putting == 5:
            assert all(one.error is None for one in undo(log))
            break
    assert state(root) == before
    return int(moving), putting


@pytest.mark.parametrize("kind", ["move", "trash", "hard", "sym"])
def test_pictures_survive_kills_at_random_moments(kind, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    survives(tmp_path, kind, seed=1)
