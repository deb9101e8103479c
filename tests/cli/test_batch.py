"""Many files in one command: several at once, in order, bad ones among them; what is said of each."""

import io
import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import natural_picture, written_picture
from PIL import Image

from aecodec.cli import run
from aecodec.cli.output import progress
from aecodec.codec.files import Codecs
from aecodec.coding import container
from aecodec.data.files import open_input
from aecodec.data.images import Picture, read_picture


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that is the working one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def model(model_file: Path) -> list[str]:
    return ["-m", str(model_file), "--precision", "float32", "--threads", "1"]


def save(path: str, height: int = 40, width: int = 50, seed: int = 0, mode: str = "RGB", **options) -> None:
    Image.fromarray(natural_picture(height, width, seed)).convert(mode).save(path, **options)


def records(capsys) -> list[dict]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_jobs_change_no_byte_and_no_order(here, model, capsys):
    names = [f"{number}.png" for number in range(7)]
    for number, name in enumerate(names):
        save(name, 40 + 30 * (number % 3), 60, number)
    written = []
    for jobs in ("1", "3"):
        assert run(["compress", *names, "-o", f"out{jobs}/", "-j", jobs, "--json", *model]) == 0
        found = records(capsys)
        assert [record["input"] for record in found] == names
        written.append([Path(record["output"]).read_bytes() for record in found])
        assert run(["decompress", "-r", f"out{jobs}", "-o", f"back{jobs}/", "-j", jobs, *model]) == 0
        capsys.readouterr()
    assert written[0] == written[1]
    assert [Path(f"back1/{name}").read_bytes() for name in names] == [
        Path(f"back3/{name}").read_bytes() for name in names
    ]


def test_bad_files_among_good_ones_with_several_jobs(here, model, capsys):
    for number in range(6):
        save(f"{number}.png", seed=number)
    Path("2.png").write_bytes(b"nonsense")
    Path("4.png").write_bytes(Path("4.png").read_bytes()[:200])
    assert run(["compress", *(f"{n}.png" for n in range(6)), "-o", "out/", "-j", "3", *model]) == 1
    assert sorted(os.listdir("out")) == ["0.aec", "1.aec", "3.aec", "5.aec"]
    errors = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert len(errors) == 2
    assert "2.png" in errors[0]
    assert "4.png" in errors[1]


def test_jobs_work_on_the_tiles_of_a_single_file(here, model, capsys):
    save("wide.png", 70, 2100)
    files = []
    for jobs in ("1", "2"):
        assert run(["compress", "wide.png", "-o", "x.aec", "-f", "-j", jobs, *model]) == 0
        assert run(["decompress", "x.aec", "-o", "x.png", "-f", "-j", jobs, *model]) == 0
        files.append((Path("x.aec").read_bytes(), Path("x.png").read_bytes()))
    assert len(container.parse(files[0][0]).tiles) == 3
    assert files[0] == files[1]


def test_skipped_existing_and_forced(here, model, capsys):
    for name in ("a.png", "b.png"):
        save(name)
    Path("a.aec").write_bytes(b"precious")
    assert run(["compress", "a.png", "b.png", "--skip-existing", "-j", "2", *model]) == 0
    assert Path("a.aec").read_bytes() == b"precious"
    assert "a.aec: exists, skipped" in capsys.readouterr().err
    assert run(["compress", "a.png", "b.png", "-j", "2", *model]) == 1
    assert run(["compress", "a.png", "b.png", "-f", "-j", "2", *model]) == 0
    assert Path("a.aec").read_bytes() != b"precious"


def test_orientation_applied_and_kept(here, model, capsys):
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "a description"
    save("x.jpg", exif=exif)
    assert run(["compress", "x.jpg", "-o", "applied.aec", *model]) == 0
    assert run(["compress", "x.jpg", "-o", "kept.aec", "--orientation", "keep", *model]) == 0
    for name, size, value in (("applied", (40, 50), 1), ("kept", (50, 40), 6)):
        assert run(["decompress", f"{name}.aec", f"{name}.png", *model]) == 0
        back = Image.open(f"{name}.png")
        assert (back.size, back.getexif()[0x0112], back.getexif()[0x010E]) == (size, value, "a description")
    assert run(["compress", "x.jpg", "-o", "no.aec", "--orientation", "keep", "--strip", "exif", *model]) == 2
    assert not Path("no.aec").exists()


