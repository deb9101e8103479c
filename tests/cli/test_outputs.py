"""One law for every output of every command: what is there is replaced on request only, what is read never, and
nothing but a regular file at all."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path

import click
import numpy as np
import pytest
from conftest import natural_picture
from extras import needs
from PIL import Image
from shown_pictures import stand_ins

from aecodec.bench.crops import make_crops
from aecodec.bench.opening import open_codec
from aecodec.cli import COMMANDS, run
from aecodec.index.hash_index import HashIndex
from aecodec.viewer import assets


@dataclass(frozen=True)
class Writing:
    """A command that writes. line: its words for an output; out: where that lies; read: what it reads and could be
    told to write; force: whether it has that option; extras: packages."""

    line: Callable[[str], str]
    out: str
    read: tuple[str, ...] = ()
    force: bool = True
    extras: tuple[str, ...] = ()


def _parent(path: str) -> str:
    return os.path.dirname(path) or "."


TORCH = ("torch",)
WRITING = {
    "compress": Writing(lambda out: f"compress photos/p0.png -o {out}", "x.aec", ("photos/p0.png",)),
    "compress -m": Writing(
        lambda out: f"compress photos/p0.png -m m.safetensors -o {out}", "x.aec", ("m.safetensors",)
    ),
    "decompress": Writing(lambda out: f"decompress y.aec -o {out}", "x.png", ("y.aec",)),
    "restore": Writing(
        lambda out: f"restore photos/p0.png {out} --task inpaint --mask mask.png -m m.safetensors",
        "x.png",
        ("photos/p0.png", "mask.png", "m.safetensors"),
        extras=TORCH,
    ),
    "sample": Writing(
        lambda out: f"sample m.safetensors -o {out} --kind ways --data d.npz:items",
        "x.png",
        ("m.safetensors", "d.npz"),
        extras=TORCH,
    ),
    "sample --data": Writing(
        lambda out: f"sample m.safetensors -o {out} --data photos", "x.png", ("photos/p1.png",), extras=TORCH
    ),
    "anomaly fit": Writing(
        lambda out: f"anomaly fit m.safetensors photos -o {out}",
        "x.json",
        ("m.safetensors", "photos/p0.png"),
        extras=TORCH,
    ),
    "anomaly score": Writing(
        lambda out: f"anomaly score d.json photos/p0.png -m m.safetensors --labels l.csv --heat-maps {_parent(out)}",
        "heat/p0.png",
        ("photos/p0.png",),
        extras=TORCH,
    ),
    "index build": Writing(
        lambda out: f"index build photos --hasher h.safetensors -o {out}", "x.hix", ("photos/p2.png", "h.safetensors")
    ),
    "index merge": Writing(lambda out: f"index merge {out} photos.hix", "x.hix", ("photos.hix",)),
    "index export": Writing(lambda out: f"index export photos.hix --to {out}", "x.jsonl", ("photos.hix",)),
    "index import": Writing(lambda out: f"index import rows.jsonl -o {out}", "x.hix", ("rows.jsonl",)),
    "search --html": Writing(
        lambda out: f"search photos.hix photos/p0.png q.png --html {out}",
        "x.html",
        ("photos.hix", "q.png", "photos/p0.png", "photos/p3.png"),
    ),
    "search --copy-to": Writing(
        lambda out: f"search photos.hix photos/p0.png -k 1 --copy-to {_parent(out)}", "found/001_d00_p0.png"
    ),
    "dedup --html": Writing(lambda out: f"dedup photos --html {out}", "x.html", ("photos/p3.png",)),
    "dedup INDEX --html": Writing(
        lambda out: f"dedup photos.hix --against photos --html {out}", "x.html", ("photos.hix", "photos/p3.png")
    ),
    "dedup --log": Writing(
        lambda out: f"dedup photos --max-distance 60 --trash --log {out}", "x.log", ("photos/p3.png",), force=False
    ),
    "report": Writing(
        lambda out: f"report run -o {out} --format md",
        "x.md",
        ("run/run.json", "run/webp.csv", "run/webp.json", "run/crops/p0/webp.png"),
    ),
    "bench": Writing(
        lambda out: f"bench photos -o {_parent(out)} --codecs jpeg420 --qualities 50", "rd/run.json", force=False
    ),
    "bench rows": Writing(
        lambda out: f"bench photos -o {_parent(out)} --codecs jpeg420 --qualities 50", "rd/jpeg420.json", force=False
    ),
    "bench crops": Writing(
        lambda out: f"bench photos -o {Path(out).parents[2]} --codecs jpeg420 --qualities 50",
        "rd/crops/p0/original.png",
        force=False,
    ),
    "flip": Writing(lambda out: f"flip photos -o {_parent(out)} --codecs jpeg420,jpeg444 --limit 1", "page/index.html"),
    "train": Writing(
        lambda out: f"train autoencoder --data photos --config settings/config.yaml --out {_parent(out)}",
        "trained/config.yaml",
        ("settings/config.yaml",),
        force=False,
        extras=("torch", "pydantic", "yaml"),
    ),
    "train model": Writing(
        lambda out: f"train autoencoder --data photos --out {_parent(out)} --resume auto",
        "trained/model.safetensors",
        force=False,
        extras=("torch", "pydantic", "yaml"),
    ),
    "models export": Writing(
        lambda out: f"models export m.safetensors --onnx -o {out}", "x.safetensors", ("m.safetensors",), extras=TORCH
    ),
    "models hasher": Writing(lambda out: f"models hasher e.onnx --fit photos -o {out}", "x.safetensors", ("e.onnx",)),
    "models join": Writing(
        lambda out: f"models join h.safetensors m.safetensors --bits 64,64 --name both -o {out}",
        "x.safetensors",
        ("h.safetensors", "m.safetensors"),
    ),
    "web": Writing(lambda out: f"web photos --pictures -o {_parent(out)}", "site/index.html"),
    "models import": Writing(
        lambda out: f"models import w.pth -o {out}", "x.safetensors", ("w.pth",), extras=("torch", "compressai")
    ),
}
EACH = [pytest.param(name, marks=needs(*row.extras), id=name) for name, row in WRITING.items()]


@pytest.fixture
def here(
    few_photos: Path,
    block_hasher: None,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Path:
    """The working folder, with a file of every kind that a command reads; most are refused once they are opened."""
    monkeypatch.setattr(assets, "BUILT", stand_ins(tmp_path_factory.mktemp("dist")))
    assert run(["index", "build", "photos", "-o", "photos.hix"]) == 0
    Image.fromarray(natural_picture(30, 40)).save("q.png")
    Image.fromarray(natural_picture(30, 40)).save("mask.png")
    for folder in ("run/crops/p0", "settings", "heat", "found", "rd", "trained", "rd/crops/p0", "site", "page"):
        Path(folder).mkdir(parents=True)
    for name in (
        "y.aec",
        "m.safetensors",
        "h.safetensors",
        "w.pth",
        "e.onnx",
        "d.json",
        "l.csv",
        "rows.jsonl",
        "run/crops/p0/webp.png",
    ):
        Path(name).write_bytes(b"of no use")
    np.savez("d.npz", items=np.zeros((3, 8, 8), np.uint8))
    Path("settings/config.yaml").write_text("steps: 3\n")
    Path("run/webp.csv").write_text("codec,version,quality,image,\n")
    Path("run/webp.json").write_text("{}")
    Path("run/run.json").write_text("{}")
    capsys.readouterr()
    return few_photos.parent


def state(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    """Everything that lies in a folder: mode, time and content by name."""
    found = {}
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        if not stat.S_ISDIR(status.st_mode):
            content = path.read_bytes() if stat.S_ISREG(status.st_mode) else b""
            found[str(path.relative_to(folder))] = (status.st_mode, status.st_mtime_ns, content)
    return found


def refused(line: str, here: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """A command that must change nothing -> its exit code and its one line."""
    before = state(here)
    capsys.readouterr()
    code = run(line.split())
    told = capsys.readouterr()
    assert state(here) == before
    assert told.err.count("\n") == 1, told.err
    return code, told.err


def forced(row: Writing) -> tuple[str, ...]:
    return ("", " --force") if row.force else ("",)


@pytest.mark.parametrize("name", EACH)
def test_what_exists_is_not_replaced_unasked(name, here, capsys):
    row = WRITING[name]
    Image.fromarray(natural_picture(20, 20)).save("mine.png")
    os.replace("mine.png", row.out)
    code, told = refused(row.line(row.out), here, capsys)
    assert code == 5
    assert f"{row.out}: exists" in told


@pytest.mark.parametrize("name", EACH)
def test_no_output_replaces_an_input(name, here, capsys):
    row = WRITING[name]
    for read in row.read:
        os.link(read, "same.aec")
        for force in forced(row):
            code, told = refused(row.line(read) + force, here, capsys)
            assert (code, "is an input" in told or "exists" in told) == (5, True), (read, force, told)
        os.unlink("same.aec")


@pytest.mark.parametrize("name", EACH)
@pytest.mark.parametrize("kind", ["a FIFO", "a directory", "a link to nothing"])
def test_nothing_but_a_regular_file_is_replaced(name, kind, here, capsys):
    row = WRITING[name]
    if kind == "a FIFO":
        os.mkfifo(row.out)
    elif kind == "a directory":
        if name.startswith(("compress", "decompress")):  # there a folder is where the output goes
            row = replace(
                row, line=lambda out: f"decompress folder/x.aec --format png {out and ''}", out="folder/x.png"
            )
            os.mkdir("folder")
        os.mkdir(row.out)
    else:
        os.symlink("nowhere", row.out)
    for force in forced(row):
        code, told = refused(row.line(row.out) + force, here, capsys)
        assert (code, kind in told or "no regular file" in told) == (1, True), told


def test_hard_links_and_links_to_an_input_are_inputs(here, capsys):
    os.link("photos/p0.png", "hard.aec")
    os.symlink("photos/p0.png", "soft.aec")
    os.symlink("photos", "linked")
    for out in ("hard.aec", "soft.aec", "linked/p0.png"):
        assert refused(f"compress photos/p0.png -o {out} -f", here, capsys)[0] == 5
    assert refused("dedup photos --html linked/p3.png -f", here, capsys)[0] == 5


@pytest.mark.parametrize(
    "line",
    [
        "compress photos/p0.png other/p0.jpg -o out/ -f",
        "compress photos/p0.png linked/p0.png -f",
        pytest.param("anomaly score d.json photos/p0.png other/p0.jpg --heat-maps heat -f", marks=needs("torch")),
    ],
)
def test_two_outputs_of_one_name_are_refused_before_any_work(line, here, capsys):
    Path("other").mkdir()
    os.symlink("photos", "linked")
    Image.fromarray(natural_picture(20, 20)).save("other/p0.jpg")
    code, told = refused(line, here, capsys)
    assert code == 2
    assert "would both become" in told


@pytest.mark.parametrize("command", ["add {} photos/p1.png", "sync {}", "remove {} photos/p1.png", "info {}"])
def test_an_index_that_is_a_fifo_is_not_waited_for(command, here, capsys):
    os.mkfifo("pipe.hix")
    code, told = refused(f"index {command.format('pipe.hix')}", here, capsys)
    assert (code, "is a pipe" in told) == (3, True)


#: Names of parameters that are outputs. The law below finds a newcomer that has one and is not in the table.
OUTPUTS = {"output", "out", "page", "target", "copy_to", "heat_maps"}


def commands() -> Iterator[tuple[str, click.Command]]:
    for name, (module, attribute, _) in COMMANDS.items():
        command = getattr(import_module(f"aecodec.cli.{module}"), attribute)
        if isinstance(command, click.Group):
            yield from ((f"{name} {inner}", each) for inner, each in command.commands.items())
        else:
            yield name, command


def test_every_command_that_writes_is_in_the_table():
    writing = {name for name, command in commands() if OUTPUTS & {parameter.name for parameter in command.params}}
    tabled = {name for name in writing for row in WRITING if f"{row} ".startswith(f"{name} ")}
    assert writing == tabled
    assert len(writing) >= 12


@needs("torch", "pydantic", "yaml")
@pytest.mark.parametrize(
    ("config", "curve", "code"),
    [
        ("", "step,elapsed,loss\n3,1,2\n", 0),
        ("", "step,elapsed,loss\n900000,1,2\n", 5),
        ("", "time,loss\n", 5),
        ("# mine\n", None, 5),
    ],
)
def test_what_a_training_left_before_its_first_state_may_be_begun_anew(config, curve, code, here, capsys):
    line = "train autoencoder --data photos --out trained --set view=grey --set crop=64 --set batch=2 --set hold_out=0"
    assert run([*line.split(), "--print-config"]) == 0
    Path("trained/config.yaml").write_text(config + capsys.readouterr().out)
    if curve is not None:
        Path("trained/curve.csv").write_text(curve)
    if code:
        assert refused(f"{line} --set steps=1", here, capsys)[0] == code
    else:
        assert run(f"{line} --set steps=1 --set model.hidden=[8]".split()) == 0


# -- modes -----------------------------------------------------------------------------------------------


def mode(path: str | Path) -> int:
    return stat.S_IMODE(os.stat(path).st_mode)


@pytest.fixture
def umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def test_an_output_is_for_no_more_eyes_than_its_input(here, umask, model_file, capsys):
    model = ["-m", str(model_file), "--precision", "float32", "--threads", "1", "--no-hash"]
    for given, expected in ((0o600, 0o600), (0o644, 0o644), (0o640, 0o640), (0o444, 0o644), (0o755, 0o644)):
        os.chmod("photos/p0.png", given)
        assert run(["compress", "photos/p0.png", "-o", f"{given:o}.aec", *model]) == 0
        assert mode(f"{given:o}.aec") == expected
    assert run(["decompress", "600.aec", "-o", "back.png", *model[:-1]]) == 0
    assert mode("back.png") == 0o600


def test_a_file_that_is_replaced_hands_on_its_mode(here, umask, model_file, capsys):
    model = ["-m", str(model_file), "--precision", "float32", "--threads", "1", "--no-hash"]
    Path("x.aec").write_bytes(b"old")
    for before in (0o600, 0o664):
        os.chmod("x.aec", before)
        assert run(["compress", "photos/p0.png", "-o", "x.aec", "-f", *model]) == 0
        assert mode("x.aec") == before
    os.chmod("photos.hix", 0o600)
    Image.fromarray(natural_picture(50, 60, 8)).save("photos/new.png")
    assert run(["index", "sync", "photos.hix"]) == 0
    assert run(["index", "add", "photos.hix", "q.png"]) == 0
    assert run(["index", "remove", "photos.hix", "q.png"]) == 0
    assert mode("photos.hix") == 0o600


def test_a_page_and_copies_of_private_pictures_are_private(here, umask, capsys):
    os.chmod("photos/p0.png", 0o600)
    line = ["search", "photos.hix", "photos/p0.png", "-k", "2", "--copy-to", "found", "--html", "x.html"]
    assert run(line) == 0
    assert mode("x.html") == 0o600
    assert [mode(path) for path in sorted(Path("found").iterdir())] == [0o600, 0o644]


def test_a_link_that_is_written_to_stays_a_link(here, capsys):
    Path("elsewhere").mkdir()
    os.replace("photos.hix", "elsewhere/real.hix")
    os.symlink("elsewhere/real.hix", "photos.hix")
    os.unlink("photos/p3.png")
    assert run(["index", "sync", "photos.hix"]) == 0
    assert os.path.islink("photos.hix")
    assert "1 removed" in capsys.readouterr().out
    assert os.listdir("elsewhere") == ["real.hix"]


# -- what an unfinished build leaves -----------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"mine", b"HIX\0 mine", b""])
def test_what_is_called_like_an_unfinished_index_and_is_none_stays(here, capsys, content):
    Path("new.hix.partial").write_bytes(content)
    assert run(["index", "build", "photos", "-o", "new.hix", "--save-every", "0"]) == 0
    assert Path("new.hix.partial").read_bytes() == content
    assert sorted(path.name for path in here.glob("new.hix*")) == ["new.hix", "new.hix.partial"]


# -- names from names and files --------------------------------------------------------------------------


@needs("bjontegaard")
def test_a_benchmark_removes_nothing_and_replaces_what_is_its_own(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for precious in ("crops/x/mine.txt", "crops/mine.txt", "mine.txt", "data/x.txt"):
        Path(precious).parent.mkdir(parents=True, exist_ok=True)
        Path(precious).write_text("precious")
    Image.fromarray(natural_picture(164, 176)).save("data/x.png")
    before = state(tmp_path)
    line = ["bench", "data", "-o", ".", "--codecs", "jpeg420,webp", "--qualities", "20,50,80,90", "--crops", "1"]
    assert run(line) == 0
    assert run(line) == 5
    assert run([*line, "--resume"]) == 0
    after = state(tmp_path)
    assert {path: after[path] for path in before} == before
    assert Path("crops/x/crops.json").exists()


@pytest.mark.parametrize("name", ["...png", "..png"])
def test_crops_of_a_picture_that_no_folder_can_be_named_after_are_left_out(name, tmp_path):
    (tmp_path / "out" / "crops").mkdir(parents=True)
    (tmp_path / "out" / "mine.txt").write_text("precious")
    Image.fromarray(natural_picture(40, 50)).save(tmp_path / "x.png")
    os.replace(tmp_path / "x.png", tmp_path / name)
    before, said = state(tmp_path), []
    make_crops([open_codec("jpeg420")], [tmp_path / name], tmp_path / "out" / "crops", said.append)
    assert state(tmp_path) == before
    assert "cannot be the name of an output" in said[0]


def test_a_picture_that_lies_where_a_crop_goes_is_refused(here, capsys):
    Image.fromarray(natural_picture(164, 176)).save("rd/crops/p0/original.png")
    Image.fromarray(natural_picture(164, 176)).save("rd/crops/p0/p0.png")
    Path("rd/run.json").write_text('{"data": "p0", "anchor": "jpeg420"}')
    line = "bench rd/crops/p0 -o rd --codecs jpeg420 --qualities 50 --resume"
    code, told = refused(line, here, capsys)
    assert (code, "is an input" in told) == (5, True)


@pytest.mark.parametrize("name", ["../secret.png", "/secret.png", "sub/../../secret.png", "link.png", "notes.txt"])
def test_no_index_makes_a_search_copy_what_is_no_picture_of_its_folder(name, here, capsys):
    secret = here / "secret.png"
    Image.fromarray(natural_picture(64, 96, 0)).save(secret)
    os.symlink(secret, "photos/link.png")
    Path("photos/notes.txt").write_text("private")
    identity = str(secret) if name.startswith("/") else name
    forged = HashIndex.load("photos.hix")
    other = HashIndex(
        hasher=forged.hasher, fingerprint=forged.fingerprint, n_bits=64, paths=True, root=str(here / "photos")
    )
    code = forged.codes[forged.ids.tolist().index("p0.png")]
    other.add([identity], code[None], stamps=np.zeros((1, 2), np.int64))
    other.save("forged.hix")
    before = state(here)
    assert run(["search", "forged.hix", "photos/p0.png", "--copy-to", "found"]) in (1, 3)
    assert state(here) == before
    allowed = run(["search", "forged.hix", "photos/p0.png", "--copy-to", "found", "--outside"])
    assert (allowed == 0) == (name in ("/secret.png", "link.png"))


@pytest.mark.parametrize(
    "command", ["search {} photos/p0.png --html x.html", "dedup {} --max-distance 60 --html x.html"]
)
def test_no_index_leads_a_page_out_of_its_folder(command, here, capsys):
    forged = HashIndex.load("photos.hix")
    forged.add(["../q.png"], forged.codes[:1], stamps=np.zeros((1, 2), np.int64))
    forged.save("forged.hix")
    assert run(command.format("forged.hix").split()) == 3
    assert "../q.png, which is not below its folder" in capsys.readouterr().err
    assert not Path("x.html").exists()


@needs("bjontegaard")
@pytest.mark.parametrize("name", ["../../../secret.png", "{here}/secret.png", "out.png", "words.png", "pipe.png", ".."])
def test_a_report_shows_nothing_but_crops_of_its_run(name, here, pictures, capsys):
    line = ["bench", str(pictures), "-o", "rd", "--codecs", "jpeg420,webp", "--qualities", "20,50,80,90"]
    assert run([*line, "--crops", "1", "--quiet"]) == 0
    Image.fromarray(natural_picture(20, 20)).save("secret.png")
    place = Path("rd/crops/p0")
    os.symlink(here / "secret.png", place / "out.png")
    (place / "words.png").write_text("private")
    os.mkfifo(place / "pipe.png")
    assert run(["report", "rd", "-o", "good.html"]) == 0
    content = json.loads((place / "crops.json").read_text())
    content["crops"][0]["file"] = name.format(here=here)
    (place / "crops.json").write_text(json.dumps(content))
    code, told = refused("report rd -o x.html", here, capsys)
    assert code == 1, told
