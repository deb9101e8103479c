"""A sync drops nothing that nobody could look at: empty mount points, unreadable folders, disks that are not there."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from block_hasher import BlockHasher
from conftest import natural_picture
from PIL import Image

from aecodec.contracts import ModelMismatchError, UnavailableError, UsageError
from aecodec.index.hash_index import HashIndex
from aecodec.search import building, updating
from aecodec.search.pictures import CodeReader
from aecodec.search.syncing import plan_sync


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Five pictures, two of them in a folder of their own."""
    folder = tmp_path / "photos"
    (folder / "disk").mkdir(parents=True)
    for number in range(5):
        Image.fromarray(natural_picture(16, 24, number)).save(folder / ("disk" if number > 2 else "") / f"{number}.png")
    return folder


@pytest.fixture
def index(photos: Path, tmp_path: Path) -> HashIndex:
    return building.build(photos, tmp_path / "a.hix", CodeReader(BlockHasher()))[0]


EVERY = ["0.png", "1.png", "2.png", "disk/3.png", "disk/4.png"]


def synced(index: HashIndex, **how: bool) -> updating.Report:
    return building.sync(index, CodeReader(BlockHasher()), **how)


def ids(index: HashIndex) -> list[str]:
    return sorted(index.ids.tolist())


def refuse(monkeypatch: pytest.MonkeyPatch, refused: Path) -> None:
    """That folder cannot be listed, whoever asks."""
    real = os.scandir

    def guarded(path):
        if Path(path) == refused:
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", guarded)


@pytest.mark.parametrize("part", ["", "disk"])
def test_what_lies_in_an_unreadable_folder_stays(photos, index, monkeypatch, part):
    """The files are gone as far as anybody can tell; so are those that nobody may list."""
    for path in (photos / part).glob("*.png"):
        path.unlink()
    refuse(monkeypatch, photos / part)
    for allow_empty in (False, True):
        report = synced(index, allow_empty=allow_empty)
        assert ids(index) == EVERY
        assert (report.removed, report.unseen) == (0, 5 - report.kept)
        assert [failure.message for failure in report.failures] == [
            f"{photos / part}: cannot be read (Permission denied)"
        ]


@pytest.mark.parametrize("part", ["", "disk"])
def test_an_empty_folder_may_be_a_mount_point(photos, index, part):
    shutil.rmtree(photos / part)
    (photos / part).mkdir()
    report = synced(index)
    assert ids(index) == EVERY
    assert (report.removed, report.unseen) == (0, 5 - report.kept)
    assert all("is empty or not there; its " in failure.message for failure in report.failures)
    assert report.failures
    assert synced(index, allow_empty=True).removed == report.unseen
    assert ids(index) == [name for name in EVERY if part and not name.startswith(part)]


def test_a_link_to_a_disk_that_is_not_there_keeps_what_it_led_to(photos, index, tmp_path):
    (photos / "disk").rename(tmp_path / "mounted")
    (photos / "disk").symlink_to(tmp_path / "mounted")
    assert synced(index).kept == 5
    (tmp_path / "mounted").rename(tmp_path / "elsewhere")
    report = synced(index, allow_empty=True)
    assert (report.removed, report.unseen) == (0, 2)
    assert report.failures[0].message == f"{photos / 'disk'}: no such file"
    (photos / "disk").unlink()
    assert synced(index).removed == 2


def test_more_than_half_is_dropped_only_when_asked(photos, index):
    for name in EVERY[:3]:
        (photos / name).unlink()
    with pytest.raises(UsageError, match=r"3 of the 5 pictures .* nothing was changed .*--allow-empty"):
        synced(index)
    assert ids(index) == EVERY
    assert plan_sync(index).gone == EVERY[:3]
    assert ids(index) == EVERY
    assert synced(index, allow_empty=True).removed == 3
    (photos / EVERY[3]).unlink()
    assert synced(index).removed == 1  # half is not more than half
    assert ids(index) == EVERY[4:]


def test_files_outside_are_gone_only_if_their_folder_is_there_without_them(photos, index, tmp_path):
    stick = tmp_path / "stick"
    stick.mkdir()
    for name in ("x.png", "y.png"):
        shutil.copy(photos / "0.png", stick / name)
    building.add(index, [stick], CodeReader(BlockHasher()))
    (stick / "x.png").unlink()
    assert synced(index).removed == 1
    (stick / "y.png").rename(tmp_path / "y.png")
    assert synced(index).unseen == 1
    stick.rmdir()
    assert synced(index).unseen == 1
    assert str(stick / "y.png") in ids(index)
    assert synced(index, allow_empty=True).removed == 1
    assert ids(index) == EVERY


def test_what_was_added_by_name_is_looked_for_by_name(photos, index):
    """Hidden files, and those of suffixes that no plug-in at hand reads, are in no walk."""
    for name in (".hidden.png", "picture", "a.from-a-plug-in"):
        shutil.copy(photos / "0.png", photos / name)
    building.add(index, [photos / name for name in (".hidden.png", "picture", "a.from-a-plug-in")], reader())
    assert synced(index).kept == 8
    (photos / "picture").unlink()
    assert synced(index).removed == 1


def reader() -> CodeReader:
    return CodeReader(BlockHasher())


def test_further_names_of_a_file_go(photos, index):
    os.link(photos / "0.png", photos / "again.png")
    building.add(index, [photos / "again.png"], reader())
    assert len(index) == 6
    assert synced(index).removed == 1
    assert len(index) == 5


@pytest.mark.parametrize(
    ("error", "kept"),
    [(UnavailableError("denied"), True), (ModelMismatchError("no model"), True), (None, False)],
    ids=["unreadable", "model missing", "damaged"],
)
def test_a_changed_file_loses_its_code_only_when_its_content_was_seen(photos, index, monkeypatch, error, kept):
    path = photos / "0.png"
    path.write_bytes(b"damaged by now")
    if error is not None:
        real = CodeReader.read

        def read(self, asked):
            if asked == path:
                raise error
            return real(self, asked)

        monkeypatch.setattr(CodeReader, "read", read)
    report = synced(index)
    assert len(report.failures) == 1
    assert ("0.png" in ids(index)) == kept
    assert len(synced(index).failures) == 1  # and it is tried again


def test_pipes_and_devices_are_failures_by_name_and_gone_in_a_sync(photos, index, tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    report = building.add(index, [tmp_path / "pipe.png", Path("/dev/zero")], reader())
    assert [failure.message for failure in report.failures] == [
        f"{tmp_path / 'pipe.png'}: is a pipe or a device, not a file",
        "/dev/zero: is a pipe or a device, not a file",
    ]
    (photos / "0.png").unlink()
    os.mkfifo(photos / "0.png")
    assert synced(index).removed == 1
