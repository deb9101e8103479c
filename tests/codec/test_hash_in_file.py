"""The semantic hash that compressing leaves in a file: there by default, by the embedded hasher, left out if told."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

import aecodec
from aecodec.cli import run
from aecodec.coding import container
from aecodec.data.images import read_picture
from aecodec.hasher import Hasher


@pytest.fixture
def photo(tmp_path, picture):
    path = tmp_path / "photo.png"
    Image.fromarray(picture).save(path)
    return path


def test_the_command_carries_the_hash_of_the_picture_unless_told_not_to(photo, model_file, picture, capsys):
    sizes = {}
    for name, flags in {"with": [], "without": ["--no-hash"]}.items():
        output = photo.with_name(f"{name}.aec")
        assert run(["compress", str(photo), "-o", str(output), "-m", str(model_file), "--json", *flags]) == 0
        sizes[name] = json.loads(capsys.readouterr().out)["bytes"]
        assert sizes[name] == output.stat().st_size
    with photo.with_name("with.aec").open("rb") as file:
        _, carried = container.read_semantic_hash(file)
    hasher = Hasher.from_pretrained()
    assert (carried.hasher, carried.fingerprint) == (hasher.name, hasher.fingerprint)
    assert np.array_equal(np.frombuffer(carried.bits, np.uint8), hasher.hash_pixels([picture])[0, :8])
    with photo.with_name("without.aec").open("rb") as file:
        assert container.read_semantic_hash(file)[1] is None
    assert 0 < sizes["with"] - sizes["without"] < 50


def test_the_hash_counts_towards_a_target_size(photo, model_file):
    output = photo.with_suffix(".aec")
    assert run(["compress", str(photo), "-o", str(output), "-m", str(model_file), "--target-size", "2000"]) == 0
    assert output.stat().st_size <= 2000


def test_the_function_carries_it_too_and_takes_another_hasher(photo, small_codec, tmp_path):
    hashes = {}
    for name, options in {
        "plain": {},
        "none": {"with_hash": False},
        "short": {"hasher": Hasher.from_pretrained()},
    }.items():
        done = aecodec.compress(photo, tmp_path / f"{name}.aec", codec=small_codec, **options)
        hashes[name] = container.parse(done.output.read_bytes()).semantic_hash
    assert hashes["none"] is None
    assert hashes["plain"] == hashes["short"] == Hasher.from_pretrained().describe(read_picture(photo).pixels)


def test_pixels_do_not_depend_on_the_hash(photo, small_codec, tmp_path):
    paths = [
        aecodec.compress(photo, tmp_path / f"{n}.aec", codec=small_codec, with_hash=bool(n)).output for n in range(2)
    ]
    first, second = (np.asarray(small_codec.decode(path.read_bytes())) for path in paths)
    assert np.array_equal(first, second)


def test_the_hash_is_of_the_picture_as_it_is_shown(picture, small_codec, tmp_path):
    """A file that keeps its orientation, and one whose pixels are turned, are found by the same code."""
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(picture).save(tmp_path / "camera.png", exif=exif)
    found = []
    for orientation in ("apply", "keep"):
        done = aecodec.compress(
            tmp_path / "camera.png", tmp_path / f"{orientation}.aec", codec=small_codec, orientation=orientation
        )
        found.append(container.parse(done.output.read_bytes()).semantic_hash)
    assert found[0] == found[1] == Hasher.from_pretrained().describe(np.rot90(picture, -1))
