"""A trained model and its file: built from its family, saved with its tables frozen, loaded as it was.

Tables are frozen inside `save`, so nobody has to remember to; `load` reads them and recomputes none. What stands in the
file is told in zoo/stored.py.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.modules.module import (
    register_module_buffer_registration_hook,
    register_module_parameter_registration_hook,
)

from .coding.container import MAX_NAME, is_model_name
from .coding.golden import golden_digest
from .contracts import CheckpointError, FrozenModel, TileCodec, UnknownName
from .data.records import Kind, either, flag, integer, listing, misfit, number, text
from .latents import coder_of
from .latents.protocol import Parts
from .models import family as find_family
from .parallel import Lock
from .shield import shielded
from .zoo import stored
from .zoo.registry import MAX_WIDTH, configuration_fault
from .zoo.stored import Stored

#: What a model may hold beside the tensors of its checkpoint: buffers that are made anew.
_SPARE_PARTS, _SPARE_NUMBERS = 256, 1 << 20


@shielded()
def build(family_name: str, config: dict[str, Any], room: Room | None = None) -> Any:
    """A model of a family from its configuration as a plain dict.

    room: how much it may hold, for a configuration that nobody vouches for. Raises CheckpointError for a configuration
    that makes none, or one that does not fit the room.
    """
    model_class, config_class = find_family(family_name).load()
    known = {f.name: f for f in fields(config_class)}
    unknown = sorted(set(config) - set(known))
    if unknown:
        raise CheckpointError(
            f"{family_name} has no configuration key {', '.join(unknown)}; it has: {', '.join(sorted(known))}"
        )
    # JSON knows lists only.
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in config.items()}
    wrong = configuration_fault(values) or misfit(values, {key: _like(known[key].default) for key in values})
    if wrong:
        raise CheckpointError(f"{family_name} cannot be built: {wrong}")
    try:
        with room.kept() if room else nullcontext():
            return model_class(config_class(**values))
    except (TypeError, ValueError, RuntimeError, ArithmeticError, LookupError, MemoryError) as error:
        raise CheckpointError(f"{family_name} cannot be built from {config}: {error}") from error


def _like(default: Any) -> Kind:
    """What may stand in place of a default: a value of its type, of a list's entries each."""
    if isinstance(default, bool):
        return flag()
    if isinstance(default, int):
        return integer(0, MAX_WIDTH)
    if isinstance(default, float):
        return either(number(0, 1e12), integer(0, MAX_WIDTH))
    if isinstance(default, tuple):
        return listing(text() if default and isinstance(default[0], str) else integer(0, MAX_WIDTH))
    return text()


class Room:
    """How much a model may hold: what the tensors hold that are to fill it. A module that is made meanwhile in this
    thread and asks for more raises CheckpointError before its numbers are written."""

    _lock = Lock()

    def __init__(self, tensors: Mapping[str, np.ndarray]) -> None:
        self._parts = len(tensors) + _SPARE_PARTS
        self._numbers = sum(array.size for array in tensors.values()) + _SPARE_NUMBERS

    @contextmanager
    def kept(self) -> Iterator[None]:
        """While modules are made."""
        thread = threading.get_ident()

        def count(module: nn.Module, name: str, held: torch.Tensor | None) -> None:
            if held is None or threading.get_ident() != thread:
                return
            self._parts -= 1
            self._numbers -= held.numel()
            if self._parts < 0 or self._numbers < 0:
                raise CheckpointError("its configuration asks for a larger model than its tensors fill")

        # The hooks are torch's, for all threads: one model at a time.
        with self._lock, ExitStack() as hooks:
            for register in (register_module_parameter_registration_hook, register_module_buffer_registration_hook):
                hooks.callback(register(count).remove)
            yield


@shielded()
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

    calibration: training pictures, (1, 3, H, W) float32 in [0, 1] each, to which a codec refits what it
    froze.
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
        model.calibrate(calibration)
        model.prove_exact()
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


@shielded()
def load(path: Path, device: str | torch.device = "cpu") -> FrozenModel:
    """A model ready for use. Raises CheckpointError if the file is damaged or its fingerprint is wrong."""
    return restore(stored.read(path), path, device)


@shielded()
def restore(kept: Stored, path: Path, device: str | torch.device = "cpu") -> FrozenModel:
    """What was read of a path as a model ready for use. Raises CheckpointError for weights that do not fit."""
    try:
        model = build(kept.family, kept.config, Room(kept.tensors))
    except (CheckpointError, UnknownName) as error:
        raise CheckpointError(f"{path}: {error}") from error
    weights = {key: torch.from_numpy(array) for key, array in kept.tensors.items()}
    weights = {key: v.float() if v.dtype == torch.float16 else v for key, v in weights.items()}
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        # The first line tells the module, one each the differences.
        first = str(error).splitlines()[1:2] or [str(error)]
        raise CheckpointError(f"{path}: its tensors do not fit {kept.family}: {first[0].strip()[:500]}") from error
    if isinstance(model, TileCodec):
        # What the integers are made of is checked once, whatever computes the networks.
        coder_of(kept.family, Parts(kept.config, kept.tensors, kept.tables), path)
        model.tables = kept.tables
        model.prove_exact()
    model.eval().requires_grad_(False).to(device)
    return FrozenModel(kept.name, kept.family, kept.fingerprint, model, kept.card)
