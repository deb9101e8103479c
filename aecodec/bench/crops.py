"""Crops of a few pictures, every codec at about one file size: what the curves look like."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from ..contracts import AecodecError
from ..metrics import psnr
from .codecs import FileCodec
from .measurements import read_rgb

SIDE = 224
#: The size that is looked for, unless a codec cannot make so small a file.
TARGET_BPP = 0.25
_STEPS = 8


@dataclass(frozen=True)
class Crop:
    """A codec's crop. file: name in the folder; bytes, bpp and psnr are of the whole picture, not of the crop."""

    codec: str
    file: str
    quality: float
    bytes: int
    bpp: float
    psnr: float


def detailed_window(pixels: np.ndarray, side: int = SIDE) -> tuple[int, int, int, int]:
    """(left, top, right, bottom) of a window with more detail than three quarters of the picture's others.

    pixels: (H, W, 3) uint8. Chosen by the original alone, so that no codec is favoured: of the windows on a grid, by
    mean absolute gradient, the upper quartile is taken; the very busiest is often foliage that hides all faults.
    """
    height, width = pixels.shape[:2]
    side_y, side_x = min(side, height), min(side, width)
    grey = pixels.astype(np.float32).mean(axis=2)
    detail = np.abs(np.diff(grey, axis=0, append=grey[-1:])) + np.abs(np.diff(grey, axis=1, append=grey[:, -1:]))
    windows = [
        (float(detail[top : top + side_y, left : left + side_x].mean()), left, top)
        for top in range(0, height - side_y + 1, max(side_y // 4, 1))
        for left in range(0, width - side_x + 1, max(side_x // 4, 1))
    ]
    _, left, top = sorted(windows)[int(0.75 * (len(windows) - 1))]
    return left, top, left + side_x, top + side_y


def _at_most(codec: FileCodec, image: Image.Image, target: int) -> tuple[float, bytes]:
    """The best point, from the codec's poorest up, whose file is at most `target` bytes, by bisection."""
    if codec.falling:
        sizes = [(point, codec.encode(image, point)) for point in sorted(codec.qualities, reverse=True)]
        return max((entry for entry in sizes if len(entry[1]) <= target), key=lambda e: len(e[1]), default=sizes[0])
    low = float(min(codec.qualities))
    high = 100.0 if codec.scale == "quality" else float(max(codec.qualities))
    best = low, codec.encode(image, low)
    for _ in range(_STEPS):
        middle = (low + high) / 2
        middle = math.ceil(middle) if codec.integer else middle
        data = codec.encode(image, middle)
        if len(data) <= target:
            low, best = middle, (middle, data)
        else:
            high = middle - 1 if codec.integer else middle
        if high <= low:
            break
    return best


def make_crops(codecs: list[FileCodec], pictures: list[Path], folder: Path, say: Callable[[str], None]) -> None:
    """For each picture: original.png, a PNG for each codec and crops.json in FOLDER/PICTURE, replacing older ones.

    The size is 0.25 bpp, or what the codec of the largest smallest file needs. A codec that fails is said, left out.
    """
    for path in pictures:
        image = read_rgb(path)
        smallest = {}
        for codec in codecs:
            try:
                smallest[codec.name] = len(codec.encode(image, codec.poorest))
            except (AecodecError, OSError, ValueError, RuntimeError) as error:
                say(f"{codec.name}, crops of {path.name}: left out: {error}")
        if not smallest:
            continue
        target = max([round(TARGET_BPP * image.width * image.height / 8), *smallest.values()])
        place = folder / path.stem
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        box = detailed_window(np.asarray(image))
        image.crop(box).save(place / "original.png")
        crops = [_crop(codec, image, target, box, place) for codec in codecs if codec.name in smallest]
        content = {"image": path.stem, "box": box, "target_bytes": target, "crops": [asdict(crop) for crop in crops]}
        (place / "crops.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _crop(codec: FileCodec, image: Image.Image, target: int, box: tuple[int, int, int, int], place: Path) -> Crop:
    quality, data = _at_most(codec, image, target)
    decoded = codec.decode(data)
    name = f"{codec.name}.png"
    decoded.crop(box).save(place / name)
    decibels = psnr(np.asarray(image), np.asarray(decoded))
    return Crop(codec.name, name, quality, len(data), 8 * len(data) / (image.width * image.height), decibels)
