"""Packs a tree of small pictures, train/CLASS/*.png and test/CLASS/*.png, into an .npz laid out as MNIST's usually is.

    python scripts/pack_labelled.py FOLDER OUT.npz

The file holds x_train, x_test (uint8, (n, H, W[, 3])) and y_train, y_test (uint8, the rank of the class's name). Files
are taken in an order drawn once from a fixed seed, since benchmarks take the first so many.
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path

import numpy as np

from aecodec.contracts import AecodecError, ImageReadError
from aecodec.data.files import atomic_file
from aecodec.data.images import read_picture


def read_split(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """A folder of class folders -> (n, H, W[, 3]) uint8 and labels (n,) uint8. Raises ImageReadError."""
    classes = sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    files = [(path, label) for label, name in enumerate(classes) for path in sorted(name.glob("*.png"))]
    if not files:
        raise ImageReadError(f"{folder}: expected folders of PNG pictures in it, one for each class")
    random.Random(0).shuffle(files)
    pictures = [np.asarray(read_picture(path).pixels) for path, _ in files]
    if any(picture.ndim == 3 for picture in pictures):
        pictures = [p if p.ndim == 3 else np.repeat(p[..., None], 3, axis=2) for p in pictures]
    shapes = {picture.shape for picture in pictures}
    if len(shapes) > 1:
        raise ImageReadError(f"{folder}: pictures of one size were expected, found {sorted(shapes)[:3]}")
    return np.stack(pictures), np.array([label for _, label in files], np.uint8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    given = parser.parse_args()
    try:
        (x_train, y_train), (x_test, y_test) = (read_split(given.folder / split) for split in ("train", "test"))
        with atomic_file(given.out, overwrite=True) as file:
            np.savez_compressed(file, x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test)
    except AecodecError as error:
        raise SystemExit(f"error: {error}") from None
    print(f"{given.out}: {x_train.shape} for training, {x_test.shape} for tests")


if __name__ == "__main__":
    main()
