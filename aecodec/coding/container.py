"""The .aec container, format version 1: what stands in a file, byte by byte, and how it is written and parsed.

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
'A' the alpha plane as a greyscale PNG of 8 bits and the picture's size, exactly once if channels is 2 or 4, else not
at all; 'i' ICC profile, 'e' Exif, 'x' XMP, as zlib streams (RFC 1950) of at most 16 MiB, each at most once;
'h' the picture's semantic hash, at most once:

      0   1   name length     n, 1 ... 16
      1   n   hasher's name   the same characters as a model's name
    1+n   8   fingerprint     of the hasher's checkpoint; hashes compare only where it is the same
    9+n   b   code            1 ... 64 bytes, its bits as the hasher packs them

All of these come before the first tile, and at most 256 chunks are no tiles. The picture is cut into square
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
from .chunks import CRC, HEAD, MIN_CHUNK, TILE, Chunk, pack_chunk, read_chunk, read_chunks, recover_chunks

MAGIC = b"AEC\0"
VERSION = 1
MAX_SIDE = 1 << 20
MAX_NAME = 16
ALPHA = b"A"
HASH = b"h"
METADATA = {"icc": b"i", "exif": b"e", "xmp": b"x"}
MAX_HASH = 64
FINGERPRINT = 8
#: Damaged files of more tiles than this are not read: 17 gigapixels in the smallest tiles.
MAX_PARTIAL = 1 << 18
_KINDS = {code: kind for kind, code in METADATA.items()}
SIDE = {ALPHA, HASH, *METADATA.values()}
MAX_METADATA = 16 << 20

_FIXED = struct.Struct("<4sBBBBII8sHB")
_NAME = re.compile(rb"[A-Za-z0-9._-]{1,%d}" % MAX_NAME)


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
            MAGIC,
            self.version,
            self.channels,
            self.bit_depth,
            tile_log2,
            self.width,
            self.height,
            self.fingerprint,
            self.quality,
            len(name),
        )
        return head + name + CRC.pack(zlib.crc32(head + name))


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
class Container:
    """A parsed file. tiles: entropy-coded bytes in raster order; metadata: kind -> decompressed bytes;
    alpha: a PNG, or None; semantic_hash: None where the file has none. partial: whether damage was let pass; then
    damaged: the numbers of the tiles that are lost, empty in ``tiles``; notices: what else is."""

    header: Header
    tiles: list[bytes]
    metadata: dict[str, bytes] = field(default_factory=dict)
    alpha: bytes | None = None
    chunks: list[Chunk] = field(default_factory=list)
    semantic_hash: SemanticHash | None = None
    partial: bool = False
    damaged: frozenset[int] = frozenset()
    notices: tuple[str, ...] = ()


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
    binding = CRC.unpack(head[-CRC.size :])[0]
    parts = [head]
    if (alpha is not None) != header.alpha:
        raise ValueError(f"{header.channels} channels do not go with {'an' if alpha is not None else 'no'} alpha plane")
    if semantic_hash is not None:
        # First, so that one short read finds it.
        parts.append(pack_chunk(HASH, semantic_hash.pack(), binding))
    if alpha is not None:
        parts.append(pack_chunk(ALPHA, alpha, binding))
    for kind, content in sorted((metadata or {}).items()):
        if len(content) > MAX_METADATA:
            raise ValueError(f"{kind} metadata of {len(content)} bytes; at most {MAX_METADATA} can be stored")
        parts.append(pack_chunk(METADATA[kind], zlib.compress(content, 9), binding))
    payloads = [pack_chunk(TILE, tile, binding, number) for number, tile in enumerate(tiles)]
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
    if len(data) < end + CRC.size:
        raise TruncatedError(f"the file ends inside its header ({len(data)} bytes)")
    if CRC.unpack_from(data, end)[0] != zlib.crc32(data[:end]):
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
    return header, end + CRC.size


def _inflate(kind: str, data: bytes) -> bytes:
    stream = zlib.decompressobj()
    try:
        content = stream.decompress(data, MAX_METADATA)
    except zlib.error as error:
        raise BitstreamError(f"the {kind} metadata is damaged ({error})") from None
    if not stream.eof or stream.unused_data:
        raise BitstreamError(f"the {kind} metadata is damaged or larger than {MAX_METADATA} bytes")
    return content


def parse(data: bytes, *, partial: bool = False) -> Container:
    """All of a file, every checksum verified. Raises BitstreamError and its kin; allocates no pixel.

    The number of tiles that the declared size implies is compared with what the file holds, so a
    forged size costs nothing. partial: keep what is whole instead of raising for what is not; the header must
    be whole all the same, and a feature that this program does not know is still refused.
    """
    header, position = parse_header(data)
    binding = CRC.unpack_from(data, position - CRC.size)[0]
    rows, columns = header.grid()
    if partial:
        return _parse_partial(data, position, binding, header, rows * columns)
    if rows * columns * MIN_CHUNK > len(data) - position:
        raise TruncatedError(
            f"{header.width} x {header.height} pixels need {rows * columns} tiles; "
            f"the {len(data) - position} bytes after the header cannot hold them"
        )
    chunks = read_chunks(data, position, binding)
    tiles = [chunk.data for chunk in chunks if chunk.type == TILE]
    side, misplaced = _side_chunks(chunks)
    if misplaced:
        raise BitstreamError(
            f"the {misplaced[0].type!r} chunk at byte {misplaced[0].offset} is repeated or out of place"
        )
    alpha = side.get(ALPHA)
    if header.alpha != (alpha is not None):
        raise BitstreamError(f"{header.channels} channels, but {'an' if alpha is not None else 'no'} alpha plane")
    if len(tiles) != rows * columns:
        kind = TruncatedError if len(tiles) < rows * columns else BitstreamError
        raise kind(f"{rows * columns} tiles are declared, the file holds {len(tiles)}")
    metadata = {kind: _inflate(kind, side[code]) for code, kind in _KINDS.items() if code in side}
    semantic_hash = SemanticHash.unpack(side[HASH]) if HASH in side else None
    return Container(header, tiles, metadata, alpha, chunks, semantic_hash)


def _parse_partial(data: bytes, position: int, binding: int, header: Header, count: int) -> Container:
    if count > MAX_PARTIAL:
        raise BitstreamError(f"{count} tiles are declared; at most {MAX_PARTIAL} are read from a damaged file")
    chunks, gaps = recover_chunks(data, position, binding, count, TILE + b"".join(sorted(SIDE)))
    notices = [f"bytes {gap.start} to {gap.end - 1} are damaged" for gap in gaps]
    found = {chunk.number: chunk.data for chunk in chunks if chunk.type == TILE and chunk.number < count}
    side, misplaced = _side_chunks(chunks)
    notices += [f"the {chunk.type!r} chunk at byte {chunk.offset} is out of place" for chunk in misplaced]
    metadata, semantic_hash = {}, None
    for code, content in side.items():
        try:
            if code == HASH:
                semantic_hash = SemanticHash.unpack(content)
            elif code != ALPHA:
                metadata[_KINDS[code]] = _inflate(_KINDS[code], content)
        except BitstreamError as error:
            notices.append(str(error))
    alpha = side.get(ALPHA) if header.alpha else None
    damaged = frozenset(number for number in range(count) if number not in found)
    tiles = [found.get(number, b"") for number in range(count)]
    return Container(header, tiles, metadata, alpha, chunks, semantic_hash, True, damaged, tuple(notices))


def _side_chunks(chunks: list[Chunk]) -> tuple[dict[bytes, bytes], list[Chunk]]:
    """Known chunks that are no tiles: type -> data, and those that are repeated or out of place.

    Raises UnsupportedVersionError for an unknown critical one.
    """
    found: dict[bytes, bytes] = {}
    misplaced = []
    tiles_begun = False
    for chunk in chunks:
        if chunk.type == TILE:
            tiles_begun = True
        elif chunk.type in SIDE:
            if tiles_begun or chunk.type in found:
                misplaced.append(chunk)
            else:
                found[chunk.type] = chunk.data
        elif chunk.type.isupper():
            raise UnsupportedVersionError(f"the file needs a feature that this program does not know ({chunk.type!r})")
    return found, misplaced


def read_semantic_hash(file: BinaryIO) -> tuple[Header, SemanticHash | None]:
    """Header and semantic hash of a seekable file at its first byte, whatever the size of the rest.

    Reads the heads of the chunks before the first tile and the hash itself, seeks past everything else, and
    verifies the checksums of header and hash; that there is none is told by chunk heads alone. Raises
    BitstreamError and its kin.
    """
    head = file.read(_FIXED.size + MAX_NAME + CRC.size)
    header, position = parse_header(head)
    binding = CRC.unpack_from(head, position - CRC.size)[0]
    while True:
        file.seek(position)
        start = file.read(HEAD.size)
        if len(start) < HEAD.size:
            raise TruncatedError(f"the file ends at byte {position + len(start)}, before its first tile")
        kind, length = HEAD.unpack(start)
        if not kind.isalpha():
            raise BitstreamError(f"the chunk at byte {position} has no valid type: {kind!r}")
        if kind == TILE:
            return header, None
        if kind == HASH:
            if length > 1 + MAX_NAME + FINGERPRINT + MAX_HASH:
                raise BitstreamError(f"the semantic hash at byte {position} declares {length} bytes")
            rest = file.read(length + CRC.size)
            chunk, _ = read_chunk(start + rest, 0, binding, 0, position)
            return header, SemanticHash.unpack(chunk.data)
        position += MIN_CHUNK + length
