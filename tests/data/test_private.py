"""Laws of a private folder: it is this user's alone, whatever the umask, and so is what is read of it."""

from __future__ import annotations

import os
import stat

import pytest

from aecodec.contracts import OutputError
from aecodec.data.private import PrivateFolder, make_private


def test_folders_are_made_for_this_user_alone(tmp_path):
    before = os.umask(0)
    try:
        make_private(tmp_path / "a" / "b")
    finally:
        os.umask(before)
    assert [stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "a", tmp_path / "a" / "b")] == [0o700, 0o700]
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"file/c"):
        make_private(tmp_path / "file" / "c")


def test_what_is_written_is_read(tmp_path):
    with PrivateFolder(tmp_path / "own") as folder:
        assert not folder.exposed
        folder.write("name", b"content")
        folder.write("name", b"more")
        assert (folder.names(), folder.read("name")) == (["name"], b"more")
        assert stat.S_IMODE((tmp_path / "own" / "name").stat().st_mode) == 0o600
        folder.remove("name")
        folder.remove("name")
        assert folder.names() == []


@pytest.mark.parametrize(("mode", "exposed"), [(0o700, False), (0o755, False), (0o775, True), (0o777, True)])
def test_a_folder_that_is_open_to_others_is_closed_and_told_of(tmp_path, mode, exposed):
    (tmp_path / "own").mkdir()
    (tmp_path / "own").chmod(mode)
    with PrivateFolder(tmp_path / "own") as folder:
        assert folder.exposed == exposed
    assert stat.S_IMODE((tmp_path / "own").stat().st_mode) == 0o700


def test_links_and_files_are_no_private_folder(tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to("there")
    (tmp_path / "file").touch()
    for name in ("link", "file"):
        with pytest.raises(OSError, match="directory"):
            PrivateFolder(tmp_path / name)


def test_links_pipes_and_files_that_others_can_write_are_not_read(tmp_path):
    with PrivateFolder(tmp_path / "own") as folder:
        folder.write("good", b"content")
        own = tmp_path / "own"
        (own / "link").symlink_to("good")
        with pytest.raises(OSError, match="link"):
            folder.read("link")
        os.link(own / "good", own / "twin")
        assert folder.read("good") is None
        (own / "twin").unlink()
        assert folder.read("good") == b"content"
        (own / "good").chmod(0o620)
        assert folder.read("good") is None
        os.mkfifo(own / "pipe")
        assert folder.read("pipe") is None


def test_an_exchanged_folder_is_not_looked_into(tmp_path):
    own = tmp_path / "own"
    with PrivateFolder(own) as folder:
        folder.write("name", b"content")
        own.rename(tmp_path / "old")
        own.mkdir()
        (own / "name").write_bytes(b"planted")
        assert folder.read("name") == b"content"
        assert (folder.opened_path() / "name").read_bytes() == b"content"
