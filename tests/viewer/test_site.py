"""A folder as a static site: what is in it, that it works below any path, and that no file of anybody's is lost."""

from __future__ import annotations

import json
import os
import re
import urllib.parse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image
from places import TESTS
from safetensors.numpy import load as safetensors_load
from scenes import scene
from shown_pictures import MARKUP, furnish, stand_ins

from aecodec.cli import run
from aecodec.codec.codec import Codec
from aecodec.contracts import AecodecError, BusyError, OutputError, OutputExistsError, UsageError
from aecodec.data.locks import locked
from aecodec.engine.onnx_engine import OnnxEngine
from aecodec.viewer import site
from aecodec.viewer.assets import find_assets
from aecodec.viewer.collection import SHOWN, Folder
from aecodec.viewer.models import Models, decoder_part
from aecodec.viewer.site import RECORD, Report, write_site
from aecodec.zoo import stored

MODEL = TESTS / "engine" / "small.safetensors"
Write = Callable[..., Report]


@pytest.fixture(scope="module")
def aec() -> bytes:
    codec = Codec.from_pretrained(MODEL, engine="onnx")
    return codec.encode(Image.fromarray(scene(40, 56)))


@pytest.fixture
def pictures(tmp_path: Path, aec: bytes) -> Path:
    folder = tmp_path / "here" / "pictures"
    folder.mkdir(parents=True)
    furnish(folder, aec)
    return folder


@pytest.fixture
def write(tmp_path: Path, pictures: Path) -> Write:
    """Writes the site of the folder to out/."""
    assets = find_assets(wall=True, built=stand_ins(tmp_path / "dist"))

    def writing(out: Path = tmp_path / "out", suffixes: frozenset[str] = SHOWN, **options) -> Report:
        folder = Folder(pictures, suffixes)
        try:
            return write_site(out, folder, assets, Models(MODEL), **options)
        finally:
            folder.close()

    return writing


def contents(folder: Path) -> dict[str, bytes]:
    """Of all files but the record, by path."""
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in files.items() if name != RECORD}


def addresses(out: Path) -> list[str]:
    """Everything that the list names."""
    listed = json.loads((out / "manifest.json").read_text())
    assert listed["search"] is None
    return [one["address"] for one in listed["files"]]


def test_a_site_holds_pages_pictures_models_and_a_list(write, tmp_path, aec):
    done = write()
    out = tmp_path / "out"
    held = contents(out)
    names = {"a.aec", "inner.aec", f"sub/{MARKUP}", "sub/deep/again.AEC"}
    assert {name for name in held if name.startswith("files/")} == {f"files/{name}" for name in {*names, "p.png"}}
    assert all(held[f"files/{name}"] == aec for name in names)
    assert held["index.html"] == b"this is wall.html"
    assert {"wall.js", "ort/ort.wasm", "ort/ort.mjs"} <= set(held)
    assert [name for name in held if name.startswith("models/")] == [
        f"models/{Codec.from_pretrained(MODEL).fingerprint.hex()}.safetensors"
    ]
    assert (done.pictures, done.models, done.written, done.unchanged) == (5, 1, len(held), 0)
    assert b"secret" not in b"".join(held.values())


def test_every_address_of_a_site_is_relative_and_leads_below_its_folder(write, tmp_path):
    write()
    out = tmp_path / "out"
    for address in addresses(out):
        parts = urllib.parse.urlsplit(address)
        assert (parts.scheme, parts.netloc, parts.query, parts.fragment) == ("", "", "", "")
        assert not address.startswith("/")
        for root in ("http://example.org/", "http://example.org/deep/down/"):
            assert urllib.parse.urljoin(root, address).startswith(f"{root}files/")
        assert (out / os.fsdecode(urllib.parse.unquote_to_bytes(address))).is_file()


def test_a_second_run_writes_nothing_and_a_third_what_changed(write, tmp_path, pictures, aec):
    first, again = write(), write()
    assert (again.written, again.unchanged) == (0, first.written)
    Image.new("RGB", (8, 8)).save(pictures / "p.png")
    (pictures / "b.aec").write_bytes(aec)
    (pictures / "a.aec").unlink()
    (pictures / "inner.aec").unlink()
    third = write()
    assert (third.pictures, third.written) == (4, 3)  # p.png, b.aec and the list
    assert sorted(third.left) == ["files/a.aec", "files/inner.aec"]
    assert (tmp_path / "out" / "files" / "a.aec").read_bytes() == aec
    assert "files/a.aec" not in addresses(tmp_path / "out")
    assert sorted(write().left) == ["files/a.aec", "files/inner.aec"]


@pytest.mark.parametrize("name", ["index.html", "files/a.aec", "manifest.json", "ort/ort.wasm"])
def test_files_of_others_are_never_replaced_unasked(write, tmp_path, name):
    out = tmp_path / "out"
    (out / name).parent.mkdir(parents=True)
    (out / name).write_bytes(b"mine")
    with pytest.raises(OutputExistsError, match=name):
        write()
    assert contents(out) == {name: b"mine"}
    write(overwrite=True)
    assert contents(out)[name] != b"mine"


