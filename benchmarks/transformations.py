"""What happens to photographs on their way around: resized, cropped, recompressed, toned, blurred, turned, marked.

Two tables of named changes of whole pictures, in Pillow's arithmetic, to measure how well copies are found again: those
that leave a picture what it was, and those that put it among other things. Each is a function of the pixels and a
seeded generator. Where another photograph takes part, it is one of scripts/samples.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageEnhance, ImageFilter, ImageFont, ImageOps

Transformation = Callable[[Image.Image, np.random.Generator], Image.Image]

SAMPLES = Path(__file__).resolve().parents[1] / "scripts" / "samples"


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


def mirrored(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Left and right changed over."""
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)


def coloured(matrix: list[list[float]]) -> Transformation:
    """Each pixel's RGB through a 3 x 3 matrix, cut off at black and white."""
    rows = [value for row in matrix for value in (*row, 0.0)]
    return lambda image, rng: image.convert("RGB", rows)


def tinted(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Saturation times 1.8, contrast times 1.3, and a full half of a pure colour over all: a filter of an app."""
    hue = tuple(int(255 * level) for level in rng.permutation([1.0, float(rng.uniform(0.2, 0.8)), 0.1]))
    strong = ImageEnhance.Contrast(ImageEnhance.Color(image).enhance(1.8)).enhance(1.3)
    veil = Image.new("RGB", image.size, hue)
    return Image.blend(strong, ImageChops.multiply(strong, veil), 0.5).point(lambda level: min(255, level * 1.2))


def hue_turned(degrees: float) -> Transformation:
    """Every hue turned on the colour wheel, either way."""

    def apply(image: Image.Image, rng: np.random.Generator) -> Image.Image:
        hue, saturation, value = image.convert("HSV").split()
        turn = round(256 * degrees / 360) * int(rng.choice([-1, 1]))
        turned = hue.point([(level + turn) % 256 for level in range(256)])
        return Image.merge("HSV", (turned, saturation, value)).convert("RGB")

    return apply


@lru_cache(maxsize=1)
def _samples() -> tuple[Image.Image, ...]:
    paths = sorted(SAMPLES.glob("*.png"))
    return tuple(ImageOps.contain(Image.open(path).convert("RGB"), (1024, 1024)) for path in paths)


def another(rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    """A sample photograph, its middle cut to the aspect ratio of a size and scaled to it."""
    samples = _samples()
    return ImageOps.fit(samples[int(rng.integers(len(samples)))], size, Image.Resampling.BICUBIC)


def overlaid(area: float) -> Transformation:
    """Another photograph over this share of the area, anywhere in the picture."""

    def apply(image: Image.Image, rng: np.random.Generator) -> Image.Image:
        width, height = (max(1, round(side * math.sqrt(area))) for side in image.size)
        place = int(rng.integers(0, image.width - width + 1)), int(rng.integers(0, image.height - height + 1))
        covered = image.copy()
        covered.paste(another(rng, (width, height)), place)
        return covered

    return apply


def bordered(share: float) -> Transformation:
    """A frame of one colour around the picture, as wide as this share of its shorter side."""

    def apply(image: Image.Image, rng: np.random.Generator) -> Image.Image:
        colour = tuple(int(level) for level in rng.choice([(0, 0, 0), (255, 255, 255), (150, 40, 30), (30, 60, 130)]))
        return ImageOps.expand(image, max(1, round(share * min(image.size))), colour)

    return apply


def screenshot(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """As a telephone shows it: a bar with the time above, buttons and a line of text below, light or dark.

    The picture keeps its width and is 70 % of the height.
    """
    above, below = round(image.height / 7), round(image.height * 2 / 7)
    ground, ink = ((18, 18, 18), (235, 235, 235)) if rng.random() < 0.5 else ((250, 250, 250), (25, 25, 25))
    screen = Image.new("RGB", (image.width, above + image.height + below), ground)
    screen.paste(image, (0, above))
    draw, font = ImageDraw.Draw(screen), ImageFont.load_default(max(8.0, above / 3))
    margin, level = image.width // 25, above // 2
    draw.text((margin, level), "9:41", fill=ink, font=font, anchor="lm")
    battery = (image.width - 3 * margin, level - above // 8, image.width - margin, level + above // 8)
    draw.rectangle(battery, outline=ink, width=max(1, above // 40))
    foot, size = above + image.height, max(2, below // 7)
    for number in range(4):
        centre = margin + size + number * 3 * size
        draw.ellipse((centre - size, foot + size // 2, centre + size, foot + size // 2 + 2 * size), fill=ink)
    draw.text((margin, foot + 4 * size), "1,204 likes   View all 87 comments", fill=ink, font=font)
    return screen


def collage(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Beside another photograph of its size, or above or below it where it is wider than high; either comes first."""
    pair = [image, another(rng, image.size)]
    if rng.random() < 0.5:
        pair.reverse()
    step = (0, image.height) if image.width >= image.height else (image.width, 0)
    both = Image.new("RGB", (image.width + step[0], image.height + step[1]))
    for number, part in enumerate(pair):
        both.paste(part, (number * step[0], number * step[1]))
    return both


def meme(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """A line of large white letters with a black edge above and one below."""
    written = image.copy()
    draw = ImageDraw.Draw(written)
    for text, level, anchor in (("WHEN YOU FIND IT", 0.03, "ma"), ("AFTER ALL THESE YEARS", 0.97, "md")):
        font = ImageFont.load_default(max(8.0, 1.55 * image.width / len(text)))
        place, edge = (image.width / 2, image.height * level), max(1, image.width // 150)
        draw.text(place, text, fill="white", font=font, anchor=anchor, stroke_width=edge, stroke_fill="black")
    return written


#: Scaled, recompressed, toned, cut, turned a little. crop-60 keeps 60 % of the area, crop-60-sides 60 % of either side,
#: 36 % of the area.
USUAL: dict[str, Transformation] = {
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
#: Little is left of the picture, much is put around it, or its colours or sides are others.
HARD: dict[str, Transformation] = {
    "crop-30": cropped(0.3),
    "overlay": overlaid(0.2),
    "border": bordered(0.1),
    "screenshot": screenshot,
    "collage": collage,
    "meme": meme,
    # The matrix of the CSS function sepia(1).
    "sepia": coloured([[0.393, 0.769, 0.189], [0.349, 0.686, 0.168], [0.272, 0.534, 0.131]]),
    "tinted": tinted,
    "hue-90": hue_turned(90),
    "rotate-10": rotated(10),
    "rotate-15": rotated(15),
    "mirrored": mirrored,
}
TRANSFORMATIONS: dict[str, Transformation] = {**USUAL, **HARD}


def transform(image: Image.Image, name: str, seed: int) -> Image.Image:
    """An RGB picture changed by an entry of TRANSFORMATIONS, repeatable from the seed."""
    # The name takes part, so that no two changes share their draws.
    return TRANSFORMATIONS[name](image, np.random.default_rng([seed, *name.encode()])).convert("RGB")
