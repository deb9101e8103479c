"""What a picture shows, as bits: the chunk by which an .aec file is found without being decoded."""

from __future__ import annotations

from dataclasses import dataclass

from ..contracts import BitstreamError
from .header import FINGERPRINT, MAX_NAME, is_model_name, is_name

#: Bytes of the longest code.
MAX_HASH = 64
#: Bytes of the longest chunk.
LONGEST = 1 + MAX_NAME + FINGERPRINT + MAX_HASH


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
        if not is_name(name) or not 1 <= len(bits) <= MAX_HASH:
            raise BitstreamError(f"the semantic hash is not valid ({len(data)} bytes)")
        return cls(name.decode("ascii"), data[end : end + FINGERPRINT], bits)
