"""What a checkpoint's file holds, as plain arrays: read and verified without whatever computes its networks.

A safetensors file. Its header tells name, family, config, fingerprint and card. Its tensors are the weights by name,
the probability tables under ``tables/`` (rows one after another without their padding) and, under ``graphs/``, the
networks' graphs as bytes. The fingerprint is the first 8 bytes of a SHA-256 over the family, the config and every
tensor but the graphs: these are derived from the weights, name them, and hold none. A checksum over fingerprint and
graphs tells whether they belong to it. Weights that int8 codes can tell are held as these, and if the header names a
base, as changes of that checkpoint (coded_weights.py); here they are what the codes tell, which is what counts.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save as to_bytes

from ..coding.tables import TableSet, unpack_tables
from ..contracts import CheckpointError, ModelMismatchError, OutOfMemoryError
from ..data.files import write_atomic
from ..data.records import shown
from . import coded_weights
from .registry import FORMAT, find_fingerprint, read_header

#: Types of the tensors of a checkpoint, and how many axes they have at most.
TYPES = ("float16", "float32", "float64", "int8", "uint8", "int16", "int32", "int64", "bool")
MAX_AXES = 6
_TABLES, _GRAPHS = "tables/", "graphs/"
_TABLE_PARTS = ("frequencies", "lengths", "offsets")


@dataclass(frozen=True)
class Stored:
    """A checkpoint as it is kept. tensors: weights by name, float16 where they were stored so, and integers; graphs:
    ONNX models by the name of the network, without weights; base: the fingerprint of the checkpoint that its file tells
    the changes of, empty if it holds all weights itself; fingerprint: 8 bytes."""

    name: str
    family: str
    config: dict[str, Any]
    tensors: dict[str, np.ndarray]
    tables: dict[str, TableSet] = field(default_factory=dict)
    graphs: dict[str, bytes] = field(default_factory=dict)
    card: dict[str, Any] = field(default_factory=dict)
    base: bytes = b""

    @cached_property
    def fingerprint(self) -> bytes:
        return fingerprint(self.family, self.config, all_tensors(self))


def fingerprint(family: str, config: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> bytes:
    """8 bytes that change whenever the family, the config or any tensor (name, type, shape, value) does."""
    digest = hashlib.sha256(json.dumps([family, config], sort_keys=True).encode())
    for name in sorted(tensors):
        array = np.ascontiguousarray(tensors[name])
        # The names of types are torch's, as in the first checkpoints.
        digest.update(f"{name}|torch.{array.dtype.name}|{tuple(tensors[name].shape)}|".encode())
        digest.update(array.tobytes())
    return digest.digest()[:8]


def all_tensors(stored: Stored) -> dict[str, np.ndarray]:
    """The tensors of a checkpoint's file by name: weights, and the parts of its tables. Without graphs."""
    return {**stored.tensors, **_pack_tables(stored.tables)}


def _pack_tables(tables: Mapping[str, TableSet]) -> dict[str, np.ndarray]:
    tensors = {}
    for name, table in tables.items():
        # Frequencies are at most 2^20, so int32 holds them.
        rows = np.concatenate([table.row(index) for index in range(len(table))])
        for part, array in zip(_TABLE_PARTS, (rows, table.lengths, table.offsets), strict=True):
            tensors[f"{_TABLES}{name}/{part}"] = array.astype(np.int32)
    return tensors


def _checksum(print_: bytes, graphs: Mapping[str, bytes]) -> str:
    """Of graphs and the checkpoint that they belong to."""
    digest = hashlib.sha256(print_)
    for name in sorted(graphs):
        digest.update(f"{name}|{len(graphs[name])}|".encode() + graphs[name])
    return digest.hexdigest()


def pack(stored: Stored, told: Mapping[str, str]) -> bytes:
    """The bytes of a checkpoint's file. told: what its header says besides, format and fingerprint at least."""
    graphs = {f"{_GRAPHS}{name}": np.frombuffer(graph, np.uint8) for name, graph in stored.graphs.items()}
    header = {
        "name": stored.name,
        "family": stored.family,
        "config": json.dumps(stored.config),
        "escapes": json.dumps({name: table.escape for name, table in stored.tables.items()}),
        "card": json.dumps(stored.card),
        **told,
        **({"graphs": _checksum(bytes.fromhex(told["fingerprint"]), stored.graphs)} if graphs else {}),
    }
    if stored.base:
        header["base"] = stored.base.hex()
    try:
        tensors = coded_weights.split(stored.tensors, _base_tensors(stored.base))
    except CheckpointError as error:
        raise CheckpointError(f"{stored.name}: {error}") from error
    return to_bytes({**tensors, **_pack_tables(stored.tables), **graphs}, header)


