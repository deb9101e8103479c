"""``aecodec train``: one training loop for every family."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..contracts import UsageError
from . import INTERRUPTED
from .numbers import SECONDS_LIMIT, Real
from .output import bar, say, wait_option, watched
from .writing import check_outputs

if TYPE_CHECKING:
    from ..train.loop import Run


@click.command()
@click.argument("family")
@click.option("--data", metavar="SOURCE", help="Folder of pictures, pack, or array of an .npz (FILE.npz:KEY).")
@click.option("--eval-data", metavar="SOURCE", help="Source of its kind to evaluate on; part of --data else.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the run.")
@click.option("--config", "config_file", type=click.Path(path_type=Path), help="YAML file of settings.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="One setting; model.KEY for the family's.")
@click.option("--resume", metavar="auto|PATH", help="Go on from the run's own state (if any), or from a state file.")
@click.option("--weights", type=click.Path(path_type=Path), help="Model to begin with, of the same configuration.")
@click.option("--max-seconds", type=Real(0, SECONDS_LIMIT, open_low=True), help="End cleanly after this long.")
@wait_option(0.0)
@click.option("--device", help="auto, cpu, cuda, cuda:N or mps.")
@click.option("--name", help="Name of the model in its files.")
@click.option("--backbone", metavar="timm:NAME", help="Feature extractor below a hasher, frozen.")
@click.option("--backbone-weights", metavar="FILE|cache", help="Its weights; none are downloaded.")
@click.option("--print-config", is_flag=True, help="Print the resolved configuration and exit.")
def train(
    family: str,
    data: str | None,
    eval_data: str | None,
    out: Path | None,
    config_file: Path | None,
    settings: tuple[str, ...],
    resume: str | None,
    weights: Path | None,
    max_seconds: float | None,
    wait: float,
    device: str | None,
    name: str | None,
    backbone: str | None,
    backbone_weights: str | None,
    print_config: bool,
) -> int:
    """Train a model of FAMILY. Ctrl-C ends after the step at hand and leaves a usable checkpoint.

    Precedence of settings: flag, --set, AECODEC_TRAIN_* in the environment, --config, default.
    """
    from ..models import family as find_family
    from ..train.config import resolve

    find_family(family)
    given = {"backbone": backbone, "backbone_weights": backbone_weights}
    extractor = [f"model.{key}={value}" for key, value in given.items() if value]
    config = resolve(family, config_file, [*settings, *extractor], {"device": device, "name": name})
    if print_config:
        import yaml

        say(*yaml.safe_dump(config.model_dump(), sort_keys=False).splitlines())
        return 0
    if data is None or out is None:
        raise UsageError("training needs --data and --out")
    from ..train.loop import fit, state_of

    state = state_of(out, resume)
    _check_folder(out, state, [data, eval_data, config_file, state, weights, backbone_weights])
    with bar("training", 1.0) as update:
        outcome = fit(
            config,
            data,
            out,
            evaluation=eval_data,
            resume=resume,
            weights=weights,
            max_seconds=max_seconds,
            wait=wait,
            report=partial(_shown, update, watched()),
        )
    if outcome.checkpoint is not None:
        say(f"{outcome.checkpoint}: {outcome.step} steps in {outcome.elapsed:.0f} s")
    return INTERRUPTED if outcome.interrupted else 0


def _check_folder(out: Path, state: Path | None, inputs: list[str | Path | None]) -> None:
    """Raises OutputExistsError and its kin unless all files of the run are new, or those of the very run that goes on.

    What a run has left that ended before its first state may be replaced as well.
    """
    from ..train.loop import RUN_FILES, STATE_FILE, left_over

    going_on = state is not None and state.resolve() == (out / STATE_FILE).resolve()
    # A run that goes on is read and brought further: its own files are inputs and outputs.
    ours = set(RUN_FILES) if going_on else left_over(out)
    own = {(out / name).resolve() for name in ours} if going_on else set()
    read = [given for given in inputs if given is not None and Path(given).resolve() not in own]
    for names, overwrite in ((ours, True), (set(RUN_FILES) - ours, False)):
        check_outputs(
            [(out / name, name) for name in sorted(names)],
            overwrite=overwrite,
            inputs=read,
            makes_folders=True,
            advice="use another folder, or --resume auto to go on with a run",
        )


def _shown(update: Callable[..., None], watched: bool, run: Run, means: dict[str, float]) -> None:
    """How far a run is: in the bar for a person, a plain line for a log."""
    text = _summary(means)
    if watched:
        update(completed=run.progress(), text=text)
    else:
        say(f"step {run.position.step} ({run.progress():.1%}): {text}", err=True)


_SHOWN: dict[str, Callable[[float], str]] = {
    "loss": lambda v: f"loss {v:.4f}",
    "bpp": lambda v: f"{v:.4f} bpp",
    "psnr": lambda v: f"{v:.2f} dB",
    "images_per_second": lambda v: f"{v:.0f} img/s",
    "eval_loss": lambda v: f"held-out loss {v:.4f}",
}


def _summary(means: dict[str, float]) -> str:
    return ", ".join(show(means[key]) for key, show in _SHOWN.items() if key in means)
