"""One training loop for every family."""

from __future__ import annotations

import contextlib
import copy
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from torch import nn

from .. import checkpoint
from ..contracts import AecodecError, BatchSource, Model, OutputExistsError
from ..data.batches import CropPlan, open_batches
from ..data.files import make_folder, write_atomic
from ..data.locks import locked
from ..engine.graphs import write_graphs
from ..shield import shielded
from .config import TrainConfig, read_config_file
from .curve import CURVE_FILE, CURVE_START, Curve, Meter
from .optimizer import rate_factor
from .processes import World, join_processes, stop_on_signal
from .state import STATE_FILE, Run, load_state, load_weights, save_state, start_run

CHECKPOINT_FILE = "model.safetensors"
CONFIG_FILE = "config.yaml"
#: To resume from the state in the run's own folder, if there is one.
AUTO = "auto"

#: What a run writes into its folder, but for TensorBoard's own files.
RUN_FILES = (CONFIG_FILE, CURVE_FILE, STATE_FILE, CHECKPOINT_FILE)

__all__ = [
    "AUTO",
    "CHECKPOINT_FILE",
    "CONFIG_FILE",
    "CURVE_FILE",
    "RUN_FILES",
    "STATE_FILE",
    "Outcome",
    "Run",
    "fit",
    "left_over",
    "state_of",
]

Report = Callable[[Run, dict[str, float]], None]


@dataclass(frozen=True)
class Outcome:
    """How a call of `fit` ended. interrupted: by a signal; elapsed: seconds, earlier sessions included."""

    checkpoint: Path
    step: int
    elapsed: float
    interrupted: bool
    finished: bool


@dataclass(frozen=True)
class _Session:
    """What one call of `fit` works with. begin: its start; earlier: seconds of training before it."""

    world: World
    folder: Path
    source: BatchSource
    held: list[torch.Tensor]
    curve: Curve | None
    begin: float
    earlier: float
    max_seconds: float | None
    stopped: Callable[[], bool]
    report: Report | None

    def agree(self, run: Run) -> tuple[bool, bool]:
        """Set the clock alike in every process -> (someone asked for an end, the time of this call is up)."""
        seconds = time.monotonic() - self.begin
        late = self.max_seconds is not None and seconds >= self.max_seconds
        asked, late_anywhere, run.position.elapsed = self.world.largest(
            float(self.stopped()), float(late), self.earlier + seconds
        )
        return asked > 0, late_anywhere > 0


@shielded()
def fit(
    config: TrainConfig,
    data: str | Path | BatchSource,
    folder: Path,
    *,
    evaluation: str | Path | None = None,
    resume: Path | str | None = None,
    weights: Path | None = None,
    new_schedule: bool = False,
    max_seconds: float | None = None,
    wait: float = 0.0,
    report: Report | None = None,
) -> Outcome:
    """Train, or go on training, and leave a state file and a checkpoint in ``folder``.

    data: a folder of pictures, an array of an .npz (``FILE.npz:KEY``), or a source that is open. evaluation: another
    one to evaluate on, instead of the ``hold_out`` items of ``data``. resume: a state file to continue from, or AUTO:
    that in ``folder``, if there is one. weights: a checkpoint to begin from, where there is no state to continue.
    new_schedule: begin warm-up, plateau and decay anew where the state stands, for stretches that each end annealed.
    max_seconds: end cleanly after that long in this call. wait: seconds to wait for another process that trains into
    the same folder. report: called with the run and the averages since the last scheduled row (loss, bpp, psnr,
    images_per_second, ...). Ctrl-C and SIGTERM end the call cleanly as well. Under torchrun every process calls this;
    all stop at the same step and the first alone writes. Raises OutputExistsError if the folder holds a run that is not
    resumed, BusyError if another process trains into it.
    """
    begin = time.monotonic()
    with stop_on_signal() as stopped, join_processes(config.device) as world, _only_writer(folder, world, wait):
        state = state_of(folder, resume)
        if config.threads:
            torch.set_num_threads(config.threads)
        plan = CropPlan(
            config.crop, config.late_crop, config.late_from, config.downscale, config.hold_out, config.view, config.only
        )
        source = data if isinstance(data, BatchSource) else open_batches(data, world.device, plan, evaluation)
        run = start_run(config, source, world, initialise=state is None and weights is None)
        if state is not None:
            load_state(run, state, world)
        elif weights is not None:
            load_weights(run, weights)
        if new_schedule:
            run.begin_schedule()
        curve = None
        if world.rank == 0:
            write_atomic(folder / CONFIG_FILE, config.to_yaml().encode(), overwrite=True)
            curve = Curve(folder, run.position.step, (config.log_every, config.evaluate_every))
        held = source.held_out() if world.rank == 0 else []
        session = _Session(
            world, folder, source, held, curve, begin, run.position.elapsed, max_seconds, stopped, report
        )
        try:
            interrupted = _loop(run, _module(run, world), session)
            save_state(run, folder, world)
            if world.rank == 0:
                export(run, folder / CHECKPOINT_FILE, source, world.device)
        finally:
            if curve is not None:
                curve.close()
        return Outcome(folder / CHECKPOINT_FILE, run.position.step, run.position.elapsed, interrupted, run.finished())


