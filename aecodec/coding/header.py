"""The header of an .aec file, laid out as container.py specifies: what it says, packed and parsed."""

from __future__ import annotations

import re
import struct
import zlib
from dataclasses import dataclass

from ..contracts import QUALITY_STEPS, BitstreamError, TruncatedError, UnsupportedVersionError
from .chunks import CRC

MAGIC = b"AEC\0"
#: What the names of files end in.
SUFFIX = ".aec"
VERSION = 1
MAX_SIDE = 1 << 20
MAX_NAME = 16
#: Bytes of a model's or hasher's fingerprint.
FINGERPRINT = 8

_FIXED = struct.Struct("<4sBBBBII8sHB")
_NAME = re.compile(rb"[A-Za-z0-9._-]{1,%d}" % MAX_NAME)
#: Bytes of the longest header.
LONGEST = _FIXED.size + MAX_NAME + CRC.size


def is_name(name: bytes) -> bool:
    """Whether a file can hold it as the name of a model."""
    return _NAME.fullmatch(name) is not None


def is_model_name(name: str) -> bool:
    """Whether the header can hold a model name."""
    return is_name(name.encode("utf-8", "replace"))


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
    if not is_name(name):
        raise BitstreamError(f"the model name is not valid: {name!r}")
    if not 8 <= tile_log2 <= 14:
        raise BitstreamError(f"tile is out of range: 2^{tile_log2}")
    header = Header(width, height, channels, quality, name.decode("ascii"), print_, 1 << tile_log2, depth, version)
    try:
        _check_fields(header, tile_log2)
    except ValueError as error:
        raise BitstreamError(str(error)) from None
    return header, end + CRC.size
