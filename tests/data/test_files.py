"""Laws of writing: a target is either wholly new or exactly as it was, and nothing else is left lying about."""

from __future__ import annotations

import errno
import os

import pytest

from aecodec.contracts import OutputError, OutputExistsError
from aecodec.data.files import atomic_file, write_atomic


def no_space(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_writes_new_files_and_replaces_on_request_only(tmp_path):
    target = tmp_path / "file"
    write_atomic(target, b"one", overwrite=False)
    assert target.read_bytes() == b"one"
    with pytest.raises(OutputExistsError):
        write_atomic(target, b"two", overwrite=False)
    assert target.read_bytes() == b"one"
    write_atomic(target, memoryview(b"two"), overwrite=True)
    assert target.read_bytes() == b"two"
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("broken", ["fsync", "replace"])
def test_a_failed_write_keeps_the_old_file(tmp_path, monkeypatch, broken):
    target = tmp_path / "file"
    target.write_bytes(b"old")
    monkeypatch.setattr(os, broken, no_space)
    with pytest.raises(OutputError, match="No space left"):
        write_atomic(target, b"new", overwrite=True)
    assert target.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_an_interrupted_block_keeps_the_old_file(tmp_path):
    target = tmp_path / "file"
    target.write_bytes(b"old")
    block = atomic_file(target, overwrite=True)
    block.__enter__().write(b"half of the n")
    assert block.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None) is False
    assert target.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_a_file_that_appears_meanwhile_is_not_overwritten(tmp_path):
    target = tmp_path / "file"
    block = atomic_file(target, overwrite=False)
    block.__enter__().write(b"mine")
    target.write_bytes(b"theirs")
    with pytest.raises(OutputExistsError):
        block.__exit__(None, None, None)
    assert target.read_bytes() == b"theirs"
    assert os.listdir(tmp_path) == ["file"]


def test_works_where_the_file_system_has_no_hard_links(tmp_path, monkeypatch):
    def unsupported(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", unsupported)
    target = tmp_path / "file"
    write_atomic(target, b"one", overwrite=False)
    assert target.read_bytes() == b"one"
    with pytest.raises(OutputExistsError), atomic_file(tmp_path / "other", overwrite=False):
        (tmp_path / "other").write_bytes(b"theirs")
    assert sorted(os.listdir(tmp_path)) == ["file", "other"]


def test_folders_in_the_way_and_missing_folders_are_output_errors(tmp_path):
    with pytest.raises(OutputError, match="is a directory"):
        write_atomic(tmp_path, b"", overwrite=True)
    with pytest.raises(OutputError, match="cannot be written"):
        write_atomic(tmp_path / "none" / "file", b"", overwrite=True)
