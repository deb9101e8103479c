"""Pictures that nobody photographed: text, lines, screens, charts, pixel art, noise, gradients, drawn from a seed.

Each function takes a random generator, a height and a width in pixels and gives (H, W, 3) uint8. The same seed gives
the same picture with the same Pillow and NumPy. The letters are those that Pillow brings along (Aileron, CC0).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

Draw = Callable[[np.random.Generator, int, int], np.ndarray]
Colour = tuple[int, int, int]
_SYLLABLES = tuple("ka lo mi ne tur sen vo ri pa del ga ho shi um bra ten zu fe qua lin or es wy".split())  # noqa: SIM905
#: The ten tones of the Monk Skin Tone scale (E. Monk, 2022, skintone.google), lightest first.
SKIN = ("f6ede4", "f3e7db", "f7ead0", "eadaba", "d7bd96", "a07e56", "825c43", "604134", "3a312a", "292420")
#: Drawings with round edges are made so many times as large, and averaged.
_FINER = 3


@lru_cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _colour(rng: np.random.Generator, low: int = 0, high: int = 256) -> Colour:
    red, green, blue = (int(value) for value in rng.integers(low, high, 3))
    return red, green, blue


def _word(rng: np.random.Generator) -> str:
    word = "".join(rng.choice(_SYLLABLES, rng.integers(1, 4)))
    return word.capitalize() if rng.random() < 0.15 else word


def _line(rng: np.random.Generator, letters: int) -> str:
    text = _word(rng)
    while len(text) < letters:
        text += ("; " if rng.random() < 0.05 else " ") + _word(rng)
    return text


def text(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """A printed page: dark letters of one size on light paper."""
    paper, ink = int(rng.integers(235, 256)), int(rng.integers(0, 60))
    image = Image.new("RGB", (width, height), (paper, paper, paper))
    draw, size = ImageDraw.Draw(image), int(rng.integers(10, 22))
    for top in range(size, height - size, round(1.5 * size)):
        if rng.random() > 0.1:
            draw.text((size, top), _line(rng, int(1.9 * width / size)), (ink, ink, ink), _font(size))
    return np.asarray(image)


def terminal(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Coloured words on a dark ground, as a program's source is shown."""
    ground = _colour(rng, 0, 50)
    inks = [_colour(rng, 120) for _ in range(5)]
    image = Image.new("RGB", (width, height), ground)
    draw, size = ImageDraw.Draw(image), int(rng.integers(11, 18))
    for top in range(4, height - size, size + 4):
        left = 4.0 + 2 * size * int(rng.integers(0, 4))
        while left < width * rng.random():
            word = _word(rng)
            draw.text((left, top), word, inks[int(rng.integers(0, 5))], _font(size))
            left += draw.textlength(word + " ", _font(size))
    return np.asarray(image)


def lines(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """A line drawing: curves and circles of a pen on white, with soft edges."""
    finer = _FINER
    image = Image.new("RGB", (finer * width, finer * height), "white")
    draw, pen = ImageDraw.Draw(image), int(rng.integers(3, 9))
    for _ in range(int(rng.integers(15, 40))):
        start, turn = rng.random(2) * (width, height) * finer, rng.random() * 6.3
        points = [tuple(start)]
        for step in rng.normal(0, 0.35, int(rng.integers(10, 40))):
            turn += step
            start = start + 12 * finer * np.array([np.cos(turn), np.sin(turn)])
            points.append(tuple(start))
        draw.line(points, (20, 20, 20), pen, joint="curve")
    for _ in range(int(rng.integers(3, 10))):
        (x, y), radius = rng.random(2) * (width, height) * finer, finer * int(rng.integers(8, 70))
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), outline=(20, 20, 20), width=pen)
    return np.asarray(image.reduce(finer))


