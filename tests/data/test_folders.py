"""Laws of the walk through folders: it finds what a plain search finds, and says what it could not look at."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from aecodec.contracts import ImageReadError
from aecodec.data.folders import PHOTO_SUFFIXES, list_photos, walk_files

NAMES = (
    "b.png",
    "a.JPG",
    "z/c.png",
    "c-d/a.png",
    "c/x/deep.png",
    "c/.png",
    "notes.txt",
    ".hidden.png",
    ".cache/d.png",
    "c/.x/e.png",
    "png",
    "a.png.part",
)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Files of those names, a folder and a pipe that are called like pictures, and links."""
    for name in NAMES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "folder.png" / "inside.png").touch()
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "link.png").symlink_to(tmp_path / "b.png")
    (tmp_path / "linked").symlink_to(tmp_path / "z")
    return tmp_path


def names(tree: Path, **how: bool) -> list[str]:
    return [path.relative_to(tree).as_posix() for path in walk_files(tree, {".png", ".jpg"}, **how)]


def test_it_finds_what_a_plain_search_finds(tree):
    every = [p for p in tree.rglob("*") if p.suffix.lower() in (".png", ".jpg") and p.is_file()]
    assert sorted(walk_files(tree, {".png", ".jpg"})) == sorted(every)
    assert list_photos(tree) == sorted(every)


def test_a_folders_own_files_come_first_each_by_name(tree):
    assert names(tree, hidden=False) == [
        "a.JPG",
        "b.png",
        "link.png",
        "c/x/deep.png",
        "c-d/a.png",
        "folder.png/inside.png",
        "z/c.png",
    ]


def test_hidden_files_and_folders_are_passed_over_or_not(tree):
    assert set(names(tree)) - set(names(tree, hidden=False)) == {".hidden.png", ".cache/d.png", "c/.x/e.png"}


def test_folders_inside_are_entered_or_not(tree):
    assert names(tree, recursive=False) == [".hidden.png", "a.JPG", "b.png", "link.png"]


def test_what_cannot_be_looked_at_is_told(tree, monkeypatch):
    (tree / "broken.png").symlink_to(tree / "nowhere")
    real = os.scandir

    def scandir(path):
        if str(path).endswith("z"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    before = names(tree)
    monkeypatch.setattr(os, "scandir", scandir)
    told: list[OSError] = []
    found = [path.relative_to(tree).as_posix() for path in walk_files(tree, {".png", ".jpg"}, unreadable=told.append)]
    assert found == [name for name in before if name != "z/c.png"]
    assert [(type(error), Path(error.filename).name) for error in told] == [
        (FileNotFoundError, "broken.png"),
        (PermissionError, "z"),
    ]


def test_a_folder_without_pictures_is_refused(tmp_path):
    (tmp_path / "a.txt").touch()
    assert ".txt" not in PHOTO_SUFFIXES
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(ImageReadError, match="no pictures found"):
            list_photos(folder)
