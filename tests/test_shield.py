"""A caller's settings of torch never reach our arithmetic, and are as they were afterwards."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import natural_picture
from small_hasher import save_hasher

from aecodec import checkpoint
from aecodec.codec.codec import Codec
from aecodec.data.images import Picture
from aecodec.hasher import Hasher
from aecodec.metrics.ssimulacra2 import ssimulacra2
from aecodec.shield import shielded
from aecodec.tasks import anomaly, generate, transfer
from aecodec.tasks.restore import restore_pixels

PIXELS = natural_picture(72, 88)


@contextmanager
def autocast() -> Iterator[None]:
    with torch.autocast("cpu", torch.bfloat16):
        yield


@contextmanager
def double() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@contextmanager
def elsewhere() -> Iterator[None]:
    with torch.device("meta"):
        yield


@contextmanager
def everything() -> Iterator[None]:
    with autocast(), double(), elsewhere():
        yield


CALLERS = [autocast, double, elsewhere, everything]


def coded(path: Path) -> list[Any]:
    codec = Codec.from_pretrained(path, engine="torch", precision="float32")
    files = [codec.encode_picture(Picture(PIXELS), quality=50, effort=effort).data for effort in (1, 3)]
    files.append(codec.encode_picture(Picture(PIXELS), target_psnr=24.0, closest=True).data)
    return [*files, *(codec.decode_picture(data).pixels for data in files)]


def hashed(path: Path) -> list[Any]:
    return [Hasher.from_pretrained(path, engine="torch").hash_pixels([PIXELS, PIXELS[:40]])]


def scored(path: Path) -> list[Any]:
    frozen = checkpoint.load(path)
    rng = torch.Generator().manual_seed(0)
    x = torch.rand(6, *frozen.module.shape, generator=rng, dtype=torch.float32, device="cpu")
    found = [
        anomaly.scores(frozen.module, x, "surprise"),
        anomaly.heat_map(frozen.module, x),
        generate.sample(frozen.module, 3, rng),
        generate.interpolate(frozen.module, x[0], x[1], 4),
        transfer.extract(frozen.module, x),
    ]
    return [tensor.numpy() for tensor in found]


def restored(path: Path) -> list[Any]:
    return [restore_pixels(checkpoint.load(path).module, PIXELS, "denoise", sigma=9.0)]


def measured(path: Path) -> list[Any]:
    return [ssimulacra2(PIXELS, np.minimum(PIXELS, 200))]


@pytest.fixture(scope="module")
def files(model_file: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[Callable[[Path], list[Any]], Path]:
    """A model for each kind of work."""
    folder = tmp_path_factory.mktemp("shield")

    def save(family: str, config: dict[str, Any]) -> Path:
        torch.manual_seed(0)
        path = folder / f"{family}.safetensors"
        checkpoint.save(checkpoint.build(family, config), path, name=family[:16], family_name=family, card={})
        return path

    hasher = save_hasher(folder / "hasher.safetensors", {"shape": (3, 32, 32), "n_bits": 64})
    vae = save("vae", {"shape": (1, 8, 8), "latents": 2, "hidden": (16,)})
    restorer = save("restoration", {"corruptions": ("gaussian",), "widths": (8, 12), "blocks": 1})
    return {coded: model_file, hashed: hasher, scored: vae, restored: restorer, measured: model_file}


def same(a: Any, b: Any) -> bool:
    return a.dtype == b.dtype and np.array_equal(a, b) if isinstance(a, np.ndarray) else a == b


@pytest.mark.parametrize("caller", CALLERS)
@pytest.mark.parametrize("work", [coded, hashed, scored, restored, measured])
def test_a_callers_settings_change_no_bit(work, caller, files):
    expected = work(files[work])
    with caller():
        before = torch.get_default_dtype(), torch.is_autocast_enabled("cpu"), torch.get_default_device()
        found = work(files[work])
        assert before == (torch.get_default_dtype(), torch.is_autocast_enabled("cpu"), torch.get_default_device())
    assert len(found) == len(expected)
    assert all(same(a, b) for a, b in zip(found, expected, strict=True))


def test_the_default_type_returns_when_the_last_thread_is_done():
    inside, leave = threading.Event(), threading.Event()

    def other() -> None:
        with shielded():
            inside.set()
            leave.wait(10)
            assert torch.zeros(1).dtype == torch.float32

    with double():
        with shielded():
            thread = threading.Thread(target=other)
            thread.start()
            assert inside.wait(10)
            with shielded():
                assert torch.zeros(1).dtype == torch.float32
        assert torch.get_default_dtype() == torch.float32
        leave.set()
        thread.join()
        assert torch.get_default_dtype() == torch.float64


def test_every_public_method_of_a_shielded_class_is():
    from aecodec.engine.torch_engine import TorchEngine
    from aecodec.engine.torch_hashing import TorchHashNetwork

    for guarded in (TorchEngine, TorchHashNetwork):
        methods = {name: method for name, method in vars(guarded).items() if callable(method)}
        assert methods
        assert all(hasattr(method, "__wrapped__") for name, method in methods.items() if name[0] != "_")
