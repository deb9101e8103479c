"""The decoder in a browser agrees with that of Python: the same integers, and pixels within one level."""

from __future__ import annotations

import base64
import hashlib
import io
import json
from pathlib import Path

import numpy as np
import pytest
from chromium import Browser
from conftest import natural_picture
from PIL import Image
from places import GOLDEN
from served import served

from aecodec.codec.codec import Codec
from aecodec.codec.info import info
from aecodec.coding.container import write
from aecodec.coding.header import Header
from aecodec.data.images import Picture
from aecodec.viewer.models import decoder_part, file_name
from aecodec.zoo.registry import find_model, read_header

FAMILY = "exact-hyperprior"
#: Has Chromium compute WebGPU in software, where it is built with that.
SOFTWARE_GPU = ("--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader", "--ignore-gpu-blocklist")
SOFTWARE_GPU += ("--enable-features=Vulkan", "--use-vulkan=swiftshader")
CASES = sorted(GOLDEN.glob(f"*/{FAMILY}-q*.aec"))
KINDS = [(path, name) for path in GOLDEN.glob("v*/kinds.json") for name in json.loads(path.read_text())]


def latents(probe, site, path: Path) -> dict:
    file = site.put(f"golden/{path.parent.name}/{path.name}", path.read_bytes())
    return probe.evaluate(f"probe.latents({json.dumps(file)}, 'golden/{path.parent.name}.safetensors')")


