"""The .aec container: what is written is read back, and whatever is damaged is refused by name."""

import io
import random
import struct
import time
import tracemalloc
import zlib

import pytest
from forged import header_bytes
from hypothesis import given, settings
from hypothesis import strategies as st

from aecodec.coding import container
from aecodec.coding.chunks import pack_chunk
from aecodec.coding.container import Header, SemanticHash
from aecodec.contracts import BitstreamError, TruncatedError, UnsupportedVersionError

HEADER = Header(5, 3, 3, 421, "photo-tiny", bytes(range(8)))
TILE = bytes(range(40))
SMALL = container.write(HEADER, [TILE], {"icc": b"profile" * 9})


def chunk(kind: bytes, data: bytes, number: int = 0, header: Header = HEADER) -> bytes:
    """A chunk with the right checksum for a file of that header."""
    return pack_chunk(kind, data, int.from_bytes(header.pack()[-4:], "little"), number)


headers = st.builds(
    Header,
    width=st.integers(1, 4000),
    height=st.integers(1, 4000),
    channels=st.sampled_from([1, 2, 3, 4]),
    quality=st.integers(0, 1000),
    model=st.text("abcXYZ019-_.", min_size=1, max_size=16),
    fingerprint=st.binary(min_size=8, max_size=8),
    tile=st.sampled_from([1 << n for n in range(10, 15)]),
)


hashes = st.builds(
    SemanticHash,
    hasher=st.text("abcXYZ019-_.", min_size=1, max_size=16),
    fingerprint=st.binary(min_size=8, max_size=8),
    bits=st.binary(min_size=1, max_size=64),
)


@given(
    header=headers,
    metadata=st.dictionaries(st.sampled_from(["icc", "exif", "xmp"]), st.binary(max_size=300)),
    semantic_hash=st.none() | hashes,
    data=st.data(),
)
def test_parse_inverts_write(header, metadata, semantic_hash, data):
    rows, columns = header.grid()
    tiles = [data.draw(st.binary(max_size=20)) for _ in range(rows * columns)]
    alpha = data.draw(st.binary(max_size=50)) if header.alpha else None
    written = container.write(header, tiles, {**metadata, "alpha": alpha, "semantic_hash": semantic_hash})
    parsed = container.parse(written)
    assert (parsed.header, parsed.tiles, parsed.metadata, parsed.alpha) == (header, tiles, metadata, alpha)
    assert parsed.semantic_hash == semantic_hash
    assert container.read_semantic_hash(io.BytesIO(written)) == (header, semantic_hash)


@given(header=headers)
def test_header_with_checksum_is_at_most_48_bytes(header):
    assert len(header.pack()) <= 48


def test_every_truncation_is_named():
    for length in range(len(SMALL)):
        with pytest.raises(TruncatedError):
            container.parse(SMALL[:length])


