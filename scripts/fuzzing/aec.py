"""The law of .aec files: a picture of the declared size, or a named error; what is recovered stood in the file."""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path

from aecodec.codec.codec import Codec
from aecodec.codec.pictures import PictureCodec
from aecodec.coding import container
from aecodec.coding.chunks import CRC, HEAD, MIN_CHUNK
from aecodec.contracts import AecodecError
from aecodec.data.tiling import Window

from .law import INTERESTING, Law, changed

ROOT = Path(__file__).parents[2]
SEEDS = {path.stem: path.read_bytes() for path in sorted((ROOT / "scripts" / "fuzz_seeds").glob("*.aec"))}
MODEL = ROOT / "tests" / "golden" / "v1" / "exact-hyperprior.safetensors"
#: Larger pictures than this are decoded in a crop of them alone.
PIXELS = 200_000
#: Share of the files that parse which are decoded.
SHARE = 0.05
#: Fields of the header: place, and how many bytes.
_FIELDS = ((4, 1), (5, 1), (6, 1), (7, 1), (8, 4), (12, 4), (24, 2), (26, 1))


def header_length(data: bytes) -> int:
    """Where the header's checksum ends, by its own account."""
    return 27 + (data[26] if len(data) > 26 else 0) + CRC.size


def repair(data: bytes) -> bytes:
    """The same bytes with the checksums of the header, and of the chunks as far as their lengths lead, made right."""
    fixed, place, tile = bytearray(data), header_length(data), 0
    if place > len(data):
        return data
    CRC.pack_into(fixed, place - CRC.size, zlib.crc32(fixed[: place - CRC.size]))
    binding = fixed[place - CRC.size : place]
    while place + MIN_CHUNK <= len(fixed):
        kind, length = HEAD.unpack_from(fixed, place)
        end = place + HEAD.size + length
        if end + CRC.size > len(fixed):
            break
        number = tile if kind == container.TILE else 0
        CRC.pack_into(fixed, end, zlib.crc32(bytes(binding) + struct.pack("<I", number) + fixed[place:end]))
        tile += kind == container.TILE
        place = end + CRC.size
    return bytes(fixed)


def _with_field(rng: random.Random, data: bytes) -> bytes:
    """A field of the header with another value."""
    fixed = bytearray(data)
    place, size = rng.choice(_FIELDS)
    value = rng.choice((*INTERESTING, rng.randrange(1 << 32), 9, 10, 12, 1000, 9408)) % (1 << 8 * size)
    if place + size <= len(fixed):
        fixed[place : place + size] = value.to_bytes(size, "little")
    return bytes(fixed)


class AecLaw(Law):
    """See the module's docstring. share: of the files that parse, how many are decoded; seeds: by name, and the codec
    of them, where these are others."""

    suffix = ".aec"

    def __init__(
        self, share: float = SHARE, *, seeds: Mapping[str, bytes] = SEEDS, codec: PictureCodec | None = None
    ) -> None:
        super().__init__()
        self.codec: PictureCodec = codec or Codec.from_pretrained(MODEL, precision="float32")
        self._share = share
        self._seeds = seeds
        self._names = sorted(seeds)
        self._originals = [container.parse(seed) for seed in seeds.values()]

    def make(self, rng: random.Random, number: int) -> tuple[bytes, bool]:
        """Changes of a seed; three in ten with checksums made right, half of these with a field changed as well."""
        data = changed(rng, self._seeds[self._names[number % len(self._names)]], list(self._seeds.values()))
        if rng.random() >= 0.3:
            return data, False
        return repair(_with_field(rng, data) if rng.random() < 0.5 else data), True

    def outcome(self, data: bytes, repaired: bool) -> str:
        """Both ways of parsing, and for a share the decoding."""
        decode = zlib.crc32(data) % 1000 < 1000 * self._share
        whole = self._parsed(data, repaired, decode, partial=False)
        rest = self._parsed(data, repaired, decode, partial=True)
        return f"{whole}, in part: {rest}"

    def _parsed(self, data: bytes, repaired: bool, decode: bool, *, partial: bool) -> str:
        try:
            parsed = container.parse(data, partial=partial)
        except AecodecError as error:
            return type(error).__name__
        if not repaired:
            self._is_original(parsed)
        return self._decoded(parsed) if decode else "parsed"

    def _is_original(self, parsed: container.Container) -> None:
        kept = [n for n in range(len(parsed.tiles)) if n not in parsed.damaged]
        for original in self._originals:
            if original.header == parsed.header and all(parsed.tiles[n] == original.tiles[n] for n in kept):
                return
        raise AssertionError("a damaged file gave a tile that was never in it")

    def _decoded(self, parsed: container.Container) -> str:
        header = parsed.header
        if header.fingerprint != self.codec.fingerprint:
            return "parsed"
        large = header.width * header.height > PIXELS
        crop = Window(0, 0, min(header.height, 10), min(header.width, 10)) if large else None
        if large and (header.alpha or min(header.width, header.tile) * min(header.height, header.tile) > 4 * PIXELS):
            return "parsed"
        try:
            picture = self.codec.decode_container(parsed, crop)
        except AecodecError as error:
            return f"{type(error).__name__} in decoding"
        expected = crop.size if crop else (header.height, header.width)
        if picture.pixels.shape[:2] != expected:
            raise AssertionError(f"decoded to {picture.pixels.shape}, expected {expected}")
        return "decoded"
