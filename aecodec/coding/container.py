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
     5+m  4   CRC-32 of: the header's CRC-32, the index of the tile (0 for other chunks; both as 4 bytes),
              then type, length and data. A chunk thus belongs to its file and its place: one moved to
              another file or another tile is as wrong as a damaged one.

Chunk types: 'T' the latents of one tile, entropy-coded, as many as the picture has tiles, in raster order;
'A' the alpha plane as a greyscale PNG of 8 bits and the picture's size, exactly once if channels is 2 or 4, else not
at all; 'i' ICC profile, 'e' Exif, 'x' XMP, as zlib streams (RFC 1950) of at most 16 MiB, each at most once; 'F' the
filter of the decoded picture (post_filter.py), at most once;
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

import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, BinaryIO

from ..contracts import MAX_METADATA, BitstreamError, TruncatedError, UnsupportedVersionError
from . import header as head_of
from . import semantic_hash as hash_of
from .chunks import CRC, HEAD, MAX_OTHERS, MIN_CHUNK, TILE, Chunk, pack_chunk, read_chunk, read_chunks, recover_chunks
from .header import FINGERPRINT, MAGIC, MAX_NAME, SUFFIX, VERSION, Header, is_model_name, parse_header
from .post_filter import PostFilter
from .semantic_hash import SemanticHash

__all__ = [
    "ALPHA",
    "FINGERPRINT",
    "HASH",
    "MAGIC",
    "MAX_NAME",
    "METADATA",
    "SIDE",
    "SUFFIX",
    "TILE",
    "VERSION",
    "Container",
    "Header",
    "SemanticHash",
    "SideChunk",
    "is_model_name",
    "parse",
    "parse_header",
    "read_metadata",
    "read_semantic_hash",
    "write",
]

#: Damaged files of more tiles than this are not read: 17 gigapixels in the smallest tiles.
MAX_PARTIAL = 1 << 18
METADATA = ("exif", "icc", "xmp")
#: Bytes of the longest stream that packs as much of them as there may be.
_LONGEST_STREAM = MAX_METADATA + (MAX_METADATA >> 8)
ALPHA, HASH = b"A", b"h"


@dataclass(frozen=True)
class SideChunk:
    """A chunk that a file has at most once, before its first tile. code: its type. pack: value -> data, ValueError for
    one that the format cannot hold; unpack: the inverse, BitstreamError."""

    code: bytes
    pack: Callable[[Any], bytes]
    unpack: Callable[[bytes], Any]


def _deflate(kind: str, content: bytes) -> bytes:
    if len(content) > MAX_METADATA:
        raise ValueError(f"{kind} metadata of {len(content)} bytes; at most {MAX_METADATA} can be stored")
    return zlib.compress(content, 9)


def _inflate(kind: str, data: bytes) -> bytes:
    stream = zlib.decompressobj()
    try:
        content = stream.decompress(data, MAX_METADATA)
    except zlib.error as error:
        raise BitstreamError(f"the {kind} metadata is damaged ({error})") from None
    if not stream.eof or stream.unused_data:
        raise BitstreamError(f"the {kind} metadata is damaged or larger than {MAX_METADATA} bytes")
    return content


def _metadata(kind: str, code: bytes) -> SideChunk:
    return SideChunk(code, partial(_deflate, kind), partial(_inflate, kind))


#: What a file may hold beside its tiles, by name, in the order in which it is written. A newcomer gets a line here and
#: travels with its file from then on; the semantic hash stays first, so that one short read finds it.
SIDE: dict[str, SideChunk] = {
    "semantic_hash": SideChunk(HASH, SemanticHash.pack, SemanticHash.unpack),
    "alpha": SideChunk(ALPHA, bytes, bytes),
    "exif": _metadata("exif", b"e"),
    "icc": _metadata("icc", b"i"),
    "xmp": _metadata("xmp", b"x"),
    "post_filter": SideChunk(b"F", PostFilter.pack, PostFilter.unpack),
}


