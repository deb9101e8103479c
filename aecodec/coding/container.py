"""The .aec container, format version 1: written, parsed and checked here, and nowhere else.

All integers are little-endian and unsigned.

    header                                    (at most 47 bytes)
      0   4   magic           41 45 43 00, that is "AEC" and a zero byte
      4   1   version         1
      5   1   channels        1 grey, 2 grey and alpha, 3 RGB, 4 RGB and alpha
      6   1   bit depth       8
      7   1   tile            log2 of the tile side in pixels, 8 ... 14
      8   4   width           pixels, 1 ... 2^20
     12   4   height          pixels, 1 ... 2^20
     16   8   fingerprint     of the model that wrote the file and must read it
     24   2   quality         quality step, 0 ... 1000
     26   1   name length     n, 1 ... 16
     27   n   model name      ASCII letters, digits, '-', '_', '.'
    27+n  4   CRC-32 of all bytes before it

    chunk, repeated to the end of the file
      0   1   type            ASCII letter: a capital is critical, a small letter may be skipped
      1   4   length          m, bytes of data
      5   m   data
     5+m  4   CRC-32 of: the header's CRC-32, the number of the tile (0 for other chunks; both as 4 bytes),
              then type, length and data. A chunk thus belongs to its file and its place: one moved to
              another file or another tile is as wrong as a damaged one.

Chunk types: 'T' the latents of one tile, entropy-coded, as many as the picture has tiles, in raster order;
'A' the alpha plane as a greyscale PNG, exactly once if channels is 2 or 4; 'i' ICC profile, 'e' Exif, 'x' XMP,
zlib-compressed, each at most once; 'h' the picture's semantic hash, at most once:

      0   1   name length     n, 1 ... 16
      1   n   hasher's name   the same characters as a model's name
    1+n   8   fingerprint     of the hasher's checkpoint; hashes compare only where it is the same
    9+n   b   code            1 ... 64 bytes, its bits as the hasher packs them

All of these come before the first tile. The picture is cut into square
tiles from its upper left corner; the last ones of a row or column are narrower.
The header's place and its CRC are the same in every version to come, so that any version can tell
damage (checksum wrong) from a newer file (checksum right, version unknown).
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import BinaryIO

from ..contracts import QUALITY_STEPS, BitstreamError, TruncatedError, UnsupportedVersionError

MAGIC = b"AEC\0"
VERSION = 1
MAX_SIDE = 1 << 20
MAX_NAME = 16
TILE = b"T"
ALPHA = b"A"
HASH = b"h"
METADATA = {"icc": b"i", "exif": b"e", "xmp": b"x"}
MAX_HASH = 64
FINGERPRINT = 8
SIDE = {ALPHA, HASH, *METADATA.values()}
MAX_METADATA = 16 << 20

_FIXED = struct.Struct("<4sBBBBII8sHB")
_CHUNK = struct.Struct("<cI")
_CRC = struct.Struct("<I")
_NAME = re.compile(rb"[A-Za-z0-9._-]{1,%d}" % MAX_NAME)
MIN_CHUNK = _CHUNK.size + _CRC.size


@dataclass(frozen=True)
class Header:
    """What the first bytes of a file say. width, height: pixels; quality: step; tile: side in pixels."""

    width: int
    height: int
    channels: int
    quality: int
    model: str
    fingerprint: bytes
    tile: int = 1024
    bit_depth: int = 8
    version: int = VERSION

    @property
    def grey(self) -> bool:
        """Whether the picture has one colour channel."""
        return self.channels < 3

    @property
    def alpha(self) -> bool:
        """Whether the picture has an alpha channel."""
        return self.channels % 2 == 0

    def grid(self) -> tuple[int, int]:
        """Tiles down and across."""
        return -(-self.height // self.tile), -(-self.width // self.tile)

    def pack(self) -> bytes:
        """Header bytes with checksum. Raises ValueError for a field that the format cannot hold."""
        if not is_model_name(self.model):
            raise ValueError(f"a model name is 1 to {MAX_NAME} letters, digits, '-', '_' or '.', got {self.model!r}")
        name = self.model.encode("ascii")
        tile_log2 = self.tile.bit_length() - 1
        _check_fields(self, tile_log2)
        head = _FIXED.pack(
            MAGIC, self.version, self.channels, self.bit_depth, tile_log2,
            self.width, self.height, self.fingerprint, self.quality, len(name),
        )  # fmt: skip
        return head + name + _CRC.pack(zlib.crc32(head + name))


@dataclass(frozen=True)
class SemanticHash:
    """What a picture shows, as bits. hasher: name of the model that computed it; fingerprint: 8 bytes, of its
    checkpoint; bits: the packed code, 1 to 64 bytes."""

    hasher: str
    fingerprint: bytes
    bits: bytes

    def pack(self) -> bytes:
        """Data of its chunk. Raises ValueError for a field that the format cannot hold."""
        if not is_model_name(self.hasher):
            raise ValueError(f"a hasher's name is 1 to {MAX_NAME} letters, digits, '-', '_', '.', got {self.hasher!r}")
        if len(self.fingerprint) != FINGERPRINT:
            raise ValueError(f"a hasher's fingerprint has {FINGERPRINT} bytes, got {len(self.fingerprint)}")
        if not 1 <= len(self.bits) <= MAX_HASH:
            raise ValueError(f"a semantic hash has 1 to {MAX_HASH} bytes, got {len(self.bits)}")
        name = self.hasher.encode("ascii")
        return bytes([len(name)]) + name + self.fingerprint + self.bits

    @classmethod
    def unpack(cls, data: bytes) -> SemanticHash:
        """The inverse of `pack`. Raises BitstreamError."""
        end = 1 + data[0] if data else 1
        name, bits = data[1:end], data[end + FINGERPRINT :]
        if not _NAME.fullmatch(name) or not 1 <= len(bits) <= MAX_HASH:
            raise BitstreamError(f"the semantic hash is not valid ({len(data)} bytes)")
        return cls(name.decode("ascii"), data[end : end + FINGERPRINT], bits)


@dataclass(frozen=True)
class Chunk:
    """One chunk: its type, its data, and the offset of its first byte in the file."""

    type: bytes
    data: bytes
    offset: int = 0


@dataclass(frozen=True)
class Container:
    """A parsed file. tiles: entropy-coded bytes in raster order; metadata: kind -> decompressed bytes;
    alpha: a PNG, or None; semantic_hash: None where the file has none."""

    header: Header
    tiles: list[bytes]
    metadata: dict[str, bytes] = field(default_factory=dict)
    alpha: bytes | None = None
    chunks: list[Chunk] = field(default_factory=list)
    semantic_hash: SemanticHash | None = None


def is_model_name(name: str) -> bool:
    """Whether the header can hold a model name."""
    return _NAME.fullmatch(name.encode("utf-8", "replace")) is not None


def _check_fields(header: Header, tile_log2: int) -> None:
    """Raises ValueError naming the first field out of its range."""
    checks = (
        ("width", 1 <= header.width <= MAX_SIDE, header.width),
        ("height", 1 <= header.height <= MAX_SIDE, header.height),
        ("channels", header.channels in (1, 2, 3, 4), header.channels),
        ("bit depth", header.bit_depth == 8, header.bit_depth),
        ("quality", 0 <= header.quality <= QUALITY_STEPS, header.quality),
        ("tile", 8 <= tile_log2 <= 14 and header.tile == 1 << tile_log2, header.tile),
        ("fingerprint", len(header.fingerprint) == 8, header.fingerprint),
    )
    for name, valid, value in checks:
        if not valid:
            raise ValueError(f"{name} is out of range: {value!r}")


def _checksum(binding: int, number: int, content: bytes) -> int:
    """CRC-32 of a chunk's type, length and data, bound to the file (its header's CRC) and to the tile's number."""
    return zlib.crc32(content, zlib.crc32(struct.pack("<II", binding, number)))