def left_over(folder: Path) -> set[str]:
    """Which of its files a run has left that ended before its first state, told by what they hold."""
    config, curve = folder / CONFIG_FILE, folder / CURVE_FILE
    try:
        left = TrainConfig(**read_config_file(config)) if config.is_file() else None
        if left is None or left.to_yaml() != config.read_text(encoding="utf-8"):
            return set()
        begin, *rows = curve.read_text(encoding="utf-8").splitlines() if curve.is_file() else [""]
    except (OSError, ValueError, AecodecError):
        return set()
    step = rows[-1].partition(",")[0] if rows else "0"
    early = begin.startswith(CURVE_START) and step.isdigit() and int(step) <= left.save_every
    return {CONFIG_FILE, CURVE_FILE} if early else {CONFIG_FILE}


@contextlib.contextmanager
def _only_writer(folder: Path, world: World, wait: float) -> Iterator[None]:
    """The folder, made, and no other training in it; the first process sees to that, and all go on together."""
    with contextlib.ExitStack() as stack:
        if world.rank == 0:
            make_folder(folder)
            stack.enter_context(locked(folder / STATE_FILE, wait=wait))
        world.largest(0.0)
        yield


def state_of(folder: Path, resume: Path | str | None) -> Path | None:
    """The state to go on from, if any. Raises OutputExistsError if a run in the folder would be lost."""
    own = folder / STATE_FILE
    if resume == AUTO:
        return own if own.exists() else None
    if resume is None and own.exists():
        raise OutputExistsError(f"{folder}: holds a run already; use --resume auto to go on with it, or another folder")
    return None if resume is None else Path(resume)


class _LossOf(nn.Module):
    """Makes `loss` the forward of a module, which is the call that DDP intercepts."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, batch: torch.Tensor, rng: torch.Generator, progress: float
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        loss = cast(Model, self.model).loss(batch, rng, progress)
        return loss.total, loss.parts


def _module(run: Run, world: World) -> nn.Module:
    """What a step calls: the model's loss, compiled and distributed as configured."""
    module: nn.Module = _LossOf(run.model)
    if run.config.compile:
        for child in run.model.children():
            child.compile()
    if world.size > 1:
        module = nn.parallel.DistributedDataParallel(module)
    return module


def _loop(run: Run, module: nn.Module, session: _Session) -> bool:
    """Steps until the run is finished, its time is up or someone asks for an end -> whether someone did."""
    config = run.config
    asked, late = session.agree(run)
    run.meter.lap = time.monotonic()
    while not (asked or late or run.finished()):
        train_step(run, module, session.source)
        asked, late = session.agree(run)
        ending = asked or late or run.finished()
        if session.curve is not None:
            _record(run, session, session.curve, ending)
        if run.position.step % config.save_every == 0 and not ending:
            save_state(run, session.folder, session.world)
    return asked


