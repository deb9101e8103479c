"""Stores views of squares of pictures as the frozen stages of a hasher leave them, so that only the rest is computed
again and again.

    python scripts/store_views.py CONFIG.yaml TAUGHT.npz OUT.npz

CONFIG.yaml: of the training (model.frozen, model.stored_views, views and teacher are what counts here); TAUGHT.npz: of
scripts/teach.py. OUT.npz: items (N, D) float16, D = stored_views x channels x height x width, then the teacher's
features.
"""

from __future__ import annotations

from pathlib import Path
from typing import cast

import click
import numpy as np
import torch

from aecodec.contracts import AecodecError
from aecodec.data.arrays import ArraySet, read_array
from aecodec.data.files import atomic_file
from aecodec.models.semantic_hash import SemanticHash
from aecodec.nn.taught import split
from aecodec.nn.trunk import Trunk
from aecodec.nn.views import RECIPES, random_view
from aecodec.train.config import resolve
from aecodec.train.state import build_model

_BATCH = 64


@torch.no_grad()
def stored(model: SemanticHash, joined: np.ndarray, rng: torch.Generator) -> np.ndarray:
    """(N, 3, S, S + columns) uint8 -> (N, D) float16."""
    config, trunk = model.config, cast(Trunk, model.encoder)
    recipes = [config.first_views or config.views, *[config.views] * (config.stored_views - 1)]
    rows = []
    for start in range(0, len(joined), _BATCH):
        batch = torch.from_numpy(joined[start : start + _BATCH]).float() / 255.0
        pictures, features = split(batch, config.teacher)
        parts = []
        for name in recipes:
            view = random_view(pictures, (config.shape[1], config.shape[2]), RECIPES[name], rng)
            with torch.autocast("cpu", torch.bfloat16):
                parts.append(trunk.early(view.contiguous(memory_format=torch.channels_last)).float().flatten(1))
        rows.append(torch.cat([*parts, features], 1).half().numpy())
    return np.concatenate(rows)


@click.command(help=__doc__.split("\n\n")[0])
@click.argument("config", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.argument("source", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--seed", default=0, show_default=True)
def main(config: Path, source: Path, out: Path, seed: int) -> None:
    rng = torch.Generator().manual_seed(seed)
    try:
        joined = read_array(source)
        model = build_model(resolve("semantic-hash", config, []), joined.shape[1:])
        model.initialise(ArraySet(torch.from_numpy(joined)), rng)
        items = stored(model.to(memory_format=torch.channels_last), joined, rng)
        with atomic_file(out, overwrite=True) as file:
            np.savez(file, items=items)
    except AecodecError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{out}: {len(items)} pictures, {model.config.stored_views} views of each")


if __name__ == "__main__":
    main()
