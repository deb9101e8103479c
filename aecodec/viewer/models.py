"""The part of a checkpoint that a decoder in a browser needs: all but the networks that only an encoder runs.

A safetensors file like the checkpoint, and of a format of its own: the fingerprint in its header is that of the whole
checkpoint, which is proved when the part is made; ``part`` is that of what the file holds.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

from ..contracts import CheckpointError, UnavailableError, UnsupportedVersionError
from ..engine.networks import holds_weight
from ..parallel import Lock
from ..zoo import stored
from ..zoo.registry import OVERFITTED, SUFFIX, find_fingerprint

FORMAT = "aecodec-decoder-1"
#: The networks of the codec families, as latents/ tells of them, that decoders run; and those whose weights are an
#: encoder's own. Other graphs, as those of gradients, have no weights of their own.
DECODING = frozenset({"dequantiser", "means", "synthesis"})
ENCODING = frozenset({"analysis", "hyper_analysis", "quantiser"})
_NAME = re.compile(rf"([0-9a-f]{{16}}){re.escape(SUFFIX)}")


def decoder_part(path: Path) -> bytes:
    """A checkpoint's file -> the file of what decodes. Raises CheckpointError as `stored.read` does, and for a model
    without graphs, which no browser can run."""
    whole = stored.read(path)
    kept = {name: graph for name, graph in whole.graphs.items() if name in DECODING}
    if not kept:
        raise CheckpointError(f"{path}: holds no graphs, without which no browser runs it (see aecodec models export)")
    spare = [graph for name, graph in whole.graphs.items() if name in ENCODING]
    others = [graph for name, graph in whole.graphs.items() if name not in ENCODING]
    tensors = {
        name: array
        for name, array in whole.tensors.items()
        if any(holds_weight(graph, name) for graph in others) or not any(holds_weight(graph, name) for graph in spare)
    }
    part = replace(whole, tensors=tensors, graphs=kept, card={}, base=b"")
    told = {"format": FORMAT, "fingerprint": whole.fingerprint.hex(), "part": part.fingerprint.hex()}
    return _ordered(stored.pack(part, told))


def _ordered(data: bytes) -> bytes:
    """A safetensors file with its header in alphabetical order, which that of its writer is not: of one checkpoint the
    same bytes are made each time."""
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.dumps(json.loads(data[8:start]), sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + data[start:]


class Models:
    """Parts of the checkpoints of this machine by fingerprint, each made once."""

    def __init__(self, model: Path | None = None) -> None:
        """model: a checkpoint that is looked at before those of the zoo and the cache."""
        self._model, self._lock = model, Lock()
        self._made: dict[bytes, bytes] = {}

    def of(self, fingerprint: bytes, name: str = "of a file") -> bytes:
        """The part of the checkpoint with a fingerprint. Raises ModelMismatchError where there is none here, and
        CheckpointError; UnsupportedVersionError for a file that holds its own networks."""
        if name == OVERFITTED:
            raise UnsupportedVersionError(f"a file of {name}, which browsers do not decode; `aecodec decompress` does")
        with self._lock:
            if fingerprint not in self._made:
                self._made[fingerprint] = decoder_part(find_fingerprint(fingerprint, name, self._model))
            return self._made[fingerprint]


def file_name(fingerprint: bytes) -> str:
    """What the file of a part is called."""
    return f"{fingerprint.hex()}{SUFFIX}"


def fingerprint_in(name: str) -> bytes:
    """The inverse of `file_name`. Raises UnavailableError."""
    found = _NAME.fullmatch(name)
    if found is None:
        raise UnavailableError("no such model")
    return bytes.fromhex(found[1])