def _pack_chunk(kind: bytes, data: bytes, binding: int, number: int = 0) -> bytes:
    content = _CHUNK.pack(kind, len(data)) + data
    return content + _CRC.pack(_checksum(binding, number, content))


def write(
    header: Header,
    tiles: Iterable[bytes],
    metadata: dict[str, bytes] | None = None,
    alpha: bytes | None = None,
    semantic_hash: SemanticHash | None = None,
) -> bytes:
    """The bytes of a file. Raises ValueError for fields out of range, a wrong number of tiles, or an alpha plane
    where the header has none (or the other way round)."""
    head = header.pack()
    binding = _CRC.unpack(head[-_CRC.size :])[0]
    parts = [head]
    if (alpha is not None) != header.alpha:
        raise ValueError(f"{header.channels} channels do not go with {'an' if alpha is not None else 'no'} alpha plane")
    if semantic_hash is not None:
        # First, so that one short read finds it.
        parts.append(_pack_chunk(HASH, semantic_hash.pack(), binding))
    if alpha is not None:
        parts.append(_pack_chunk(ALPHA, alpha, binding))
    for kind, content in sorted((metadata or {}).items()):
        if len(content) > MAX_METADATA:
            raise ValueError(f"{kind} metadata of {len(content)} bytes; at most {MAX_METADATA} can be stored")
        parts.append(_pack_chunk(METADATA[kind], zlib.compress(content, 9), binding))
    payloads = [_pack_chunk(TILE, tile, binding, number) for number, tile in enumerate(tiles)]
    rows, columns = header.grid()
    if len(payloads) != rows * columns:
        raise ValueError(f"{rows * columns} tiles are needed, got {len(payloads)}")
    return b"".join(parts + payloads)


