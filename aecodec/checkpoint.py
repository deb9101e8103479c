"""A trained model and its file: built from its family, saved with its tables frozen, loaded as it was.

Tables are frozen inside `save`, so nobody has to remember to; `load` reads them and recomputes none. What stands in the
file is told in zoo/stored.py.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import torch

from .coding.container import MAX_NAME, is_model_name
from .coding.golden import golden_digest
from .contracts import CheckpointError, FrozenModel, TileCodec
from .models import family as find_family
from .zoo import stored
from .zoo.stored import Stored


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
    if isinstance(model, TileCodec):
        card = {**card, "golden": golden_digest(model)}
    arrays = {key: tensor.numpy() for key, tensor in tensors.items()}
    tables = model.tables if isinstance(model, TileCodec) else {}
    return stored.write(Stored(name, family_name, plain(config), arrays, tables, {}, card), path)


def plain(config: dict[str, Any]) -> dict[str, Any]:
    """A configuration as JSON gives it back: lists for tuples."""
    loaded: dict[str, Any] = json.loads(json.dumps(config))
    return loaded


def load(path: Path, device: str | torch.device = "cpu") -> FrozenModel:
    """A model ready for use. Raises CheckpointError if the file is damaged or its fingerprint is wrong."""
    kept = stored.read(path)
    model = build(kept.family, kept.config)
    weights = {key: torch.from_numpy(array) for key, array in kept.tensors.items()}
    weights = {key: v.float() if v.dtype == torch.float16 else v for key, v in weights.items()}
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise CheckpointError(f"{path}: its tensors do not fit {kept.family}: {error}") from error
    if isinstance(model, TileCodec):
        model.tables = kept.tables
        model.prove_exact()
    model.eval().requires_grad_(False).to(device)
    return FrozenModel(kept.name, kept.family, kept.fingerprint, model, kept.card)