def _record(run: Run, session: _Session, curve: Curve, ending: bool) -> None:
    """Write and report a row where one is due."""
    step, scheduled = run.position.step, curve.scheduled(run.position.step)
    if not (scheduled or ending):
        return
    means = run.meter.means()
    means["images_per_second"] *= session.world.size
    if session.held and (ending or step % run.config.evaluate_every == 0):
        means.update(evaluate(run.ema, session.held))
    curve.add(step, run.position.elapsed, means)
    if session.report is not None:
        session.report(run, means)
    if scheduled:
        run.meter = Meter()


def train_step(run: Run, module: nn.Module, source: BatchSource) -> None:
    """One batch, one optimiser step, one EMA update; the parts of the loss go to the run's meter."""
    config, progress = run.config, run.progress()
    factor = rate_factor(config, progress, run.position.step - run.position.schedule_step)
    for group in run.optimizer.param_groups:
        group["lr"] = config.learning_rate * factor
    batch = source.draw(config.batch, run.rng, progress)
    with torch.autocast(batch.device.type, torch.bfloat16, enabled=config.autocast):
        total, parts = module(batch, run.rng, progress)
    run.optimizer.zero_grad(set_to_none=True)
    total.backward()
    norm = nn.utils.clip_grad_norm_(run.model.parameters(), config.clip)
    values = {"loss": total.detach(), **parts, "grad_norm": norm}
    # One transfer for all of them: each would make a device wait for the host.
    scalars = torch.stack([value.detach().float() for value in values.values()]).tolist()
    # A non-finite gradient would poison weights and EMA for good; such a step is left out and counted.
    if math.isfinite(scalars[-1]):
        run.optimizer.step()
        _update_ema(run)
    run.position.step += 1
    run.meter.add(dict(zip(values, scalars, strict=True)), len(batch))


def newest_share(ema: float, step: int) -> float:
    """How much the weights after a step, counted from 0, count in their average, whose decay is ``ema`` in the end."""
    # Short runs average over what there is: the window grows with the step.
    return 1.0 - min(ema, (1 + step) / (10 + step))


@torch.no_grad()
def _update_ema(run: Run) -> None:
    pairs = zip(run.ema.parameters(), run.model.parameters(), strict=True)
    averages, values = zip(*pairs, strict=True)
    torch._foreach_lerp_(list(averages), list(values), newest_share(run.config.ema, run.position.step))
    # Buffers are averages themselves (batch normalisation) or constant.
    for average, value in zip(run.ema.buffers(), run.model.buffers(), strict=True):
        average.copy_(value)


@shielded()
@torch.no_grad()
def evaluate(model: nn.Module, batches: list[torch.Tensor], seed: int = 0) -> dict[str, float]:
    """Mean loss and its parts over held-out batches (each (B, *shape) float32), with fixed noise."""
    sums: dict[str, float] = {}
    for number, batch in enumerate(batches):
        rng = torch.Generator(device=batch.device).manual_seed(seed + number)
        loss = cast(Model, model).loss(batch, rng, 1.0)
        for key, value in {"loss": loss.total, **loss.parts}.items():
            sums[key] = sums.get(key, 0.0) + float(value) / len(batches)
    return {f"eval_{k}": v for k, v in sums.items()}


def export(run: Run, path: Path, source: BatchSource, device: torch.device) -> bytes:
    """Write the EMA weights as a checkpoint with a card of how they were made. Returns the fingerprint."""
    cuda = device.type == "cuda"
    card = {
        "steps": run.position.step,
        "seconds": round(run.position.elapsed),
        "device": torch.cuda.get_device_name(device) if cuda else f"{torch.get_num_threads()} CPU threads",
        "pictures": len(source),
        "training": run.config.model_dump(),
    }
    print_ = checkpoint.save(
        copy.deepcopy(run.ema).cpu(),
        path,
        name=run.config.name,
        family_name=run.config.family,
        card=card,
        half=run.config.half,
        calibration=_calibration(run.config, source, device),
    )
    write_graphs(path)
    return print_


def _calibration(config: TrainConfig, source: BatchSource, device: torch.device) -> Iterator[torch.Tensor]:
    """The same random items at every export, so that exporting changes nothing in the run."""
    rng = torch.Generator(device=device).manual_seed(config.seed)
    for _ in range(config.calibration):
        yield source.draw(1, rng, 1.0).cpu()