def test_a_file_of_the_site_that_somebody_changed_is_theirs(write, tmp_path):
    write()
    page = tmp_path / "out" / "index.html"
    page.write_text("my own page")
    with pytest.raises(OutputExistsError, match=r"index\.html: exists and is not as a former run left it"):
        write()
    assert page.read_text() == "my own page"


def test_other_files_in_the_folder_stay(write, tmp_path):
    (tmp_path / "out" / "files").mkdir(parents=True)
    for name in ("about.html", "files/old.txt"):
        (tmp_path / "out" / name).write_text("mine")
    write()
    assert {contents(tmp_path / "out")[name] for name in ("about.html", "files/old.txt")} == {b"mine"}


@pytest.mark.parametrize("name", ["files", "files/sub", "models", "ort"])
def test_a_link_out_of_the_site_is_not_written_through(write, tmp_path, name):
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    elsewhere.mkdir()
    (out / name).parent.mkdir(parents=True)
    (out / name).symlink_to(elsewhere)
    with pytest.raises(OutputError, match="is a link out of"):
        write(overwrite=True)
    assert not list(elsewhere.iterdir())


def test_a_file_that_is_a_link_is_not_written_through(write, tmp_path, pictures):
    write()
    inside = tmp_path / "out" / "files" / "a.aec"
    inside.unlink()
    inside.symlink_to(pictures / "p.png")
    before = contents(pictures)
    with pytest.raises(OutputError, match="is a link, and a site holds none"):
        write(overwrite=True)
    assert contents(pictures) == before


def test_a_folder_in_the_way_is_said(write, tmp_path):
    (tmp_path / "out" / "index.html").mkdir(parents=True)
    with pytest.raises(OutputError, match="is a directory"):
        write(overwrite=True)


@pytest.mark.parametrize("place", [".", "sub", "sub/site", ".."])
def test_a_site_and_its_pictures_lie_apart(write, pictures, place):
    before = contents(pictures)
    with pytest.raises(UsageError, match="lie in one another"):
        write(out=pictures / place)
    assert contents(pictures) == before


def test_links_take_no_room_and_follow_what_changes(write, tmp_path, pictures, aec):
    write(link=True)
    inside = tmp_path / "out" / "files" / "a.aec"
    assert inside.samefile(pictures / "a.aec")
    assert not (tmp_path / "out" / "files" / "inner.aec").is_symlink()
    assert write(link=True).written == 0
    # A picture that is replaced, and one that takes another's name: the site's links are let go, nothing else.
    (pictures / "a.aec").rename(pictures / "b.aec")
    (pictures / "new").write_bytes(aec + b"")
    Image.new("RGB", (9, 9)).save(pictures / "p.png.tmp", "PNG")
    (pictures / "p.png.tmp").replace(pictures / "p.png")
    (pictures / "new").rename(pictures / "a.aec")
    before = contents(pictures)
    write(link=True)
    assert contents(pictures) == before
    assert (tmp_path / "out" / "files" / "p.png").samefile(pictures / "p.png")
    write()
    assert contents(pictures) == before


