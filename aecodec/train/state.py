"""Everything that moves while a model is trained, and the state file that holds all of it."""

from __future__ import annotations

import copy
import io
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from torch import nn

from .. import checkpoint
from ..contracts import BatchSource, CheckpointError, Initialisable, UsageError
from ..data.files import write_atomic
from ..data.pickled import read_pickled
from ..data.records import Kind, integer, mapping, misfit, number, record, shown
from ..models import family as find_family
from .config import TrainConfig
from .curve import Meter
from .optimizer import make_optimizer
from .optimizer_state import check_state
from .processes import World

STATE_FILE = "state.pt"
#: Settings that a state file cannot change under the run that it belongs to.
_FIXED = ("family", "optimizer")
#: The most steps and seconds of a run.
_STEPS, _SECONDS = 1 << 53, 1e12
_STATE = {
    "config": mapping(),
    "model": mapping(most=1 << 20),
    "ema": mapping(most=1 << 20),
    "optimizer": mapping(),
    "rng": Kind(
        "a tensor of bytes",
        lambda value: isinstance(value, torch.Tensor) and value.dtype == torch.uint8 and value.ndim in (1, 2),
    ),
    "progress": record(
        {"step": integer(0, _STEPS), "elapsed": number(0, _SECONDS)},
        {"schedule_step": integer(0, _STEPS), "schedule_elapsed": number(0, _SECONDS)},
    ),
}
_PERHAPS = {
    "meter": record(
        {"sums": mapping(number(-1e300, 1e300)), "counts": mapping(integer(1, _STEPS)), "skipped": integer(0, _STEPS)}
    )
}


@dataclass
class Position:
    """Where a run stands. elapsed: seconds of training, over all its sessions.

    schedule_step, schedule_elapsed: where the present schedule began; 0 unless `fit` was told to begin it anew.
    """

    step: int = 0
    elapsed: float = 0.0
    schedule_step: int = 0
    schedule_elapsed: float = 0.0


@dataclass
class Run:
    """Everything that moves while training, and all of it is in the state file."""

    config: TrainConfig
    model: nn.Module
    ema: nn.Module
    optimizer: torch.optim.Optimizer
    rng: torch.Generator
    position: Position = field(default_factory=Position)
    meter: Meter = field(default_factory=Meter)

    def progress(self) -> float:
        """Share of the schedule done, in [0, 1], by steps or by the time budget."""
        position, budget = self.position, self.config.time_budget
        if budget:
            return min((position.elapsed - position.schedule_elapsed) / budget, 1.0)
        return min((position.step - position.schedule_step) / self.config.steps, 1.0)

    def begin_schedule(self) -> None:
        """Begin the schedule of rates anew at the present step: warm-up, plateau and decay."""
        self.position.schedule_step, self.position.schedule_elapsed = self.position.step, self.position.elapsed

    def finished(self) -> bool:
        """Whether nothing is left to do."""
        return self.progress() >= 1.0


def build_model(config: TrainConfig, shape: tuple[int, ...]) -> Any:
    """The family's named size with the run's own settings on top. Raises UsageError or CheckpointError.

    shape: of one training item; a family whose config has such a field is built for it.
    """
    entry = find_family(config.family)
    sizes = entry.sizes()
    if config.size not in sizes:
        raise UsageError(f"{config.family} has no size {config.size!r}; there are: {', '.join(sorted(sizes))}")
    size = sizes[config.size]
    filled = {"shape": shape} if any(field.name == "shape" for field in fields(size)) else {}
    return checkpoint.build(config.family, {**asdict(size), **filled, **config.model})


def start_run(config: TrainConfig, source: BatchSource, world: World, *, initialise: bool = True) -> Run:
    """A fresh run: seeded weights, initialised from the data where the family knows how and it is wanted."""
    torch.manual_seed(config.seed)
    model = build_model(config, source.shape)
    if initialise and config.initialise and isinstance(model, Initialisable):
        model.initialise(source, torch.Generator(device=world.device).manual_seed(config.seed))
    model.to(world.device)
    if len(source.shape) == 3:
        model.to(memory_format=torch.channels_last)
    ema = copy.deepcopy(model).requires_grad_(False)
    rng = torch.Generator(device=world.device).manual_seed(_seed(config, world.rank, 0))
    return Run(config, model, ema, make_optimizer(model, config), rng)


