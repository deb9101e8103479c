"""Training photographs in pieces small enough to be sent one by one: zip archives of compressed pictures.

A piece holds each picture as it is best kept without loss: the bytes of its own file, or a lossless WebP of its pixels
if that is smaller. What is for training lies under ``train/``, what is kept aside for evaluation under ``held/``. Any
set of pieces of one choice of photographs is itself a set to train on.
"""

from __future__ import annotations

import io
import warnings
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from PIL import Image

from ..contracts import ImageReadError
from .files import make_folder, write_atomic
from .images import read_bytes, read_picture
from .photos import PhotoPack, as_rgb, choose_held, list_photos

TRAIN, HELD = "train/", "held/"
#: Suffixes of files that WebP would not make smaller without loss.
_LOSSY = {".jpg", ".jpeg", ".avif", ".webp", ".heic", ".jxl"}
#: What zip adds to a picture, names included, is less than this.
_ENTRY = 512
#: WebP holds no longer side.
_WEBP_SIDE = 16383


def write_pieces(source: Path, folder: Path, limit: int, *, hold_out: int = 20, smallest: int = 256) -> list[Path]:
    """Every picture below ``source`` -> pieces of at most ``limit`` bytes in ``folder``, photos-000.zip and on.

    hold_out: pictures kept aside, chosen as `open_photos` does; they come first. smallest: pictures with a smaller
    side are left out, unreadable ones with a warning. Raises ImageReadError if none is left or one exceeds the limit.
    """
    paths = list_photos(source)
    held = choose_held(paths, hold_out)
    pieces: list[list[tuple[str, bytes]]] = [[]]
    size = 0
    for number, path in enumerate(sorted(held) + [p for p in paths if p not in held]):
        packed = _packed(path, smallest)
        if packed is None:
            continue
        suffix, content = packed
        if len(content) + _ENTRY > limit:
            raise ImageReadError(f"{path}: takes {len(content)} bytes, a piece has at most {limit}")
        if size + len(content) + _ENTRY > limit:
            pieces.append([])
            size = 0
        size += len(content) + _ENTRY
        pieces[-1].append((f"{HELD if path in held else TRAIN}{number:05}-{path.stem[:100]}{suffix}", content))
    if not pieces[0]:
        raise ImageReadError(f"{source}: no picture can be read and has both sides of at least {smallest} pixels")
    make_folder(folder)
    written = []
    for number, piece in enumerate(pieces):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
            for name, content in piece:
                archive.writestr(zipfile.ZipInfo(name), content)
        written.append(folder / f"photos-{number:03}.zip")
        write_atomic(written[-1], buffer.getvalue(), overwrite=True)
    return written


def _packed(path: Path, smallest: int) -> tuple[str, bytes] | None:
    """A picture's suffix and its smallest lossless form; None for one to leave out."""
    try:
        content = read_bytes(path)
        pixels = read_picture(content, str(path)).pixels
    except ImageReadError as error:
        warnings.warn(f"left out of training: {error}", stacklevel=3)
        return None
    if min(pixels.shape[:2]) < smallest:
        return None
    suffix = path.suffix.lower()
    if suffix not in _LOSSY and max(pixels.shape[:2]) <= _WEBP_SIDE:
        buffer = io.BytesIO()
        Image.fromarray(as_rgb(pixels)).save(buffer, "WEBP", lossless=True, quality=60, method=4)
        if len(buffer.getvalue()) < len(content):
            return ".webp", buffer.getvalue()
    return suffix, content


def read_pieces(
    paths: list[Path], device: torch.device, *, smallest: int = 1, threads: int = 8
) -> tuple[PhotoPack, PhotoPack | None]:
    """Pieces -> their training pictures and those kept aside (None: none), decoded, on a device.

    The order is that of the names, whatever the order of the pieces. Raises ImageReadError for a damaged piece, or if
    no training picture is left.
    """
    entries: dict[str, bytes] = {}
    for path in paths:
        try:
            with zipfile.ZipFile(path) as archive:
                entries.update({name: archive.read(name) for name in archive.namelist()})
        except (OSError, zipfile.BadZipFile, ValueError) as error:
            raise ImageReadError(f"{path}: not a piece of a set of photographs ({error})") from error
    names = sorted(entries)
    with ThreadPoolExecutor(threads) as pool:
        decoded = list(pool.map(lambda name: as_rgb(read_picture(entries[name], name).pixels), names))
    packs = {}
    for prefix in (TRAIN, HELD):
        chosen = [(name, pixels) for name, pixels in zip(names, decoded, strict=True) if name.startswith(prefix)]
        chosen = [(name.removeprefix(prefix), pixels) for name, pixels in chosen if min(pixels.shape[:2]) >= smallest]
        if chosen:
            packs[prefix] = PhotoPack.from_arrays([p for _, p in chosen], [n for n, _ in chosen], device)
    if TRAIN not in packs:
        raise ImageReadError(f"{len(paths)} pieces hold no training picture of at least {smallest} pixels")
    return packs[TRAIN], packs.get(HELD)
