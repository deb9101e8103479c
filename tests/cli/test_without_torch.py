"""What a base installation lacks is said in one line that names the extra; torch is hidden where it is installed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import natural_picture
from extras import needs
from PIL import Image
from places import GOLDEN

from aecodec.cli import run
from aecodec.zoo import stored

#: Imports of what stands here as None fail as those of a package that is not installed.
HIDE = "import sys; sys.modules.update(dict.fromkeys({hidden}))\n"
RUN = "import sys\nfrom aecodec.cli import run\nsys.exit(run(sys.argv[1:]))"
EXTRA = re.compile(r"pip install 'aecodec\[(torch|train)\]'")
BARE = GOLDEN / "v1" / "exact-hyperprior.safetensors"


def called(*arguments: object, hidden: tuple[str, ...] = ("torch",), before: str = "") -> subprocess.CompletedProcess:
    """A command in a process of its own, without some packages. before: code that runs first."""
    command = [sys.executable, "-c", HIDE.format(hidden=hidden) + before + RUN, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def contents(folder: Path) -> dict[Path, bytes | None]:
    return {path: path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


@pytest.fixture(scope="module")
def furnished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures, their files, and an array with labels."""
    folder = tmp_path_factory.mktemp("here")
    (folder / "photos").mkdir()
    for seed, name in enumerate("ab"):
        Image.fromarray(natural_picture(64, 96, seed)).save(folder / "photos" / f"{name}.png")
    assert run(["compress", str(folder / "photos" / "a.png"), "-o", str(folder / "a.aec")]) == 0
    np.savez(folder / "data.npz", x_train=np.zeros((4, 1, 28, 28), np.uint8), y_train=np.arange(4))
    (folder / "weights.pth").write_bytes(b"weights")
    (folder / "detector.json").write_text("{}")
    return folder


