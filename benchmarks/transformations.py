"""What happens to photographs on their way around: resized, cropped, recompressed, toned, blurred, turned, marked.

A table of named changes of whole pictures, in Pillow's arithmetic, to measure how well copies are found again. Each is
a function of the pixels and a seeded generator.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageFont

Transformation = Callable[[Image.Image, np.random.Generator], Image.Image]


def resized(factor: float, stretch: float = 1.0) -> Transformation:
    """Both sides by a factor (Lanczos), the width by ``stretch`` more."""

    def apply(image: Image.Image, rng: np.random.Generator) -> Image.Image:
        size = max(1, round(image.width * factor * stretch)), max(1, round(image.height * factor))
        return image.resize(size, Image.Resampling.LANCZOS)

    return apply


def cropped(area: float) -> Transformation:
    """A window that keeps this share of the area and the aspect ratio, anywhere in the picture."""

    def apply(image: Image.Image, rng: np.random.Generator) -> Image.Image:
        width, height = (max(1, round(side * math.sqrt(area))) for side in image.size)
        left, top = rng.integers(0, image.width - width + 1), rng.integers(0, image.height - height + 1)
        return image.crop((int(left), int(top), int(left) + width, int(top) + height))

    return apply


def recompressed(format: str, quality: int) -> Transformation:
    """Through a lossy file of Pillow's and back."""

    def apply(image: Image.Image, rng: np.random.Generator) -> Image.Image:
        buffer = io.BytesIO()
        image.save(buffer, format, quality=quality)
        return Image.open(buffer).convert("RGB")

    return apply


def toned(brightness: float = 1.0, contrast: float = 1.0) -> Transformation:
    """Brightness (a factor), then contrast (a factor about the mean grey)."""

    def apply(image: Image.Image, rng: np.random.Generator) -> Image.Image:
        return ImageEnhance.Contrast(ImageEnhance.Brightness(image).enhance(brightness)).enhance(contrast)

    return apply


def blurred(share: float) -> Transformation:
    """Gaussian blur with a standard deviation of this share of the shorter side."""

    def apply(image: Image.Image, rng: np.random.Generator) -> Image.Image:
        return image.filter(ImageFilter.GaussianBlur(share * min(image.size)))

    return apply


def rotated(degrees: float, *, keep_corners: bool = True) -> Transformation:
    """Turned either way, in the frame of old; the corners are black, or cut off with the largest window inside."""

    def apply(image: Image.Image, rng: np.random.Generator) -> Image.Image:
        turned = image.rotate(degrees * float(rng.choice([-1, 1])), Image.Resampling.BICUBIC)
        if keep_corners:
            return turned
        cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
        long, short = max(image.size), min(image.size)
        # A window of the same aspect ratio fits if its longer side, turned, still fits the shorter side.
        factor = short / (long * sin + short * cos)
        width, height = (max(1, int(side * factor)) for side in image.size)
        left, top = (image.width - width) // 2, (image.height - height) // 2
        return turned.crop((left, top, left + width, top + height))

    return apply


def watermarked(text: str = "SAMPLE PICTURE", opacity: float = 0.5) -> Transformation:
    """White text with a dark edge over the middle, as wide as two thirds of the picture."""

    def apply(image: Image.Image, rng: np.random.Generator) -> Image.Image:
        font = ImageFont.load_default(max(8.0, image.width / 12))
        mask = Image.new("L", image.size)
        place = image.width / 2, image.height * float(rng.uniform(0.35, 0.65))
        level = round(255 * opacity)
        edge = max(1, image.width // 250)
        ImageDraw.Draw(mask).text(place, text, fill=level, font=font, anchor="mm", stroke_width=edge, stroke_fill=level)
        ink = Image.new("RGB", image.size)
        ImageDraw.Draw(ink).text(place, text, fill="white", font=font, anchor="mm", stroke_width=edge, stroke_fill=0)
        return Image.composite(ink, image, mask)

    return apply


def greyed(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Rec. 601 luma in all three channels."""
    return image.convert("L").convert("RGB")


def in_turn(*changes: Transformation) -> Transformation:
    """Several changes, one after another."""

    def apply(image: Image.Image, rng: np.random.Generator) -> Image.Image:
        for change in changes:
            image = change(image, rng)
        return image

    return apply


#: crop-60 keeps 60 % of the area, crop-60-sides 60 % of either side, 36 % of the area.
TRANSFORMATIONS: dict[str, Transformation] = {
    "resize-50": resized(0.5),
    "resize-25": resized(0.25),
    "stretch-125": resized(1.0, 1.25),
    "crop-80": cropped(0.8),
    "crop-60": cropped(0.6),
    "crop-60-sides": cropped(0.36),
    "jpeg-50": recompressed("JPEG", 50),
    "jpeg-10": recompressed("JPEG", 10),
    "webp-20": recompressed("WEBP", 20),
    "brighter": toned(brightness=1.4),
    "darker": toned(brightness=0.6),
    "contrast-up": toned(contrast=1.6),
    "contrast-down": toned(contrast=0.6),
    "blur": blurred(0.006),
    "rotate-3": rotated(3),
    "rotate-5-cut": rotated(5, keep_corners=False),
    "watermark": watermarked(),
    "grey": greyed,
    "crop-80-jpeg-30-brighter": in_turn(cropped(0.8), toned(brightness=1.25), recompressed("JPEG", 30)),
}


def transform(image: Image.Image, name: str, seed: int) -> Image.Image:
    """An RGB picture changed by an entry of TRANSFORMATIONS, repeatable from the seed."""
    # The name takes part, so that no two changes share their draws.
    return TRANSFORMATIONS[name](image, np.random.default_rng([seed, *name.encode()])).convert("RGB")
