"""Pictures described by hashes: what the benchmarks of finding pictures measure side by side.

A description gives a picture one row of binary code or of numbers, or a row for the whole and one for each of its
windows, which are compared as `aecodec.search.windows` does.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import imagehash
import numpy as np
from PIL import Image

from aecodec import Hasher
from aecodec.data.files import atomic_file, make_folder
from aecodec.data.images import read_picture
from aecodec.index.codes import hamming_distances
from aecodec.index.windows import LAYOUT
from aecodec.search.windows import distances as window_distances
from aecodec.search.windows import picture_codes


@dataclass
class Description:
    """One pass over a picture. describe: (H, W, 3) uint8 -> (rows, bytes) uint8, or (rows, numbers) float32.

    lengths: the methods that it serves, and how many bits of a row each takes; 0 for rows of numbers. key: names the
    description and its version, so that what is kept under it can be used again.
    """

    key: str
    lengths: dict[str, int]
    describe: Callable[[np.ndarray], np.ndarray]
    seconds: float = 0.0
    pictures: int = 0

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        begin = time.process_time()
        rows = self.describe(pixels)
        self.seconds += time.process_time() - begin
        self.pictures += 1
        return rows

    def distances(self, method: str, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        """(Q, rows, B) and (N, rows, B) -> (Q, N), by the rows' first bits or as sums of differences."""
        bits = self.lengths[method]
        if not bits:
            return sums_of_differences(left[:, 0], right[:, 0])
        short, others = left[..., : bits // 8], right[..., : bits // 8]
        return window_distances(short, others) if left.shape[1] > 1 else hamming_distances(short[:, 0], others[:, 0])


def sums_of_differences(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """(Q, D) and (N, D) float32 -> (Q, N)."""
    return np.stack([np.abs(right - row).sum(1) for row in left])


# -- methods -------------------------------------------------------------------------------------


def ours(hasher: Hasher) -> Description:
    lengths = {f"{hasher.name}-{bits}": bits for bits in hasher.lengths}
    key = f"{hasher.name}-{hasher.fingerprint.hex()}"
    return Description(key, lengths, lambda pixels: hasher.hash_pixels([pixels]))


def with_windows(hasher: Hasher) -> Description:
    """The same of a picture and of its windows, by the layout that indexes have."""
    lengths = {f"{hasher.name}-{bits}-windows": bits for bits in hasher.lengths}
    key = f"{hasher.name}-{hasher.fingerprint.hex()}-windows-{LAYOUT}"
    return Description(key, lengths, lambda pixels: picture_codes(hasher, [pixels])[0])


def of_imagehash(name: str, side: int) -> Description:
    """A function of the package imagehash, with side x side bits."""
    function, bits = getattr(imagehash, name), side * side
    return Description(
        f"{name}-{bits}-imagehash-{imagehash.__version__}",
        {f"{name}-{bits}": bits},
        lambda pixels: np.packbits(function(Image.fromarray(pixels), hash_size=side).hash.ravel())[None],
    )


def pdq() -> list[Description]:
    """PDQ's 256 bits by the package pdqhash; nothing where it is not installed."""
    try:
        import pdqhash
    except ImportError:
        return []
    return [
        Description(
            f"pdq-256-pdqhash-{metadata.version('pdqhash')}",
            {"pdq-256": 256},
            lambda pixels: np.packbits(pdqhash.compute(pixels)[0].astype(bool))[None],
        )
    ]


def _histogram(pixels: np.ndarray) -> np.ndarray:
    cells = (pixels >> 5).astype(np.int64) @ np.array([64, 8, 1])
    return (np.bincount(cells.ravel(), minlength=512) / cells.size).astype(np.float32)[None]


def colour_histogram() -> Description:
    """Shares of pixels in 8 x 8 x 8 cells of RGB, (1, 512) float32."""
    return Description("colour-histogram", {"colour-histogram": 0}, _histogram)


def make_descriptions(hashers: Sequence[Hasher]) -> list[Description]:
    """Every hash that is compared: those of the hashers at all their lengths, and of packages."""
    packages = [of_imagehash(name, side) for side in (8, 16) for name in ("phash", "dhash")]
    return [*map(ours, hashers), *packages, *pdq()]


# -- pictures ------------------------------------------------------------------------------------


def read(path: Path) -> Image.Image:
    return Image.fromarray(read_picture(path).pixels).convert("RGB")


def describe(
    descriptions: Sequence[Description],
    images: Sequence[Callable[[], Image.Image]],
    cache: Path | None = None,
    of: str = "",
) -> dict[str, np.ndarray]:
    """Every picture by every description, each read once -> key -> (N, rows, B).

    cache: a folder where rows are kept; of: says in it what the pictures are.
    """
    places = {
        one.key: cache / f"{hashlib.sha256(f'{one.key}:{of}'.encode()).hexdigest()[:24]}.npy"
        for one in descriptions
        if cache
    }
    found = {key: np.load(place) for key, place in places.items() if place.exists()}
    rows: dict[str, list[np.ndarray]] = {one.key: [] for one in descriptions if one.key not in found}
    for image in images if rows else ():
        pixels = np.asarray(image())
        for one in descriptions:
            if one.key in rows:
                rows[one.key].append(one(pixels))
    new = {key: np.stack(made) for key, made in rows.items()}
    if cache:
        make_folder(cache)
        for key, made in new.items():
            with atomic_file(places[key], overwrite=True) as file:
                np.save(file, made)
    return {**found, **new}


def listing(paths: Sequence[Path]) -> str:
    """The names, sizes and times of files."""
    return "\n".join(f"{path} {path.stat().st_size} {path.stat().st_mtime_ns}" for path in paths)


def describe_files(
    descriptions: Sequence[Description], paths: Sequence[Path], cache: Path | None = None
) -> dict[str, np.ndarray]:
    """`describe` of files. cache: a folder where rows are kept until one of the files is another."""
    return describe(descriptions, [lambda path=path: read(path) for path in paths], cache, listing(paths))
