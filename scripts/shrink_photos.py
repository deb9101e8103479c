"""Shrinks photographs into an .npz of small squares, to train a hasher of pictures on.

    python scripts/shrink_photos.py PHOTOS OUT.npz [--side 144] [--windows 4] [--unlike TEST_SET]...

Of each photograph it takes the whole and so many random windows of 15 to 90 % of its area, squeezed into a square as a
hasher squeezes what it is given. Pictures are resampled as `aecodec.Hasher` does it. Those near a picture of a test set
by the embedded hasher are left out.
"""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np

from aecodec import Hasher
from aecodec.contracts import AecodecError, ImageReadError
from aecodec.data.files import atomic_file
from aecodec.data.folders import list_photos
from aecodec.data.images import read_picture
from aecodec.data.thumbnails import square_thumbnail
from aecodec.index.codes import hamming_distances

#: Bits of 256 within which a picture counts as near another.
NEAR = 28
_FOLDER = click.Path(path_type=Path, exists=True, file_okay=False)


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
@click.argument("photos", type=_FOLDER)
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--side", default=144, show_default=True)
@click.option("--windows", default=4, show_default=True)
@click.option("--unlike", multiple=True, type=_FOLDER, help="Folder of pictures that none may be near.")
def main(photos: Path, out: Path, side: int, windows: int, unlike: tuple[Path, ...]) -> None:
    rng = np.random.default_rng(0)
    squares: list[np.ndarray] = []
    try:
        hasher = Hasher.from_pretrained()
        apart = [hasher.hash_pixels([read_picture(path).pixels]) for folder in unlike for path in list_photos(folder)]
        paths = list_photos(photos)
        for path in paths:
            try:
                pixels = read_picture(path).pixels
            except ImageReadError as error:
                click.echo(f"left out: {error}", err=True)
                continue
            if apart and hamming_distances(hasher.hash_pixels([pixels]), np.concatenate(apart)).min() <= NEAR:
                click.echo(f"left out: {path} is near a picture of {', '.join(map(str, unlike))}", err=True)
                continue
            squares += windows_of(pixels, side, windows, rng)
        if not squares:
            raise ImageReadError(f"{photos}: no picture to shrink")
        with atomic_file(out, overwrite=True) as file:
            np.savez(file, images=np.stack(squares))
    except AecodecError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{out}: {len(squares)} squares of {len(paths)} pictures")


if __name__ == "__main__":
    main()
