"""What can be said of a file from its header and its chunks alone: no model, no torch, no pixels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..coding import container
from ..data.files import read_bytes
from .quality import quality_of

COLOURS = {1: "grey", 2: "grey and alpha", 3: "RGB", 4: "RGB and alpha"}


def info(source: str | Path) -> dict[str, Any]:
    """Header, model, quality and chunks of an .aec file, every checksum verified.

    Raises ImageReadError (missing, unreadable), BitstreamError and its kin.
    """
    data = read_bytes(Path(source))
    parsed = container.parse(data)
    header = parsed.header
    payload = sum(len(tile) for tile in parsed.tiles)
    return {
        "file": str(source),
        "bytes": len(data),
        "format_version": header.version,
        "width": header.width,
        "height": header.height,
        "colour": COLOURS[header.channels],
        "bit_depth": header.bit_depth,
        "quality": quality_of(header.quality),
        "bpp": 8.0 * len(data) / (header.width * header.height),
        "model": header.model,
        "fingerprint": header.fingerprint.hex(),
        "tile": header.tile,
        "tiles": len(parsed.tiles),
        "payload_bytes": payload,
        "alpha_bytes": len(parsed.alpha or b""),
        "metadata": {kind: len(content) for kind, content in parsed.metadata.items()},
        "semantic_hash": _hash_record(parsed.semantic_hash),
        "chunks": [{"type": c.type.decode("ascii"), "offset": c.offset, "bytes": len(c.data)} for c in parsed.chunks],
    }


def _hash_record(found: container.SemanticHash | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return {"hasher": found.hasher, "fingerprint": found.fingerprint.hex(), "bits": found.bits.hex()}
