"""Peers of the benchmark: programs, packages and CompressAI, through real files; what is absent is named."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import stand_in
from PIL import Image

from aecodec.bench.binaries import PROGRAMS
from aecodec.bench.codecs import FileCodec
from aecodec.bench.measurements import measure
from aecodec.bench.opening import kmac_per_pixel, open_codec
from aecodec.bench.vvc import from_planes, to_planes
from aecodec.contracts import AecodecError, MissingDependencyError
from aecodec.metrics import psnr


@pytest.mark.parametrize("name", [*PROGRAMS, "vvc"])
def test_an_absent_program_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingDependencyError, match=f"codec {name} needs the program"):
        open_codec(name)


def _tools(name: str) -> set[str]:
    """The programs that a codec calls."""
    if name == "vvc":
        return {"vvencapp", "vvdecapp"}
    program = PROGRAMS[name]
    return {program.encode[0], *([program.decode[0]] if program.decode else [])}


@pytest.mark.parametrize("name", [*PROGRAMS, "vvc"])
def test_a_program_is_called_as_it_wants_to_be(
    monkeypatch: pytest.MonkeyPatch, pictures: Path, tmp_path: Path, name: str
) -> None:
    """With stand-ins on PATH: options in order, qualities passed on, real files decoded, the version told."""
    stand_in.install(tmp_path, *_tools(name))
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    codec = open_codec(name)
    assert "stand-in 1.0" in codec.version
    poor, good = (measure(codec, pictures / "p0.png", quality) for quality in _poor_and_good(codec))
    assert poor.bytes < good.bytes
    assert 20 < poor.psnr < good.psnr


def _poor_and_good(codec: FileCodec) -> tuple[float, float]:
    ordered = sorted(codec.qualities, reverse=codec.falling)
    return ordered[len(ordered) // 4], ordered[-1]


def _is_here(name: str) -> bool:
    try:
        return bool(open_codec(name))
    except MissingDependencyError:
        return False


@pytest.mark.parametrize("name", ["jxl", *(name for name in ["heic", "vvc", *PROGRAMS] if _is_here(name))])
def test_what_is_here_makes_files_that_decode(pictures: Path, name: str) -> None:
    """The real programs and packages of this machine; JPEG XL comes with the test installation."""
    codec = open_codec(name)
    poor, good = (measure(codec, pictures / "p0.png", quality) for quality in _poor_and_good(codec))
    assert poor.bytes < good.bytes
    assert 20 < poor.psnr < good.psnr


def test_a_program_that_fails_or_writes_nothing_is_named(
    monkeypatch: pytest.MonkeyPatch, pictures: Path, tmp_path: Path
) -> None:
    stand_in.install(tmp_path, "cjxl", "djxl")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    codec = open_codec("cjxl")
    (tmp_path / "cjxl").write_text("#!/bin/sh\necho out of colours >&2\nexit 3\n")
    with pytest.raises(AecodecError, match="cjxl failed with code 3: out of colours"):
        codec.encode(Image.open(pictures / "p0.png"), 50)
    (tmp_path / "cjxl").write_text("#!/bin/sh\n")
    with pytest.raises(AecodecError, match="cjxl failed with code 0"):
        codec.encode(Image.open(pictures / "p0.png"), 50)


@pytest.mark.parametrize(("codec", "module"), [("jxl", "imagecodecs"), ("heic", "pillow_heif")])
def test_an_absent_package_is_named(monkeypatch: pytest.MonkeyPatch, codec: str, module: str) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *more: None if name == module else found(name, *more))
    with pytest.raises(MissingDependencyError, match=f"codec {codec} needs the package"):
        open_codec(codec)


def test_colours_survive_the_way_through_ycbcr(pictures: Path) -> None:
    """4:2:0 at 10 bits loses the detail of chroma alone: a picture without any comes back within a level."""
    pixels = np.asarray(Image.open(pictures / "p0.png").convert("RGB"))
    smooth = np.repeat(np.repeat(pixels[:82, :80:], 2, axis=0), 2, axis=1)
    flat = np.broadcast_to(np.array([200, 30, 90], np.uint8), (16, 20, 3))
    grey = np.repeat(pixels[..., :1], 3, axis=2)
    for picture, limit in ((flat, 1), (grey, 1)):
        back = from_planes(*to_planes(picture))
        assert np.abs(back.astype(int) - picture).max() <= limit
    assert psnr(smooth, from_planes(*to_planes(smooth))) > 30


def test_compressai_gives_the_figures_of_its_own_evaluation(pictures: Path, tmp_path: Path) -> None:
    pytest.importorskip("compressai")
    import torch
    from compressai.models import MeanScaleHyperprior
    from compressai.utils.eval_model.__main__ import inference

    torch.manual_seed(0)
    model = MeanScaleHyperprior(8, 12).eval()
    model.update()
    torch.save(model.state_dict(), tmp_path / "random.pth")
    codec = open_codec(f"compressai:mbt2018-mean:{tmp_path / 'random.pth'}")
    row = measure(codec, pictures / "p1.png", 1)
    pixels = torch.from_numpy(np.array(Image.open(pictures / "p1.png"))).permute(2, 0, 1).float() / 255
    theirs = inference(model, pixels)
    assert row.bytes - 10 - 2 * 4 == round(theirs["bpp"] * 180 * 170 / 8)
    assert row.psnr == pytest.approx(theirs["psnr-rgb"], abs=1e-4)
    assert codec.name == "compressai-mbt2018-mean"
    assert kmac_per_pixel(codec, Image.open(pictures / "p1.png"))["decode"] > 0


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("compressai:mbt2018-mean", "expected compressai:"),
        ("compressai:mbt:x", "no architecture 'mbt'"),
        ("compressai:mbt2018-mean:/nowhere.pth", "no checkpoint of MeanScaleHyperprior"),
    ],
)
def test_a_wrong_compressai_codec_is_named(name: str, message: str) -> None:
    pytest.importorskip("compressai")
    with pytest.raises(AecodecError, match=message):
        open_codec(name)