def _seed(config: TrainConfig, rank: int, step: int) -> int:
    """Each process draws its own crops and noise."""
    return (config.seed + step) * 1000 + rank


def save_state(run: Run, folder: Path, world: World) -> None:
    """Write what `load_state` needs to go on bit for bit. Every process calls it, the first one writes.

    Raises OutputError, leaving the old state file as it was.
    """
    generators = world.gather(run.rng.get_state())
    if world.rank:
        return
    state = {
        "config": run.config.model_dump(),
        "model": run.model.state_dict(),
        "ema": run.ema.state_dict(),
        "optimizer": run.optimizer.state_dict(),
        "rng": generators,
        "progress": asdict(run.position),
        "meter": run.meter.state(),
    }
    # Serialised in memory first, so that whatever fails while writing is a plain OSError of `write_atomic`.
    buffer = io.BytesIO()
    torch.save(state, buffer)
    write_atomic(folder / STATE_FILE, buffer.getbuffer(), overwrite=True)


def load_state(run: Run, path: Path, world: World) -> None:
    """Continue from a state file. Raises CheckpointError if it is damaged or of another model."""
    state = read_pickled(path, CheckpointError, says="cannot be resumed from")
    try:
        if not isinstance(state, dict):
            raise ValueError(f"expected a dict, found {type(state).__name__}")
        if wrong := misfit(state, _STATE, _PERHAPS):
            raise ValueError(wrong)
        for key in _FIXED:
            found, expected = state["config"].get(key), getattr(run.config, key)
            if found != expected:
                known = found if isinstance(found, str) and len(found) < 100 else shown(found)
                raise ValueError(f"it was written with {key} {known}, this run has {key} {expected}")
        check_state(state["optimizer"], run.optimizer)
        for key, module in (("model", run.model), ("ema", run.ema)):
            _check_finite(state[key])
            module.load_state_dict(state[key])
        run.optimizer.load_state_dict(_set_as_here(state["optimizer"], run.optimizer))
        run.position = Position(**state["progress"])
        run.meter = Meter(**state.get("meter", {}))
        _restore_generator(run, torch.atleast_2d(state["rng"]), world)
    except (RuntimeError, LookupError, TypeError, ValueError, AttributeError, AssertionError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise CheckpointError(f"{path}: cannot be resumed from ({reason})") from error


def _check_finite(tensors: Mapping[str, Any]) -> None:
    """Raises ValueError for weights that are not finite tensors."""
    for name, tensor in tensors.items():
        if not isinstance(tensor, torch.Tensor):
            raise ValueError(f"{shown(name)} is no tensor")
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise ValueError(f"{shown(name)} holds a value that is not finite")


def _set_as_here(saved: dict[str, Any], optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """A saved optimiser with the settings of this one: what a run is told is no part of its state, nor is whether its
    steps are computed in one fused pass."""
    own = {key: optimizer.param_groups[0][key] for key in optimizer.defaults}
    return {**saved, "param_groups": [{**group, **own} for group in saved["param_groups"]]}


def load_weights(run: Run, path: Path) -> None:
    """Begin with a checkpoint's weights instead of random ones. Raises CheckpointError if they do not fit."""
    frozen = checkpoint.load(path)
    if frozen.family != run.config.family:
        raise CheckpointError(f"{path}: is of family {frozen.family}, this run trains {run.config.family}")
    weights = frozen.module.state_dict()
    try:
        run.model.load_state_dict(weights)
        run.ema.load_state_dict(weights)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise CheckpointError(f"{path}: its weights do not fit this run's model ({reason})") from error


def _restore_generator(run: Run, generators: torch.Tensor, world: World) -> None:
    """A process or a kind of device that the state file does not know begins fresh draws of its own."""
    same_kind = generators.shape[1] == run.rng.get_state().numel()
    if world.rank < len(generators) and same_kind:
        run.rng.set_state(generators[world.rank].clone())
    else:
        run.rng.manual_seed(_seed(run.config, world.rank, run.position.step))
