"""The filter of the decoded picture is in a browser what it is in Python: as bytes, and in what is shown."""

from __future__ import annotations

import base64
import io
import json
import random

import numpy as np
import pytest
from conftest import natural_picture
from PIL import Image

from aecodec.codec.codec import Codec
from aecodec.coding import container
from aecodec.coding.chunks import CRC, pack_chunk
from aecodec.coding.header import Header
from aecodec.coding.post_filter import FINEST, MOST, PAIRS, PostFilter
from aecodec.contracts import AecodecError, BitstreamError
from aecodec.data.images import Picture

HEADER = Header(9, 7, 3, 421, "some", b"\x01" * 8)


def some_filter(planes: int, most: int = 20, exponents: tuple[int, int] = (9, 8), seed: int = 0) -> PostFilter:
    rng = np.random.default_rng(seed)
    taps, own = (
        rng.integers(-most, most + 1, shape).astype(np.int32) for shape in ((planes, planes, PAIRS), (planes, planes))
    )
    return PostFilter(taps, own, exponents)


def file_of(data: bytes) -> bytes:
    """A file whose filter's chunk holds these bytes."""
    head = HEADER.pack()
    binding = CRC.unpack(head[-CRC.size :])[0]
    return head + pack_chunk(b"F", data, binding) + pack_chunk(container.TILE, b"data", binding)


def assert_alike(probe, chunks: list[bytes]) -> set[str]:
    """Chunks become the same convolution in both, to the last bit, or the same words -> the words."""
    files = [file_of(data) for data in chunks]
    texts = json.dumps([base64.b64encode(data).decode() for data in files])
    said = set()
    for data, found in zip(files, probe.evaluate(f"probe.filters({texts})"), strict=True):
        expected = unpacked(data)
        if isinstance(expected, str):
            assert found == expected
            said.add(expected)
            continue
        planes, weights, biases = found
        assert planes == expected.planes
        for ours, theirs in zip(expected.kernel(), (weights, biases), strict=True):
            assert np.array_equal(ours.ravel(), np.array(theirs, np.float32))
    return said


def unpacked(data: bytes) -> PostFilter | str:
    """The filter of a file, or what is said against it."""
    try:
        return container.parse(data).side["post_filter"]
    except AecodecError as error:
        return f"{type(error).__name__}: {error}"


def packed() -> list[bytes]:
    """Filters of all sizes of weights, steps, and orders of codes."""
    kinds = [(planes, most) for planes in (1, 3) for most in (0, 1, 7, 300, MOST)]
    return [
        some_filter(planes, most, (n, FINEST - n), seed=n).pack()
        for n, (planes, most) in enumerate([*kinds, *kinds[:6]])
    ]


def test_what_python_packs_becomes_the_same_convolution(probe):
    assert not assert_alike(probe, packed())


def test_other_bytes_end_in_the_same_words(probe):
    """Cut short at every byte, with every bit flipped, with a longest number and with noise."""
    small = some_filter(1).pack()
    chunks = [small[:length] for length in range(len(small))]
    for bit in range(8 * len(small)):
        chunks.append((int.from_bytes(small, "big") ^ 1 << bit).to_bytes(len(small), "big"))
    # The order of a code at most, and as many zeros as there may be, and one more.
    chunks += [bytes([1, 0x0F, 0x0F, 0, 0, 0, 1 << shift, *bytes(90)]) for shift in range(8)]
    chunks += [data + end for data in packed() for end in (b"\0", b"\x80")]
    rng = random.Random(3)
    chunks += [bytes([rng.choice((1, 3))]) + rng.randbytes(rng.randrange(80)) for _ in range(200)]
    said = assert_alike(probe, chunks)
    for words in ("is not valid", "is damaged", "is beyond", "stand for nothing"):
        assert any(words in line for line in said)


@pytest.fixture(scope="module")
def codec(site, model_file, small_codec) -> Codec:
    site.put_model(model_file)
    return Codec(small_codec.engine, tile=256)


def with_filter(data: bytes, found: PostFilter | None) -> bytes:
    """A file with another filter than it has, or none."""
    parsed = container.parse(data)
    return container.write(parsed.header, parsed.tiles, {**parsed.side, "post_filter": found})


def decoded(probe, site, data: bytes, partial: bool = False) -> dict:
    url = json.dumps(site.put("filtered.aec", data))
    return probe.evaluate(f"probe.decoded({url}, {json.dumps(partial)})", seconds=200)


def pixels_of(probe, site, data: bytes, partial: bool = False) -> np.ndarray:
    found = decoded(probe, site, data, partial)
    assert "error" not in found, found
    assert found["metadata"] == []
    with Image.open(io.BytesIO(base64.b64decode(found["png"]))) as image:
        return np.asarray(image).astype(int)


def seen(kind: str) -> Picture:
    """Of several tiles whose last ones are narrow, so that borders of tiles and of the picture are seen; and tiny."""
    pixels = natural_picture(300, 550)
    return {"colour": Picture(pixels), "grey": Picture(pixels[..., 0]), "a pixel": Picture(pixels[:1, :1])}[kind]


@pytest.mark.parametrize("kind", ["colour", "grey", "a pixel"])
def test_pixels_are_filtered_as_in_python_to_one_level(probe, site, codec, kind):
    picture = seen(kind)
    plain = with_filter(codec.encode_picture(picture, quality=70).data, None)
    data = with_filter(plain, some_filter(1 if picture.pixels.ndim == 2 else 3))
    expected = codec.decode_picture(data).pixels.astype(int)
    assert np.abs(pixels_of(probe, site, data) - expected).max() <= 1
    assert np.abs(expected - codec.decode_picture(plain).pixels).max() > 1


def test_what_is_left_of_a_damaged_file_is_filtered_as_in_python(probe, site, codec):
    data = bytearray(with_filter(codec.encode_picture(seen("colour"), quality=70).data, some_filter(3)))
    data[-200] ^= 1
    expected = codec.decode_container(container.parse(bytes(data), partial=True))
    assert expected.damaged
    assert np.abs(pixels_of(probe, site, bytes(data), partial=True) - expected.pixels).max() <= 1


def test_a_filter_of_zeros_changes_nothing(probe, site, codec):
    data = codec.encode_picture(Picture(natural_picture(300, 280)), quality=70).data
    plain, zeros = (pixels_of(probe, site, with_filter(data, found)) for found in (None, some_filter(3, most=0)))
    assert np.array_equal(plain, zeros)


@pytest.mark.parametrize("planes", [1, 3])
def test_a_filter_of_other_planes_than_the_picture_is_refused(probe, site, codec, planes):
    pixels = natural_picture(40, 50)
    plain = codec.encode_picture(Picture(pixels if planes == 1 else pixels[..., 0]), quality=70).data
    data = with_filter(plain, some_filter(planes))
    with pytest.raises(BitstreamError) as error:
        codec.decode_picture(data)
    found = decoded(probe, site, data)
    assert (found["error"], found["message"]) == ("BitstreamError", str(error.value))