def test_a_kept_orientation_is_undone_wherever_the_picture_is_looked_at(here, model, capsys):
    """Exif or XMP may say it; a format that holds neither, and a comparison, get the picture upright."""
    save("x.webp", xmp=b'<rdf:Description tiff:Orientation="6"/>', lossless=True)
    save("upright.png")
    Image.open("upright.png").transpose(Image.Transpose.ROTATE_270).save("upright.png")
    assert run(["compress", "x.webp", "-o", "kept.aec", "--orientation", "keep", *model]) == 0
    assert run(["decompress", "kept.aec", "kept.bmp", *model]) == 0
    assert Image.open("kept.bmp").size == (40, 50)
    capsys.readouterr()
    assert run(["compare", "kept.bmp", "upright.png", "--json"]) == 0
    assert records(capsys)[0]["psnr"] > 5
    assert run(["compress", "x.webp", "-o", "no.aec", "--orientation", "keep", "--strip", "xmp", *model]) == 2


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tif", "avif", "bmp"])
def test_metadata_never_end_a_batch(here, model, capsys, suffix):
    """Blocks that are none, that are too large, or as files of older versions hold them: said, and the pixels come."""
    prefixed = Image.Exif()
    prefixed[0x010F] = "ACME"
    bare = prefixed.tobytes().removeprefix(b"Exif\0\0")
    blocks = [b"\xff\xff\xff\xff\0\0\0\x08", bare, b"Exif\0\0" + bare + bytes(100_000), b"II*\0\xff\xff\xff\xff"]
    opened = Codecs(model[1], precision="float32").named()
    for number, block in enumerate(blocks):
        picture = Picture(natural_picture(40, 50), {"exif": block, "xmp": b"x" * 100_000})
        Path(f"{number}.aec").write_bytes(opened.encode_picture(picture).data)
    names = [f"{number}.aec" for number in range(len(blocks))]
    assert run(["decompress", *names, "-o", "out/", "--format", suffix, "--json", *model]) == 0
    notices = [" ".join(record["notices"]) for record in records(capsys)]
    assert [("no TIFF structure" in text) for text in notices] == [True, False, False, True]
    back = read_picture(Path(f"out/1.{suffix}"))
    assert back.pixels.shape[:2] == (40, 50)
    assert (b"ACME" in back.metadata.get("exif", b"")) == (suffix != "bmp")


def test_what_was_changed_is_said(here, model, capsys):
    save("palette.gif", mode="P", save_all=True, append_images=[Image.new("P", (50, 40), 3)])
    save("cmyk.jpg", mode="CMYK")
    Image.fromarray(np.arange(2000, dtype=np.uint16).reshape(40, 50) * 30).save("deep.png")
    assert run(["compress", "palette.gif", "cmyk.jpg", "deep.png", "--effort", "1", "--json", *model]) == 0
    out, err = capsys.readouterr()
    notices = [" ".join(json.loads(line)["notices"]) for line in out.splitlines()]
    assert "first of 2 frames" in notices[0]
    assert "palette" in notices[0]
    assert "CMYK" in notices[1]
    assert "8 bits" in notices[2]
    # An untrained model follows no colours, and says so of those that a palette scatters.
    assert sum("detail is lost" not in line for line in err.splitlines()) == 4


def test_drawings_in_a_folder_are_told_by_name_and_are_no_errors(here, model, capsys):
    """In a line of stderr and in the record of each; with alpha and in grey as well."""
    Path("in").mkdir()
    written = Image.fromarray(written_picture(64, 128))
    written.save("in/colour.png")
    written.convert("L").save("in/grey.png")
    written.convert("RGBA").save("in/alpha.png")
    save("in/photo.png")
    assert run(["compress", "-r", "in", "-o", "out/", "--json", *model]) == 0
    out, err = capsys.readouterr()
    notices = {json.loads(line)["input"]: json.loads(line)["notices"] for line in out.splitlines()}
    for name in ("in/colour.png", "in/grey.png", "in/alpha.png"):
        assert sum("looks drawn, not photographed" in text for text in notices[name]) == 1
        assert err.count(f"{name}: looks drawn") == 1
    assert not any("looks drawn" in text for text in notices["in/photo.png"])


def test_alpha_and_its_cost_are_reported(here, model, capsys):
    image = Image.fromarray(natural_picture(40, 50))
    image.putalpha(Image.fromarray(natural_picture(40, 50, 1)[..., 0]))
    image.save("x.png")
    assert run(["compress", "x.png", "--json", *model]) == 0
    [record] = records(capsys)
    assert record["alpha_bytes"] == len(container.parse(Path("x.aec").read_bytes()).alpha)
    assert run(["compress", "x.png", "-f", *model]) == 0
    assert "of them alpha" in capsys.readouterr().out
    assert run(["info", "x.aec"]) == 0
    assert "alpha     1." in capsys.readouterr().out
    assert run(["decompress", "x.aec", "x.jpg", *model]) == 2


def test_limits_of_pixels_can_be_raised_and_lowered(here, model, capsys, monkeypatch):
    save("x.png")
    assert run(["compress", "x.png", "-o", "first.aec", *model]) == 0
    # What the option sets is put back after the test.
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)
    assert run(["compress", "x.png", "--max-pixels", "1999", *model]) == 1
    assert "--max-pixels" in capsys.readouterr().err
    assert run(["compress", "x.png", "--max-pixels", "2k", *model]) == 0
    assert run(["decompress", "first.aec", "y.png", "--max-pixels", "1.9k", *model]) == 1
    assert "2000 pixels exceed the limit of 1900 (--max-pixels raises it)" in capsys.readouterr().err
    assert run(["compare", "x.png", "first.aec"]) == 1
    assert "raises it" not in capsys.readouterr().err
    assert run(["decompress", "first.aec", "y.png", "--max-pixels", "none", *model]) == 2