def test_every_bit_flip_is_named():
    for position in range(8 * len(SMALL)):
        damaged = bytearray(SMALL)
        damaged[position // 8] ^= 1 << (position % 8)
        with pytest.raises(BitstreamError):
            container.parse(bytes(damaged))


@settings(max_examples=300)
@given(st.binary(max_size=200))
def test_arbitrary_bytes_never_crash(data):
    with pytest.raises(BitstreamError):
        container.parse(data)
    with pytest.raises(BitstreamError):
        container.parse(container.MAGIC + data)


def test_random_mutations_end_in_a_named_error_or_the_same_content():
    rng = random.Random(7)
    for _ in range(3000):
        damaged = bytearray(SMALL)
        for _ in range(rng.randint(1, 8)):
            kind, place = rng.randrange(3), rng.randrange(len(damaged))
            if kind == 0:
                damaged[place] = rng.randrange(256)
            elif kind == 1:
                del damaged[place : place + rng.randint(1, 9)]
            else:
                damaged[place:place] = rng.randbytes(rng.randint(1, 9))
            if not damaged:
                break
        try:
            parsed = container.parse(bytes(damaged))
        except BitstreamError:
            continue
        assert (parsed.header, parsed.tiles) == (HEADER, [TILE])


@pytest.mark.parametrize(
    "changes",
    [
        {"width": 0},
        {"height": 0},
        {"width": 2**32 - 1},
        {"height": (1 << 20) + 1},
        {"channels": 0},
        {"channels": 5},
        {"depth": 9},
        {"quality": 1001},
        {"tile": 3},
        {"tile": 200},
        {"name": b"../evil"},
        {"name": b""},
        {"name": b"x" * 17},
    ],
)
def test_fields_out_of_range_are_refused_though_the_checksum_is_right(changes):
    with pytest.raises(BitstreamError):
        container.parse(header_bytes(**changes))


def test_a_newer_version_is_told_from_damage():
    with pytest.raises(UnsupportedVersionError):
        container.parse(header_bytes(version=2))


def test_a_forged_size_costs_neither_time_nor_memory():
    bomb = header_bytes(width=1 << 20, height=1 << 20, tile=8) + SMALL
    tracemalloc.start()
    begin = time.process_time()
    with pytest.raises(TruncatedError):
        container.parse(bomb)
    assert time.process_time() - begin < 2
    assert tracemalloc.get_traced_memory()[1] < 10 << 20
    tracemalloc.stop()


def test_a_metadata_bomb_is_refused_without_being_inflated():
    header = HEADER.pack()
    bomb = chunk(b"i", zlib.compress(bytes(256 << 20), 9))
    tracemalloc.start()
    with pytest.raises(BitstreamError):
        container.parse(header + bomb + chunk(b"T", TILE))
    assert tracemalloc.get_traced_memory()[1] < 100 << 20
    tracemalloc.stop()


def test_unknown_optional_chunks_are_skipped_and_critical_ones_refused():
    head, tile = HEADER.pack(), chunk(b"T", TILE)
    assert container.parse(head + chunk(b"q", b"?") + tile).tiles == [TILE]
    with pytest.raises(UnsupportedVersionError):
        container.parse(head + chunk(b"Q", b"?") + tile)


def test_so_many_chunks_may_be_no_tiles_and_no_more():
    head, tile, other = HEADER.pack(), chunk(b"T", TILE), chunk(b"q", b"?")
    assert container.parse(head + other * 256 + tile).tiles == [TILE]
    with pytest.raises(BitstreamError, match="256"):
        container.parse(head + other * 257 + tile)


def test_too_few_and_too_many_tiles_are_refused():
    head, tile = HEADER.pack(), chunk(b"T", TILE)
    with pytest.raises(TruncatedError):
        container.parse(head + chunk(b"q", b"filler" * 9))
    with pytest.raises(BitstreamError):
        container.parse(head + tile + chunk(b"T", TILE, 1))


def test_a_chunk_belongs_to_its_file_and_its_place():
    """Tiles swapped within a file, or taken from another, are refused though each is whole."""
    wide = Header(2000, 3, 3, 421, "photo-tiny", bytes(8))
    first, second = chunk(b"T", b"one", 0, wide), chunk(b"T", b"two", 1, wide)
    assert container.parse(wide.pack() + first + second).tiles == [b"one", b"two"]
    foreign = chunk(b"T", b"two", 1, Header(2000, 4, 3, 421, "photo-tiny", bytes(8)))
    for tiles in (second + first, first + first, first + foreign):
        with pytest.raises(BitstreamError):
            container.parse(wide.pack() + tiles)


def test_an_alpha_plane_is_there_exactly_when_it_is_declared():
    tile = b"T"
    with_alpha = Header(5, 3, 4, 421, "photo-tiny", bytes(8))
    with pytest.raises(ValueError, match="alpha"):
        container.write(with_alpha, [tile])
    with pytest.raises(ValueError, match="alpha"):
        container.write(HEADER, [tile], {"alpha": b"plane"})
    with pytest.raises(BitstreamError, match="alpha"):
        container.parse(with_alpha.pack() + chunk(b"T", tile, 0, with_alpha))
    with pytest.raises(BitstreamError, match="alpha"):
        container.parse(HEADER.pack() + chunk(b"A", b"plane") + chunk(b"T", tile))


GOLDEN = "414543000101080a020100000300000066696e6765727072f401016d8bd0567354020000007879bc9c0e4d"


def test_the_layout_is_the_one_on_record():
    """Golden bytes: a change here is a new format version."""
    assert container.write(Header(258, 3, 1, 500, "m", b"fingerpr"), [b"xy"]).hex() == GOLDEN


# -- semantic hash -------------------------------------------------------------------------------

HASH = SemanticHash("hash-tiny", b"hasherpr", bytes(range(16)))


class CountingReader(io.BytesIO):
    """A file that knows how many of its bytes were read."""

    taken = 0

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        self.taken += len(data)
        return data


def test_the_hash_chunk_is_the_one_on_record():
    """Golden bytes, by the text at the head of container.py."""
    data = container.write(HEADER, [TILE], {"semantic_hash": HASH})
    start = len(HEADER.pack())
    assert data[start : start + 5] == b"h" + struct.pack("<I", 34)
    assert data[start + 5 : start + 39] == b"\x09hash-tiny" + b"hasherpr" + bytes(range(16))


def test_the_hash_is_read_without_reading_pixels_metadata_or_alpha():
    header = Header(5, 3, 4, 421, "photo-tiny", bytes(8))
    random_bytes = random.Random(0).randbytes(100_000)
    data = container.write(header, [random_bytes], {"icc": random_bytes, "alpha": random_bytes, "semantic_hash": HASH})
    file = CountingReader(data)
    assert container.read_semantic_hash(file) == (header, HASH)
    assert file.taken < 200


def test_a_damaged_hash_is_named_and_damage_elsewhere_does_not_matter():
    data = container.write(HEADER, [TILE], {"icc": b"profile", "semantic_hash": HASH})
    hashed = data.index(b"hash-tiny") - 6
    assert hashed == len(HEADER.pack())
    used = [*range(hashed), *range(hashed + 1, hashed + 43)]
    for place in range(len(data)):
        damaged = bytearray(data)
        damaged[place] ^= 1
        if place in used:
            with pytest.raises(BitstreamError):
                container.read_semantic_hash(io.BytesIO(damaged))
        elif place > hashed:
            assert container.read_semantic_hash(io.BytesIO(damaged))[1] == HASH
    for length in range(hashed + 43):
        with pytest.raises(TruncatedError):
            container.read_semantic_hash(io.BytesIO(data[:length]))


@pytest.mark.parametrize(
    "data",
    [b"", b"\x00" * 20, b"\x05", b"\x01!" + bytes(20), b"\x01a" + bytes(8), b"\x01a" + bytes(8 + 65), b"\xff" * 89],
)
def test_an_invalid_hash_is_refused_though_its_checksum_is_right(data):
    written = HEADER.pack() + chunk(b"h", data) + chunk(b"T", TILE)
    with pytest.raises(BitstreamError):
        container.parse(written)
    with pytest.raises(BitstreamError):
        container.read_semantic_hash(io.BytesIO(written))


def test_a_second_or_late_hash_is_refused():
    head, tile, hashed = HEADER.pack(), chunk(b"T", TILE), chunk(b"h", HASH.pack())
    for wrong in (head + hashed + hashed + tile, head + tile + hashed):
        with pytest.raises(BitstreamError, match="repeated or out of place"):
            container.parse(wrong)


@pytest.mark.parametrize(
    "wrong",
    [
        SemanticHash("", bytes(8), b"x"),
        SemanticHash("a b", bytes(8), b"x"),
        SemanticHash("a", b"x", b"x"),
        SemanticHash("a", bytes(8), b""),
        SemanticHash("a", bytes(8), bytes(65)),
    ],
)
def test_a_hash_that_does_not_fit_is_not_written(wrong):
    with pytest.raises(ValueError, match="hash"):
        container.write(HEADER, [TILE], {"semantic_hash": wrong})