@dataclass(frozen=True)
class Container:
    """A parsed file. tiles: entropy-coded bytes in raster order; side: what else it holds, by the names of SIDE.

    partial: whether damage was let pass; then damaged: the indices of the tiles that are lost, empty in ``tiles``;
    notices: what else is.
    """

    header: Header
    tiles: list[bytes]
    side: dict[str, Any] = field(default_factory=dict)
    chunks: list[Chunk] = field(default_factory=list)
    partial: bool = False
    damaged: frozenset[int] = frozenset()
    notices: tuple[str, ...] = ()

    @property
    def alpha(self) -> bytes | None:
        """The alpha plane as a PNG."""
        return self.side.get("alpha")

    @property
    def semantic_hash(self) -> SemanticHash | None:
        """The hash by which the file is found."""
        return self.side.get("semantic_hash")

    @property
    def post_filter(self) -> PostFilter | None:
        """What brings the decoded picture nearer to its original."""
        return self.side.get("post_filter")

    @property
    def metadata(self) -> dict[str, bytes]:
        """exif, icc and xmp, as far as the file has them."""
        return {kind: self.side[kind] for kind in METADATA if kind in self.side}


def write(header: Header, tiles: Iterable[bytes], side: Mapping[str, Any] | None = None) -> bytes:
    """The bytes of a file. side: what it holds beside its tiles, by the names of SIDE; None is nothing.

    Raises ValueError for fields out of range, a wrong number of tiles, or an alpha plane where the header has none (or
    the other way round).
    """
    side = {name: value for name, value in (side or {}).items() if value is not None}
    head = header.pack()
    binding = CRC.unpack(head[-CRC.size :])[0]
    if ("alpha" in side) != header.alpha:
        raise ValueError(f"{header.channels} channels do not go with {'an' if 'alpha' in side else 'no'} alpha plane")
    if unknown := side.keys() - SIDE.keys():
        raise ValueError(f"no chunk of a file is called {', '.join(sorted(unknown))}")
    parts = [pack_chunk(kind.code, kind.pack(side[name]), binding) for name, kind in SIDE.items() if name in side]
    payloads = [pack_chunk(TILE, tile, binding, index) for index, tile in enumerate(tiles)]
    rows, columns = header.grid()
    if len(payloads) != rows * columns:
        raise ValueError(f"{rows * columns} tiles are needed, got {len(payloads)}")
    return b"".join([head, *parts, *payloads])


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
    found, misplaced = _side_chunks(chunks)
    if misplaced:
        raise BitstreamError(
            f"the {misplaced[0].type!r} chunk at byte {misplaced[0].offset} is repeated or out of place"
        )
    if header.alpha != ("alpha" in found):
        raise BitstreamError(f"{header.channels} channels, but {'an' if 'alpha' in found else 'no'} alpha plane")
    if len(tiles) != rows * columns:
        kind = TruncatedError if len(tiles) < rows * columns else BitstreamError
        raise kind(f"{rows * columns} tiles are declared, the file holds {len(tiles)}")
    side = {name: SIDE[name].unpack(content) for name, content in found.items()}
    return Container(header, tiles, side, chunks)


def _parse_partial(data: bytes, position: int, binding: int, header: Header, count: int) -> Container:
    if count > MAX_PARTIAL:
        raise BitstreamError(f"{count} tiles are declared; at most {MAX_PARTIAL} are read from a damaged file")
    known = TILE + b"".join(sorted(kind.code for kind in SIDE.values()))
    chunks, gaps = recover_chunks(data, position, binding, count, known)
    notices = [f"bytes {gap.start} to {gap.end - 1} are damaged" for gap in gaps]
    payloads = {chunk.index: chunk.data for chunk in chunks if chunk.type == TILE and chunk.index < count}
    found, misplaced = _side_chunks(chunks)
    notices += [f"the {chunk.type!r} chunk at byte {chunk.offset} is out of place" for chunk in misplaced]
    side = {}
    for name, content in found.items():
        if name == "alpha" and not header.alpha:
            continue
        try:
            side[name] = SIDE[name].unpack(content)
        except BitstreamError as error:
            notices.append(str(error))
    damaged = frozenset(index for index in range(count) if index not in payloads)
    tiles = [payloads.get(index, b"") for index in range(count)]
    return Container(header, tiles, side, chunks, True, damaged, tuple(notices))