def flat(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """An illustration: areas of one colour each, with soft edges."""
    finer = _FINER
    image = Image.new("RGB", (finer * width, finer * height), _colour(rng))
    draw = ImageDraw.Draw(image)
    for _ in range(int(rng.integers(12, 40))):
        middle, reach = rng.random(2) * (width, height) * finer, rng.random() * 0.3 * width * finer
        corners = [tuple(middle + reach * rng.normal(size=2)) for _ in range(int(rng.integers(3, 8)))]
        draw.polygon(corners, _colour(rng))
    return np.asarray(image.reduce(finer))


def screen(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """A screenshot: windows with title bars, buttons, lists of text."""
    image = Image.new("RGB", (width, height), _colour(rng, 30, 160))
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 0, width, 22), (45, 45, 48))
    draw.text((8, 4), _line(rng, 40), (225, 225, 225), _font(12))
    for _ in range(int(rng.integers(2, 5))):
        left, top = int(rng.integers(0, width // 2)), int(rng.integers(24, max(height // 2, 25)))
        wide, high = int(rng.integers(width // 3, width)), int(rng.integers(height // 3, height))
        accent = _colour(rng, 20, 200)
        draw.rounded_rectangle((left, top, left + wide, top + high), 6, (248, 248, 250), (170, 170, 175))
        draw.rectangle((left + 1, top + 4, left + wide - 1, top + 26), accent)
        draw.text((left + 10, top + 7), _line(rng, 15), "white", _font(13))
        for row in range(top + 36, top + high - 40, 19):
            draw.text((left + 14, row), _line(rng, max(wide // 9, 4))[: max(wide // 8, 1)], (40, 40, 44), _font(12))
        for number in range(2):
            x = left + wide - 90 * (number + 1)
            draw.rounded_rectangle((x, top + high - 32, x + 78, top + high - 10), 4, accent)
            draw.text((x + 14, top + high - 28), _word(rng)[:8], "white", _font(12))
    return np.asarray(image)


def chart(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Bars and curves between axes, with labels."""
    image = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(image)
    left, bottom, bars = 46, height - 34, int(rng.integers(5, 14))
    for step in range(9):
        y = round(20 + (bottom - 20) * step / 8)
        draw.line((left, y, width - 12, y), (222, 222, 222))
        draw.text((10, y - 7), f"{(8 - step) * 12.5:.0f}", (90, 90, 90), _font(12))
    inks, wide = [_colour(rng, 0, 220) for _ in range(3)], (width - left - 20) / bars
    for bar in range(bars):
        x = left + 4 + bar * wide
        draw.rectangle((x, bottom - rng.random() * (bottom - 24), x + 0.7 * wide, bottom), inks[bar % 3])
        draw.text((x, bottom + 8), _word(rng)[:7], (60, 60, 60), _font(11))
    draw.line((left, 20, left, bottom, width - 12, bottom), (30, 30, 30), 2)
    heights = 20 + (bottom - 20) * np.clip(np.cumsum(rng.normal(0, 0.06, 60)) + 0.5, 0, 1)
    draw.line(list(zip(np.linspace(left, width - 12, 60), heights, strict=True)), (200, 40, 40), 2)
    return np.asarray(image)


def pixel_art(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Sprites of few colours, each dot four pixels wide."""
    dots = 4
    rows, columns = -(-height // dots), -(-width // dots)
    palette = rng.integers(0, 256, (12, 3), dtype=np.uint8)
    field = np.zeros((rows, columns), np.intp)
    for _ in range(rows * columns // 150):
        half = rng.integers(0, 12, (12, 6))
        sprite = np.concatenate([half, half[:, ::-1]], axis=1) * (rng.random((12, 1)) < 0.9)
        y, x = int(rng.integers(0, max(rows - 12, 1))), int(rng.integers(0, max(columns - 12, 1)))
        place = field[y : y + 12, x : x + 12]
        place[:] = sprite[: place.shape[0], : place.shape[1]]
    return palette[field].repeat(dots, 0).repeat(dots, 1)[:height, :width]


def stripes(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Coloured stripes or checks a few pixels wide."""
    first, second = rng.integers(0, 256, (2, 3), dtype=np.uint8)
    across, down = (int(side) for side in rng.integers(1, 9, 2))
    columns = np.arange(width) // across % 2
    rows = np.arange(height)[:, None] // down % 2 if rng.random() < 0.5 else 0
    return np.where(((columns ^ rows) * np.ones((height, 1), int))[..., None] > 0, first, second)


def noise(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Noise about a mean colour, grey or coloured, from faint to as much as fits."""
    spread, channels = rng.uniform(4, 90), 3 if rng.random() < 0.5 else 1
    values = rng.uniform(60, 200, 3) + spread * rng.normal(size=(height, width, channels))
    return np.clip(values.round(), 0, 255).astype(np.uint8)


def gradient(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """A smooth change between colours across the picture, rounded to levels."""
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    turn = rng.uniform(0, 6.3)
    way = np.cos(turn) * x + np.sin(turn) * y if rng.random() < 0.6 else np.hypot(x - 0.5, y - 0.4)
    way = (way - way.min()) / np.ptp(way)
    first, second = rng.uniform(0, 255, (2, 3))
    return (first + (second - first) * way[..., None]).round().astype(np.uint8)


def skin(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Patches in the ten tones of SKIN, shaded and grained as skin is in soft light: a stand-in for what is free."""
    tones = np.array([tuple(bytes.fromhex(tone)) for tone in SKIN], np.float64)
    columns, rows = 5, 2
    y, x = np.mgrid[0:height, 0:width]
    field = tones[(y * rows // height) * columns + x * columns // width]
    shade = 1 + 0.16 * np.sin(2 * np.pi * (x * columns / width + rng.random())) * np.cos(2 * np.pi * y * rows / height)
    small = Image.fromarray(rng.normal(0, 1, (height // 2 + 1, width // 2 + 1)).astype(np.float32))
    grain = np.asarray(small.resize((width, height), Image.Resampling.BICUBIC)) * 2.2
    return np.clip((field * shade[..., None] + grain[..., None]).round(), 0, 255).astype(np.uint8)


#: What there is to draw, by name.
KINDS: dict[str, Draw] = {
    "text": text,
    "terminal": terminal,
    "lines": lines,
    "flat": flat,
    "screen": screen,
    "chart": chart,
    "pixel-art": pixel_art,
    "stripes": stripes,
    "noise": noise,
    "gradient": gradient,
    "skin": skin,
}


def drawn(kind: str, seed: int, height: int = 384, width: int = 512) -> np.ndarray:
    """The picture of a kind and a seed, (height, width, 3) uint8."""
    return KINDS[kind](np.random.default_rng([seed, list(KINDS).index(kind)]), height, width)
