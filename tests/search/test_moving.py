"""What is moved is where the log says and comes back as it was; nothing is overwritten, and what changed stays."""

from __future__ import annotations

import errno
import json
import os
import subprocess
from pathlib import Path

import pytest
from planted_pictures import NAMES, chosen, furnish, held, state
from search_actions import ACTIONS

from aecodec.cli.output import printable
from aecodec.contracts import AecodecError, BusyError, LogError, OutputError, OutputExistsError, UsageError
from aecodec.search import trash
from aecodec.search.moving import Action, ToFolder, ToLink, ToTrash, alone, perform
from aecodec.search.scripting import quoted, script
from aecodec.search.undoing import undo


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for pictures, and a home of its own for the trash."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    return tmp_path / "photos"


@pytest.fixture(params=["one file system", "two file systems", "no hard links"])
def system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How files can be moved."""
    real = os.link

    def link(source, target, **how):
        if request.param == "no hard links":
            raise OSError(errno.EPERM, "no links")
        if Path(source).parent.name != Path(target).parent.name:
            raise OSError(errno.EXDEV, "another file system")
        real(source, target, **how)

    if request.param != "one file system":
        monkeypatch.setattr(os, "link", link)
    return request.param


@pytest.mark.parametrize("kind", ["move", "trash"])
def test_moved_and_back(kind, root, system):
    pairs, log = furnish(root), root.parent / "a.log"
    before = state(root)
    outcomes = list(perform(pairs, ACTIONS[kind](root.parent), log, [root]))
    assert [(one.path, one.error) for one in outcomes] == [(other.path, None) for _, other in pairs]
    assert set(state(root)) == {"keep.png"}
    for outcome, (_, other) in zip(outcomes, pairs, strict=True):
        assert outcome.to.read_bytes() == before[str(other.path.relative_to(root))][-1]
        assert outcome.to.stat().st_mtime_ns == other.modified
    if kind == "move":
        assert sorted(str(one.to.relative_to(root.parent / "moved")) for one in outcomes) == sorted(NAMES)
    else:
        infos = list((root.parent / "data/Trash/info").iterdir())
        assert sorted(info.name.removesuffix(".trashinfo") for info in infos) == sorted(one.to.name for one in outcomes)
    undone = list(undo(log))
    assert [(one.path, one.back, one.error) for one in undone] == [(o.path, True, None) for _, o in reversed(pairs)]
    assert state(root) == before
    assert set(held(root.parent)) == {str(root / name) for name in before}
    assert not list(root.parent.rglob("*.trashinfo"))
    assert [(one.back, one.error) for one in undo(log)] == [(False, None)] * len(pairs)
    assert state(root) == before


@pytest.mark.parametrize("kind", ["hard", "sym"])
def test_linked_and_back(kind, root):
    pairs, log = furnish(root, b"the same"), root.parent / "a.log"
    before = state(root)
    assert all(one.error is None for one in perform(pairs, ACTIONS[kind](root), log, [root]))
    linked = state(root)
    assert {name: one[-1] for name, one in linked.items()} == {name: one[-1] for name, one in before.items()}
    assert linked["keep.png"][3] == (len(pairs) + 1 if kind == "hard" else 1)
    assert {name for name, one in linked.items() if one[0]} == (set(NAMES) if kind == "sym" else set())
    os.rename(root, root.with_name("renamed"))  # symbolic links are relative
    assert {name: one[-1] for name, one in state(root.with_name("renamed")).items()} == dict.fromkeys(
        before, b"the same"
    )
    os.rename(root.with_name("renamed"), root)
    assert [(one.back, one.error) for one in undo(log)] == [(True, None)] * len(pairs)
    assert state(root) == before
    assert [(one.back, one.error) for one in undo(log)] == [(False, None)] * len(pairs)
    assert state(root) == before


def test_only_what_is_equal_is_linked(root):
    pairs = furnish(root)
    before = state(root)
    for outcome in perform(pairs, ToLink(symbolic=False), root.parent / "a.log", [root]):
        assert isinstance(outcome.error, UsageError)
    assert state(root) == before


def test_a_name_that_is_taken_is_not_taken_twice(root, system):
    pairs, moved = furnish(root), root.parent / "moved"
    (moved / "sub").mkdir(parents=True)
    for name in ("a.png", "a (2).png", "sub/deep.png"):
        (moved / name).write_bytes(b"mine")
    os.symlink("nowhere", moved / "-rf.png")
    done = list(perform(pairs, ToFolder(moved), root.parent / "a.log", [root]))
    names = {str(one.to.relative_to(moved)) for one in done}
    assert {"a (3).png", "sub/deep (2).png", "-rf (2).png"} <= names
    assert [(moved / name).read_bytes() for name in ("a.png", "a (2).png", "sub/deep.png")] == [b"mine"] * 3
    assert os.readlink(moved / "-rf.png") == "nowhere"


def _write(path: Path) -> None:
    path.write_bytes(b"edited!!!")


def _replace(path: Path) -> None:
    path.unlink()
    os.symlink("keep.png", path)


def _lead_out(path: Path) -> None:
    path.parent.rename(path.parent.parent.parent / "outside")
    os.symlink(path.parent.parent.parent / "outside", path.parent)


def _touch(path: Path) -> None:
    os.utime(path, ns=(5, 5))


@pytest.mark.parametrize("kind", ACTIONS)
@pytest.mark.parametrize("change", [_write, _touch, os.unlink, _replace, _lead_out])
def test_what_has_changed_since_it_was_looked_at_stays(kind, change, root):
    pairs = furnish(root, b"the same")
    change(root / "sub/deep.png")
    outcomes = list(perform(pairs, ACTIONS[kind](root.parent), root.parent / "a.log", [root]))
    left = [one for one in outcomes if one.error is not None]
    assert [one.path for one in left] == [root / "sub/deep.png"]
    assert str(left[0].error).startswith(f"{root / 'sub/deep.png'}: ")
    assert "\n" not in str(left[0].error)


@pytest.mark.parametrize("kind", ACTIONS)
@pytest.mark.parametrize("change", [_write, _touch, os.unlink])
def test_nothing_is_moved_away_from_a_kept_picture_that_has_changed(kind, change, root):
    pairs = furnish(root, b"the same")
    change(root / "keep.png")
    before = state(root)
    outcomes = list(perform(pairs, ACTIONS[kind](root.parent), root.parent / "a.log", [root]))
    assert all(one.error is not None for one in outcomes)
    assert state(root) == before
    assert not (root.parent / "a.log").exists()


def test_a_file_is_no_copy_of_itself_and_only_pictures_are_moved(root):
    pairs = furnish(root)
    kept = pairs[0][0]
    os.link(kept.path, root / "name.png")
    (root / "notes.txt").write_bytes(b"no picture")
    strange = [(kept, chosen(root / name, root)) for name in ("name.png", "notes.txt")]
    told = [str(one.error) for one in perform(strange, ToTrash(), root.parent / "a.log", [root])]
    assert "is the same file as" in told[0]
    assert "its name is none of a picture" in told[1]


def test_a_log_is_never_replaced_and_without_one_nothing_moves(root):
    pairs, log = furnish(root), root.parent / "a.log"
    before = state(root)
    log.write_text("mine")
    with pytest.raises(OutputExistsError, match=r"exists \(a log is never replaced\)"):
        list(perform(pairs, ToTrash(), log, [root]))
    with pytest.raises(OutputError, match="cannot be written"):
        list(perform(pairs, ToTrash(), root / "none/a.log", [root]))
    assert state(root) == before
    assert log.read_text() == "mine"


def test_pictures_are_not_moved_to_where_they_would_be_found_again(root):
    furnish(root)
    for inside in (root, root / "sub", root / "new/one"):
        with pytest.raises(UsageError, match="would be found again"):
            ToFolder(inside).check([root])
    for outside in (root.parent, root.parent / "other", root / ".hidden", root / "new/.hidden", Path(f"{root}2")):
        ToFolder(outside).check([root])


def test_a_second_process_is_refused(root):
    pairs, log = furnish(root), root.parent / "a.log"
    list(perform(pairs, ToTrash(), log, [root]))
    before = state(root)
    with alone([root]):
        with pytest.raises(BusyError), alone([root]):
            pass
        with pytest.raises(BusyError):
            list(undo(log))
    assert state(root) == before
    assert len(list(undo(log))) == len(pairs)


def test_undo_says_what_it_cannot_put_back_and_why(root):
    pairs, log, moved = furnish(root), root.parent / "a.log", root.parent / "moved"
    list(perform(pairs, ToFolder(moved), log, [root]))
    (moved / "a.png").write_bytes(b"edited since")
    (moved / "-rf.png").unlink()
    (root / "two\nlines.png").write_bytes(b"another")
    (root / "sub").rmdir()
    told = {one.path.name: str(one.error) for one in undo(log) if one.error is not None}
    assert told == {
        "a.png": f"{root / 'a.png'}: cannot be put back, for {moved / 'a.png'} has changed since",
        "-rf.png": f"{root / '-rf.png'}: cannot be put back, for {moved / '-rf.png'} is not there any more",
        "two\nlines.png": f"{root / NAMES[1]}: is in the way of the picture that was moved to {moved / NAMES[1]}",
        "deep.png": f"{root / 'sub/deep.png'}: cannot be put back, for its folder is not there any more",
    }
    assert (root / "two\nlines.png").read_bytes() == b"another"
    (root / "sub").mkdir()
    assert [one.path.name for one in undo(log) if one.back] == ["deep.png"]


def test_undo_leaves_a_link_whose_picture_is_not_any_more_what_it_was(root):
    pairs, log = furnish(root, b"the same"), root.parent / "a.log"
    list(perform(pairs, ToLink(symbolic=False), log, [root]))
    (root / "keep.png").write_bytes(b"not this")
    assert all("is not any more what it was" in str(one.error) for one in undo(log))


def _lines(log: Path) -> list[dict]:
    return [json.loads(line) for line in log.read_text().splitlines()]


FORGED = {
    "no header": lambda lines: lines[1:],
    "another version": lambda lines: [{**lines[0], "version": 2}, *lines[1:]],
    "another action": lambda lines: [{**lines[0], "action": "delete"}, *lines[1:]],
    "steps of another action": lambda lines: [{**lines[0], "action": "link"}, *lines[1:]],
    "a relative path": lambda lines: [lines[0], {**lines[1], "path": "a.png"}],
    "a path that goes up": lambda lines: [lines[0], {**lines[1], "to": "/tmp/../etc/a.png"}],
    "no picture": lambda lines: [lines[0], {**lines[1], "path": "/home/me/.bashrc"}],
    "no picture to move": lambda lines: [lines[0], {**lines[1], "to": "/home/me/.ssh/id_rsa"}],
    "a zero": lambda lines: [lines[0], {**lines[1], "path": "/a\0.png"}],
    "any file as its own": lambda lines: [lines[0], {**lines[1], "temporary": "a.png"}],
    "a temporary elsewhere": lambda lines: [lines[0], {**lines[1], "temporary": "../.aecodec-0123456789abcdef.tmp"}],
    "info elsewhere": lambda lines: [lines[0], {**lines[1], "info": "/home/me/notes.trashinfo"}],
    "a size that is none": lambda lines: [lines[0], {**lines[1], "size": -1}],
    "a list": lambda lines: [lines[0], [lines[1]]],
}


@pytest.mark.parametrize("forgery", FORGED)
def test_a_forged_log_is_refused_whole_before_anything_moves(forgery, root):
    pairs, log = furnish(root), root.parent / "a.log"
    list(perform(pairs, ToTrash(), log, [root]))
    before = held(root.parent)
    log.write_text("".join(json.dumps(line) + "\n" for line in FORGED[forgery](_lines(log))))
    with pytest.raises(LogError, match=r"a\.log: (is no log of dedup|line 2 is damaged) \("):
        list(undo(log))
    assert held(root.parent) == before


def test_the_info_that_undo_removes_is_about_the_file_that_came_back(root):
    pairs, log = furnish(root), root.parent / "a.log"
    list(perform(pairs, ToTrash(), log, [root]))
    info = root.parent / "data/Trash/info/a.png.trashinfo"
    for text in ("[Trash Info]\nPath=/somewhere/else.png\n", "my diary\n"):
        info.write_text(text)
        list(undo(log))
        assert info.read_text() == text


@pytest.mark.parametrize("kind", ACTIONS)
def test_the_script_does_what_the_action_does(kind, root, tmp_path):
    if kind == "trash":
        lines = list(script(furnish(root), ToTrash()))
        assert len(lines) == 1 + len(NAMES)
        assert all("gio trash -- " in line for line in lines[1:])
        return
    pairs = furnish(root, b"the same")
    text = "\n".join(script(pairs, ACTIONS[kind](root.parent))) + "\n"
    assert text.isascii()
    assert all(character.isprintable() or character == "\n" for character in text)
    subprocess.run(["bash"], input=text, text=True, check=True)
    by_script = state(root), held(root.parent)
    for each in (root, root.parent / "moved"):
        subprocess.run(["rm", "-rf", each], check=True)
    pairs = furnish(root, b"the same")
    list(perform(pairs, ACTIONS[kind](root.parent), root.parent / "a.log", [root]))
    if kind != "sym":
        assert (state(root), held(root.parent)) == by_script
    assert {name: one[0] for name, one in state(root).items()} == {name: one[0] for name, one in by_script[0].items()}


@pytest.mark.parametrize("name", [*NAMES, "plain.png", "\x1b[31m\u202e.png", "ä ö.png", "\\n'.png"])
def test_a_quoted_name_is_one_word_of_one_line(name):
    word = quoted(Path("/", name))
    assert "\n" not in word
    assert printable(word) == word
    done = subprocess.run(["bash", "-c", f"printf %s {word}"], capture_output=True, check=True)
    assert done.stdout == os.fsencode(Path("/", name))


def test_every_action_has_the_name_of_its_log():
    actions: list[Action] = [ToFolder(Path("x")), ToTrash(), ToLink(symbolic=True)]
    assert [action.name for action in actions] == ["move", "trash", "link"]


def test_errors_are_of_the_tree():
    assert issubclass(LogError, AecodecError)
    assert LogError.exit_code == 3


def test_the_trash_of_another_file_system_is_on_that(root, monkeypatch):
    pairs, log = furnish(root), root.parent / "a.log"
    monkeypatch.setattr(trash, "_device", lambda path: int(str(path).startswith(str(root))))
    monkeypatch.setattr(os.path, "ismount", lambda path: str(path) == str(root))
    before = state(root)
    list(perform(pairs, ToTrash(), log, [root]))
    place = root / f".Trash-{os.getuid()}"
    assert len(list((place / "files").iterdir())) == len(pairs)
    assert "\nPath=sub/deep.png\n" in (place / "info/deep.png.trashinfo").read_text()
    assert place.stat().st_mode & 0o777 == 0o700
    assert all(one.back for one in undo(log))
    assert state(root) == before
    assert not list(place.rglob("*.trashinfo"))
    (root / ".Trash").mkdir(mode=0o1777)
    os.chmod(root / ".Trash", 0o1777)
    (other,) = perform(pairs[-1:], ToTrash(), root.parent / "b.log", [root])
    assert other.to == root / ".Trash" / str(os.getuid()) / "files/a.png"
    assert "\nPath=a.png\n" in (other.to.parent.parent / "info/a.png.trashinfo").read_text()
    assert all(one.back for one in undo(root.parent / "b.log"))


def test_a_trash_of_somebody_else_is_not_used(root, monkeypatch):
    pairs = furnish(root)
    elsewhere = root.parent / "data/Trash/files"
    elsewhere.mkdir(parents=True)
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    before = state(root)
    told = [str(one.error) for one in perform(pairs, ToTrash(), root.parent / "a.log", [root])]
    assert all("is not this user's trash" in one for one in told)
    assert state(root) == before
