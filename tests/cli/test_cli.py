"""The command line: results on stdout, one-line errors on stderr, exit codes, and nothing lost."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from extras import needs
from PIL import Image

from aecodec.cli import COMMANDS, run


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    rows, columns = np.mgrid[0:60, 0:90]
    pixels = np.stack([rows * 2 + columns, 255 - rows, columns * 2], axis=2).clip(0, 255).astype(np.uint8)
    path = tmp_path / "photo.png"
    Image.fromarray(pixels).save(path)
    return path


def files_in(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_there_and_back(photo, capsys):
    assert run(["compress", str(photo), "-q", "80"]) == 0
    assert run(["decompress", str(photo.with_suffix(".aec")), "-o", str(photo.parent / "back.png")]) == 0
    assert run(["compare", str(photo), str(photo.parent / "back.png"), "--json"]) == 0
    record = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert record["schema_version"] == 1
    assert record["psnr"] > 25


def test_in_out_pairs_and_formats(photo):
    folder = photo.parent
    assert run(["compress", str(photo), str(folder / "a.aec")]) == 0
    assert run(["decompress", str(folder / "a.aec"), str(folder / "a.jpg")]) == 0
    assert Image.open(folder / "a.jpg").format == "JPEG"
    assert run(["decompress", str(folder / "a.aec"), "--format", "bmp"]) == 0
    assert Image.open(folder / "a.bmp").size == (90, 60)


def test_crop_and_target_psnr(photo, capsys):
    aec, part = str(photo.with_suffix(".aec")), str(photo.parent / "part.png")
    assert run(["compress", str(photo), "--target-psnr", "33"]) == 0
    assert run(["decompress", aec, part, "--crop", "10,20,30,15"]) == 0
    assert Image.open(part).size == (30, 15)
    assert run(["decompress", aec, "-o", str(photo.parent / "x.png"), "--crop", "80,0,30,15"]) == 2
    assert run(["decompress", aec, "-o", str(photo.parent / "x.png"), "--crop", "80,0"]) == 2
    assert run(["compress", str(photo), "-f", "--target-psnr", "28", "--target-bpp", "1"]) == 2


def test_compare_reads_aec_files(photo, capsys):
    run(["compress", str(photo)])
    assert run(["compare", str(photo), str(photo.with_suffix(".aec"))]) == 0
    assert "PSNR" in capsys.readouterr().out


def test_compare_counts_transparency_and_says_what_it_leaves_out(photo, capsys):
    folder = photo.parent
    image = Image.open(photo).convert("RGB")
    alpha = Image.new("L", image.size, 255)
    alpha.paste(0, (0, 0, 45, 60))
    for name, channel in (("all", Image.new("L", image.size, 255)), ("half", alpha)):
        image.putalpha(channel)
        image.save(folder / f"{name}.png")
    image.paste((1, 2, 3), (5, 5, 20, 20))
    image.putalpha(alpha)
    image.save(folder / "unseen.png")

    def figures(first: str, second: str) -> dict:
        assert run(["compare", str(folder / first), str(folder / second), "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    assert figures("all.png", photo.name)["identical"]
    assert figures("half.png", "half.png")["identical"]
    for pair in (("half.png", photo.name), (photo.name, "half.png")):
        apart = figures(*pair)
        assert not apart["identical"]
        assert apart["psnr"] < 12
        assert apart["ms_ssim"] is None  # 60 rows are too few
    assert figures("half.png", "unseen.png")["psnr"] is None
    assert not figures("half.png", "unseen.png")["identical"]
    assert run(["compare", str(folder / "half.png"), str(folder / "unseen.png")]) == 0
    assert "differ in what is wholly transparent alone" in capsys.readouterr().out
    run(["compress", str(folder / "half.png"), "-q", "90"])
    capsys.readouterr()
    assert figures("half.png", "half.aec")["psnr"] > 25
    image.save(folder / "moving.png", save_all=True, append_images=[image])
    assert run(["compare", str(folder / "moving.png"), str(folder / "moving.png")]) == 0
    assert "only the first of 2 frames is used" in capsys.readouterr().err


def test_pipes(photo, monkeypatch, tmp_path):
    out = tmp_path / "piped.aec"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(photo.read_bytes())))
    assert run(["compress", "-", "-o", str(out)]) == 0
    shell = f"{sys.executable} -m aecodec decompress - < {out} > {tmp_path / 'back.png'}"
    assert subprocess.run(shell, shell=True, check=False).returncode == 0
    assert Image.open(tmp_path / "back.png").size == (90, 60)


def test_target_rate_and_size(photo, capsys):
    assert run(["compress", str(photo), "--target-size", "1.2k", "--json", "--verify"]) == 0
    assert json.loads(capsys.readouterr().out)["bytes"] <= 1200
    assert run(["compress", str(photo), "-f", "--target-bpp", "1.0", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["bpp"] <= 1.0
    assert run(["compress", str(photo), "-f", "--target-size", "20"]) == 6


def test_folders_collisions_and_skipping(photo, capsys):
    folder = photo.parent / "in"
    (folder / "sub").mkdir(parents=True)
    for name in ("a.png", "sub/b.png"):
        (folder / name).write_bytes(photo.read_bytes())
    out = photo.parent / "out"
    assert run(["compress", "-r", str(folder), "-o", f"{out}/", "-n"]) == 0
    assert not out.exists()
    assert run(["compress", "-r", str(folder), "-o", f"{out}/", "--preserve-times"]) == 0
    assert sorted(files_in(out)) == ["a.aec", "sub/b.aec"]
    assert (out / "a.aec").stat().st_mtime_ns == (folder / "a.png").stat().st_mtime_ns
    before = files_in(out)
    assert run(["compress", "-r", str(folder), "-o", f"{out}/", "--skip-existing"]) == 0
    assert run(["compress", "-r", str(folder), "-o", f"{out}/"]) == 1
    assert files_in(out) == before
    (folder / "a.jpg").write_bytes(photo.read_bytes())
    assert run(["compress", "-r", str(folder), "-o", f"{out}/"]) == 2
    assert run(["compress", "-r", str(folder), "-o", f"{out}2/", "--append-ext"]) == 0
    assert "a.png.aec" in files_in(photo.parent / "out2")


def test_one_bad_file_does_not_stop_the_others(photo, capsys):
    bad = photo.parent / "bad.png"
    bad.write_bytes(b"nonsense")
    assert run(["compress", str(bad), str(photo), "-o", str(photo.parent)]) == 1
    assert photo.with_suffix(".aec").exists()
    assert capsys.readouterr().err.count("aecodec: error:") == 1


def _make_bad(kind: str, photo: Path) -> tuple[list[str], int]:
    """A command line that must fail -> (arguments, exit code)."""
    folder, path = photo.parent, photo.parent / "bad"
    good = photo.with_suffix(".aec")
    if kind.startswith(("aec", "existing")):
        run(["compress", str(photo)])
    if kind == "not an image":
        path.write_bytes(b"just text")
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "directory":
        return ["compress", str(folder)], 1
    elif kind == "missing":
        return ["compress", str(folder / "none.png")], 1
    elif kind == "truncated png":
        path.write_bytes(photo.read_bytes()[:70])
    elif kind == "zero size":
        path.write_bytes(photo.read_bytes()[:16] + bytes(8) + photo.read_bytes()[24:])
    elif kind == "absurd size":
        path.write_bytes(photo.read_bytes()[:16] + b"\x7f\xff\xff\xff" * 2 + photo.read_bytes()[24:])
    elif kind == "aec truncated":
        path.write_bytes(good.read_bytes()[:-5])
        return ["decompress", str(path)], 3
    elif kind == "aec flipped":
        data = bytearray(good.read_bytes())
        data[len(data) // 2] ^= 4
        path.write_bytes(data)
        return ["decompress", str(path)], 3
    elif kind == "aec of another model":
        from aecodec.coding import container

        path.write_bytes(container.write(container.Header(5, 5, 3, 5, "other", b"12345678"), [b""]))
        return ["decompress", str(path)], 4
    elif kind == "aec of a newer version":
        from forged import header_bytes

        path.write_bytes(header_bytes(version=9))
        return ["decompress", str(path)], 4
    elif kind == "no aec at all":
        return ["decompress", str(photo), "-o", str(folder / "x.png")], 3
    elif kind == "existing output":
        return ["compress", str(photo)], 5
    elif kind == "output is a directory":
        (folder / "photo.aec").mkdir()
    elif kind == "unknown model":
        return ["compress", str(photo), "-m", "nonesuch"], 2
    elif kind == "missing checkpoint":
        return ["compress", str(photo), "-m", str(folder / "no.safetensors")], 4
    elif kind == "damaged checkpoint":
        bad = folder / "bad.safetensors"
        bad.write_bytes(b"\x10\0\0\0\0\0\0\0garbage garbage!")
        return ["compress", str(photo), "-m", str(bad)], 4
    elif kind == "unknown format":
        return ["decompress", str(folder / "photo.aec"), str(folder / "x.xyz")], 2
    elif kind == "bad quality":
        return ["compress", str(photo), "-q", "101"], 2
    elif kind == "no such device":
        return ["compress", str(photo), "--device", "cuda:99"], 2
    elif kind == "no such folder":
        return ["compress", str(photo), "-o", "/proc/none/x.aec"], 1
    if kind == "output is a directory":
        return ["compress", str(photo)], 1
    return ["compress", str(path)], 1


BAD = [
    "not an image",
    "empty",
    "directory",
    "missing",
    "truncated png",
    "zero size",
    "absurd size",
    "aec truncated",
    "aec flipped",
    "aec of another model",
    "aec of a newer version",
    "no aec at all",
    "existing output",
    "output is a directory",
    "unknown model",
    "missing checkpoint",
    "damaged checkpoint",
    "bad quality",
    pytest.param("no such device", marks=needs("torch")),
    "no such folder",
]


@pytest.mark.parametrize("kind", BAD)
def test_bad_input_is_one_line_the_right_code_and_no_change(kind, photo, capsys):
    arguments, code = _make_bad(kind, photo)
    before = files_in(photo.parent)
    capsys.readouterr()
    assert run(arguments) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("aecodec: error: ")
    assert len(err.splitlines()) == 1
    assert files_in(photo.parent) == before


def test_unreadable_file_is_named(photo, capsys, monkeypatch):
    def refuse(self, mode):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    assert run(["compress", str(photo)]) == 1
    assert "Permission denied" in capsys.readouterr().err


def test_full_disk_leaves_the_old_file(photo, capsys, monkeypatch):
    run(["compress", str(photo)])
    before = files_in(photo.parent)

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    assert run(["compress", str(photo), "-f", "-q", "90"]) == 1
    assert "No space left" in capsys.readouterr().err
    assert files_in(photo.parent) == before


def test_full_disk_for_real(photo, capsys):
    """/dev/full takes no byte: the error is named."""
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full on this system")
    shell = f"{sys.executable} -m aecodec compress {photo} -o - > /dev/full"
    result = subprocess.run(shell, shell=True, check=False, capture_output=True, text=True)
    assert result.returncode == 1
    assert "aecodec: error:" in result.stderr
    assert "Traceback" not in result.stderr


def test_info_and_verify(photo, capsys):
    run(["compress", str(photo), "-q", "33.4"])
    capsys.readouterr()
    target = str(photo.with_suffix(".aec"))
    assert run(["info", target, "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["width"], record["height"], record["quality"], record["tiles"]) == (90, 60, 33.4, 1)
    assert run(["info", target]) == 0
    assert "90 x 60" in capsys.readouterr().out
    assert run(["verify", target]) == run(["verify", "--full", target]) == 0
    Path(target).write_bytes(Path(target).read_bytes()[:-1])
    assert run(["verify", target]) == run(["info", target]) == 3


def test_models_commands(capsys):
    assert run(["models", "list"]) == 0
    assert "photo" in capsys.readouterr().out
    assert run(["models", "show", "photo", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["family"] == "exact-hyperprior"
    assert run(["models", "path"]) == 0
    assert Path(capsys.readouterr().out.strip()).is_file()


def test_doctor_finds_the_model_exact(capsys):
    assert run(["doctor", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["healthy"]
    assert record["devices"][0] == {**record["devices"][0], "device": "cpu", "exact": True}


@pytest.mark.parametrize("arguments", [["--help"], ["info", "--help"], ["--version"]])
def test_help_loads_no_torch_and_is_quick(arguments):
    code = (
        "import sys; from aecodec.cli import run; code = run(sys.argv[1:]); "
        "sys.exit(code or 100 * ('torch' in sys.modules))"
    )
    begin = os.times()
    result = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, check=False)
    assert result.returncode == 0
    # Processor time, not the clock's: other processes may hold this one up.
    end = os.times()
    assert end.children_user + end.children_system - begin.children_user - begin.children_system < 5


def test_info_loads_no_torch(photo):
    run(["compress", str(photo)])
    code = (
        "import sys, aecodec; from aecodec.cli import run; "
        "code = run(['info', sys.argv[1]]); sys.exit(code or 100 * ('torch' in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code, str(photo.with_suffix(".aec"))], check=False).returncode == 0


@pytest.mark.parametrize("name", list(COMMANDS))
def test_every_command_has_help(name, capsys):
    assert run([name, "--help"]) == 0
    assert "Usage" in capsys.readouterr().out


def test_unknown_command_is_usage(capsys):
    assert run(["frobnicate"]) == 2


@needs("pydantic", "yaml")
def test_train_prints_its_configuration(capsys, tmp_path):
    file = tmp_path / "c.yaml"
    file.write_text("steps: 7\nbatch: 3\n")
    arguments = ["train", "exact-hyperprior", "--config", str(file), "--set", "batch=5", "--print-config"]
    assert run(arguments) == 0
    text = capsys.readouterr().out
    assert "steps: 7" in text
    assert "batch: 5" in text
    assert run([*arguments, "--set", "nonsense=1"]) == 2
    assert run(["train", "no-such-family"]) == 2
