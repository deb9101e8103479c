"""Laws of writing: a target is either wholly new or exactly as it was, and nothing else is left lying about."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from aecodec.contracts import OutputError, OutputExistsError, UsageError
from aecodec.data.files import atomic_file, write_atomic
from aecodec.data.outputs import check_distinct, check_output, input_below, output_in


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


def test_a_long_name_leaves_room_for_the_temporary_one(tmp_path):
    target = tmp_path / ("\u56fe" * 80 + ".aec")
    write_atomic(target, b"one", overwrite=False)
    assert target.read_bytes() == b"one"


@pytest.mark.parametrize(
    ("kind", "named"), [(stat.S_IFCHR, "a device"), (stat.S_IFBLK, "a device"), (stat.S_IFSOCK, "a socket")]
)
def test_devices_and_sockets_are_never_replaced(tmp_path, monkeypatch, kind, named):
    target = tmp_path / "file"
    target.write_bytes(b"as if it were one")
    real = os.stat

    def special(path, *args, **kwargs):
        found = real(path, *args, **kwargs)
        if Path(path) != target:
            return found
        return os.stat_result([kind | 0o666, *found[1:]])

    with monkeypatch.context() as patch:
        patch.setattr(os, "stat", special)
        for overwrite in (False, True):
            with pytest.raises(OutputError, match=f"is {named}, and only regular files"):
                write_atomic(target, b"new", overwrite=overwrite)
    assert target.read_bytes() == b"as if it were one"
    assert os.listdir(tmp_path) == ["file"]


def test_a_source_is_never_the_target_whatever_it_is_called(tmp_path):
    source = tmp_path / "source"
    source.write_bytes(b"precious")
    os.link(source, tmp_path / "hard")
    os.symlink(source, tmp_path / "soft")
    for name in ("source", "hard", "soft"):
        with pytest.raises(OutputExistsError, match="is an input"):
            write_atomic(tmp_path / name, b"new", overwrite=True, sources=[source])
    assert source.read_bytes() == b"precious"
    assert check_output(tmp_path / "new", overwrite=False, inputs=frozenset()) is None


def test_a_new_file_is_for_no_more_eyes_than_its_sources(tmp_path):
    before = os.umask(0o002)
    try:
        for number, modes in enumerate([(), (0o600,), (0o644, 0o660), (0o777,), (0o000,)]):
            sources = [tmp_path / f"source{number}{mode:o}" for mode in modes]
            for path, mode in zip(sources, modes, strict=True):
                path.write_bytes(b"")
                path.chmod(mode)
            write_atomic(tmp_path / f"{number}", b"", overwrite=False, sources=[*sources, tmp_path / "none"])
        found = [stat.S_IMODE((tmp_path / f"{number}").stat().st_mode) for number in range(5)]
    finally:
        os.umask(before)
    assert found == [0o664, 0o600, 0o640, 0o664, 0o600]


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/etc/passwd", "../x", "a\0b"])
def test_no_name_leads_out_of_the_folder_of_an_output(name):
    with pytest.raises(OutputError, match="cannot be the name of an output"):
        output_in(Path("folder"), name)


def test_a_plain_name_is_one():
    for name in ("...", "..png", "a b", "-", "\\", "\u56fe"):
        assert output_in(Path("folder"), name).parent == Path("folder")


def test_what_a_file_names_lies_below_its_root_or_is_refused(tmp_path):
    root = tmp_path / "root"
    (root / "inside").mkdir(parents=True)
    for path in (tmp_path / "secret", root / "plain", root / "inside" / "deep"):
        path.write_bytes(b"")
    os.symlink(tmp_path / "secret", root / "out")
    os.symlink("plain", root / "in")
    os.mkfifo(root / "pipe")
    for name in ("plain", "inside/deep", "in", "inside/../plain", "not there"):
        assert input_below(root, name, UsageError) == root / name
    for name in ("../secret", str(tmp_path / "secret"), "out", "pipe", "..", "inside", "", "a\0b"):
        with pytest.raises(UsageError):
            input_below(root, name, UsageError)


def test_outputs_of_one_run_are_told_apart_by_where_they_lie(tmp_path):
    (tmp_path / "folder").mkdir()
    os.symlink("folder", tmp_path / "link")
    check_distinct([(tmp_path / "folder" / "a", "x"), (tmp_path / "folder" / "b", "y")])
    with pytest.raises(UsageError, match="x and y would both become"):
        check_distinct([(tmp_path / "folder" / "a", "x"), (tmp_path / "link" / "a", "y")])
