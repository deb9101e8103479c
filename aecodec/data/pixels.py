"""Pixels of a Pillow image, read window by window as 8-bit grey or RGB, so that a large one is never copied whole."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image

from .deep import top_level

#: Exif orientation -> (rows and columns swapped, source rows reversed, source columns reversed).
_TURNS = {
    1: (False, False, False),
    2: (False, False, True),
    3: (False, True, True),
    4: (False, True, False),
    5: (True, False, False),
    6: (True, True, False),
    7: (True, True, True),
    8: (True, False, True),
}
_GREY_MODES = ("L", "LA", "La", "1")
_DEEP_MODES = ("I", "F")
#: Samples of deep images that become levels at once: they pass through eight bytes each.
_SOME = 1 << 18
#: Pixels that a row counts as, at least: Pillow keeps a pointer to each beside its pixels.
_LEAST_ROW = 16


def over_limit(width: int, height: int) -> str | None:
    """What is wrong with a picture's size, in words, by Image.MAX_IMAGE_PIXELS; None for one that may be read. Asked
    before any memory is taken: a column of pixels would cost many times what it holds."""
    limit = Image.MAX_IMAGE_PIXELS
    if limit is None or max(width, _LEAST_ROW) * height <= limit:
        return None
    if width * height > limit:
        return f"{width} x {height} = {width * height} pixels exceed the limit of {limit}"
    return f"{width} x {height} pixels, a row counted as {_LEAST_ROW}, exceed the limit of {limit}"


def turned(array: np.ndarray, orientation: int) -> np.ndarray:
    """(H, W, ...) as stored -> upright, for an Exif orientation of 1 to 8."""
    swap, rows, columns = _TURNS[orientation]
    array = array[:: -1 if rows else 1, :: -1 if columns else 1]
    return array.swapaxes(0, 1) if swap else array


def on_ground(pixels: np.ndarray, alpha: np.ndarray | None, ground: int) -> np.ndarray:
    """(H, W) or (H, W, 3) uint8, and (H, W) uint8 or None where opaque -> how it looks on a ground of one grey level,
    0 to 255; rounded."""
    if alpha is None:
        return pixels
    share = alpha if pixels.ndim == 2 else alpha[..., None]
    laid = pixels * share.astype(np.uint32) + ground * (255 - share.astype(np.uint32))
    return ((laid + 127) // 255).astype(np.uint8)


class WindowedPixels:
    """An array (H, W) or (H, W, 3) uint8 that converts only what is cut out of it: ``pixels[rows, columns]``.

    image: any Pillow image. orientation: the Exif value that is undone. Two slices of step 1 are what it takes;
    ``numpy.asarray`` gives all of it.
    """

    dtype = np.dtype(np.uint8)

    def __init__(self, image: Image.Image, orientation: int = 1) -> None:
        image.load()
        self.image = image
        self.orientation = orientation
        self.deep = image.mode.startswith(_DEEP_MODES)
        self.grey = self.deep or image.mode in _GREY_MODES
        self._top = top_level(image) if self.deep else 255.0
        #: What the samples were taken for, for people.
        self.described = f"{image.mode} samples"
        if self.deep and self._top < 65535:
            white = "1" if self._top == 1 else f"{self._top:.0f}, {int(self._top).bit_length()} bits,"
            self.described += f" with {white} for white"
        swap = _TURNS[orientation][0]
        height, width = (image.width, image.height) if swap else (image.height, image.width)
        self.shape: tuple[int, ...] = (height, width) if self.grey else (height, width, 3)

    @property
    def ndim(self) -> int:
        """2 for grey, 3 for RGB."""
        return len(self.shape)

    @property
    def plain(self) -> bool:
        """Whether the image holds just these pixels."""
        return self.orientation == 1 and self.image.mode == ("L" if self.grey else "RGB")

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, place: tuple[slice, slice]) -> np.ndarray:
        rows, columns = (range(*part.indices(side)) for part, side in zip(place, self.shape, strict=False))
        if rows.step != 1 or columns.step != 1:
            raise IndexError("windows of pixels have a step of 1")
        return turned(self._convert(self.image.crop(self._box(rows, columns))), self.orientation)

    def __setitem__(self, place: tuple[slice, slice], part: np.ndarray) -> None:
        """Fill a window of an image that is `plain`."""
        rows, columns = place
        self.image.paste(Image.fromarray(np.ascontiguousarray(part)), (columns.start or 0, rows.start or 0))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        whole = np.ascontiguousarray(self[:, :])
        return whole if dtype is None else whole.astype(dtype)

    def _box(self, rows: range, columns: range) -> tuple[int, int, int, int]:
        """The window in the coordinates of the stored image: left, top, right, bottom."""
        swap, reverse_rows, reverse_columns = _TURNS[self.orientation]
        across, down = (rows, columns) if swap else (columns, rows)
        left, right, top, bottom = across.start, across.stop, down.start, down.stop
        if reverse_columns:
            left, right = self.image.width - right, self.image.width - left
        if reverse_rows:
            top, bottom = self.image.height - bottom, self.image.height - top
        return left, top, right, bottom

    def _convert(self, part: Image.Image) -> np.ndarray:
        """(h, w[, 3]) uint8 of a part of the stored image."""
        if self.deep:
            return self._levels(np.asarray(part))
        if part.mode == "La":
            part = part.convert("LA")
        # Colours do not depend on it, and Pillow warns of what it makes of it in a palette.
        part.info.pop("transparency", None)
        mode = "L" if self.grey else "RGB"
        return np.asarray(part if part.mode == mode else part.convert(mode))

    def _levels(self, samples: np.ndarray) -> np.ndarray:
        """(h, w) of any numbers -> uint8, a few rows at a time."""
        levels = np.empty(samples.shape, np.uint8)
        rows = max(1, _SOME // max(1, samples.shape[1]))
        for first in range(0, len(samples), rows):
            some = samples[first : first + rows].astype(np.float64)
            levels[first : first + rows] = np.rint(255.0 * np.clip(np.nan_to_num(some) / self._top, 0.0, 1.0))
        return levels


def through_profile(image: Image.Image, profile: bytes) -> Image.Image | None:
    """An image in the colours of an ICC profile -> sRGB; None where the profile is none, or not of such images.

    Relative colorimetric with black point compensation: what is inside sRGB stays as it is.
    """
    from PIL import ImageCms

    try:
        given = ImageCms.getOpenProfile(io.BytesIO(profile))
        if given.profile.xcolor_space.strip() != image.mode:
            return None
        return ImageCms.profileToProfile(
            image,
            given,
            ImageCms.createProfile("sRGB"),
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
            outputMode="RGB",
            flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None
