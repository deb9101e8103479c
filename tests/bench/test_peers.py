"""Peers of the benchmark: programs, packages and CompressAI, through real files; what is absent is named."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import stand_in
from extras import needs
from PIL import Image

from aecodec.bench.codecs import FileCodec
from aecodec.bench.complexity import kmac_per_pixel
from aecodec.bench.measurements import measure
from aecodec.bench.opening import CodecSpec, open_codec
from aecodec.bench.peers import PEERS, table_name
from aecodec.bench.peers.pillow_format import saved
from aecodec.bench.peers.vvc import from_planes, to_planes
from aecodec.bench.plot import SPARE_CURVES, curves_of
from aecodec.contracts import AecodecError, MissingDependencyError, UsageError
from aecodec.metrics import psnr

#: Peers that are programs -> what they call.
PROGRAMS = {
    "cjxl": {"cjxl", "djxl"},
    "avifenc": {"avifenc", "avifdec"},
    "mozjpeg": {"cjpeg"},
    "heif-enc": {"heif-enc", "heif-convert"},
    "vvc": {"vvencapp", "vvdecapp"},
    "jpeg2000-ffmpeg": {"ffmpeg"},
}
#: Peers of one codec each; the others are networks that are opened with an argument.
PLAIN = [name for name, peer in PEERS.items() if not peer.argument]


# -- the table ---------------------------------------------------------------------------------------


def test_listing_the_codecs_loads_none_of_them() -> None:
    code = "import sys, aecodec.bench.peers as p; print([m for m in ('PIL._imaging', 'torch', 'matplotlib', "
    code += "'imagecodecs') if m in sys.modules], [m for m in sys.modules if m.startswith(p.__name__ + '.')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[] []"


def test_curves_of_different_codecs_look_different() -> None:
    looks = [(peer.colour, peer.marker) for peer in PEERS.values()]
    looks += [curve for peer in PEERS.values() for curve in peer.more_curves]
    assert len({*looks, *SPARE_CURVES}) == len(looks) + len(SPARE_CURVES)
    assert len({peer.label for peer in PEERS.values()}) == len(PEERS)


def test_codecs_of_one_row_get_its_further_curves_and_strangers_the_spare_ones() -> None:
    aec = PEERS["aec"]
    assert table_name("aec-photo-tiny") == "aec"
    assert table_name("webp-default") == "webp-default"
    assert table_name("stranger") is None
    found = curves_of(["aec-a", "webp", "aec-b", "stranger", "webp"])
    webp = PEERS["webp"]
    assert found[:3] == [(aec.colour, aec.marker), (webp.colour, webp.marker), aec.more_curves[0]]
    assert found[3:] == list(SPARE_CURVES[:2])


def test_the_page_can_draw_every_marker() -> None:
    page = resources.files("aecodec.bench").joinpath("page.html").read_text(encoding="utf-8")
    marks = page[page.index("const MARKS") : page.index("};", page.index("const MARKS"))]
    markers = {peer.marker for peer in PEERS.values()} | {marker for _, marker in SPARE_CURVES}
    assert not {marker for marker in markers if f'"{marker}": ' not in marks}


def _is_here(name: str) -> bool:
    try:
        return bool(open_codec(name))
    except MissingDependencyError:
        return False


@pytest.mark.parametrize("name", [name for name in PLAIN if _is_here(name)])
def test_what_is_here_makes_files_that_decode(pictures: Path, name: str) -> None:
    """The real libraries and programs of this machine, under the names of the table."""
    codec = open_codec(name)
    assert codec.name == name
    poor, good = (measure(codec, pictures / "p0.png", quality) for quality in _poor_and_good(codec))
    assert poor.bytes < good.bytes
    assert 20 < poor.scores["psnr"] < good.scores["psnr"]


@needs("imagecodecs")
def test_pillow_and_the_test_installation_bring_most() -> None:
    avif = ["avif", "avif-iq", "avif-ssim", "avif-default"]
    assert all(map(_is_here, [*avif, "jpeg", "jpeg420", "jpeg444", "webp", "webp-default", "jpeg2000", "jxl"]))


def test_the_tunes_of_avif_differ_and_the_library_s_own_is_for_eyes(pictures: Path) -> None:
    with Image.open(pictures / "p0.png") as image:
        picture = image.convert("RGB")
    files = {name: open_codec(name).encode(picture, 56) for name in ("avif", "avif-iq", "avif-ssim", "avif-default")}
    assert len(set(files.values())) == 4
    untuned = saved(picture, "AVIF", codec="aom", speed=4, subsampling="4:4:4", quality=56, max_threads=1)
    assert files["avif-iq"] == untuned


def test_a_library_without_a_tune_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **options: object) -> bytes:
        raise ValueError("Invalid codec-specific option")

    monkeypatch.setattr("aecodec.bench.peers.avif.saved", refuse)
    with pytest.raises(MissingDependencyError, match="codec avif-iq needs a Pillow whose libaom has tune=iq"):
        open_codec("avif-iq")


@pytest.mark.parametrize(
    ("name", "quality", "message"),
    [
        ("webp", 100.5, "webp: quality goes from 0 to 100, got 100.5"),
        ("webp", 50.5, "webp: quality is a whole number, got 50.5"),
        ("jpeg2000", 0, "jpeg2000: bpp goes from 0.001 to 24, got 0"),
        pytest.param("jxl", -1, "jxl: distance goes from 0 up, got -1", marks=needs("imagecodecs")),
    ],
)
def test_qualities_that_a_codec_does_not_take_are_named(name: str, quality: float, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        CodecSpec(name, qualities=(quality,)).open()


# -- programs ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PROGRAMS)
def test_an_absent_program_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingDependencyError, match=f"codec {name} needs the program") as caught:
        open_codec(name)
    assert all(tool in str(caught.value) for tool in PROGRAMS[name])


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_is_called_as_it_wants_to_be(
    monkeypatch: pytest.MonkeyPatch, pictures: Path, tmp_path: Path, name: str
) -> None:
    """With stand-ins on PATH: options in order, qualities passed on, real files decoded, the version told."""
    stand_in.install(tmp_path, *PROGRAMS[name])
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    codec = open_codec(name)
    assert codec.name == name
    assert "stand-in 1.0" in codec.version
    poor, good = (measure(codec, pictures / "p0.png", quality) for quality in _poor_and_good(codec))
    assert poor.bytes < good.bytes
    assert 20 < poor.scores["psnr"] < good.scores["psnr"]


def _poor_and_good(codec: FileCodec) -> tuple[float, float]:
    ordered = sorted(codec.qualities, reverse=codec.falling)
    return ordered[len(ordered) // 4], ordered[-1]


def test_blanks_in_paths_do_not_split_arguments(
    monkeypatch: pytest.MonkeyPatch, pictures: Path, tmp_path: Path
) -> None:
    stand_in.install(tmp_path, "cjxl", "djxl")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    (tmp_path / "two words").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "two words"))
    assert measure(open_codec("cjxl"), pictures / "p0.png", 50).scores["psnr"] > 20


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


# -- packages ----------------------------------------------------------------------------------------


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
    assert row.scores["psnr"] == pytest.approx(theirs["psnr-rgb"], abs=1e-4)
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