def parse_header(data: bytes) -> tuple[Header, int]:
    """The header and its length in bytes. Needs only the first 47 bytes of a file.

    Raises BitstreamError (no .aec file, or damaged), TruncatedError or UnsupportedVersionError.
    """
    if not data:
        raise TruncatedError("the file is empty")
    if data[: len(MAGIC)] != MAGIC[: len(data)]:
        raise BitstreamError("not an .aec file (it does not start with the magic bytes)")
    if len(data) < _FIXED.size:
        raise TruncatedError(f"the file ends inside its header ({len(data)} bytes)")
    _, version, channels, depth, tile_log2, width, height, print_, quality, n = _FIXED.unpack_from(data)
    end = _FIXED.size + n
    if len(data) < end + _CRC.size:
        raise TruncatedError(f"the file ends inside its header ({len(data)} bytes)")
    if _CRC.unpack_from(data, end)[0] != zlib.crc32(data[:end]):
        raise BitstreamError("the header is damaged (checksum mismatch)")
    if version != VERSION:
        raise UnsupportedVersionError(f"format version {version}; this program reads version {VERSION}")
    name = data[_FIXED.size : end]
    if not _NAME.fullmatch(name):
        raise BitstreamError(f"the model name is not valid: {name!r}")
    if not 8 <= tile_log2 <= 14:
        raise BitstreamError(f"tile is out of range: 2^{tile_log2}")
    header = Header(width, height, channels, quality, name.decode("ascii"), print_, 1 << tile_log2, depth, version)
    try:
        _check_fields(header, tile_log2)
    except ValueError as error:
        raise BitstreamError(str(error)) from None
    return header, end + _CRC.size


def _read_chunks(data: bytes, position: int) -> list[Chunk]:
    """All chunks from a position behind the header on, every checksum verified."""
    binding = _CRC.unpack_from(data, position - _CRC.size)[0]
    chunks: list[Chunk] = []
    tile = 0
    while position < len(data):
        if len(data) - position < MIN_CHUNK:
            raise TruncatedError(f"the file ends inside the chunk at byte {position}")
        kind, length = _CHUNK.unpack_from(data, position)
        end = position + MIN_CHUNK + length
        if end > len(data):
            raise TruncatedError(f"the chunk at byte {position} declares {length} bytes, beyond the file's end")
        chunks.append(_verified(data[position:end], position, binding, tile if kind == TILE else 0))
        tile += kind == TILE
        position = end
    return chunks


def _verified(whole: bytes, offset: int, binding: int, number: int = 0) -> Chunk:
    """The chunk of these bytes, from its type to its checksum. Raises BitstreamError."""
    content = whole[: -_CRC.size]
    if _CRC.unpack_from(whole, len(content))[0] != _checksum(binding, number, content):
        raise BitstreamError(f"the chunk at byte {offset} is damaged or out of place (checksum mismatch)")
    if not content[:1].isalpha():
        raise BitstreamError(f"the chunk at byte {offset} has no valid type: {content[:1]!r}")
    return Chunk(content[:1], content[_CHUNK.size :], offset)


