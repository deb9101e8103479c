"""``aecodec dedup`` as a user types it: what is told, what is done about it, and that it can be undone."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from block_hasher import BlockHasher
from conftest import natural_picture
from PIL import Image
from planted_pictures import state

from aecodec.cli import run
from aecodec.coding.container import SemanticHash
from aecodec.data.images import Picture
from aecodec.index.windows import LAYOUT, LAYOUTS
from aecodec.search import moving
from aecodec.search.choices import uri_of
from aecodec.search.moving import alone
from aecodec.search.turning import turned_way


@pytest.fixture
def photos(few_photos: Path, block_hasher: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """photos/ of the working folder: p0 to p3, a smaller copy of p2, an exact one of p1; a hasher without a model."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    shutil.copy(few_photos / "p1.png", few_photos / "p1 again.png")
    os.utime(few_photos / "p1 again.png", (2**31, 2**31))
    return few_photos


def records(capsys) -> list[dict]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def dedup(*words: str) -> int:
    return run(["dedup", *words, "--max-distance", "4"])


GONE = {"p1 again.png", "<copy> & co.jpg"}


@pytest.mark.parametrize("action", [["--move-to", "moved"], ["--trash"]])
def test_others_are_moved_and_put_back(action, photos, capsys):
    before = state(photos)
    assert dedup("photos", *action, "--log", "a.log") == 0
    told = capsys.readouterr().out.splitlines()
    assert set(state(photos)) == set(before) - GONE
    assert told[-1] == "aecodec dedup --undo a.log puts them back"
    assert re.fullmatch(r"2 pictures moved( to the trash)? \(\S+ kB\)", told[-2])
    if action[0] == "--move-to":
        assert set(os.listdir("moved")) == GONE
        assert "photos/p1 again.png -> moved/p1 again.png" in told
    else:
        assert set(os.listdir("data/Trash/files")) == GONE
    assert dedup("photos", *action, "--log", "b.log") == 0
    assert capsys.readouterr().out.splitlines()[-1] == "nothing to do"
    assert not Path("b.log").exists()
    assert run(["dedup", "--undo", "a.log"]) == 0
    assert capsys.readouterr().out == "2 pictures put back\n"
    assert state(photos) == before
    assert run(["dedup", "--undo", "a.log"]) == 0
    assert capsys.readouterr().out == "0 pictures put back, 2 in place already\n"


@pytest.mark.parametrize("kind", ["hard", "sym"])
def test_exact_copies_become_links(kind, photos, capsys):
    before = state(photos)
    assert dedup("photos", "--link", kind) == 0
    told = capsys.readouterr()
    assert "1 of 2 pictures are no exact copies, and stay" in told.err
    assert os.path.samefile("photos/p1 again.png", "photos/p1.png")
    assert Path("photos/p1 again.png").is_symlink() == (kind == "sym")
    log = re.search(r"--undo (\S+) puts them back", told.out)[1]
    assert re.fullmatch(r"dedup-\d{8}-\d{6}\.log", log)
    assert dedup("photos") == 0
    assert "1 group of 2 pictures" in capsys.readouterr().out  # a file is no duplicate of itself
    assert run(["dedup", "--undo", log]) == 0
    assert state(photos) == before


def test_json_tells_of_the_same(photos, capsys):
    assert dedup("photos", "--json", "--trash", "--log", "a.log", "--keep", "oldest") == 0
    told = records(capsys)
    assert [record["event"] for record in told] == ["group", "group", "summary", "done", "done", "acted"]
    first, second = told[:2]
    assert (first["keep"], first["others"]) == (str(photos / "p1.png"), [str(photos / "p1 again.png")])
    assert second["keep"] == str(photos / "p2.png")
    assert second["pictures"][1] | {"distance": 0, "bytes": 0} == {
        "path": str(photos / "<copy> & co.jpg"),
        "distance": 0,
        "bytes": 0,
        "width": 48,
        "height": 32,
        "code": "pixels",
        "turned": None,
        "part": None,
        "first_part": None,
    }
    assert {key: told[2][key] for key in ("groups", "in_groups", "flat", "keep")} == {
        "groups": 2,
        "in_groups": 4,
        "flat": 0,
        "keep": "oldest",
    }
    assert {record["path"] for record in told[3:5]} == {str(photos / name) for name in GONE}
    assert (told[5]["done"], told[5]["log"]) == (2, "a.log")
    assert run(["dedup", "--undo", "a.log", "--json"]) == 0
    assert [record.get("moved") for record in records(capsys)] == [True, True, None]


def test_what_cannot_be_done_is_told_and_the_rest_is_done(photos, capsys):
    assert dedup("photos", "--move-to", "moved", "--log", "a.log") == 0
    Path("moved/p1 again.png").write_bytes(b"edited")
    capsys.readouterr()
    assert run(["dedup", "--undo", "a.log", "--json"]) == 1
    told = capsys.readouterr()
    assert "cannot be put back, for" in told.err
    assert told.err.count("\n") == 1
    assert [json.loads(line)["event"] for line in told.out.splitlines()] == ["undone", "left", "summary"]


