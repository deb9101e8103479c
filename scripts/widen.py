"""Gives a codec more channels, so that training goes on from a larger network that computes what the smaller one did.

    python scripts/widen.py MODEL.safetensors --channels 192 --out WIDE.safetensors
    aecodec train exact-hyperprior --config RECIPE --set model.channels=192 --weights WIDE.safetensors ...

What is new starts at random and reads what there was, but nothing that there was reads what is new (Net2WiderNet's
idea, Chen, Goodfellow and Shlens 2016, without its copies): gradients reach the new weights from the first step on.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click
import torch

from aecodec import checkpoint
from aecodec.contracts import AecodecError, UsageError
from aecodec.models.exact_hyperprior import ExactHyperprior
from aecodec.zoo import stored


@torch.no_grad()
def widened(model: ExactHyperprior, channels: int, seed: int = 0) -> ExactHyperprior:
    """The same function with transforms of so many channels, not yet frozen. Raises UsageError for fewer than it has.

    New channels come after the old ones: of a weight (out, in, ...), the block of old outputs and old inputs is kept,
    that of old outputs and new inputs is zero, and the rest is what a new model begins with.
    """
    if channels < model.config.channels:
        raise UsageError(f"the model has {model.config.channels} channels, more than {channels}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        wide = ExactHyperprior(replace(model.config, channels=channels))
    old, new = model.state_dict(), wide.state_dict()
    for name, tensor in new.items():
        kept = tuple(slice(size) for size in old[name].shape)
        if tensor.ndim == 4:  # of a convolution
            tensor[kept[0]] = 0
        tensor[kept] = old[name]
    wide.load_state_dict(new)
    return wide


@click.command(help=__doc__.split("\n\n")[0])
@click.argument("model", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--channels", required=True, type=click.IntRange(min=1), help="Of the transforms.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Where to.")
def main(model: Path, channels: int, out: Path) -> None:
    try:
        kept, module = stored.read(model), checkpoint.load(model).module
        if not isinstance(module, ExactHyperprior):
            raise UsageError(f"{model}: a model of family {kept.family} is not widened")
        wide = widened(module, channels)
        card = {**kept.card, "widened": {"channels": module.config.channels, "fingerprint": kept.fingerprint.hex()}}
        print_ = checkpoint.save(wide, out, name=kept.name, family_name=kept.family, card=card)
    except AecodecError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{out}: fingerprint {print_.hex()}")


if __name__ == "__main__":
    main()