def test_links_are_copies_where_there_are_none(write, tmp_path, pictures, monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(1, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    assert write(link=True).pictures == 5
    assert not (tmp_path / "out" / "files" / "a.aec").samefile(pictures / "a.aec")


def test_a_run_that_was_killed_is_run_again(write, tmp_path, monkeypatch, aec, pictures):
    write()
    whole = contents(tmp_path / "out")
    for count in range(3):  # p.png, q.png, the list
        Image.new("RGB", (10 + count, 8)).save(pictures / "p.png")
        Image.new("RGB", (8, 20 + count)).save(pictures / "q.png")
        put, left = site._put, [count]

        def put_some(target, content, put=put, left=left) -> None:
            left[0] -= 1
            if left[0] < 0:
                raise KeyboardInterrupt
            put(target, content)

        monkeypatch.setattr(site, "_put", put_some)
        with pytest.raises(KeyboardInterrupt):
            write()
        monkeypatch.setattr(site, "_put", put)
        write()
        assert contents(tmp_path / "out")["files/p.png"] == (pictures / "p.png").read_bytes()
        assert write().written == 0
    assert set(contents(tmp_path / "out")) == {*whole, "files/q.png"}


def test_a_picture_that_changes_while_it_is_copied_leaves_the_old_one(write, tmp_path, pictures, monkeypatch):
    write()
    Image.new("RGB", (8, 8)).save(pictures / "p.png")
    planned = site._to_write

    def change_then_go_on(*arguments):
        found = planned(*arguments)
        Image.new("RGB", (9, 9)).save(pictures / "p.png")
        return found

    before = contents(tmp_path / "out")
    monkeypatch.setattr(site, "_to_write", change_then_go_on)
    with pytest.raises(AecodecError, match="changed while it was copied"):
        write()
    assert contents(tmp_path / "out") == before
    monkeypatch.undo()
    assert write().written == 2


def test_two_runs_do_not_write_one_site_at_once(write, tmp_path):
    (tmp_path / "out").mkdir()
    with locked(tmp_path / "out" / RECORD), pytest.raises(BusyError):
        write()


@pytest.mark.parametrize(
    "text",
    ["", "{}", "[1]", '{"what": "aecodec site", "parts": {"a": ["x"]}}', '{"what": "x", "parts": {}}', "[" * 100_000],
)
def test_a_record_that_is_none_is_said_and_nothing_replaced(write, tmp_path, text):
    write()
    (tmp_path / "out" / RECORD).write_text(text)
    before = contents(tmp_path / "out")
    with pytest.raises(OutputError, match="is no record of a site"):
        write()
    assert contents(tmp_path / "out") == before


def test_a_record_that_names_files_of_elsewhere_moves_nothing(write, tmp_path):
    write()
    (tmp_path / "mine.txt").write_text("mine")
    record = json.loads((tmp_path / "out" / RECORD).read_text())
    record["parts"]["../mine.txt"] = ["0" * 64]
    (tmp_path / "out" / RECORD).write_text(json.dumps(record))
    write()
    assert (tmp_path / "mine.txt").read_text() == "mine"


def test_pictures_that_cannot_be_shown_are_left_out_and_told(write, tmp_path, pictures, aec):
    (pictures / "broken.aec").write_bytes(aec[:9])
    (pictures / "other.aec").write_bytes(aec.replace(Codec.from_pretrained(MODEL).fingerprint, b"\1" * 8))
    done = write()
    assert {path.name for path, _ in done.failures} == {"broken.aec", "other.aec"}
    assert all(str(error).startswith(f"{path}: ") for path, error in done.failures)
    assert not {"files/broken.aec", "files/other.aec"} & set(contents(tmp_path / "out"))


def test_a_folder_without_pictures_is_said(tmp_path, write, pictures):
    with pytest.raises(UsageError, match="no pictures to show"):
        write(suffixes=frozenset({".gif"}))
    assert not (tmp_path / "out").exists()


def test_a_name_without_text_has_an_address(write, tmp_path, pictures, aec):
    name = os.fsdecode(b"\xff.aec")
    (pictures / name).write_bytes(aec)
    write()
    assert "files/%FF.aec" in addresses(tmp_path / "out")
    assert (tmp_path / "out" / "files" / name).read_bytes() == aec
    assert write().written == 0


def test_the_part_of_a_model_is_the_same_each_time_and_lacks_what_encodes():

    from aecodec.zoo import stored

    whole, part = stored.read(MODEL), decoder_part(MODEL)
    assert part == decoder_part(MODEL)
    tensors = safetensors_load(part)
    graphs = {name.removeprefix("graphs/") for name in tensors if name.startswith("graphs/")}
    assert graphs == {"dequantiser", "synthesis"}
    kept = stored.all_tensors(whole)
    left_out = set(kept) - set(tensors)
    assert left_out
    assert all(name.startswith(("analysis.", "hyper_analysis.")) for name in left_out)
    assert all((tensors[name] == array).all() for name, array in kept.items() if name in tensors)


def test_the_part_of_a_model_decodes_to_the_same_pixels(aec):
    """The part as a checkpoint, which its fingerprint keeps it from being by itself."""
    part, whole = safetensors_load(decoder_part(MODEL)), stored.read(MODEL)
    graphs = {name: whole.graphs[name] for name in whole.graphs if f"graphs/{name}" in part}
    tensors = {name: array for name, array in whole.tensors.items() if name in part}
    engine = OnnxEngine(replace(whole, graphs=graphs, tensors=tensors), MODEL, lambda: pytest.fail("no effort here"))
    engine.fingerprint = whole.fingerprint
    expected = Codec.from_pretrained(MODEL, engine="onnx").decode_picture(aec).pixels
    assert (Codec(engine).decode_picture(aec).pixels == expected).all()


def test_the_command_says_what_it_did(pictures, tmp_path, capsys, monkeypatch):
    from aecodec.viewer import assets

    monkeypatch.setattr(assets, "BUILT", stand_ins(tmp_path / "dist"))
    out = str(tmp_path / "out")
    assert run(["web", str(pictures), "-o", out, "-m", str(MODEL)]) == 0
    told = capsys.readouterr()
    assert re.fullmatch(rf"{out}: 4 pictures, 1 model, [\d.]+ [kM]B \(10 files written, 0 unchanged\)\n", told.out)
    assert "links out of the folder not followed" in told.err
    (pictures / "broken.aec").write_bytes(b"AEC")
    assert run(["web", str(pictures), "-o", out, "-m", str(MODEL), "--pictures", "--json", "--title", "Ours"]) == 1
    told = capsys.readouterr()
    records = [json.loads(line) for line in told.out.splitlines()]
    assert [one["event"] for one in records] == ["failed", "summary"]
    assert records[0]["code"] == 3
    assert (records[1]["pictures"], records[1]["failed"], records[1]["written"]) == (5, 1, 2)
    assert json.loads(Path(out, "manifest.json").read_text())["title"] == "Ours"
