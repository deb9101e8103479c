"""The chunks of an .aec file: packed, read in order with every checksum verified, and found again behind damage."""

from __future__ import annotations

import re
import struct
import zlib
from dataclasses import dataclass

from ..contracts import BitstreamError, TruncatedError

TILE = b"T"
HEAD = struct.Struct("<cI")
CRC = struct.Struct("<I")
#: Bytes of a chunk without data.
MIN_CHUNK = HEAD.size + CRC.size
#: Chunks of a file that are no tiles: at most this many, so that empty ones cannot fill the memory.
MAX_OTHERS = 256
#: How many bytes a search behind damage may checksum: this many, and a few times the file's. A file made to be
#: searched for ever is given up instead.
SEARCH_BYTES = 64 << 20
SEARCH_PASSES = 4
_COST_OF_CANDIDATE = 64
_COST_OF_CHECKSUM = 256


@dataclass(frozen=True, slots=True)
class Chunk:
    """One chunk: its type, its data, the offset of its first byte in the file, and its index if it is a tile."""

    type: bytes
    data: bytes
    offset: int = 0
    index: int = 0


@dataclass(frozen=True)
class Gap:
    """Bytes from start to end - 1 that hold no whole chunk."""

    start: int
    end: int


def _checksum(binding: int, index: int, content: bytes | memoryview) -> int:
    """CRC-32 of a chunk's type, length and data, bound to the file (its header's CRC) and to the tile's index."""
    return zlib.crc32(content, zlib.crc32(struct.pack("<II", binding, index)))


def pack_chunk(kind: bytes, data: bytes, binding: int, index: int = 0) -> bytes:
    """A chunk's bytes. binding: the CRC of its file's header; index: of the tile."""
    content = HEAD.pack(kind, len(data)) + data
    return content + CRC.pack(_checksum(binding, index, content))


def read_chunk(data: bytes, position: int, binding: int, tile: int, offset: int = 0) -> tuple[Chunk, int]:
    """The chunk at a position, verified, and where the next one begins.

    tile: its index if it should be a tile; offset: of ``data`` in the file. Raises TruncatedError or BitstreamError.
    """
    place = position + offset
    if len(data) - position < MIN_CHUNK:
        raise TruncatedError(f"the file ends inside the chunk at byte {place}")
    kind, length = HEAD.unpack_from(data, position)
    end = position + MIN_CHUNK + length
    if end > len(data):
        raise TruncatedError(f"the chunk at byte {place} declares {length} bytes, beyond the file's end")
    index = tile if kind == TILE else 0
    content = memoryview(data)[position : end - CRC.size]
    if CRC.unpack_from(data, end - CRC.size)[0] != _checksum(binding, index, content):
        raise BitstreamError(f"the chunk at byte {place} is damaged or out of place (checksum mismatch)")
    if not kind.isalpha():
        raise BitstreamError(f"the chunk at byte {place} has no valid type: {kind!r}")
    return Chunk(kind, bytes(content[HEAD.size :]), place, index), end


def read_chunks(data: bytes, position: int, binding: int) -> list[Chunk]:
    """All chunks from a position on, every checksum verified. Raises TruncatedError or BitstreamError."""
    chunks: list[Chunk] = []
    tile = 0
    while position < len(data):
        chunk, position = read_chunk(data, position, binding, tile)
        chunks.append(chunk)
        tile += chunk.type == TILE
        if len(chunks) - tile > MAX_OTHERS:
            raise BitstreamError(f"there are more than {MAX_OTHERS} chunks besides the tiles")
    return chunks


def recover_chunks(
    data: bytes, position: int, binding: int, tiles: int, types: bytes
) -> tuple[list[Chunk], tuple[Gap, ...]]:
    """The chunks from a position on that are whole, and the gaps between them. Raises nothing.

    Behind damage the next whole chunk is looked for: one of the given types (letters) whose checksum is right for
    this file, for index 0 or for a tile index that is still to come, up to ``tiles``.
    """
    chunks: list[Chunk] = []
    gaps: list[Gap] = []
    search = _Search(data, binding, tiles, types)
    tile = others = 0
    while position < len(data) and others <= MAX_OTHERS:
        try:
            chunk, end = read_chunk(data, position, binding, tile)
        except BitstreamError:
            found = search.next_chunk(position, tile)
            if found is None:
                gaps.append(Gap(position, len(data)))
                break
            chunk, end = found
            gaps.append(Gap(position, chunk.offset))
        chunks.append(chunk)
        if chunk.type == TILE:
            tile = chunk.index + 1
        else:
            others += 1
        position = end
    return chunks, tuple(gaps)


class _Search:
    """Looks for whole chunks at any byte of a file, within a budget of bytes to checksum."""

    def __init__(self, data: bytes, binding: int, tiles: int, types: bytes) -> None:
        self._data, self._binding, self._tiles = data, binding, tiles
        self._any = re.compile(b"[" + re.escape(types) + b"]")
        self._tile = re.compile(TILE)
        self._budget = SEARCH_BYTES + SEARCH_PASSES * len(data)

    def next_chunk(self, position: int, tile: int) -> tuple[Chunk, int] | None:
        """The first whole chunk from a position on, and its end."""
        starts = self._tile if tile else self._any
        for match in starts.finditer(self._data, position):
            self._budget -= _COST_OF_CANDIDATE
            if self._budget < 0:
                return None
            end = self._end(match.start())
            if end is None or not (end == len(self._data) or self._end(end) is not None):
                continue
            indices = range(tile, self._tiles) if match.group() == TILE else range(1)
            for index in indices:
                self._budget -= end - match.start() + _COST_OF_CHECKSUM
                if self._budget < 0:
                    return None
                try:
                    return read_chunk(self._data, match.start(), self._binding, index)
                except BitstreamError:
                    continue
        return None

    def _end(self, start: int) -> int | None:
        """Where a chunk that starts here would end, or None if none can start here."""
        if len(self._data) - start < MIN_CHUNK or not self._data[start : start + 1].isalpha():
            return None
        end = start + MIN_CHUNK + int(HEAD.unpack_from(self._data, start)[1])
        return end if end <= len(self._data) else None