@pytest.fixture
def here(furnished: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, which no command of these laws may change."""
    monkeypatch.chdir(furnished)
    monkeypatch.setenv("AECODEC_CACHE", str(furnished / "cache"))
    monkeypatch.setenv("AECODEC_DEVICE", "cpu")
    return furnished


@pytest.mark.parametrize(
    "command",
    [
        "compress photos/a.png -o new.aec --device cuda",
        "compress photos/a.png -o new.aec --engine torch",
        "compress photos/a.png -o new.aec --precision bfloat16",
        "decompress a.aec new.png --device cuda",
        "decompress a.aec new.png --engine torch",
        "index build photos -o new.hix --device cuda",
        "restore photos/a.png new.png --task denoise",
        "restore recording.wav new.wav --task denoise",
        "sample -o new.png",
        "anomaly fit vae-digits data.npz -o new.json",
        "anomaly score detector.json photos/a.png --heat-maps new",
        "probe vae-digits data.npz",
        "train exact-hyperprior --data photos --out new",
        "train exact-hyperprior --print-config",
        "models import weights.pth",
        "models import weights.pth -o new/new.safetensors",
        "models export --onnx -o new.safetensors",
    ],
)
def test_what_needs_torch_names_the_extra_and_writes_nothing(command: str, here: Path) -> None:
    before = contents(here)
    done = called(*command.split())
    assert done.returncode not in (0, None)
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("aecodec: error: ")
    assert EXTRA.search(line)
    assert contents(here) == before


def test_the_line_says_what_asked_for_torch(here: Path) -> None:
    for flags, what in {
        ("--device", "cuda"): "the device cuda",
        ("--engine", "torch"): "the engine torch",
        ("--precision", "bfloat16"): "the precision bfloat16",
    }.items():
        done = called("compress", "photos/a.png", "-o", "new.aec", *flags)
        assert f"{what} needs torch" in done.stderr


@pytest.mark.parametrize("flags", [["--effort", "2"], ["--effort", "3", "--target-size", "2000"]], ids=str)
def test_effort_needs_no_torch(flags: list[str], here: Path, tmp_path: Path) -> None:
    plain, refined = tmp_path / "plain.aec", tmp_path / "refined.aec"
    for output, effort in ((plain, ["--effort", "1", *flags[2:]]), (refined, flags)):
        done = called("compress", "photos/a.png", "-o", output, *effort)
        assert (done.returncode, done.stderr) == (0, "")
    assert plain.read_bytes() != refined.read_bytes()
    assert called("decompress", refined, "-o", tmp_path / "back.png").returncode == 0


def test_the_doctor_finds_a_base_installation_healthy(here: Path) -> None:
    done = called("doctor")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == "healthy"


class TestModels:
    """Models that cannot be run: one line, exit code 4, both ways."""

    def both_ways(self, folder: Path, model: Path, message: str, **options: object) -> None:
        """The model's own errors; to decompress, a file is made to name it."""
        before = contents(folder)
        for arguments in (
            ["compress", "photos/a.png", "-o", "new.aec", "-m", model],
            ["decompress", self.file_of(model), "-o", "new.png", "-m", model],
        ):
            done = called(*arguments, **options)
            assert done.returncode == 4, done.stderr
            (line,) = done.stderr.splitlines()
            assert re.search(message, line), line
        assert contents(folder) == before

    def file_of(self, model: Path) -> Path:
        """A file that the model wrote, or one of its family whose fingerprint it has."""
        return GOLDEN / "v1" / "kind-rgb.aec" if model == BARE else model.with_suffix(".aec")

    @pytest.fixture
    def model(self, model_file: Path, tmp_path: Path, small_codec) -> Path:
        """A model with graphs in another folder than the working one, and a file that it wrote."""
        path = tmp_path / "model.safetensors"
        path.write_bytes(model_file.read_bytes())
        path.with_suffix(".aec").write_bytes(small_codec.encode(Image.fromarray(natural_picture(64, 96))))
        return path

    def test_no_graphs(self, here: Path) -> None:
        self.both_ways(here, BARE, r"holds no graphs .*pip install 'aecodec\[torch\]'")

    def test_no_onnxruntime_and_no_torch(self, here: Path, model: Path) -> None:
        self.both_ways(here, model, r"onnxruntime is not installed", hidden=("torch", "onnxruntime"))

    @needs("torch")
    def test_torch_steps_in_for_onnxruntime(self, here: Path, model: Path, tmp_path: Path) -> None:
        for arguments in (["compress", "photos/a.png"], ["decompress", model.with_suffix(".aec")]):
            done = called(*arguments, "-m", model, "-o", f"{tmp_path}/", hidden=("onnxruntime",))
            assert done.returncode == 0, done.stderr

    def test_another_version_of_onnxruntime(self, here: Path, model: Path) -> None:
        old = "import onnxruntime; onnxruntime.__version__ = '1.2.3'\n"
        self.both_ways(here, model, r"need onnxruntime 1\.17 or later, found 1\.2\.3", before=old)

    def test_a_damaged_graph(self, here: Path, model: Path) -> None:
        graph = stored.read(model).graphs["analysis"]
        data = bytearray(model.read_bytes())
        data[data.rindex(graph[-200:]) + 50] ^= 1
        model.write_bytes(data)
        self.both_ways(here, model, "graphs are damaged or belong to another")

    def test_graphs_that_cannot_be_run(self, here: Path, model: Path) -> None:
        kept = stored.read(model)
        stored.write(replace(kept, graphs=dict.fromkeys(kept.graphs, b"no graph")), model)
        self.both_ways(here, model, "the graph of its network .* cannot be run")

    def test_a_graph_that_is_missing(self, here: Path, model: Path) -> None:
        kept = stored.read(model)
        stored.write(replace(kept, graphs={"other": b"no graph"}), model)
        self.both_ways(here, model, "holds no graph of its network")


def test_the_processes_of_these_laws_do_hide_torch() -> None:
    done = subprocess.run(
        [sys.executable, "-c", HIDE.format(hidden=("torch",)) + "import torch"],
        capture_output=True,
        text=True,
        check=False,
        env=dict(os.environ),
    )
    assert "ModuleNotFoundError" in done.stderr
