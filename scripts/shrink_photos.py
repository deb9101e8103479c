"""Shrinks photographs into an .npz of small squares, to train a hasher of pictures on.

    python scripts/shrink_photos.py PHOTOS OUT.npz [--side 96] [--windows 12]

Of each photograph it takes the whole and so many random windows of 15 to 90 % of its area, squeezed into a square as a
hasher squeezes what it is given. Pictures are resampled as `aecodec.Hasher` does it.
"""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np

from aecodec.contracts import AecodecError, ImageReadError
from aecodec.data.files import atomic_file
from aecodec.data.folders import list_photos
from aecodec.data.images import read_picture
from aecodec.data.thumbnails import square_thumbnail


def windows_of(pixels: np.ndarray, side: int, count: int, rng: np.random.Generator) -> list[np.ndarray]:
    """(H, W[, 3]) uint8 -> count + 1 squares (3, side, side) uint8, the whole picture first."""
    height, width = pixels.shape[:2]
    squares = [square_thumbnail(pixels, side)]
    for _ in range(count):
        scale, stretch = np.sqrt(rng.uniform(0.15, 0.9)), np.exp(rng.uniform(-0.2, 0.2))
        h, w = (max(side, round(n * min(1.0, scale * s))) for n, s in ((height, stretch), (width, 1 / stretch)))
        h, w = min(h, height), min(w, width)
        top, left = rng.integers(0, height - h + 1), rng.integers(0, width - w + 1)
        squares.append(square_thumbnail(pixels[top : top + h, left : left + w], side))
    return squares


@click.command(help=__doc__.split("\n\n")[0])
@click.argument("photos", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--side", default=96, show_default=True)
@click.option("--windows", default=12, show_default=True)
def main(photos: Path, out: Path, side: int, windows: int) -> None:
    rng = np.random.default_rng(0)
    squares: list[np.ndarray] = []
    try:
        paths = list_photos(photos)
        for path in paths:
            try:
                squares += windows_of(read_picture(path).pixels, side, windows, rng)
            except ImageReadError as error:
                click.echo(f"left out: {error}", err=True)
        with atomic_file(out, overwrite=True) as file:
            np.savez(file, images=np.stack(squares))
    except AecodecError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{out}: {len(squares)} squares of {len(paths)} pictures")


if __name__ == "__main__":
    main()
