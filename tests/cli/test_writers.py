"""Two commands that write the same thing: neither loses the other's work, and those that only read never wait."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest
from conftest import natural_picture
from PIL import Image

from aecodec.cli import run
from aecodec.data.locks import locked
from aecodec.index.hash_index import HashIndex
from aecodec.search import building

BUSY = 7


@pytest.fixture
def index(few_photos: Path, block_hasher: None) -> Path:
    """An index of the working folder's photos/, made with a hasher that needs no model."""
    assert run(["index", "build", "photos", "-o", "photos.hix"]) == 0
    return Path("photos.hix")


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Changes take so long that all who read the index before them would have read the same one."""
    update = building.update

    def later(*arguments, **options):
        report = update(*arguments, **options)
        time.sleep(0.3)
        return report

    monkeypatch.setattr(building, "update", later)


def together(*commands: list[str]) -> list[int]:
    """Exit codes of commands that run at once."""
    codes: list[int] = [-1] * len(commands)

    def call(number: int) -> None:
        codes[number] = run(commands[number])

    threads = [threading.Thread(target=call, args=(number,)) for number in range(len(commands))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return codes


def picture(name: str, seed: int) -> str:
    Image.fromarray(natural_picture(64, 96, seed)).save(name)
    return name


def test_whatever_is_added_at_once_is_in_the_index(index, slow):
    before = len(HashIndex.load(index))
    names = [picture(f"new{number}.png", 20 + number) for number in range(3)]
    assert together(*(["index", "add", str(index), name, "--quiet"] for name in names)) == [0, 0, 0]
    found = HashIndex.load(index)
    assert {os.path.basename(name) for name in found.ids.tolist()} >= set(names)
    assert len(found) == before + 3


def test_adding_removing_and_syncing_at_once_lose_nothing(index, slow):
    os.remove("photos/p0.png")
    name = picture("new.png", 30)
    commands = (["add", str(index), name], ["remove", str(index), "photos/p1.png"], ["sync", str(index)])
    assert together(*(["index", *command] for command in commands)) == [0, 0, 0]
    ids = [os.path.basename(path) for path in HashIndex.load(index).ids.tolist()]
    assert "new.png" in ids
    assert "p0.png" not in ids


def test_of_two_builds_of_one_index_the_second_finds_it_there(few_photos, block_hasher, slow, capsys):
    commands = [["index", "build", "photos", "-o", "photos.hix", "-j", "1"]] * 2
    assert sorted(together(*commands)) == [0, 5]
    assert len(HashIndex.load("photos.hix")) == 5


@pytest.mark.parametrize(
    "command",
    [["add", "photos.hix", "photos/p0.png"], ["remove", "photos.hix", "photos/p0.png"], ["sync", "photos.hix"]],
    ids=lambda command: command[0],
)
def test_who_does_not_want_to_wait_is_told_who_writes(index, command, capsys):
    before = index.read_bytes()
    with locked(index):
        assert run(["index", *command, "--wait", "0"]) == BUSY
    told = capsys.readouterr().err
    assert f"photos.hix: is being written by process {os.getpid()} on " in told
    assert index.read_bytes() == before


def test_readers_do_not_wait_and_leave_nothing(index):
    with locked(index):
        there = sorted(os.listdir())
        assert run(["index", "info", "photos.hix"]) == 0
        assert run(["search", "photos.hix", "photos/p1.png"]) == 0
        assert run(["dedup", "photos.hix"]) == 0
        assert sorted(os.listdir()) == there
    assert ".photos.hix.lock" not in os.listdir()


def test_a_folder_that_another_benchmark_writes_to_is_named(few_photos, capsys):
    os.mkdir("run")
    with locked(Path("run/run.json")):
        arguments = ["photos", "-o", "run", "--codecs", "jpeg420", "--qualities", "50", "--limit", "1", "--quiet"]
        code = run(["bench", *arguments])
    assert code == BUSY
    assert os.listdir("run") == []