def test_turned_copies_are_told_of(photos, capsys):
    Image.fromarray(turned_way(natural_picture(64, 96, 3), 1)).save("photos/left.png")
    assert dedup("photos") == 0
    assert "left.png" not in (shown := capsys.readouterr().out)
    assert "2 groups of 4 pictures" in shown
    assert dedup("photos", "--turned") == 0
    assert re.search(r"   \d  photos/left\.png  \(64 x 96, \S+ kB, turned left\)", capsys.readouterr().out)


def test_codes_that_files_store_are_told_of(photos, small_codec, capsys):
    code = BlockHasher().hash_pixels([natural_picture(64, 96, 2)])[0].tobytes()
    carried = SemanticHash("blocks", b"\x01" * 8, code)
    data = small_codec.encode_picture(Picture(natural_picture(64, 96, 2)), semantic_hash=carried).data
    (photos / "a.aec").write_bytes(data)  # of a model that is in no zoo: it cannot be measured, and is left alone
    assert dedup("photos") == 0
    assert re.search(r"   \d  photos/a\.aec  \(\S+ k?B, code stored in the file\)", capsys.readouterr().out)
    assert dedup("photos", "--json", "--move-to", "moved") == 0
    groups = [record["pictures"] for record in records(capsys) if record["event"] == "group"]
    codes = {Path(one["path"]).name: one["code"] for pictures in groups for one in pictures}
    assert codes == dict.fromkeys(["p1.png", "p1 again.png", "p2.png", "<copy> & co.jpg"], "pixels") | {
        "a.aec": "stored"
    }
    assert (photos / "a.aec").exists()


def test_flat_pictures_are_told_of_apart(photos, capsys):
    for name in ("white.png", "black.png"):
        Image.new("RGB", (50, 50), name[:5]).save(f"photos/{name}")
    assert dedup("photos") == 0
    told = capsys.readouterr().out
    assert re.search(
        r"\ntoo flat to tell\n      photos/black\.png  \(.*B\)\n      photos/white\.png  \(.*B\)\n2 g", told
    )
    assert dedup("photos", "--json", "--trash") == 0
    (flat,) = (record for record in records(capsys) if record["event"] == "flat")
    assert [Path(one["path"]).name for one in flat["pictures"]] == ["black.png", "white.png"]
    assert {"white.png", "black.png"} <= set(state(photos))


def test_the_other_folder_is_never_moved_from(photos, capsys):
    shutil.copytree("photos", "archive")
    before = state(Path("archive"))
    assert dedup("photos", "--against", "archive", "--move-to", "moved", "--keep", "newest") == 0
    assert state(Path("archive")) == before
    assert len(state(photos)) < len(before)


def test_an_index_names_what_has_moved(photos, capsys):
    assert run(["index", "build", "photos", "-o", "a.hix"]) == 0
    (photos / "p1 again.png").write_bytes(b"changed since")
    assert dedup("a.hix", "--move-to", "moved") == 0
    assert "a.hix: names pictures where they were; aecodec index sync brings it up to date" in capsys.readouterr().err
    assert set(os.listdir("moved")) == {"<copy> & co.jpg"}


def test_the_script_is_printed_and_nothing_done(photos, capsys):
    before = state(photos)
    for action in (["--move-to", "moved"], ["--trash"], ["--link", "hard"]):
        assert dedup("photos", *action, "--script") == 0
        script = capsys.readouterr().out
        assert script.startswith("#!/usr/bin/env bash\n")
        assert shlex.quote(str(photos / "p1 again.png")) in script
        assert state(photos) == before
        assert not Path("moved").exists()
    assert dedup("photos", "--move-to", "moved", "--script") == 0
    subprocess.run(["bash", "-e"], input=capsys.readouterr().out, text=True, check=True)
    assert set(os.listdir("moved")) == GONE