def _side_chunks(chunks: list[Chunk]) -> tuple[dict[str, bytes], list[Chunk]]:
    """Known chunks that are no tiles: name in SIDE -> data, and those that are repeated or out of place.

    Raises UnsupportedVersionError for an unknown critical one.
    """
    names = {kind.code: name for name, kind in SIDE.items()}
    found: dict[str, bytes] = {}
    misplaced = []
    tiles_begun = False
    for chunk in chunks:
        if chunk.type == TILE:
            tiles_begun = True
        elif chunk.type in names:
            if tiles_begun or names[chunk.type] in found:
                misplaced.append(chunk)
            else:
                found[names[chunk.type]] = chunk.data
        elif chunk.type.isupper():
            raise UnsupportedVersionError(f"the file needs a feature that this program does not know ({chunk.type!r})")
    return found, misplaced


def read_semantic_hash(file: BinaryIO) -> tuple[Header, SemanticHash | None]:
    """Header and semantic hash of a seekable file at its first byte, whatever the size of the rest.

    Reads the heads of the chunks before the first tile and the hash itself, seeks past everything else, and
    verifies the checksums of header and hash; that there is none is told by chunk heads alone. Raises
    BitstreamError and its kin.
    """
    header, chunks = _before_tiles(file, {HASH: hash_of.LONGEST})
    found = next(chunks, None)
    return header, None if found is None else SemanticHash.unpack(found.data)


def read_metadata(file: BinaryIO) -> tuple[Header, dict[str, bytes]]:
    """Header, and exif, icc and xmp, of a seekable file at its first byte, whatever the size of the rest.

    As `read_semantic_hash`: what is neither read nor verified is the alpha plane and all tiles.
    """
    header, chunks = _before_tiles(file, {SIDE[kind].code: _LONGEST_STREAM for kind in METADATA})
    return header, {kind: SIDE[kind].unpack(c.data) for c in chunks for kind in METADATA if SIDE[kind].code == c.type}


def _before_tiles(file: BinaryIO, wanted: Mapping[bytes, int]) -> tuple[Header, Iterator[Chunk]]:
    """The header, and those chunks before the first tile whose types are wanted; wanted: the most bytes of each."""
    head = file.read(head_of.LONGEST)
    header, position = parse_header(head)
    return header, _wanted_chunks(file, position, CRC.unpack_from(head, position - CRC.size)[0], wanted)


def _wanted_chunks(file: BinaryIO, position: int, binding: int, wanted: Mapping[bytes, int]) -> Iterator[Chunk]:
    for _ in range(MAX_OTHERS + 1):
        file.seek(position)
        start = file.read(HEAD.size)
        if len(start) < HEAD.size:
            raise TruncatedError(f"the file ends at byte {position + len(start)}, before its first tile")
        kind, length = HEAD.unpack(start)
        if not kind.isalpha():
            raise BitstreamError(f"the chunk at byte {position} has no valid type: {kind!r}")
        if kind == TILE:
            return
        if kind in wanted:
            if length > wanted[kind]:
                raise BitstreamError(f"the {kind!r} chunk at byte {position} declares {length} bytes")
            yield read_chunk(start + file.read(length + CRC.size), 0, binding, 0, position)[0]
        position += MIN_CHUNK + length
    raise BitstreamError(f"there are more than {MAX_OTHERS} chunks besides the tiles")
