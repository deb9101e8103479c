"""Small seeded things that many laws are checked on: a picture, a folder of pictures, a frozen model."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from block_hasher import BlockHasher
from extras import is_here
from hypothesis import HealthCheck, settings
from PIL import Image, ImageDraw, ImageFont
from places import TESTS

from aecodec.codec.codec import Codec
from aecodec.contracts import FrozenModel
from aecodec.engine import networks

# Laws hold on a machine under any load: no example has a deadline, and none is drawn too slowly.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

#: Fixtures that more than one folder of tests takes.
pytest_plugins = ("web_site",)

WITHOUT_TORCH = "torch is an extra of its own"
#: Packages of extras that modules of tests, or what they test, import when they are collected.
EXTRAS = (
    "torch",
    "pydantic",
    "yaml",
    "matplotlib",
    "sklearn",
    "bjontegaard",
    "faiss",
    "numba",
    "scipy",
    "threadpoolctl",
    "timm",
)


class _Absent:
    """An import finder under which a module of tests is skipped, with a reason, that needs what is not installed.

    In place while modules are collected, and not while tests run: there a missing package is an error, as for a user.
    """

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> None:
        if name in ABSENT:
            pytest.skip(f"{name} is not installed", allow_module_level=True)


ABSENT = frozenset(name for name in EXTRAS if not is_here(name))


def pytest_collection() -> None:
    sys.meta_path.insert(0, _Absent)


def pytest_collection_finish() -> None:
    sys.meta_path.remove(_Absent)


def natural_picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """(height, width, 3) uint8: gradients, hard-edged shapes, and texture whose strength varies over the picture."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float64)
    rows, columns = rows / height, columns / width
    picture = np.empty((height, width, 3))
    slopes = rng.uniform(-80, 80, (3, 2))
    for channel in range(3):
        picture[..., channel] = 120 + slopes[channel, 0] * rows + slopes[channel, 1] * columns
    for _ in range(6):
        centre, radius = rng.uniform(0, 1, 2), rng.uniform(0.05, 0.3)
        disc = (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 < radius**2
        picture[disc] += rng.uniform(-60, 60, 3)
    wave = np.sin(rows * rng.uniform(40, 120) + columns * rng.uniform(40, 120))
    noise = rng.normal(0, 1, (height, width))
    picture += ((12 * wave + 6 * noise) * (columns > 0.5) * rows)[..., None]
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8)


def written_picture(height: int, width: int) -> np.ndarray:
    """(height, width, 3) uint8: lines of black text with soft edges on white."""
    image = Image.new("RGB", (width, height), "white")
    for top in range(4, height - 12, 14):
        ImageDraw.Draw(image).text((4, top), "The quick brown fox", "black", ImageFont.load_default(11))
    return np.asarray(image)


@pytest.fixture(autouse=True)
def _threads_of_the_process() -> Iterator[None]:
    """A law that limits the threads of an engine, or runs what does, leaves the next one as many as there were.

    With more threads than free cores the small tensors of these laws wait for each other most of the time.
    """
    torch = import_module("torch") if is_here("torch") else None
    before = torch.get_num_threads() if torch else 0
    yield
    networks.limit_threads(0)
    if torch:
        torch.set_num_threads(before)


@pytest.fixture(scope="session")
def picture() -> np.ndarray:
    """(128, 192, 3) uint8."""
    return natural_picture(128, 192)


@pytest.fixture(scope="session")
def photo_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six small PNG pictures."""
    folder = tmp_path_factory.mktemp("photos")
    for number in range(6):
        Image.fromarray(natural_picture(96 + 16 * number, 160, seed=number)).save(folder / f"picture{number}.png")
    return folder


@pytest.fixture(scope="session")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of the small flagship with graphs; one that was kept where torch is not installed."""
    path = tmp_path_factory.mktemp("model") / "small.safetensors"
    if not is_here("torch"):
        path.write_bytes((TESTS / "engine" / "small.safetensors").read_bytes())
        return path
    from small_models import FLAGSHIP, small_flagship

    from aecodec import checkpoint
    from aecodec.engine.graphs import write_graphs

    checkpoint.save(small_flagship().eval(), path, name="small", family_name=FLAGSHIP, card={"steps": 0})
    write_graphs(path)
    return path


@pytest.fixture(scope="session")
def small_codec(model_file: Path) -> Codec:
    """The file codec with the small flagship, by the engine of a base installation."""
    return Codec.from_pretrained(model_file, engine="onnx")


@pytest.fixture(scope="session")
def adapting_codec(model_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Codec:
    """As `small_codec`, with scale indices that adapt, if to nothing in particular."""
    from make_golden import adapting, made_adaptation

    path = tmp_path_factory.mktemp("model") / "adapting.safetensors"
    return Codec.from_pretrained(adapting(model_file, path, made_adaptation(0)), engine="onnx")


@pytest.fixture(scope="session")
def frozen(model_file: Path) -> FrozenModel:
    """The small flagship, loaded by torch. Laws that change it must load their own."""
    pytest.importorskip("torch", reason=WITHOUT_TORCH)
    from aecodec import checkpoint

    return checkpoint.load(model_file)


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two small pictures like photographs to measure codecs on, p0.png and p1.png."""
    folder = tmp_path_factory.mktemp("pictures")
    for number, size in enumerate([(164, 176), (180, 170)]):
        Image.fromarray(natural_picture(*size, seed=number)).save(folder / f"p{number}.png")
    return folder


@pytest.fixture
def block_hasher(monkeypatch: pytest.MonkeyPatch) -> None:
    """The commands hash with a `BlockHasher`."""
    # What keeps the class it imports, for as long as the process lives, must have met the real one before.
    import_module("aecodec.codec.files")
    module = types.ModuleType("aecodec.hasher")
    module.Hasher = BlockHasher
    monkeypatch.setitem(sys.modules, "aecodec.hasher", module)


@pytest.fixture
def few_photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Four pictures and a smaller copy of one of them, in photos/ of the working folder."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(4):
        Image.fromarray(natural_picture(64, 96, number)).save(folder / f"p{number}.png")
    Image.open(folder / "p2.png").resize((48, 32)).save(folder / "<copy> & co.jpg")
    return folder
