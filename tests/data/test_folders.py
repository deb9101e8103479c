"""Laws of the walk through folders: every file once, nothing opened that is none, and all else is told."""

from __future__ import annotations

import inspect
import os
import socket
import sys
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from aecodec.contracts import ImageReadError
from aecodec.data.folders import Walk, list_photos
from aecodec.data.formats import picture_suffixes, readable_formats

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
PICTURES = ["a.JPG", "b.png", "c/x/deep.png", "c-d/a.png", "folder.png/inside.png", "z/c.png"]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Files of those names, a folder that is called like a picture, and what is no file."""
    for name in NAMES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "folder.png" / "inside.png").touch()
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    return tmp_path


def walked(tree: Path, **how: bool) -> tuple[list[str], Walk]:
    walk = Walk({".png", ".jpg"}, **how)
    return [one.path.relative_to(tree).as_posix() for one in walk.files(tree)], walk


def refuse(monkeypatch: pytest.MonkeyPatch, refused: Path) -> None:
    """That folder cannot be read, whoever asks."""
    real = os.scandir

    def scandir(path):
        if Path(path) == refused:
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)


def test_it_finds_what_a_plain_search_finds(tree):
    every = {
        path.relative_to(tree).as_posix()
        for path in tree.rglob("*")
        if path.suffix.lower() in (".png", ".jpg")
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(tree).parts)
    }
    found, walk = walked(tree)
    assert set(found) == every == set(PICTURES)
    assert [Path(name) for name in found] == sorted(map(Path, PICTURES))
    assert [one.status.st_size for one in walk.files(tree)] == []  # once is once
    assert list_photos(tree) == [tree / name for name in found]
    assert walked(tree, recursive=False)[0] == ["a.JPG", "b.png"]


def test_what_is_passed_over_is_counted(tree):
    walk = walked(tree)[1]
    expected = {"hidden": 2, ".txt": 1, ".part": 1, "without suffix": 1, "pipes or devices": 2}
    assert walk.passed_over == Counter(expected)
    assert walk.summary == (
        "7 files passed over (2 hidden, 2 pipes or devices, 1 .part, 1 .txt, 1 without suffix), "
        "2 hidden folders not entered"
    )
    os.link(tree / "b.png", tree / "again.png")
    (tree / "pipe.png").unlink()
    assert "1 .txt, 1 further link, 1 pipe or device, 1 without suffix" in walked(tree)[1].summary
    for number in range(9):
        (tree / "c-d" / f"a.{number}").touch()
    assert "1 .4, 9 others)" in walked(tree)[1].summary
    empty = Walk({".png"})
    empty.files(tree / "z")
    assert empty.summary == ""


def test_a_name_cannot_write_to_a_terminal_through_the_closing_line(tmp_path):
    (tmp_path / "a.\x1b[31m").touch()
    (tmp_path / ("a." + "b" * 100)).touch()
    assert walked(tmp_path)[1].summary == "2 files passed over (2 others)"


def link_again(tree: Path) -> None:
    """Each way in which a file or folder has a second name, some of them before the first by name."""
    (tree / "0.png").symlink_to(tree / "b.png")
    os.link(tree / "b.png", tree / "c" / "hard.png")
    (tree / "0").symlink_to(tree / "z")
    (tree / "c" / "up").symlink_to(tree)
    (tree / "z" / "self").symlink_to(".")


def test_links_are_followed_once_and_files_go_by_their_own_names(tree, tmp_path_factory):
    link_again(tree)
    found, walk = walked(tree)
    assert set(found) == set(PICTURES)
    assert walk.passed_over["further links"] == 2
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "far.png").touch()
    (elsewhere / "back").symlink_to(tree)
    (tree / "out").symlink_to(elsewhere)
    (tree / "one.png").symlink_to(elsewhere / "far.png")
    assert set(walked(tree)[0]) == {*PICTURES, "one.png"}
    (tree / "one.png").unlink()
    assert set(walked(tree)[0]) == {*PICTURES, "out/far.png"}


def test_every_name_is_given_where_names_count(tree):
    link_again(tree)
    found, walk = walked(tree, once=False)
    assert set(found) == {*PICTURES, "0.png", "c/hard.png"}
    assert "further links" not in walk.passed_over
    assert [one.path.name for one in walk.files(tree / "z")] == ["c.png"]


def test_folders_that_share_a_walk_share_what_was_met(tree):
    os.link(tree / "b.png", tree / "z" / "also.png")
    walk = Walk({".png"})
    assert [one.path.name for one in walk.files(tree / "z")] == ["also.png", "c.png"]
    assert "b.png" not in {one.path.name for one in walk.files(tree)}


def test_what_cannot_be_looked_at_is_told(tree, monkeypatch):
    (tree / "broken.png").symlink_to(tree / "nowhere")
    (tree / "disk").symlink_to(tree / "unplugged")
    (tree / "broken.txt").symlink_to(tree / "nowhere")
    refuse(monkeypatch, tree / "z")
    found, walk = walked(tree)
    assert set(found) == {name for name in PICTURES if not name.startswith("z/")}
    assert sorted((one.path.name, one.folder, type(one.error)) for one in walk.unreadable) == [
        ("broken.png", False, FileNotFoundError),
        ("disk", True, FileNotFoundError),
        ("z", True, PermissionError),
    ]
    assert walk.summary.endswith("2 folders unreadable, 1 file unreadable")
    with pytest.warns(UserWarning, match="2 folders unreadable"):
        assert len(list_photos(tree)) == len(found)


def test_a_listing_that_breaks_off_is_an_unreadable_folder(tree, monkeypatch):
    class Broken:
        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def __iter__(self):
            raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "scandir", lambda path: Broken())
    found, walk = walked(tree)
    assert found == []
    assert [one.path for one in walk.unreadable] == [tree]


def test_sockets_and_pipes_are_never_opened(tree, monkeypatch):
    monkeypatch.chdir(tree)  # the name of a socket is short
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket.png")
        found, walk = walked(tree)
    assert set(found) == set(PICTURES)
    assert walk.passed_over["pipes or devices"] == 3


def test_the_depth_of_a_tree_costs_no_frames(tmp_path):
    deep = tmp_path.joinpath(*["d"] * 150)
    deep.mkdir(parents=True)
    (deep / "a.png").touch()
    limit = sys.getrecursionlimit()
    try:
        sys.setrecursionlimit(len(inspect.stack(0)) + 60)
        found = Walk({".png"}).files(tmp_path)
    finally:
        sys.setrecursionlimit(limit)
    assert [one.path for one in found] == [deep / "a.png"]


def test_suffixes_are_those_of_what_pillow_reads(monkeypatch):
    suffixes = picture_suffixes()
    assert {".jpg", ".jfif", ".jp2", ".jpf", ".tga", ".png", ".tif", ".webp", ".avif", ".ppm"} <= suffixes
    assert not {".txt", ".eps", ".ps", ".pdf", ".wmf", ".mpg", ".h5", ".aec"} & suffixes
    assert ".heif-of-a-test" not in suffixes
    readable_formats()  # all that registers once is registered
    monkeypatch.setattr(Image, "ID", [*Image.ID])
    monkeypatch.setattr(Image, "OPEN", {**Image.OPEN})
    monkeypatch.setattr(Image, "EXTENSION", {**Image.EXTENSION})

    class Plugin:
        pass

    Image.register_open("HEIF-OF-A-TEST", Plugin)
    Image.register_extension("HEIF-OF-A-TEST", ".heif-of-a-test")
    assert ".heif-of-a-test" in picture_suffixes()
    assert "HEIF-OF-A-TEST" in readable_formats()


def test_our_own_plugin_makes_no_pictures_of_our_files():
    import aecodec.pillow

    assert aecodec.pillow.FORMAT not in readable_formats()
    assert ".aec" not in picture_suffixes()


def test_a_folder_without_pictures_is_refused(tmp_path):
    (tmp_path / "a.txt").touch()
    with pytest.raises(ImageReadError, match=r"no pictures found in it \(1 file passed over \(1 .txt\)\)"):
        list_photos(tmp_path)
    with pytest.raises(ImageReadError, match="no pictures found"):
        list_photos(tmp_path / "none")
