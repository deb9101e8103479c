"""Laws of locks: one writer at a time, named to those who wait; whatever lies at a lock's place stays as it was."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from aecodec.contracts import BusyError, OutputError
from aecodec.data.locks import lock_path, locked

HOLD = """
import sys, time
from pathlib import Path
from aecodec.data.locks import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read(1)
"""


@pytest.fixture
def held(tmp_path):
    """A file, and another process that holds its lock until its input ends."""
    target = tmp_path / "file"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(target)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "held\n"
        yield target, process
        process.kill()


def test_a_second_writer_is_told_who_the_first_is(held):
    target, process = held
    lock = lock_path(target)
    assert stat.S_IMODE(lock.stat().st_mode) == 0o600
    with pytest.raises(BusyError, match=rf"file: is being written by process {process.pid} on \S+, since \d{{4}}-"):
        locked(target, wait=0).__enter__()
    assert lock.exists()


def test_a_second_writer_waits_for_the_end_of_the_first(held):
    target, process = held
    told: list[str] = []

    def say(message: str) -> None:
        told.append(message)
        process.stdin.close()

    with locked(target, wait=60, say=say):
        assert process.wait() == 0
    assert told == [f"{target}: waits for process {process.pid}{told[0].partition(str(process.pid))[2]}"]
    assert os.listdir(target.parent) == []


def test_a_writer_that_was_killed_is_waited_for_by_nobody(held):
    target, process = held
    process.kill()
    process.wait()
    assert lock_path(target).exists()
    with locked(target, wait=0):
        pass
    assert os.listdir(target.parent) == []


def test_threads_change_a_file_one_after_another(tmp_path):
    target = tmp_path / "file"
    target.write_text("0")

    def count() -> None:
        for _ in range(20):
            with locked(target):
                number = int(target.read_text())
                target.write_text(str(number + 1))

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert target.read_text() == "80"
    assert os.listdir(tmp_path) == ["file"]


def test_an_error_within_gives_the_lock_back(tmp_path):
    with pytest.raises(KeyError), locked(tmp_path / "file"):
        raise KeyError
    with locked(tmp_path / "file", wait=0):
        assert os.listdir(tmp_path) == [".file.lock"]


def plant_link(lock: Path, victim: Path) -> None:
    lock.symlink_to(victim)


def plant_hard_link(lock: Path, victim: Path) -> None:
    os.link(victim, lock)


def plant_copy(lock: Path, victim: Path) -> None:
    lock.write_bytes(victim.read_bytes())


def plant_pipe(lock: Path, victim: Path) -> None:
    os.mkfifo(lock)


def plant_folder(lock: Path, victim: Path) -> None:
    lock.mkdir()


@pytest.mark.parametrize("plant", [plant_link, plant_hard_link, plant_copy, plant_pipe, plant_folder])
def test_what_lies_in_a_locks_place_is_refused_and_stays(tmp_path, plant):
    victim, target = tmp_path / "victim", tmp_path / "file"
    victim.write_text("precious")
    plant(lock_path(target), victim)
    with pytest.raises(OutputError, match=r"\.file\.lock"):
        locked(target, wait=0).__enter__()
    assert victim.read_text() == "precious"
    assert os.path.lexists(lock_path(target))


def test_a_dangling_link_makes_no_file_elsewhere(tmp_path):
    lock_path(tmp_path / "file").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OutputError, match="lock"):
        locked(tmp_path / "file", wait=0).__enter__()
    assert not (tmp_path / "elsewhere").exists()


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(OutputError, match=r"none.file: cannot be written .*No such file"):
        locked(tmp_path / "none" / "file").__enter__()


def test_a_long_name_has_a_lock_of_a_name_that_fits(tmp_path):
    target = tmp_path / ("字" * 80)
    assert len(os.fsencode(lock_path(target).name)) < 255
    with locked(target):
        assert lock_path(target).exists()


def test_two_ways_to_one_file_have_one_lock(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "folder")
    (tmp_path / "folder" / "file").touch()
    (tmp_path / "other").symlink_to("folder/file")
    for way in ("link/file", "other"):
        with locked(tmp_path / "folder" / "file"), pytest.raises(BusyError):
            locked(tmp_path / way, wait=0).__enter__()
