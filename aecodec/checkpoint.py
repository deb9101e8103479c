"""A trained model as one file: family, config, weights and frozen tables in safetensors, with a fingerprint.

Tables are frozen inside `save`, so nobody has to remember to; `load` reads them and recomputes none.
The fingerprint is the first 8 bytes of a SHA-256 over the family, the config and every tensor.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as safetensors_bytes

from .coding.container import MAX_NAME, is_model_name
from .coding.golden import golden_digest
from .coding.tables import TableSet
from .contracts import CheckpointError, FrozenModel, TileCodec
from .data.files import write_atomic
from .models import family as find_family
from .zoo.registry import FORMAT, read_header

_TABLE_PREFIX = "tables/"
_TABLE_PARTS = ("frequencies", "lengths", "offsets")


def build(family_name: str, config: dict[str, Any]) -> Any:
    """A model of a family from its configuration as a plain dict. Raises CheckpointError for one that makes none."""
    model_class, config_class = find_family(family_name).load()
    known = {f.name for f in fields(config_class)}
    unknown = sorted(set(config) - known)
    if unknown:
        raise CheckpointError(
            f"{family_name} has no configuration key {', '.join(unknown)}; it has: {', '.join(sorted(known))}"
        )
    # JSON knows lists only.
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in config.items()}
    try:
        return model_class(config_class(**values))
    except (TypeError, ValueError, RuntimeError, ArithmeticError) as error:
        raise CheckpointError(f"{family_name} cannot be built from {config}: {error}") from error


def fingerprint(family_name: str, config: dict[str, Any], tensors: dict[str, torch.Tensor]) -> bytes:
    """8 bytes that change whenever the family, the config or any tensor (name, type, shape, value) does."""
    digest = hashlib.sha256(json.dumps([family_name, config], sort_keys=True).encode())
    for name in sorted(tensors):
        array = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name}|{array.dtype}|{tuple(array.shape)}|".encode())
        digest.update(array.view(-1).view(torch.uint8).numpy().tobytes())
    return digest.digest()[:8]


def _pack_tables(tables: dict[str, TableSet]) -> tuple[dict[str, torch.Tensor], dict[str, bool]]:
    tensors, escapes = {}, {}
    for name, table in tables.items():
        escapes[name] = table.escape
        # Rows one after another without their padding; frequencies are at most 2^20, so int32 holds them.
        rows = np.concatenate([table.row(number) for number in range(len(table))])
        for part, array in zip(_TABLE_PARTS, (rows, table.lengths, table.offsets), strict=True):
            tensors[f"{_TABLE_PREFIX}{name}/{part}"] = torch.from_numpy(array.astype(np.int32))
    return tensors, escapes


def _unpack_table(rows: np.ndarray, lengths: np.ndarray, offsets: np.ndarray, escape: bool) -> TableSet:
    """The inverse of one table's packing. Raises ValueError if the parts do not fit each other."""
    if rows.ndim != 1 or lengths.shape != offsets.shape or not len(lengths) or lengths.min() < 1:
        raise ValueError("table parts of the wrong shape")
    if lengths.astype(np.int64).sum() != len(rows):
        raise ValueError(f"{len(rows)} frequencies for tables of {lengths.sum()}")
    frequencies = np.zeros((len(lengths), int(lengths.max())), np.uint32)
    frequencies[np.arange(frequencies.shape[1]) < lengths[:, None]] = rows
    return TableSet(frequencies, lengths, offsets, escape)


def save(
    model: Any,
    path: Path,
    *,
    name: str,
    family_name: str,
    card: dict[str, Any],
    half: bool = False,
    calibration: Iterable[torch.Tensor] = (),
) -> bytes:
    """Freeze the tables and prove the exactness bound of a model that has them, and write it atomically.

    Returns the fingerprint and leaves the model in eval mode.

    calibration: training pictures, (1, 3, H, W) float32 in [0, 1] each, to which a codec refits its frozen tables.
    half: store (and first round to) float16 the floating tensors of the transforms. Raises CheckpointError if the
    name does not fit a file's header, a weight is not finite, or the exact part could exceed its bound.
    """
    if not is_model_name(name):
        raise CheckpointError(f"a model name is 1 to {MAX_NAME} letters, digits, '-', '_' or '.', got {name!r}")
    if half:
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.copy_(parameter.to(torch.float16).to(parameter.dtype))
    for key, parameter in model.named_parameters():
        if not bool(torch.isfinite(parameter).all()):
            raise CheckpointError(f"{path}: not written, {key} holds a value that is not finite")
    model.eval()
    if isinstance(model, TileCodec):
        model.freeze()
        model.prove_exact()
        model.calibrate(calibration)
    config = asdict(model.config)
    tensors = {k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()}
    if half:
        tensors = {k: v.to(torch.float16) if v.is_floating_point() else v for k, v in tensors.items()}
    table_tensors, escapes = _pack_tables(model.tables if isinstance(model, TileCodec) else {})
    tensors.update(table_tensors)
    print_ = fingerprint(family_name, config, tensors)
    if isinstance(model, TileCodec):
        card = {**card, "golden": golden_digest(model)}
    header = {
        "format": FORMAT,
        "name": name,
        "family": family_name,
        "config": json.dumps(config),
        "escapes": json.dumps(escapes),
        "fingerprint": print_.hex(),
        "card": json.dumps(card),
    }
    write_atomic(path, safetensors_bytes(tensors, header), overwrite=True)
    return print_


def load(path: Path, device: str | torch.device = "cpu") -> FrozenModel:
    """A model ready for use. Raises CheckpointError if the file is damaged or its fingerprint is wrong."""
    header = read_header(path)
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: damaged ({error})") from error
    found = fingerprint(header["family"], header["config"], tensors)
    if found != header["fingerprint"]:
        raise CheckpointError(
            f"{path}: its content has fingerprint {found.hex()}, its header says {header['fingerprint'].hex()}"
        )
    model = build(header["family"], header["config"])
    tables = {}
    try:
        for name, escape in header["escapes"].items():
            rows, lengths, offsets = (tensors.pop(f"{_TABLE_PREFIX}{name}/{part}").numpy() for part in _TABLE_PARTS)
            tables[name] = _unpack_table(rows, lengths, offsets, escape)
    except (KeyError, AttributeError, ValueError) as error:
        raise CheckpointError(f"{path}: its tables are missing or garbled ({error})") from error
    weights = {k: v.float() if v.dtype == torch.float16 else v for k, v in tensors.items()}
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise CheckpointError(f"{path}: its tensors do not fit {header['family']}: {error}") from error
    if isinstance(model, TileCodec):
        model.tables = tables
        model.prove_exact()
    model.eval().requires_grad_(False).to(device)
    return FrozenModel(header["name"], header["family"], found, model, header["card"])


@dataclass(frozen=True)
class GoldenCheck:
    """A model's golden digests, in hexadecimal. found: what its integer path gives; recorded: when it was saved."""

    name: str
    found: str
    recorded: str

    @property
    def exact(self) -> bool:
        """Whether the integers are those recorded."""
        return self.found == self.recorded


def check_golden(path: Path, device: str | torch.device = "cpu") -> GoldenCheck:
    """Compute a model's golden digest on a device. Raises CheckpointError as `load`, and for one that codes nothing."""
    frozen = load(path, device)
    if "golden" not in frozen.metadata:
        raise CheckpointError(f"{frozen.name} ({frozen.family}) codes no pictures: it has no exactness to test")
    return GoldenCheck(frozen.name, golden_digest(frozen.module), frozen.metadata["golden"])