def _inflate(kind: str, data: bytes) -> bytes:
    stream = zlib.decompressobj()
    try:
        content = stream.decompress(data, MAX_METADATA)
    except zlib.error as error:
        raise BitstreamError(f"the {kind} metadata is damaged ({error})") from None
    if not stream.eof or stream.unused_data:
        raise BitstreamError(f"the {kind} metadata is damaged or larger than {MAX_METADATA} bytes")
    return content


def parse(data: bytes) -> Container:
    """All of a file, every checksum verified. Raises BitstreamError and its kin; allocates no pixel.

    The number of tiles that the declared size implies is compared with what the file holds, so a
    forged size costs nothing.
    """
    header, position = parse_header(data)
    rows, columns = header.grid()
    if rows * columns * MIN_CHUNK > len(data) - position:
        raise TruncatedError(
            f"{header.width} x {header.height} pixels need {rows * columns} tiles; "
            f"the {len(data) - position} bytes after the header cannot hold them"
        )
    chunks = _read_chunks(data, position)
    tiles = [chunk.data for chunk in chunks if chunk.type == TILE]
    side = _side_chunks(chunks)
    alpha = side.get(ALPHA)
    if header.alpha != (alpha is not None):
        raise BitstreamError(f"{header.channels} channels, but {'an' if alpha is not None else 'no'} alpha plane")
    if len(tiles) < rows * columns:
        raise TruncatedError(f"{rows * columns} tiles are declared, the file holds {len(tiles)}")
    if len(tiles) > rows * columns:
        raise BitstreamError(f"{rows * columns} tiles are declared, the file holds {len(tiles)}")
    metadata = {kind: _inflate(kind, side[code]) for kind, code in METADATA.items() if code in side}
    semantic_hash = SemanticHash.unpack(side[HASH]) if HASH in side else None
    return Container(header, tiles, metadata, alpha, chunks, semantic_hash)


def _side_chunks(chunks: list[Chunk]) -> dict[bytes, bytes]:
    """Type -> data of the known chunks that are no tiles. Raises for what is repeated, misplaced or unknown."""
    found: dict[bytes, bytes] = {}
    tiles_begun = False
    for chunk in chunks:
        if chunk.type == TILE:
            tiles_begun = True
        elif chunk.type in SIDE:
            if tiles_begun or chunk.type in found:
                raise BitstreamError(f"the {chunk.type!r} chunk at byte {chunk.offset} is repeated or out of place")
            found[chunk.type] = chunk.data
        elif chunk.type.isupper():
            raise UnsupportedVersionError(f"the file needs a feature that this program does not know ({chunk.type!r})")
    return found


def read_semantic_hash(file: BinaryIO) -> tuple[Header, SemanticHash | None]:
    """Header and semantic hash of a seekable file at its first byte, whatever the size of the rest.

    Reads the heads of the chunks before the first tile and the hash itself, seeks past everything else, and
    verifies the checksums of header and hash; that there is none is told by chunk heads alone. Raises
    BitstreamError and its kin.
    """
    head = file.read(_FIXED.size + MAX_NAME + _CRC.size)
    header, position = parse_header(head)
    binding = _CRC.unpack_from(head, position - _CRC.size)[0]
    while True:
        file.seek(position)
        start = file.read(_CHUNK.size)
        if len(start) < _CHUNK.size:
            raise TruncatedError(f"the file ends at byte {position + len(start)}, before its first tile")
        kind, length = _CHUNK.unpack(start)
        if not kind.isalpha():
            raise BitstreamError(f"the chunk at byte {position} has no valid type: {kind!r}")
        if kind == TILE:
            return header, None
        if kind == HASH:
            if length > 1 + MAX_NAME + FINGERPRINT + MAX_HASH:
                raise BitstreamError(f"the semantic hash at byte {position} declares {length} bytes")
            rest = file.read(length + _CRC.size)
            if len(rest) < length + _CRC.size:
                raise TruncatedError(f"the file ends inside the chunk at byte {position}")
            return header, SemanticHash.unpack(_verified(start + rest, position, binding).data)
        position += MIN_CHUNK + length
