"""Crops of a few pictures, every codec at about one file size: what the curves look like."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from ..contracts import OutputError
from ..data.files import make_folder, write_atomic
from ..data.outputs import output_in
from ..metrics import psnr
from .codecs import FileCodec
from .measurements import read_rgb
from .sizing import at_most, common_size

#: In the folder of each picture, beside the crops.
ORIGINAL, CROPS_FILE = "original.png", "crops.json"
SIDE = 224
#: The size that is looked for, unless a codec cannot make so small a file.
TARGET_BPP = 0.25


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


def make_crops(codecs: list[FileCodec], pictures: list[Path], folder: Path, say: Callable[[str], None]) -> None:
    """For each picture: what `crop_files` names, replacing older ones; other files there stay.

    The size is 0.25 bpp, or what the codec of the largest smallest file needs. A codec that fails is said, left out, as
    is a picture after which no folder can be named.
    """
    for path in pictures:
        try:
            place = output_in(folder, path.stem)
        except OutputError as error:
            say(f"crops of {path.name}: left out: {error}")
            continue
        image = read_rgb(path)
        target, able = common_size(codecs, image, TARGET_BPP, f"crops of {path.name}", say)
        if not able:
            continue
        make_folder(place)
        box = detailed_window(np.asarray(image))
        _write_png(image.crop(box), place / ORIGINAL, path)
        crops = []
        for codec in able:
            crop, part = _crop(codec, image, target, box)
            _write_png(part, output_in(place, crop.file), path)
            crops.append(crop)
        content = {"image": path.stem, "box": box, "target_bytes": target, "crops": [asdict(crop) for crop in crops]}
        write_atomic(place / CROPS_FILE, (json.dumps(content, indent=1) + "\n").encode(), overwrite=True)


def crop_files(codecs: list[FileCodec], pictures: list[Path], folder: Path) -> list[Path]:
    """What `make_crops` writes: original.png, a PNG for each codec and crops.json, in FOLDER/PICTURE."""
    names = [ORIGINAL, CROPS_FILE, *(f"{codec.name}.png" for codec in codecs)]
    files = []
    for path in pictures:
        with contextlib.suppress(OutputError):
            files += [output_in(output_in(folder, path.stem), name) for name in names]
    return files


def _write_png(image: Image.Image, path: Path, source: Path) -> None:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    write_atomic(path, buffer.getvalue(), overwrite=True, sources=[source])


def _crop(
    codec: FileCodec, image: Image.Image, target: int, box: tuple[int, int, int, int]
) -> tuple[Crop, Image.Image]:
    """A codec's crop as it is told of, and its pixels."""
    file = at_most(codec, image, target)
    decoded = codec.decode(file.data)
    decibels = psnr(np.asarray(image), np.asarray(decoded))
    bpp = 8 * len(file.data) / (image.width * image.height)
    crop = Crop(codec.name, f"{codec.name}.png", file.quality, len(file.data), bpp, decibels)
    return crop, decoded.crop(box)
