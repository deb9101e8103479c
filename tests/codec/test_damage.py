"""Damage ends in a named error, quickly and in little memory, or on request in a picture whose rest is untouched."""

import json
import random
import subprocess
import sys

import numpy as np
import pytest
from bombs import bombs
from conftest import natural_picture
from extras import needs
from fuzzing import aec
from PIL import Image

from aecodec.cli import run
from aecodec.codec.codec import Codec
from aecodec.coding import container
from aecodec.coding.container import Container, Header
from aecodec.contracts import AecodecError, BitstreamError, PictureTooLargeError
from aecodec.data.images import Picture

SIDE = 256


@pytest.fixture(scope="module")
def codec(small_codec: Codec) -> Codec:
    return Codec(small_codec.engine, tile=SIDE)


@pytest.fixture(scope="module")
def whole(codec: Codec) -> tuple[bytes, Container, np.ndarray]:
    """A file of 3 x 4 tiles, parsed, and its pixels."""
    picture = Picture(natural_picture(700, 900), {"icc": b"profile"}, alpha=natural_picture(700, 900, 1)[..., 0])
    data = codec.encode_picture(picture, quality=60).data
    return data, container.parse(data), codec.decode_picture(data).pixels


def tile_chunks(parsed: Container) -> list[tuple[int, int]]:
    """First and last byte of each tile's chunk."""
    chunks = [chunk for chunk in parsed.chunks if chunk.type == container.TILE]
    return [(chunk.offset, chunk.offset + len(chunk.data) + 9) for chunk in chunks]


