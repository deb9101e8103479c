"""Learn the networks from which fits of `overfitted` begin: one for each lambda, on a mosaic of training photographs.

    python scripts/overfitted_priors.py PHOTOS OUT.npy

The mosaic has nine squares of 128 pixels, cut at random from photographs of 640 to 1024 pixels; another one for each
lambda. The first network, at lambda 200, begins with random weights and takes 1500 iterations; those of 800 and of 50
begin with it. They are part of the format: other ones are another format, with another fingerprint, so nothing is
overwritten.
"""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
from PIL import Image

from aecodec.data.folders import Walk
from aecodec.data.formats import picture_suffixes
from aecodec.overfitted import fitting, priors
from aecodec.overfitted.layout import HIDDEN, WEIGHTS, tensors

SIDE, SQUARES = 128, 3
#: Lambda and iterations, in the order of learning.
PLAN = ((200.0, 1500), (800.0, 500), (50.0, 400))
SCHEDULE = fitting.Schedule(rounded=0.04, weight_rate=1e-2, latent_rate=0.16, memory=0.7)


def mosaic(photos: list[Path], seed: int) -> np.ndarray:
    """(3 * 128, 3 * 128, 3) float32, 1 being white."""
    rng = np.random.default_rng(seed)
    out = np.zeros((SQUARES * SIDE, SQUARES * SIDE, 3), np.float32)
    for place, index in enumerate(rng.permutation(len(photos))[: SQUARES**2]):
        with Image.open(photos[index]) as opened:
            photo = opened.convert("RGB")
        scale = 640.0 / max(photo.size) * rng.uniform(1.0, 1.6)
        if scale < 1.0:
            size = round(photo.width * scale), round(photo.height * scale)
            photo = photo.resize(size, Image.Resampling.LANCZOS)
        top, left = rng.integers(0, photo.height - SIDE + 1), rng.integers(0, photo.width - SIDE + 1)
        row, column = SIDE * (place // SQUARES), SIDE * (place % SQUARES)
        square = np.asarray(photo, np.float32)[top : top + SIDE, left : left + SIDE] / 255.0
        out[row : row + SIDE, column : column + SIDE] = square
    return out


def first_weights(seed: int) -> np.ndarray:
    """Random matrices, and filters that interpolate."""
    rng = np.random.default_rng(seed)
    weights = np.zeros(WEIGHTS, np.float32)
    parts = tensors(weights)
    for name, spread in {"w1": 0.05, "w2": 0.05, "w3": 0.05, "v1": 0.5 / 7**0.5, "v2": 0.5 / HIDDEN**0.5}.items():
        parts[name][:] = rng.normal(0.0, spread, parts[name].shape)
    parts["c1"][:] = rng.normal(0.0, 0.1, HIDDEN)
    parts["c2"][:], parts["b3"][:] = 0.5, (0.0, -1.0)
    parts["taps"][:] = (-0.0234, 0.2266, 0.8672, -0.0703)  # cubic, at a quarter of a step
    return weights


@click.command(help=__doc__.split("\n\n")[0])
@click.argument("photos", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("out", type=click.Path(dir_okay=False, path_type=Path))
def main(photos: Path, out: Path) -> None:
    if out.exists():
        raise click.ClickException(f"{out} exists; priors are part of the format, and never rewritten")
    found = [walked.path for walked in Walk(picture_suffixes()).files(photos)]
    if len(found) < SQUARES**2:
        raise click.UsageError(f"{photos}: {SQUARES**2} photographs or more are needed, found {len(found)}")
    learnt: dict[float, np.ndarray] = {0.0: np.zeros(WEIGHTS, np.float32)}
    for trade, iterations in PLAN:
        fitter = fitting.open_fitter(SQUARES * SIDE, SQUARES * SIDE)
        fitter.set_target(mosaic(found, int(trade)))
        start = learnt[PLAN[0][0]] if len(learnt) > 1 else first_weights(0)
        state = fitting.State(np.zeros(fitter.latents, np.float32), start.copy())
        fitting.fit(fitter, state, trade, iterations, lambda done, of: True, schedule=SCHEDULE)
        fitter.close()
        learnt[trade] = state.weights
        click.echo(f"lambda {trade:g} learnt", err=True)
    rows = np.array([learnt[trade] for trade in priors.TRADES])
    np.save(out, np.clip(np.rint(rows * 2.0**priors.POINT), -32768, 32767).astype(np.int16))


if __name__ == "__main__":
    main()
