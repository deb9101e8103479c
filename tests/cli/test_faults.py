"""What goes wrong belongs to its input: one line that names it and does nothing to a terminal, a code that is
documented, and all other inputs done."""

from __future__ import annotations

import ast
import io
import json
import os
import re
import subprocess
import sys
import unicodedata
import warnings
from pathlib import Path

import numpy as np
import pytest
from conftest import natural_picture
from extras import needs
from PIL import Image
from places import ROOT

import aecodec
from aecodec.cli import run
from aecodec.cli.output import notice, printable, progress, say
from aecodec.contracts import BitstreamError, OutputExistsError, UnexpectedError, error_of

#: docs/format.md
CODES = {0, 1, 2, 3, 4, 5, 6, 130}
#: Stems of names that a terminal obeys, that are no text, that look like markup, or that fill what a system allows.
STEMS = [
    "plain",
    "red \x1b[31m\x07",
    "two\nlines",
    "back\rward",
    "\u202egnp.exe\u2066",
    os.fsdecode(b"caf\xe9 \x9b"),
    "[red]%s {0}  [blue]",
    "漢" * 80,
]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder: in/ with a picture of every name, in another grey each."""
    monkeypatch.chdir(tmp_path)
    Path("in").mkdir()
    for number, stem in enumerate(STEMS):
        Image.fromarray(natural_picture(32, 48, number)).save(f"in/{stem}.png")
    return tmp_path


@pytest.fixture
def model(model_file: Path) -> list[str]:
    return ["-m", str(model_file)]


def checked(capsys: pytest.CaptureFixture[str], arguments: list[str], code: int) -> tuple[list[str], list[str]]:
    """Run a command -> the lines of stdout and of stderr, none of which moves a cursor or tells of a surprise."""
    assert run(arguments) == code
    out, err = capsys.readouterr()
    for text in (out, err):
        for line in text.split("\n"):
            assert printable(line) == line
            assert "Traceback" not in line
            assert "unexpected" not in line
    return out.splitlines(), err.splitlines()


def test_every_control_is_shown_and_letters_stay():
    assert printable("a\x1b[2J\n\r\t\x7f\x85\x9b") == r"a\x1b[2J\n\r\t\x7f\x85\x9b"
    assert printable(os.fsdecode(b"caf\xe9")) == r"caf\xe9"
    assert printable("\u202e\u2066\u2028\ufeff") == r"\u202e\u2066\u2028\ufeff"
    assert printable("Ærø 漢字 עברית é") == "Ærø 漢字 עברית é"
    for code in range(sys.maxunicode + 1):
        turns = unicodedata.bidirectional(chr(code)) in {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
        if turns or unicodedata.category(chr(code)) in {"Cc", "Cs", "Zl", "Zp"}:
            assert printable(chr(code)).isascii()


def test_only_one_function_prints_for_people():
    """Nothing else in the commands may write to a stream."""
    found = []
    for path in sorted((ROOT / "aecodec" / "cli").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and re.fullmatch(
                r"print|click\.(s?echo|echo_via_pager)|sys\.std\w+\.write", ast.unparse(node.func)
            ):
                found.append(f"{path.name}: {ast.unparse(node.func)}")
    assert found == ["output.py: click.echo"] * 2  # a person's lines, and JSON


def test_hostile_names_are_worked_through_and_shown_safely(here, model, capsys, block_hasher):
    files = [f"in/{stem}.png" for stem in STEMS]
    out, _ = checked(capsys, ["compress", "-r", "in", "-o", "aec/", "--no-hash", *model], 0)
    assert len(out) == len(STEMS)
    for stem in STEMS:
        assert sum(line.startswith(printable(f"aec/{stem}.aec: ")) for line in out) == 1
    archives = [f"aec/{stem}.aec" for stem in STEMS]
    checked(capsys, ["compress", "-r", "in", "-o", "aec/", "--dry-run"], 0)
    checked(capsys, ["compress", *files, "-o", "aec/", "--skip-existing", "--no-hash", *model], 0)
    checked(capsys, ["decompress", *archives, "-o", "back/", *model], 0)
    assert sorted(os.listdir("back")) == sorted(os.listdir("in"))
    out, _ = checked(capsys, ["info", *archives], 0)
    assert len(out) == 9 * len(STEMS)
    out, _ = checked(capsys, ["verify", "-r", "aec"], 0)
    assert len(out) == len(STEMS)
    for stem in STEMS:
        checked(capsys, ["compare", f"in/{stem}.png", f"back/{stem}.png"], 0)
    checked(capsys, ["index", "build", "in", "-o", "a.hix"], 0)
    checked(capsys, ["index", "add", "a.hix", *(f"back/{stem}.png" for stem in STEMS)], 0)
    checked(capsys, ["index", "sync", "a.hix"], 0)
    checked(capsys, ["index", "info", "a.hix"], 0)
    out, _ = checked(capsys, ["search", "a.hix", *files, "-k", "1", "--html", "found.html"], 0)
    assert len(out) == 2 * len(STEMS)
    checked(capsys, ["search", "a.hix", files[-1], "-k", "9", "--copy-to", "copies", "--outside"], 0)
    checked(capsys, ["dedup", "a.hix", "--html", "groups.html"], 0)
    checked(capsys, ["index", "remove", "a.hix", *files], 0)


def test_junk_of_any_name_fails_alone_and_is_named(here, model, capsys, block_hasher):
    for stem in STEMS:
        Path(f"in/{stem} junk.png").write_bytes(b"junk")
    junk = [f"in/{stem} junk.png" for stem in STEMS]
    good = [f"in/{stem}.png" for stem in STEMS]

    def told(err: list[str], names: list[str]) -> None:
        errors = [line for line in err if line.startswith("aecodec: error: ")]
        assert len(errors) == len(names)
        for name in names:
            assert sum(line.startswith(printable(f"aecodec: error: {name}: ")) for line in errors) == 1

    _, err = checked(capsys, ["compress", *junk, *good, "-o", "aec/", "-j", "3", "--no-hash", *model], 1)
    told(err, junk)
    assert len(os.listdir("aec")) == len(good)
    for name in junk:
        for command in (["decompress", name, "-o", "x.png"], ["info", name], ["verify", name]):
            told(checked(capsys, command, 3)[1], [name])
        told(checked(capsys, ["compare", name, good[0]], 1)[1], [name])
    for command in (["decompress", "-o", "back/"], ["info"], ["verify"], ["verify", "--full"]):
        told(checked(capsys, [*command, *junk], 1)[1], junk)
    _, err = checked(capsys, ["index", "build", "in", "-o", "a.hix"], 1)
    told(err, [str(here / name) for name in junk] if str(here) in err[0] else junk)
    _, err = checked(capsys, ["search", "a.hix", *junk, *good], 1)
    told(err, junk)
    checked(capsys, ["dedup", "in"], 1)


@pytest.mark.parametrize(
    ("arguments", "where"),
    [
        (
            ["compress", "--no-hash", "junk.png", "plain.png", "-o", "out/"],
            {"input": "junk.png", "output": "out/junk.aec"},
        ),
        (["decompress", "junk.aec", "plain.aec", "-o", "out/"], {"input": "junk.aec", "output": "out/junk.png"}),
        (["info", "junk.aec", "plain.aec"], {"file": "junk.aec"}),
        (["verify", "junk.aec", "plain.aec"], {"file": "junk.aec", "valid": False}),
        (["search", "a.hix", "junk.png", "plain.png"], {"query": "junk.png"}),
        (["index", "add", "a.hix", "junk.png"], {"event": "failed", "file": "junk.png"}),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_json_has_a_record_for_a_failed_input(arguments, where, here, capsys, block_hasher, model):
    os.chdir(here / "in")
    assert run(["index", "build", ".", "-o", "a.hix"]) == 0
    assert run(["compress", "plain.png", "--no-hash", *model]) == 0
    for name in ("junk.png", "junk.aec"):
        Path(name).write_bytes(b"junk")
    capsys.readouterr()
    more = model if "compress" in arguments[0] else []
    assert run([*arguments, "--json", *more]) == 1
    out, err = capsys.readouterr()
    records = [json.loads(line) for line in out.splitlines()]
    [failed] = [record for record in records if "error" in record]
    assert failed == {**failed, **where}
    assert failed["code"] in CODES
    assert err.strip() == f"aecodec: error: {failed['error']}"
    name = next(value for value in where.values() if str(value).startswith("junk"))
    assert failed["error"].startswith(f"{name}: ")
    assert len(records) == 2


#: Every other command with a file of junk, "JUNK", among what it reads.
WITH_JUNK = [
    "models show JUNK.safetensors",
    "models path JUNK.none/x.safetensors",
    pytest.param("models export JUNK.safetensors --onnx -o new.safetensors", marks=needs("torch", "onnx")),
    pytest.param("models import JUNK -o new.safetensors", marks=needs("torch")),
    pytest.param("train vae --config JUNK --data JUNK --out run", marks=needs("torch", "pydantic", "yaml")),
    pytest.param("train vae --data JUNK --out run", marks=needs("torch", "pydantic", "yaml")),
    pytest.param("restore JUNK new.png --task denoise", marks=needs("torch")),
    pytest.param("restore in/plain.png new.png --task inpaint --mask JUNK", marks=needs("torch")),
    pytest.param("restore JUNK.wav new.wav --task denoise", marks=needs("torch")),
    pytest.param("sample JUNK.safetensors -o new.png", marks=needs("torch")),
    pytest.param("anomaly fit JUNK.safetensors in -o new.json", marks=needs("torch")),
    pytest.param("anomaly score JUNK in/plain.png", marks=needs("torch")),
    pytest.param("probe JUNK.safetensors JUNK", marks=needs("torch")),
    "bench JUNK -o run",
    "report JUNK -o page.html",
    "index info JUNK",
    "index sync JUNK",
    "index add JUNK in/plain.png",
    "index remove JUNK in/plain.png",
    "index build JUNK -o new.hix",
    "index merge new.hix JUNK",
    "index export JUNK --to new.jsonl",
    "index import JUNK.jsonl -o new.hix",
    pytest.param("index push JUNK --to postgresql://nowhere/database/table", marks=needs("psycopg")),
    "search JUNK in/plain.png",
    "dedup JUNK",
    "doctor -m JUNK.safetensors",
]


@pytest.mark.parametrize("command", WITH_JUNK)
def test_every_command_names_what_is_junk(command, here, capsys):
    junk = "in/two\njunk \x1b[31m"
    for ending in ("", ".safetensors", ".wav", ".jsonl"):
        Path(junk + ending).write_bytes(b"junk" * 9)
    assert (code := run([part.replace("JUNK", junk) for part in command.split(" ")])) in CODES - {0, 130}
    out, err = capsys.readouterr()
    lines = [line for line in (out + err).split("\n") if line]
    assert all(printable(line) == line and "unexpected" not in line for line in lines), code
    assert sum(printable(junk) in line for line in lines) == 1
    assert set(os.listdir()) <= {"in", "run"}  # a folder for what a training would have written


def test_what_nobody_foresaw_is_the_error_of_its_input(here, model, capsys, monkeypatch):
    from aecodec.codec import files

    encode = files.encode_source

    def sometimes(source, *arguments, **more):
        if "two" in str(source):
            raise ZeroDivisionError("by the moon")
        return encode(source, *arguments, **more)

    monkeypatch.setattr(files, "encode_source", sometimes)
    assert run(["compress", "-r", "in", "-o", "aec/", "--no-hash", *model]) == 1
    err = capsys.readouterr().err
    assert err == "aecodec: error: in/two\\nlines.png: unexpected ZeroDivisionError (by the moon)\n"
    assert len(os.listdir("aec")) == len(STEMS) - 1
    monkeypatch.setenv("AECODEC_TRACEBACK", "1")
    assert run(["compress", "-r", "in", "-o", "more/", "--no-hash", *model]) == 1
    assert "in sometimes" in capsys.readouterr().err


def test_an_error_is_named_once_and_stays_what_it_is():
    named = error_of("a.aec", BitstreamError("torn"))
    assert (type(named), str(named)) == (BitstreamError, "a.aec: torn")
    assert error_of("a.aec", named) is named
    wild = error_of("a.aec", KeyError("x"))
    assert (type(wild), str(wild)) == (UnexpectedError, "a.aec: unexpected KeyError ('x')")
    assert isinstance(wild.__cause__, KeyError)
    assert error_of("a", OutputExistsError("b: exists")).exit_code == OutputExistsError.exit_code


def test_a_surprise_of_a_whole_command_is_one_line(capsys, monkeypatch):
    def broken(unreadable):
        raise RuntimeError("by the moon")

    monkeypatch.setattr("aecodec.zoo.registry.list_models", broken)
    assert run(["models", "list"]) == 1
    assert capsys.readouterr().err == "aecodec: error: unexpected RuntimeError (by the moon)\n"


def test_a_picture_from_after_2262_is_indexed_like_any_other(here, capsys, block_hasher):
    late = 2**63 + 12 * 10**9
    os.utime("in/plain.png", ns=(late, late))
    assert os.stat("in/plain.png").st_mtime_ns > 2**62
    checked(capsys, ["index", "build", "in", "-o", "a.hix"], 0)
    out, _ = checked(capsys, ["index", "sync", "a.hix"], 0)
    assert f"{len(STEMS)} unchanged" in out[0]


def test_one_junk_file_in_the_cache_hides_no_other_model(here, model_file, capsys, monkeypatch):
    cache = here / "cache" / "models"
    (cache / "b folder.safetensors").mkdir(parents=True)
    (cache / "a junk.safetensors").write_bytes(b"junk")
    (cache / "small.safetensors").write_bytes(model_file.read_bytes())
    monkeypatch.setenv("AECODEC_CACHE", str(here / "cache"))
    checked(capsys, ["compress", "in/plain.png", "-o", "a.aec", "-m", "small", "--no-hash"], 0)
    checked(capsys, ["decompress", "a.aec"], 0)
    out, err = checked(capsys, ["models", "list"], 1)
    assert any(line.startswith("small ") for line in out)
    assert any(line.startswith("photo ") for line in out)
    assert len(err) == 1
    assert "a junk.safetensors" in err[0]
    (cache / "small.safetensors").unlink()
    _, err = checked(capsys, ["decompress", "a.aec", "-o", "b.png"], 4)
    assert "a junk.safetensors" in err[0]


def test_a_pipe_is_compressed_with_its_real_size(here, model, capsys):
    end, begin = os.pipe()
    os.write(begin, Path("in/plain.png").read_bytes())
    os.close(begin)
    out, _ = checked(capsys, ["compress", f"/dev/fd/{end}", "-o", "a.aec", "--json", "--no-hash", *model], 0)
    os.close(end)
    assert json.loads(out[0])["input_bytes"] == Path("in/plain.png").stat().st_size


@pytest.mark.parametrize("value", ["0", "100000", "-1"])
@pytest.mark.parametrize("option", ["--threads", "--jobs"])
def test_no_more_threads_than_a_system_gives_out(option, value, here, capsys):
    _, err = checked(capsys, ["compress", "in/plain.png", option, value], 2)
    assert len(err) == 1
    assert option in err[0]


@needs("torch")
@pytest.mark.parametrize("device", ["meta", "cuda:x", "warp", "cuda:-1"])
def test_a_device_is_one_that_computes(device, here, capsys):
    _, err = checked(capsys, ["compress", "in/plain.png", "--device", device], 2)
    assert len(err) == 1


def test_advice_is_not_what_was_done_already(here, capsys):
    os.makedirs("in/b")
    for name in ("x.png", "b/x.png"):
        Path("in", name).write_bytes(Path("in/plain.png").read_bytes())
    pair = ["compress", "in/x.png", "in/b/x.png", "-o", "out/"]
    assert "--append-ext" in checked(capsys, pair, 2)[1][0]
    assert "--append-ext" not in checked(capsys, [*pair, "--append-ext"], 2)[1][0]


def _tiff(compression: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(natural_picture(32, 48)).save(buffer, "TIFF", compression=compression)
    return buffer.getvalue()


def test_libraries_print_nothing_of_their_own(here, model, capfd):
    """A checksum in the strips that is wrong, codes that are none, and sample counts beyond reason."""
    deflated, lzw = bytearray(_tiff("tiff_deflate")), bytearray(_tiff("tiff_lzw"))
    strips = Image.open(io.BytesIO(deflated)).tag_v2
    deflated[strips[273][0] + strips[279][0] - 2] ^= 1
    lzw[8 : 8 + 200] = bytes(range(255, 55, -1))
    entry = b"\x15\x01\x03\x00\x01\x00\x00\x00"  # SamplesPerPixel, one short number
    samples = _tiff("tiff_deflate").replace(entry + b"\x03", entry + b"\xcf")
    for name, data in (("a.tif", deflated), ("b.tif", lzw), ("c.tif", samples)):
        Path(name).write_bytes(data)
    assert run(["compress", "a.tif", "b.tif", "c.tif", "in/plain.png", "-o", "out/", "--no-hash", *model]) == 1
    err = capfd.readouterr().err.splitlines()
    assert [line.split(": ")[:3] for line in err] == [["aecodec", "error", f"{name}.tif"] for name in "abc"]


def test_a_warning_is_a_line_of_its_file(here, model, capsys, monkeypatch):
    from aecodec.codec import files

    encode = files.encode_source

    def warned(source, *arguments, **more):
        for _ in range(2):
            warnings.warn(f"beware of {Path(source).stem[:3]}", UserWarning, stacklevel=1)
        return encode(source, *arguments, **more)

    monkeypatch.setattr(files, "encode_source", warned)
    assert run(["compress", "in/plain.png", "in/two\nlines.png", "-o", "out/", "--no-hash", *model]) == 0
    expected = ["aecodec: in/plain.png: beware of pla", r"aecodec: in/two\nlines.png: beware of two"]
    assert capsys.readouterr().err.splitlines() == expected


class Terminal(io.StringIO):
    """What a person sees: both streams on one screen, with the few codes that a bar of rich moves about by."""

    encoding = "utf-8"

    def __init__(self) -> None:
        super().__init__()
        self.lines, self.row, self.column = [""], 0, 0
        self.seen: set[str] = set()

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        for part in re.findall(r"\x1b\[[?0-9;]*[A-Za-z]|[\r\n]|[^\x1b\r\n]+", text):
            self._take(part)
        self.seen.update(self.lines)
        return len(text)

    def _take(self, part: str) -> None:
        if part == "\r":
            self.column = 0
        elif part == "\n":
            self.row, self.column = self.row + 1, 0
            self.lines += [""] * (self.row + 1 - len(self.lines))
        elif part.endswith("A"):
            self.row -= int(part[2:-1] or 1)
        elif part.endswith("K"):
            self.lines[self.row] = ""
        elif not part.startswith("\x1b"):
            line = self.lines[self.row].ljust(self.column)
            self.lines[self.row] = line[: self.column] + part + line[self.column + len(part) :]
            self.column += len(part)


def test_results_and_the_bar_never_share_a_line(monkeypatch):
    screen = Terminal()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.setattr(sys, "stderr", screen)
    for number in progress(range(5), 5, "working", quiet=False):
        say(f"result {number}")
        notice("a remark")
    said = [line for number in range(5) for line in (f"result {number}", "aecodec: a remark")]
    assert [line for line in screen.lines if line.strip()] == said
    assert any(line.startswith("working") for line in screen.seen)
    assert all(line in ("", *said) or line.startswith("working") for line in screen.seen if "result" in line)


def test_results_go_to_stdout_while_a_bar_is_on_the_terminal(monkeypatch):
    screen, results = Terminal(), io.StringIO()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stdout", results)
    monkeypatch.setattr(sys, "stderr", screen)
    for number in progress(range(3), 3, "working", quiet=False):
        say(f"result {number}")
    assert results.getvalue() == "result 0\nresult 1\nresult 2\n"
    assert not any("result" in line for line in screen.seen)


#: Runs a command with standard streams closed, of which libraries and Python alike have opinions.
CLOSED = "exec {streams}; exec {python} -m aecodec {arguments}"


@pytest.mark.parametrize(
    ("streams", "arguments", "code"),
    [
        ("<&-", "compress - -o y.aec", 1),
        (">&-", "compress plain.png -o -", 1),
        ("<&- >&- 2>&-", "compress plain.png junk.png -o out/ --no-hash", 1),
        ("2>&-", "verify x.aec junk.png", 1),
        (">&-", "models list", 0),
    ],
)
def test_closed_streams(streams, arguments, code, here, model, capsys):
    os.chdir(here / "in")
    assert run(["compress", "plain.png", "-o", "x.aec", "--no-hash", *model]) == 0
    Path("junk.png").write_bytes(b"junk")
    before = Path("x.aec").read_bytes()
    if arguments.startswith("compress"):
        arguments += f" {' '.join(model)}"
    shell = CLOSED.format(streams=streams, python=sys.executable, arguments=arguments)
    environment = {**os.environ, "PYTHONPATH": str(Path(aecodec.__file__).parents[1]), "AECODEC_DEVICE": "cpu"}
    done = subprocess.run(shell, shell=True, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    assert len(done.stderr.splitlines()) == (code != 0 and "2>&-" not in streams)
    assert Path("x.aec").read_bytes() == before
    if "out/" in arguments:
        assert np.asarray(Image.open("plain.png")).size == 32 * 48 * 3
        assert os.listdir("out") == ["plain.aec"]
