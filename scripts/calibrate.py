"""Fits a codec's frozen tables, and the adaptation of their choice to a picture, to photographs.

    python scripts/calibrate.py MODEL.safetensors PHOTOS [--out OUT.safetensors] [--count 24] [--side 512]

Weights stay as they are: of each of so many photographs, spread evenly over the folder, the middle is coded at every
knot of the quality. The model is a new one, with a fingerprint of its own. A minute on one core.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np
import torch

from aecodec import checkpoint
from aecodec.contracts import AecodecError, ImageReadError, TileCodec, UsageError
from aecodec.data.folders import list_photos
from aecodec.data.images import read_picture
from aecodec.data.photos import as_rgb
from aecodec.engine.graphs import write_graphs
from aecodec.zoo import stored


def middles(paths: list[Path], count: int, side: int, alignment: int) -> Iterator[torch.Tensor]:
    """The middle of at most so many pictures, (1, 3, H, W) float32 in [0, 1] each, sides multiples of the alignment
    and at most ``side``. What is smaller than the alignment, or unreadable, is left out."""
    for path in paths[:: max(len(paths) // count, 1)][:count]:
        try:
            pixels = as_rgb(read_picture(path).pixels)
        except ImageReadError as error:
            click.echo(f"left out: {error}", err=True)
            continue
        height, width = (min(full, side) // alignment * alignment for full in pixels.shape[:2])
        if height and width:
            top, left = (pixels.shape[0] - height) // 2, (pixels.shape[1] - width) // 2
            middle = pixels[top : top + height, left : left + width].copy()
            yield torch.from_numpy(middle).permute(2, 0, 1)[None].float() / 255.0


def calibrate(model: Path, photos: Path, out: Path, count: int, side: int) -> bytes:
    """Write the calibrated model -> its fingerprint. Raises AecodecError."""
    kept, module = stored.read(model), checkpoint.load(model).module
    if not isinstance(module, TileCodec):
        raise UsageError(f"{model}: a model of family {kept.family} codes no pictures")
    pictures = list(middles(list_photos(photos), count, side, module.alignment))
    if not pictures:
        raise ImageReadError(f"{photos}: no picture of at least {module.alignment} x {module.alignment} pixels")
    half = any(array.dtype == np.float16 for array in kept.tensors.values())
    card = {**kept.card, "calibrated": {"pictures": len(pictures), "side": side}}
    print_ = checkpoint.save(
        module, out, name=kept.name, family_name=kept.family, card=card, half=half, calibration=pictures
    )
    write_graphs(out)
    return print_


@click.command(help=__doc__.split("\n\n")[0])
@click.argument("model", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.argument("photos", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--out", type=click.Path(path_type=Path), help="Where to; the model's own file by default.")
@click.option("--count", default=24, show_default=True, type=click.IntRange(min=1), help="Photographs.")
@click.option("--side", default=512, show_default=True, type=click.IntRange(min=64), help="Of a middle, in pixels.")
def main(model: Path, photos: Path, out: Path | None, count: int, side: int) -> None:
    torch.set_num_threads(1)
    out = out or model
    try:
        print_ = calibrate(model, photos, out, count, side)
    except AecodecError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{out}: fingerprint {print_.hex()}")


if __name__ == "__main__":
    main()