def touched(numbers: set[int], columns: int, count: int) -> set[int]:
    """The tiles that are, or touch, one of some."""
    near = {(n // columns + i, n % columns + j) for n in numbers for i in (-1, 0, 1) for j in (-1, 0, 1)}
    return {n for n in range(count) if (n // columns, n % columns) in near}


def place(number: int) -> tuple[slice, slice]:
    top, left = number // 4 * SIDE, number % 4 * SIDE
    return slice(top, top + SIDE), slice(left, left + SIDE)


def assert_rest_is_untouched(codec: Codec, data: bytes, lost: set[int], pixels: np.ndarray) -> None:
    """Grey where tiles are lost; exact in every tile that touches none, and beyond the context of the transforms."""
    picture = codec.decode_container(container.parse(data, partial=True))
    assert set(picture.damaged) == lost
    assert any("grey" in text for text in picture.notices)
    reach = codec.engine.context * codec.engine.stride
    far = np.ones(pixels.shape[:2], bool)
    for number in lost:
        rows, columns = place(number)
        assert (picture.pixels[rows, columns] == 128).all()
        far[max(rows.start - reach, 0) : rows.stop + reach, max(columns.start - reach, 0) : columns.stop + reach] = (
            False
        )
    for number in set(range(12)) - touched(lost, 4, 12):
        assert np.array_equal(picture.pixels[place(number)], pixels[place(number)])
    assert np.array_equal(picture.pixels[far], pixels[far])


# -- in spite of damage --------------------------------------------------------------------------


@pytest.mark.parametrize("number", range(12))
def test_a_damaged_tile_loses_itself_alone(codec, whole, number):
    data, parsed, pixels = whole
    begin, end = tile_chunks(parsed)[number]
    rng = random.Random(number)
    damaged = bytearray(data)
    damaged[rng.randrange(begin, end)] ^= 1 << rng.randrange(8)
    with pytest.raises(BitstreamError):
        container.parse(bytes(damaged))
    assert_rest_is_untouched(codec, bytes(damaged), {number}, pixels)


def test_a_damaged_tile_loses_itself_alone_where_scales_adapt(adapting_codec):
    """What a tile adapts to is in itself."""
    codec = Codec(adapting_codec.engine, tile=SIDE)
    data = codec.encode_picture(Picture(natural_picture(700, 900)), quality=60).data
    damaged = bytearray(data)
    damaged[tile_chunks(container.parse(data))[5][0] + 40] ^= 1
    assert_rest_is_untouched(codec, bytes(damaged), {5}, codec.decode_picture(data).pixels)


@pytest.mark.parametrize("what", ["cut out", "cut short", "zeros", "foreign", "doubled", "exchanged"])
def test_gaps_splices_and_exchanges_lose_what_they_hit(codec, whole, what):
    data, parsed, pixels = whole
    chunks = tile_chunks(parsed)
    begin, end = chunks[5][0], chunks[6][1]
    other = codec.encode_picture(Picture(natural_picture(700, 900, seed=3)), quality=50).data
    damaged, lost = {
        "cut out": (data[: begin + 7] + data[end - 5 :], {5, 6}),
        "cut short": (data[: chunks[10][0] + 20], {10, 11}),
        "zeros": (data[:begin] + bytes(end - begin) + data[end:], {5, 6}),
        "foreign": (data[: chunks[9][0]] + other[-(len(data) - chunks[9][0]) :], {9, 10, 11}),
        "doubled": (data[:end] + data[begin:], set()),
        "exchanged": (data[:begin] + data[slice(*chunks[6])] + data[slice(*chunks[5])] + data[end:], {5}),
    }[what]
    with pytest.raises(BitstreamError):
        container.parse(damaged)
    if lost:
        assert_rest_is_untouched(codec, damaged, lost, pixels)
    else:
        assert np.array_equal(codec.decode_container(container.parse(damaged, partial=True)).pixels, pixels)


def test_a_tile_whose_checksum_is_right_and_content_is_wrong_is_lost_alone(codec, whole):
    _, parsed, pixels = whole
    tiles = list(parsed.tiles)
    tiles[7] = b"four"
    forged = container.write(parsed.header, tiles, parsed.side)
    with pytest.raises(BitstreamError):
        codec.decode_picture(forged)
    assert_rest_is_untouched(codec, forged, {7}, pixels)


def test_damaged_alpha_and_metadata_leave_the_pixels(codec, whole):
    data, parsed, pixels = whole
    for chunk in parsed.chunks[:2]:
        damaged = bytearray(data)
        damaged[chunk.offset + 8] ^= 1
        picture = codec.decode_container(container.parse(bytes(damaged), partial=True))
        assert np.array_equal(picture.pixels, pixels)
        assert picture.damaged == ()
        assert picture.notices
        assert (picture.alpha == 255).all() == (chunk.type == container.ALPHA)
        assert ("icc" in picture.metadata) == (chunk.type == container.ALPHA)


def test_a_whole_file_is_the_same_in_spite_of_nothing(whole):
    data, parsed, _ = whole
    lenient = container.parse(data, partial=True)
    assert (lenient.tiles, lenient.alpha, lenient.metadata) == (parsed.tiles, parsed.alpha, parsed.metadata)
    assert (lenient.damaged, lenient.notices) == (frozenset(), ())


def test_a_crop_far_from_the_damage_is_whole(codec, whole):
    data, parsed, pixels = whole
    damaged = bytearray(data)
    damaged[tile_chunks(parsed)[11][0] + 30] ^= 1
    picture = codec.decode_container(container.parse(bytes(damaged), partial=True), container_crop())
    assert picture.damaged == ()
    assert np.array_equal(picture.pixels, pixels[100:400, 50:400])


def container_crop():
    from aecodec.data.tiling import Window

    return Window(100, 50, 400, 400)


def test_the_command_says_what_is_lost(whole, model_file, tmp_path, capsys):
    data, parsed, pixels = whole
    damaged = bytearray(data)
    damaged[tile_chunks(parsed)[0][0] + 30] ^= 1
    (tmp_path / "x.aec").write_bytes(damaged)
    arguments = ["decompress", str(tmp_path / "x.aec"), "-m", str(model_file), "--engine", "onnx", "--json"]
    assert run(arguments) == 3
    assert not (tmp_path / "x.png").exists()
    assert run([*arguments, "--allow-partial"]) == 0
    out, err = capsys.readouterr()
    refused, decoded = (json.loads(line) for line in out.splitlines())
    assert (refused["code"], decoded["damaged_tiles"]) == (3, [0])
    assert "filled with grey: 0" in err
    found = np.asarray(Image.open(tmp_path / "x.png").convert("RGB"))
    assert np.array_equal(found[512:, 512:], pixels[512:, 512:])


# -- every file ----------------------------------------------------------------------------------

SMALL = aec.SEEDS["hash"]


def test_every_truncation_is_named_and_what_is_left_is_read():
    for length in range(len(SMALL)):
        with pytest.raises(BitstreamError):
            container.parse(SMALL[:length])
        try:
            parsed = container.parse(SMALL[:length], partial=True)
        except BitstreamError:
            assert length < aec.header_length(SMALL)
        else:
            assert parsed.damaged == {0}


def test_every_bit_flip_is_named_and_what_is_left_is_read():
    whole = container.parse(SMALL)
    for position in range(8 * len(SMALL)):
        damaged = bytearray(SMALL)
        damaged[position // 8] ^= 1 << (position % 8)
        with pytest.raises(BitstreamError):
            container.parse(bytes(damaged))
        if position // 8 < aec.header_length(SMALL):
            with pytest.raises(BitstreamError):
                container.parse(bytes(damaged), partial=True)
        else:
            parsed = container.parse(bytes(damaged), partial=True)
            assert parsed.notices
            assert (parsed.tiles == whole.tiles) != (parsed.damaged == {0})


# -- bombs ---------------------------------------------------------------------------------------

PROBE = """
import json, re, sys, time
from pathlib import Path
from aecodec.coding import container
from aecodec.contracts import AecodecError
from aecodec.data.images import unpack_alpha
for path in sorted(Path(sys.argv[1]).iterdir()):
    data = path.read_bytes()
    for partial in (False, True):
        begin, outcome = time.process_time(), "parsed"
        try:
            parsed = container.parse(data, partial=partial)
            if parsed.alpha is not None:
                unpack_alpha(parsed.alpha, parsed.header.height, parsed.header.width)
        except AecodecError as error:
            outcome = type(error).__name__
        status = Path("/proc/self/status")
        peak = re.search("VmHWM: *([0-9]+)", status.read_text().replace("\t", " ")) if status.exists() else None
        print(json.dumps([path.name, partial, outcome, time.process_time() - begin, int(peak.group(1)) if peak else 0]))
"""


def test_bombs_are_defused_within_two_seconds_and_200_megabytes(tmp_path):
    for name, data in bombs().items():
        (tmp_path / name).write_bytes(data)
    done = subprocess.run([sys.executable, "-c", PROBE, str(tmp_path)], capture_output=True, text=True, check=True)
    results = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(results) == 2 * len(bombs())
    for name, partial, outcome, seconds, kilobytes in results:
        assert seconds < 2, name
        assert kilobytes < 200_000, name
        harmless = partial or name == "metadata in metadata"
        assert outcome.endswith("Error") or (harmless and outcome == "parsed"), name


def test_a_picture_beyond_the_limit_is_refused_however_it_comes(codec):
    wide = Header(1 << 17, 1 << 17, 3, 500, codec.name, codec.fingerprint, tile=1 << 14)
    data = container.write(wide, [b""] * 64)
    for partial in (False, True):
        with pytest.raises(PictureTooLargeError, match="exceed the limit"):
            codec.decode_container(container.parse(data, partial=partial))


def test_forged_payloads_end_in_an_error_or_a_picture(codec):
    """Checksums are right, the entropy-coded bytes are noise."""
    rng = random.Random(5)
    small = Header(64, 64, 3, 500, codec.name, codec.fingerprint, tile=SIDE)
    refused = 0
    for length in [4 * n for n in range(40)]:
        data = container.write(small, [rng.randbytes(length)])
        try:
            assert codec.decode_picture(data).pixels.shape == (64, 64, 3)
        except AecodecError:
            refused += 1
    assert refused > 20


def test_random_damage_never_touches_what_it_does_not_touch(codec, whole):
    """Decoded end to end: a few random wounds, then every tile away from the lost ones is exact."""
    data, _, pixels = whole
    rng = random.Random(11)
    for _ in range(4):
        damaged = bytearray(data)
        for _ in range(rng.randint(1, 3)):
            wound = rng.randrange(200, len(data))
            damaged[wound : wound + rng.randint(1, 40)] = rng.randbytes(rng.randint(1, 40))
        picture = codec.decode_container(container.parse(bytes(damaged), partial=True))
        for number in set(range(12)) - touched(set(picture.damaged), 4, 12):
            assert np.array_equal(picture.pixels[place(number)], pixels[place(number)])


@needs("torch")  # for the golden checkpoint, which holds no graphs
def test_fingerprints_and_checkpoints_are_not_mixed_up(codec, whole, tmp_path):
    """The harness's model is not the one of this file: refused before anything is decoded."""
    with pytest.raises(AecodecError, match="fingerprint"):
        Codec.from_pretrained(aec.MODEL).decode_picture(whole[0])
