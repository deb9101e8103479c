"""Every autoencoder of the toolkit trained, measured beside its baseline in the same run, and drawn.

    python benchmarks/autoencoders.py ROW --data FOLDER [--runs FOLDER] [--out benchmarks/results/autoencoders]

FOLDER holds small/*.npz, kodak/, train_photos/ and so on as the rows name them. A trained model that lies in --runs is
not trained again; without --runs everything is.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click
from autoencoder_rows import anomalies, codes, generative, pictures, reconstruction, speech
from autoencoder_rows.running import Bench

from aecodec.contracts import AecodecError

ROWS: dict[str, Callable[[Bench], None]] = {
    "linear": reconstruction.linear,
    "undercomplete": reconstruction.undercomplete,
    "capacity": reconstruction.capacity,
    "sparse": codes.sparse,
    "k-sparse": codes.k_sparse,
    "transfer": codes.transfer,
    "unet": pictures.unet,
    "denoising": pictures.denoising,
    "despeckling": pictures.despeckling,
    "field": pictures.field,
    "inpainting": pictures.inpainting,
    "upscaling": pictures.upscaling,
    "speech": speech.row,
    "anomaly-mnist": anomalies.mnist,
    "anomaly-view": anomalies.view,
    "anomaly-caltech": anomalies.caltech,
    "vae": generative.likelihood,
    "vae-plane": generative.plane,
    "vae-faces": generative.faces,
    "shapes": generative.shapes,
}


@click.command(help=__doc__.split("\n\n")[0])
@click.argument("row", type=click.Choice([*ROWS, "all"]))
@click.option("--data", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True)
@click.option("--runs", type=click.Path(file_okay=False, path_type=Path), default=Path("runs/autoencoders"))
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), default=Path("benchmarks/results/autoencoders")
)
@click.option("--shorten", type=click.IntRange(min=1), default=1, help="Divide the steps of every training: a trial.")
def main(row: str, data: Path, runs: Path, out: Path, shorten: int) -> None:
    bench = Bench(data, runs, out, shorten)
    try:
        for name in ROWS if row == "all" else [row]:
            print(f"{name}: {ROWS[name].__doc__}", flush=True)
            ROWS[name](bench)
    except AecodecError as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main()
