"""What is said where there is no cluster, no Ray, or one that is unlike the asking process."""

from __future__ import annotations

import socket
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import natural_picture
from extras import needs
from PIL import Image

from aecodec.cli import run
from aecodec.contracts import ClusterError, UnknownName
from aecodec.ray.agreement import Agreement, witness

PHOTOS = ("photos/a.png", "photos/b.png")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    for seed, name in enumerate(PHOTOS):
        Image.fromarray(natural_picture(32, 48, seed)).save(name)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@needs("ray", "pyarrow")
@pytest.mark.parametrize(
    ("address", "told"),
    [("127.0.0.1:{port}", "refused"), ("no.such.host.invalid:6379", ""), ("host:x", "expected HOST")],
)
def test_no_cluster_is_one_line_and_soon(address, told, capfd):
    address = address.format(port=free_port())
    for line in (f"compress -r photos -o out/ --ray {address}", f"index build photos -o a.hix --ray {address}"):
        assert run(line.split()) == 1
        found = capfd.readouterr()
        assert found.out == ""
        [said] = found.err.splitlines()
        assert said.startswith(f"aecodec: error: {address}: ")
        assert told in said
    assert not any(Path("out").iterdir())


def test_without_ray_the_extra_is_named(monkeypatch, capfd):
    monkeypatch.setitem(sys.modules, "ray", None)
    for line in ("compress -r photos -o out/ --ray local", "index build photos -o a.hix --ray local"):
        assert run(line.split()) == 1
        [said] = capfd.readouterr().err.splitlines()
        assert said == "aecodec: error: Ray Data is not installed: pip install 'aecodec[ray]'"


def test_a_worker_with_other_models_or_another_release_refuses(monkeypatch):
    asked = Agreement.of([Path(PHOTOS[0])], ["photo"])
    asked.check()
    with pytest.raises(ClusterError, match="has another model photo"):
        replace(asked, models=(("photo", bytes(8)),)).check()
    with pytest.raises(ClusterError, match=r"lacks the model: .*mine\.safetensors"):
        replace(asked, models=(("mine.safetensors", bytes(8)),)).check()
    with pytest.raises(ClusterError, match=r"not 9\.9: files could differ"):
        replace(asked, version="9.9").check()
    with pytest.raises(ClusterError, match=r"photos: the Ray worker on .* does not see"):
        replace(asked, files=((PHOTOS[0], 1),)).check()
    with pytest.raises(UnknownName):
        Agreement.of(models=["no-such-model"])


def test_a_witness_leaves_nothing_behind():
    with witness(Path("new/deep")) as seen:
        assert Agreement.of([seen]).files == ((str(seen), seen.stat().st_size),)
    assert Path("new/deep").is_dir()
    assert not any(Path("new/deep").iterdir())
