"""The law of checkpoints: a named error, or a model whose integers can be decoded. Fingerprints are made right."""

from __future__ import annotations

import json
import random
import struct
import zlib
from pathlib import Path

import numpy as np
from safetensors.numpy import save

from aecodec import checkpoint
from aecodec.contracts import AecodecError
from aecodec.latents import CODERS, coder_of
from aecodec.latents.protocol import Parts
from aecodec.zoo import coded_weights, stored
from aecodec.zoo.registry import FORMAT

from .law import HOSTILE, FileLaw, changed

TESTS = Path(__file__).parents[2] / "tests"
SEEDS = (
    *(TESTS / "golden" / "v1" / f"{name}.safetensors" for name in ("exact-hyperprior", "factorized-prior")),
    TESTS / "golden" / "v1" / "mean-scale-hyperprior.safetensors",
    *(TESTS / "golden" / folder / "exact-hyperprior.safetensors" for folder in ("adapting", "coded")),
    TESTS / "engine" / "small-hash.safetensors",
)
#: Share of those that are read which are also made a model of torch.
SHARE = 0.2
_NUMBERS = (0, 1, -1, 127, -128, 1 << 20, (1 << 31) - 1, -(1 << 31), (1 << 63) - 1)
_FLOATS = (0.0, -1.0, 1e4, 6e4, float("nan"), float("inf"), float("-inf"))


def forge(kept: stored.Stored, tensors: dict[str, np.ndarray], header: dict[str, object]) -> bytes:
    """A checkpoint's bytes with these tensors and fields of the header, its fingerprint made right if it can be."""
    fields = {"format": FORMAT, "name": kept.name, "family": kept.family, "config": kept.config, "card": {}}
    fields |= {"escapes": {name: table.escape for name, table in kept.tables.items()}} | header
    texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in fields.items()}
    config = fields["config"] if isinstance(fields["config"], dict) else {}
    try:
        whole = coded_weights.apply(tensors, {})
    except ValueError:  # codes that tell no weights
        whole = tensors
    texts.setdefault("fingerprint", stored.fingerprint(str(fields["family"]), config, whole).hex())
    return save(tensors, texts)


class CheckpointLaw(FileLaw):
    """See the module's docstring."""

    suffix = ".safetensors"

    def __init__(self) -> None:
        super().__init__()
        self._kept = [stored.read(path) for path in SEEDS]
        self._bytes = [path.read_bytes() for path in SEEDS]
        self._tensors = [coded_weights.split(stored.all_tensors(kept), {}) for kept in self._kept]
        for path in SEEDS:
            checkpoint.load(path)  # what families import takes seconds, once

    def make(self, rng: random.Random, number: int) -> tuple[bytes, bool]:
        """One in five is changed as bytes, the others in a field, a tensor or the header's own JSON."""
        which = number % len(SEEDS)
        kind = rng.randrange(5)
        if kind == 0:
            head = 8 + struct.unpack("<Q", self._bytes[which][:8])[0]
            return changed(rng, self._bytes[which], self._bytes, head=head), False
        tensors, header = dict(self._tensors[which]), dict[str, object]()
        if kind == 1:
            config = dict(self._kept[which].config)
            for _ in range(rng.randint(1, 2)):
                config[rng.choice([*config, "colour"])] = rng.choice(HOSTILE)
            header["config"] = config
        elif kind == 2:
            header[rng.choice(["name", "family", "escapes", "card", "fingerprint", "format", "config", "graphs"])] = (
                rng.choice([*HOSTILE, '{"a":' * 400 + "1" + "}" * 400, "{", *CODERS, {"y": True}, {"q": False}])
            )
        else:
            for _ in range(rng.randint(1, 3)):
                _change(rng, tensors)
        return forge(self._kept[which], tensors, header), True

    def outcome(self, data: bytes, repaired: bool) -> str:
        """Read, its latents' coder opened and tried; a share as a model of torch."""
        kept = stored.read(self.path)
        if kept.family in CODERS:
            coder = coder_of(kept.family, Parts(kept.config, kept.tensors, kept.tables), self.path)
            rng = np.random.default_rng(zlib.crc32(data))
            try:
                code = coder.decode_tile(rng.bytes(400), int(rng.integers(1001)), 8, 8)
            except AecodecError:
                pass
            else:
                if code.y.shape != coder.code_shapes(8, 8)[0]:
                    raise AssertionError(f"latents of shape {code.y.shape}")
        if zlib.crc32(data) % 1000 < 1000 * SHARE:
            checkpoint.load(self.path)
            return "loaded"
        return "read"


def _change(rng: random.Random, tensors: dict[str, np.ndarray]) -> None:
    """One tensor with another value, type or shape, another's content, or none."""
    key = rng.choice(sorted(tensors))
    if rng.random() < 0.5:  # what is exact is a small part of all tensors
        prefixes = ("tables/", "codes/", "scales/")
        key = rng.choice([name for name in sorted(tensors) if "_q" in name or name.startswith(prefixes)] or [key])
    array, kind = tensors[key].copy(), rng.randrange(7)
    if kind <= 2 and array.size:
        values = _FLOATS if array.dtype.kind == "f" else _NUMBERS
        value = rng.choice(values)
        limits = None if array.dtype.kind == "f" else np.iinfo(array.dtype)
        flat = array.reshape(-1)
        place = rng.randrange(array.size) if kind else slice(None)
        flat[place] = value if limits is None else min(max(int(value), limits.min), limits.max)
    elif kind == 3:
        with np.errstate(all="ignore"):
            array = array.astype(rng.choice(["float16", "float32", "int8", "int32", "int64", "uint8"]))
    elif kind == 4:
        array = array.reshape(-1)[: rng.randrange(array.size + 1)]
    elif kind == 5:
        array = tensors[rng.choice(sorted(tensors))]
    else:
        del tensors[key]
        if rng.random() < 0.5:
            tensors[key + rng.choice(["", "x", "/y"])] = np.ascontiguousarray(array)
        return
    tensors[key] = np.ascontiguousarray(array)