def test_closest_may_exceed_a_target_that_nothing_meets(here, model, capsys):
    save("x.png")
    arguments = ["compress", "x.png", "--target-size", "40", "--json", *model]
    assert run(arguments) == 6
    assert run([*arguments, "--closest"]) == 0
    refused, found = records(capsys)
    assert (refused["input"], refused["code"]) == ("x.png", 6)
    assert found["bytes"] > 40
    assert run(["compress", "x.png", "--closest", *model]) == 2


def test_pipes_both_ways(here, model, monkeypatch):
    save("x.png")

    class Binary(io.StringIO):
        def __init__(self) -> None:
            super().__init__()
            self.buffer = io.BytesIO()

    def piped(data: bytes, *arguments: str) -> bytes:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
        monkeypatch.setattr(sys, "stdout", Binary())
        assert run([*arguments, "-", *model]) == 0
        return sys.stdout.buffer.getvalue()

    data = piped(Path("x.png").read_bytes(), "compress")
    assert run(["compress", "x.png", *model]) == 0
    assert data == Path("x.aec").read_bytes()
    assert run(["decompress", "x.aec", "y.png", *model]) == 0
    assert piped(data, "decompress") == Path("y.png").read_bytes()
    assert Image.open(io.BytesIO(piped(data, "decompress", "--format", "ppm"))).format == "PPM"


def test_a_format_that_cannot_be_written_is_refused_before_anything_is_decoded(here, capsys):
    Path("x.aec").write_bytes(b"not looked at")
    assert run(["decompress", "x.aec", "x.xyz"]) == 2
    assert "can be written" in capsys.readouterr().err


def test_damaged_files_are_named_without_loading_torch(here):
    import subprocess

    Path("x.aec").write_bytes(container.MAGIC + bytes(60))
    code = (
        "import sys; from aecodec.cli import run; code = run(['decompress', 'x.aec']); "
        "sys.exit(code if 'torch' not in sys.modules else 99)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.count("damaged")) == (3, 1)


def test_progress_is_for_people_only(capsys, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setenv("TERM", "xterm")
    assert list(progress(iter("abc"), 3, "working", quiet=False)) == ["a", "b", "c"]
    assert "working" in sys.stderr.getvalue()
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert list(progress(iter("abc"), 3, "working", quiet=False)) == ["a", "b", "c"]
    assert sys.stderr.getvalue() == ""


def test_a_folder_that_cannot_be_read_is_an_error_and_the_rest_is_done(here, model, capsys, monkeypatch):
    for folder in ("in", "in/closed"):
        os.mkdir(folder)
        save(f"{folder}/a.png")
    Path("in/b.raw").touch()
    real = os.scandir

    def scandir(path):
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    for more in (["--dry-run"], []):
        assert run(["compress", "-r", "in", "-o", "out/", *more, *model]) == 1
        said = capsys.readouterr()
        assert said.out.count("a.aec") == 1
        assert said.err.splitlines() == [
            "aecodec: error: in/closed: cannot be read (Permission denied)",
            "aecodec: 1 file passed over (1 .raw), 1 folder unreadable",
        ]
    assert os.listdir("out") == ["a.aec"]
    (here / "out" / "closed").mkdir()
    for arguments in (["verify"], ["info"], ["decompress", "-o", "back/", *model]):
        assert run([arguments[0], "-r", "out", *arguments[1:]]) == 1
        assert "out/closed: cannot be read" in capsys.readouterr().err


def test_names_of_one_file_each_get_their_output(here, model, capsys):
    os.mkdir("in")
    save("in/a.png")
    os.link("in/a.png", "in/b.png")
    Path("in/c.png").symlink_to("a.png")
    Path("in/round").symlink_to(".")
    assert run(["compress", "-r", "in", "-o", "out/", *model]) == 0
    assert sorted(os.listdir("out")) == ["a.aec", "b.aec", "c.aec"]


def test_pipes_and_devices_are_refused_by_name_and_passed_over_in_folders(here, model, capsys):
    os.mkdir("in")
    save("in/a.png")
    os.mkfifo("in/pipe.png")
    Path("in/zero.png").symlink_to("/dev/zero")
    for name in ("in/pipe.png", "in/zero.png", "/dev/zero"):
        for arguments in (
            ["compress", name, "-o", "out.aec", *model],
            ["decompress", name, "-o", "out.png"],
            ["info", name],
            ["verify", name],
            ["compare", name, "in/a.png"],
        ):
            assert run(arguments) == 1
            assert f"{name}: is a pipe or a device, not a file" in capsys.readouterr().err
    assert run(["compress", "-r", "in", "-o", "out/", *model]) == 0
    assert os.listdir("out") == ["a.aec"]
    assert "2 files passed over (2 pipes or devices)" in capsys.readouterr().err


def test_a_pipe_that_is_open_already_is_read(here, model, capsys):
    save("a.png")
    reading, writing = os.pipe()
    os.write(writing, Path("a.png").read_bytes())
    os.close(writing)
    with open_input(Path(f"/dev/fd/{reading}")) as file:
        assert file.read() == Path("a.png").read_bytes()
    os.close(reading)