def as_codes(stored: Stored, exact: Collection[str] = (), base: bytes = b"") -> Stored:
    """A checkpoint whose weights are rounded to what int8 codes can tell, so that its file is about half as large.

    exact: tensors that are to stay as they are. base: fingerprint of a checkpoint of this machine, whose changes the
    file is to hold. Raises CheckpointError if there is no such base, or it holds changes itself.
    """
    return replace(stored, tensors=coded_weights.settle(stored.tensors, _base_tensors(base), exact), base=base)


def _base_tensors(fingerprint_: bytes) -> Mapping[str, np.ndarray]:
    """The tensors of a checkpoint that others' files hold changes of; none without one."""
    if not fingerprint_:
        return {}
    try:
        path = find_fingerprint(fingerprint_, "whose changes it holds")
    except ModelMismatchError as error:
        raise CheckpointError(f"holds changes of a model that is not here: {error}") from error
    if read_header(path).get("base"):
        raise CheckpointError(f"holds changes of {path}, which holds changes itself")
    return read(path).tensors


def write(stored: Stored, path: Path) -> bytes:
    """Write a checkpoint atomically -> its fingerprint. Raises OutputError."""
    print_ = stored.fingerprint
    write_atomic(path, pack(stored, {"format": FORMAT, "fingerprint": print_.hex()}), overwrite=True)
    return print_


def read(path: Path) -> Stored:
    """Everything of a checkpoint. Raises CheckpointError if it is damaged, its fingerprint is wrong, or its graphs are
    damaged or another checkpoint's."""
    header = read_header(path)
    tensors = _read_tensors(path)
    graphs = {key: tensors.pop(key) for key in [key for key in tensors if key.startswith(_GRAPHS)]}
    base = bytes.fromhex(header.get("base", ""))
    try:
        tensors = coded_weights.apply(tensors, _base_tensors(base))
    except (CheckpointError, ValueError) as error:
        raise CheckpointError(f"{path}: {error}") from error
    found = fingerprint(header["family"], header["config"], tensors)
    if found != header["fingerprint"]:
        raise CheckpointError(
            f"{path}: its content has fingerprint {found.hex()}, its header says {header['fingerprint'].hex()}"
        )
    tables = {}
    try:
        for name, escape in header["escapes"].items():
            rows, lengths, offsets = (tensors.pop(f"{_TABLES}{name}/{part}") for part in _TABLE_PARTS)
            tables[name] = unpack_tables(rows, lengths, offsets, escape)
    except (KeyError, AttributeError, ValueError) as error:
        raise CheckpointError(f"{path}: its tables are missing or garbled ({error})") from error
    if any(graph.dtype != np.uint8 or graph.ndim != 1 for graph in graphs.values()):
        raise CheckpointError(f"{path}: its graphs are not bytes")
    plain = {key.removeprefix(_GRAPHS): graph.tobytes() for key, graph in graphs.items()}
    if plain and _checksum(found, plain) != header.get("graphs"):
        raise CheckpointError(f"{path}: its graphs are damaged or belong to another checkpoint")
    stored = Stored(header["name"], header["family"], header["config"], tensors, tables, plain, header["card"], base)
    stored.__dict__["fingerprint"] = found  # it need not be computed twice
    return stored


def _read_tensors(path: Path) -> dict[str, np.ndarray]:
    """Every tensor of a file. Raises CheckpointError for one that is no array of TYPES, or holds NaN or infinity."""
    try:
        with safe_open(path, framework="numpy") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
    except Exception as error:  # whatever safetensors raises of its own
        damaged = CheckpointError(f"{path}: damaged ({error or type(error).__name__})")
        raise OutOfMemoryError.below(error) or damaged from error
    for key, array in tensors.items():
        if array.dtype.name not in TYPES or array.ndim > MAX_AXES:
            raise CheckpointError(f"{path}: {shown(key)} is of type {array.dtype} and has {array.ndim} axes")
        if np.issubdtype(array.dtype, np.floating) and not np.isfinite(array).all():
            raise CheckpointError(f"{path}: {shown(key)} holds a value that is not finite")
    return tensors