def test_a_list_is_shown_and_applied(photos, capsys):
    def entry(name: str) -> dict:
        status = (photos / name).stat()
        return {
            "uri": uri_of(photos / name),
            "size": str(status.st_size),
            "modified": str(status.st_mtime_ns),
            "root": 0,
        }

    groups = [{"keep": [entry("p0.png"), entry("p3.png")], "others": [entry("p1.png"), entry("<copy> & co.jpg")]}]
    content = {"what": "aecodec dedup list", "version": 1, "roots": [uri_of(photos)], "groups": groups}
    Path("list.json").write_text(json.dumps(content))
    before = state(photos)
    assert run(["dedup", "--apply", "list.json"]) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[1].startswith("keep  photos/p0.png  (")
    assert told[4].startswith("      photos/<copy> & co.jpg  (")
    assert told[5] == "2 pictures of 1 groups; --move-to, --trash or --link deals with them"
    assert run(["dedup", "--apply", "list.json", "--trash", "--script"]) == 0
    assert capsys.readouterr().out.count("gio trash") == 2
    assert state(photos) == before
    (photos / "<copy> & co.jpg").write_bytes(b"is no picture")
    groups[0]["others"][1] = entry("<copy> & co.jpg")
    Path("list.json").write_text(json.dumps(content))
    assert run(["dedup", "--apply", "list.json", "--move-to", "moved", "--log", "a.log"]) == 1
    assert "<copy> & co.jpg: not a picture" in capsys.readouterr().err
    assert os.listdir("moved") == ["p1.png"]
    Path("list.json").write_text(json.dumps({**content, "roots": [uri_of(photos.parent / "elsewhere")]}))
    assert run(["dedup", "--apply", "list.json", "--trash"]) == 1


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ("", 2, "dedup takes a FOLDER or INDEX, --undo LOG or --apply LIST"),
        ("photos --trash --move-to moved", 2, "--move-to, --trash and --link exclude each other"),
        ("photos --log a.log", 2, "--log and --script go with --move-to, --trash or --link"),
        ("photos --script", 2, "--log and --script go with --move-to, --trash or --link"),
        ("photos --trash --script --json", 2, "--script prints commands alone: no --log, --json or --html"),
        ("photos --undo a.log", 2, "--undo does not go with SOURCE"),
        ("--undo a.log --trash", 2, "--undo does not go with --trash"),
        ("--apply list.json --keep best --trash", 2, "--apply does not go with --keep"),
        ("photos --move-to photos/moved", 2, "would be found again"),
        ("photos --move-to photos/p0.png", 1, "photos/p0.png: is no folder"),
        ("--undo none.log", 3, "none.log: no such log"),
        ("--undo photos/p0.png", 3, "photos/p0.png: is no log of dedup"),
        ("--apply none.json", 3, "none.json: is no list of dedup (No such file or directory)"),
        ("--apply photos/p0.png --trash", 3, "photos/p0.png: is no list of dedup"),
        ("photos --trash --log none/a.log", 1, "none/a.log: cannot be written (no such folder)"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(words, code, message, photos, capsys):
    before = state(photos)
    assert run(["dedup", *words.split()]) == code
    told = capsys.readouterr()
    assert message in told.err
    assert told.err.count("\n") == 1
    assert state(photos) == before


def test_a_second_process_is_refused_before_any_work(photos, capsys):
    with alone([photos]):
        assert dedup("photos", "--trash") == 7
        assert "is being written by process" in capsys.readouterr().err
        assert dedup("photos") == 0


def test_crops_are_grouped_by_windows(photos, capsys):
    window = LAYOUTS[LAYOUT][0]
    whole = Image.open(photos / "p3.png")
    crop = whole.crop((0, 0, round(window.width * whole.width), round(window.height * whole.height)))
    crop.save(photos / "crop.png")
    part = [window.left, window.top, window.width, window.height]

    def crops(*words: str) -> list[dict]:
        assert dedup(*words, "--json") == 0
        pictures = [group["pictures"] for group in records(capsys) if group["event"] == "group"]
        return [one for group in pictures for one in group if Path(one["path"]).name == "crop.png"]

    assert crops("photos") == []
    found = crops("photos", "--windows")
    assert [(one["part"], one["first_part"], one["code"]) for one in found] == [(None, part, "pixels")]
    assert run(["index", "build", "photos", "-o", "w.hix", "--windows"]) == 0
    capsys.readouterr()
    assert crops("w.hix") == []
    assert crops("w.hix", "--windows") == found
    assert dedup("photos", "--windows", "--html", "a.html") == 0
    assert "the first one's 80% x 80% at 0%, 0%)" in capsys.readouterr().out
    assert "the first one&#x27;s 80% x 80% at 0%, 0%" in Path("a.html").read_text()
    assert dedup("photos", "--windows", "--move-to", "moved", "--log", "a.log") == 0
    assert "crop.png" in os.listdir("moved")
    capsys.readouterr()
    assert run(["dedup", "w.hix", "--windows"]) == 0
    assert "at most 1 of 64 bits from the first, 2 by windows" in capsys.readouterr().out
    assert run(["index", "build", "photos", "-o", "plain.hix"]) == 0
    capsys.readouterr()
    assert dedup("plain.hix", "--windows") == 3
    assert "plain.hix: has no windows" in capsys.readouterr().err


def test_an_interrupted_run_says_how_to_undo_it(photos, capsys, monkeypatch):
    before, real = state(photos), moving.move_new

    def interrupted(source: Path, *others: object) -> None:
        if source.name == "<copy> & co.jpg":
            raise KeyboardInterrupt
        real(source, *others)

    with monkeypatch.context() as patched:
        patched.setattr(moving, "move_new", interrupted)
        assert dedup("photos", "--trash", "--log", "a.log") == 130
    assert "1 pictures were moved to the trash; aecodec dedup --undo a.log puts them back" in capsys.readouterr().err
    assert run(["dedup", "--undo", "a.log"]) == 0
    assert state(photos) == before
