"""Damage in the browser ends as it does in Python: in a named error and words, or in what is whole; and never hangs."""

from __future__ import annotations

import base64
import io
import json
import random

import numpy as np
import pytest
from bombs import bombs
from conftest import natural_picture
from fuzzing import aec
from fuzzing.law import changed
from PIL import Image

from aecodec.codec.codec import Codec
from aecodec.coding import container
from aecodec.coding.container import Header
from aecodec.contracts import AecodecError
from aecodec.data.images import Picture

SIDE = 256
#: No file keeps a page for longer, in seconds, on a machine under any load: for what hangs, not for what is slow.
PATIENCE = 120


def outcome(data: bytes, partial: bool) -> str:
    """What Python makes of a file, as probe.js tells it."""
    try:
        return " ".join(map(str, sorted(container.parse(data, partial=partial).damaged)))
    except AecodecError as error:
        return type(error).__name__


def text(data: bytes) -> str:
    return base64.b64encode(data).decode()


@pytest.mark.parametrize("partial", [False, True])
def test_every_truncation_and_every_bit_flip_ends_alike(probe, partial):
    whole = aec.SEEDS["hash"]
    found = probe.evaluate(f"probe.everyDamage('{text(whole)}', {json.dumps(partial)})", PATIENCE)
    damaged = [whole[:length] for length in range(len(whole))]
    for bit in range(8 * len(whole)):
        flipped = bytearray(whole)
        flipped[bit >> 3] ^= 1 << (bit & 7)
        damaged.append(bytes(flipped))
    assert found == [outcome(data, partial) for data in damaged]


@pytest.mark.parametrize("partial", [False, True])
@pytest.mark.parametrize("name", bombs())
def test_bombs_are_defused(probe, site, name, partial):
    data = bombs()[name]
    url = site.put(f"bombs/{name.replace(' ', '-')}.aec", data)
    assert probe.evaluate(f"probe.outcomeOf('{url}', {json.dumps(partial)})", PATIENCE) == outcome(data, partial)


@pytest.mark.parametrize("partial", [False, True])
def test_random_damage_ends_alike(probe, partial):
    """Changes of every seed; of some the checksums are right again, so that their content is anybody's."""
    rng = random.Random(7)
    seeds = list(aec.SEEDS.values())
    files = [changed(rng, seeds[number % len(seeds)], seeds) for number in range(300)]
    files = [aec.repair(data) if number % 3 == 0 else data for number, data in enumerate(files)]
    found = probe.evaluate(
        f"probe.outcomes({json.dumps([text(data) for data in files])}, {json.dumps(partial)})", PATIENCE
    )
    assert found == [outcome(data, partial) for data in files]
    assert len(set(found)) > 2


@pytest.fixture(scope="module")
def codec(site, model_file, small_codec) -> Codec:
    site.put_model(model_file)
    return Codec(small_codec.engine, tile=SIDE)


@pytest.fixture(scope="module")
def whole(codec) -> bytes:
    """A file of 3 x 4 tiles with an alpha plane and metadata."""
    picture = Picture(natural_picture(700, 900), {"icc": b"profile"}, alpha=natural_picture(700, 900, 1)[..., 0])
    return codec.encode_picture(picture, quality=60).data


def decoded(probe, site, data: bytes, partial: bool) -> dict:
    url = json.dumps(site.put("damaged.aec", data))
    return probe.evaluate(f"probe.decoded({url}, {json.dumps(partial)})", PATIENCE)


def wounds(data: bytes) -> dict[str, bytes]:
    """A file damaged in the ways of the tests of the container's Python side."""
    parsed = container.parse(data)
    tiles = [(c.offset, c.offset + len(c.data) + 9) for c in parsed.chunks if c.type == container.TILE]
    begin, end = tiles[5][0], tiles[6][1]
    forged = list(parsed.tiles)
    forged[7] = b"four"
    alpha = bytearray(data)
    alpha[next(c.offset for c in parsed.chunks if c.type == b"A") + 8] ^= 1
    return {
        "a bit": data[: begin + 30] + bytes([data[begin + 30] ^ 1]) + data[begin + 31 :],
        "cut out": data[: begin + 7] + data[end - 5 :],
        "cut short": data[: tiles[10][0] + 20],
        "zeros": data[:begin] + bytes(end - begin) + data[end:],
        "exchanged": data[:begin] + data[slice(*tiles[6])] + data[slice(*tiles[5])] + data[end:],
        "doubled": data[:end] + data[begin:],
        "forged": container.write(parsed.header, forged, parsed.side),
        "alpha": bytes(alpha),
        "no alpha plane": container.write(parsed.header, parsed.tiles, {**parsed.side, "alpha": b"no PNG"}),
    }


