"""What a base installation does loads nothing heavy, whatever else is installed: a process for each command."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import natural_picture
from PIL import Image

from aecodec.cli import run

#: Packages of extras, and what they bring: loading any of them takes longer than a small picture.
HEAVY = (
    "torch",
    "scipy",
    "matplotlib",
    "pandas",
    "faiss",
    "sklearn",
    "numba",
    "compressai",
    "pillow_heif",
    "pillow_jxl",
    "pyarrow",
    "psycopg",
)
#: Runs what follows it, then tells on the last line of stderr which heavy packages are loaded.
TELL = f"""
import sys
{{}}
print(*[name for name in {HEAVY} if name in sys.modules], file=sys.stderr)
"""
COMMANDS = [
    "compress photos/a.png -o new.aec",
    "compress photos/a.png photos/b.png -j 2 -o folder/",
    "decompress a.aec new.png",
    "info a.aec",
    "verify --full a.aec",
    "compare photos/a.png a.aec",
    "models list",
    "models show",
    "models path",
    "index build photos -o new.hix",
    "index sync a.hix",
    "index info a.hix",
    "index add a.hix a.aec",
    "index remove a.hix photos/b.png",
    "index merge new.hix a.hix",
    "index export a.hix --to new.jsonl",
    "index export a.hix --to new.npz",
    "search a.hix photos/a.png",
    "dedup a.hix",
    "--help",
]
PILLOW = """
import aecodec.pillow
from PIL import Image
with Image.open("a.aec") as image:
    image.load()
    image.save("new.aec")
"""
PACKAGE = """
import numpy as np
from PIL import Image
import aecodec
codec = aecodec.Codec.from_pretrained()
assert codec.decode(codec.encode(Image.open("photos/a.png"))).size == (96, 64)
assert aecodec.Hasher.from_pretrained().hash_pixels([np.zeros((20, 30, 3), np.uint8)]).shape == (1, 32)
aecodec.compress("photos/a.png", "new.aec")
aecodec.decompress("new.aec", "new.png")
"""


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Path:
    """Two pictures in photos/, a file a.aec and an index a.hix."""
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    for seed, name in enumerate("ab"):
        Image.fromarray(natural_picture(64, 96, seed)).save(f"photos/{name}.png")
    assert run(["compress", "photos/a.png", "-o", "a.aec"]) == 0
    assert run(["index", "build", "photos", "-o", "a.hix"]) == 0
    return tmp_path


def loaded_by(code: str, folder: Path) -> str:
    """The heavy packages that a process has loaded in the end."""
    environment = {**os.environ, "AECODEC_DEVICE": "cpu"}
    command = [sys.executable, "-c", TELL.format(code)]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stderr.splitlines()[-1]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_base_loads_nothing_heavy(command: str, workplace: Path) -> None:
    code = f"from aecodec.cli import run\nassert run({command.split()!r}) == 0"
    assert loaded_by(code, workplace) == ""


@pytest.mark.parametrize("code", [PILLOW, PACKAGE], ids=["the Pillow plugin", "the package"])
def test_the_package_loads_nothing_heavy(code: str, workplace: Path) -> None:
    assert loaded_by(code, workplace) == ""


def test_what_is_loaded_is_told(workplace: Path) -> None:
    """The law above would notice: it names a package that is loaded, heavy or not."""
    code = "import types\nsys.modules['pandas'] = types.ModuleType('pandas')"
    assert loaded_by(code, workplace) == "pandas"