@pytest.mark.parametrize("path", CASES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_golden_files_decode_to_the_recorded_latents(probe, site, path):
    found = latents(probe, site, path)
    with np.load(path.with_suffix(".npz")) as recorded:
        expected = hashlib.sha256(recorded["y"].astype("<i4").tobytes() + recorded["z"].astype("<i4").tobytes())
    assert found["latents"] == expected.hexdigest()
    assert found["adapts"] == (path.parent.name == "adapting")
    assert found["stored"] == found["info"]["fingerprint"]


@pytest.mark.parametrize(("record", "name"), KINDS, ids=[f"{path.parent.name}-{name}" for path, name in KINDS])
def test_every_kind_of_file_says_what_is_on_record(probe, site, record, name):
    expected = json.loads(record.read_text())[name]
    path = record.parent / f"kind-{name}.aec"
    found = latents(probe, site, path)
    for key in ("width", "height", "channels", "tile", "tiles"):
        assert found["info"][key] == expected[key]
    assert found["latents"] == expected["latents"]
    assert found["alpha"] == expected["alpha"]
    assert {kind: bytes(content).hex() for kind, content in found["metadata"].items()} == expected["metadata"]
    hashed = found["info"]["hash"]
    code = hashed and [hashed["hasher"], hashed["fingerprint"], bytes(hashed["bits"]).hex()]
    assert code == expected["hash"]
    told = info(path)
    assert found["info"]["quality"] == told["quality"]
    assert [(c["type"], c["offset"], c["length"]) for c in found["info"]["chunks"]] == [
        (c["type"], c["offset"], c["bytes"]) for c in told["chunks"]
    ]


def pictures() -> dict[str, Picture]:
    """Grey, transparent, tiny, and of several tiles whose last ones are narrow."""
    seen = natural_picture(300, 550)
    metadata = {"icc": b"\0" * 200, "exif": b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0", "xmp": b"<x:xmpmeta/>"}
    return {
        "tiles": Picture(seen),
        "grey": Picture(seen[:70, :150, 0]),
        "grey and alpha": Picture(seen[:65, :130, 0], alpha=seen[:65, :130, 1]),
        "transparent": Picture(seen[:90, :300], metadata, alpha=seen[:90, :300, 1]),
        "a pixel": Picture(seen[:1, :1]),
        "a column": Picture(seen[:260, :3]),
    }


def assert_same(probe, site, codec: Codec, data: bytes, computed: str = "WebAssembly") -> None:
    """What the page makes of a file is what Python makes of it, to one level, and all that stands beside the pixels."""
    found = probe.evaluate(f"probe.decoded({json.dumps(site.put('file.aec', data))})", seconds=300)
    assert "error" not in found, found
    expected = codec.decode_picture(data)
    with Image.open(io.BytesIO(base64.b64decode(found["png"]))) as image:
        pixels = np.asarray(image)
        assert hashlib.sha256(np.asarray(image.convert("RGBA")).tobytes()).hexdigest() == found["rgba"]
        kept = {kind: image.info[key] for kind, key in (("icc", "icc_profile"), ("exif", "exif")) if key in image.info}
        if "xmp" in image.info:
            kept["xmp"] = image.info["xmp"]
    if expected.alpha is not None:
        assert np.array_equal(pixels[..., -1], expected.alpha)
        pixels = pixels[..., 0] if expected.pixels.ndim == 2 else pixels[..., :3]
    assert pixels.shape == expected.pixels.shape
    assert np.abs(pixels.astype(int) - expected.pixels).max() <= 1
    assert kept == expected.metadata
    assert found["order"] == sorted(found["order"])
    assert (found["lost"], found["notices"], found["computed"]) == ([], [], computed)


@pytest.mark.parametrize("name", pictures())
@pytest.mark.parametrize("adapts", [False, True])
def test_pixels_are_those_of_the_engine_to_one_level(
    probe, site, model_file, small_codec, adapting_codec, name, adapts
):
    codec = adapting_codec if adapts else small_codec
    site.put_model(model_file)
    site.put(f"models/{codec.fingerprint.hex()}.safetensors", Path(codec.engine._networks._path).read_bytes())
    encoded = Codec(codec.engine, tile=256).encode_picture(pictures()[name], quality=70)
    assert_same(probe, site, codec, encoded.data)


def test_the_default_model_is_decoded(probe, site):
    codec = Codec.from_pretrained(engine="onnx")
    site.put(f"models/{file_name(codec.fingerprint)}", decoder_part(find_model()))
    assert_same(probe, site, codec, codec.encode_picture(Picture(natural_picture(150, 200)), quality=60).data)


def test_a_model_told_by_changes_of_another_says_what_to_serve(probe, site):
    """Under a fingerprint of its own, so that the page has not loaded the model before."""
    assert read_header(find_model())["base"]
    print_ = bytes([77]) * 8
    site.put(f"models/{file_name(print_)}", find_model().read_bytes())
    file = site.put("changes.aec", write(Header(64, 64, 3, 500, "other", print_), [b"data"]))
    found = probe.evaluate(f"probe.decoded({json.dumps(file)})", seconds=300)
    assert found["error"] == "CheckpointError"
    assert "the part that decodes is what `aecodec web`" in found["message"]


def test_a_tile_larger_than_a_block_is_walked_through_in_blocks(probe, site, model_file, small_codec):
    site.put_model(model_file)
    codec = Codec(small_codec.engine, tile=2048)
    data = codec.encode_picture(Picture(natural_picture(1100, 1200)), quality=40).data
    assert_same(probe, site, codec, data)


@pytest.mark.parametrize("computed", ["threads", "WebGPU"])
def test_threads_and_graphics_processors_make_the_same_of_it(site, model_file, small_codec, tmp_path, computed):
    """Threads where the server isolates the page; WebGPU by Chromium's own renderer, on processors of any kind."""
    site.put_model(model_file)
    data = small_codec.encode_picture(Picture(natural_picture(90, 140)), quality=70).data
    options = SOFTWARE_GPU if computed == "WebGPU" else ()
    with served(site.folder, isolated=True) as url, Browser(tmp_path, *options) as browser:
        browser.go(f"{url}probe.html")
        assert browser.evaluate("crossOriginIsolated")
        has_gpu = "(async () => Boolean(await navigator.gpu?.requestAdapter()) && 'Suspending' in WebAssembly)()"
        if computed == "WebGPU" and not browser.evaluate(has_gpu):
            pytest.skip("this browser has no WebGPU")
        assert_same(browser, site, small_codec, data, "WebGPU" if computed == "WebGPU" else "WebAssembly")
        assert not [line for line in browser.said if "Content Security Policy" in line]


def test_a_decoding_can_be_stopped_and_begun_again(probe, site, model_file, small_codec):
    site.put_model(model_file)
    codec = Codec(small_codec.engine, tile=256)
    file = site.put("stop.aec", codec.encode_picture(Picture(natural_picture(500, 700)), quality=40).data)
    outcome, tiles, again = probe.evaluate(f"probe.stopped({json.dumps(file)})", seconds=200)
    assert (outcome, again) == ("AbortError", "decoded")
    assert tiles < 6