@pytest.mark.parametrize(
    "name", ["a bit", "cut out", "cut short", "zeros", "exchanged", "doubled", "forged", "alpha", "no alpha plane"]
)
def test_what_is_whole_of_a_damaged_file_is_what_python_keeps(probe, site, codec, whole, name):
    data = wounds(whole)[name]
    refused = decoded(probe, site, data, False)
    with pytest.raises(AecodecError) as error:
        codec.decode_picture(data)
    assert refused["error"] == type(error.value).__name__
    assert refused["message"]
    assert "\n" not in refused["message"]
    kept, expected = decoded(probe, site, data, True), codec.decode_container(container.parse(data, partial=True))
    assert tuple(kept["lost"]) == expected.damaged
    with Image.open(io.BytesIO(base64.b64decode(kept["png"]))) as image:
        pixels = np.asarray(image)
    assert np.abs(pixels[..., :3].astype(int) - expected.pixels).max() <= 1
    assert np.array_equal(pixels[..., 3], expected.alpha)


def test_noise_under_right_checksums_ends_alike(probe, site, codec):
    """In an error, or in a picture that both make of it: more symbols than any writer would code, and escapes."""
    rng = random.Random(5)
    small = Header(64, 64, 3, 500, codec.name, codec.fingerprint, tile=SIDE)
    ends = set()
    for length in (0, 4, 8, 12, 40, 400):
        data = container.write(small, [rng.randbytes(length)])
        try:
            expected = codec.decode_picture(data).pixels
        except AecodecError as error:
            expected = type(error).__name__
        found = decoded(probe, site, data, False)
        ends.add(found.get("error"))
        if isinstance(expected, str):
            assert found.get("error") == expected, length
        else:
            with Image.open(io.BytesIO(base64.b64decode(found["png"]))) as image:
                assert np.abs(np.asarray(image).astype(int) - expected).max() <= 1
    assert "BitstreamError" in ends


def test_what_is_not_served_or_too_large_is_told(probe, site, codec):
    foreign = container.write(Header(5, 3, 3, 421, "another", b"\x01" * 8), [b"data"])
    found = decoded(probe, site, foreign, False)
    assert found["error"] == "ModelMismatchError"
    assert "another" in found["message"]
    overfitted = container.write(Header(5, 3, 3, 421, "overfitted", b"\x01" * 8), [b"data"])
    found = decoded(probe, site, overfitted, False)
    assert (found["error"], "`aecodec decompress` does" in found["message"]) == ("UnsupportedVersionError", True)
    wide = Header(1 << 17, 1 << 17, 3, 500, codec.name, codec.fingerprint, tile=1 << 14)
    found = decoded(probe, site, container.write(wide, [b""] * 64), False)
    assert found["error"] == "PictureTooLargeError"


MODEL_WOUNDS = ("weights", "graph", "cut", "header", "none of ours")


@pytest.mark.parametrize("wound", MODEL_WOUNDS)
def test_a_damaged_model_is_told(probe, site, codec, model_file, wound):
    """Under a fingerprint of its own, so that the page has not loaded the model before."""
    data = bytearray(model_file.read_bytes())
    place = {"weights": -40, "graph": data.index(b"synthesis") + 3, "header": 9}.get(wound, 0)
    if wound == "cut":
        del data[-1000:]
    elif wound == "none of ours":
        data = bytearray(b"\0" * 100)
    else:
        data[place] ^= 0x55
    print_ = bytes([MODEL_WOUNDS.index(wound)]) * 8
    site.put(f"models/{print_.hex()}.safetensors", bytes(data))
    file = container.write(Header(64, 64, 3, 500, "other", print_), [b"data"])
    found = decoded(probe, site, file, False)
    assert found["error"] in ("CheckpointError", "ModelMismatchError"), found
    assert found["message"]
