"""The filter of a decoded picture, fitted by its encoder: least squares, rounded to steps that are worth their bits.

What a network makes of one picture errs in ways that are the picture's own, its colours above all; a few hundred bits
of weights take a part of that away (coding/post_filter.py). The fit needs second moments of pixels alone, and of a
large picture a few blocks stand for all.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import numpy as np

from ..coding import container, golomb
from ..coding.container import Container
from ..coding.post_filter import MOST, PAIRS, REACH, SIDE, PostFilter
from ..data.images import Picture
from ..data.tiling import Window
from ..engine.filtering import BAND, filtered, surroundings
from ..engine.levels import levels_of, planes_of
from ..engine.protocol import Engine, RefiningEngine
from ..parallel import Run
from .decoder import block_side, compared
from .tiles import Grid

#: Blocks of a picture that its filter is fitted to, at most.
FITTED = 4
#: Steps of taps and of own weights that are tried, as exponents.
STEPS = tuple(product(range(4, 10), range(6, 12)))
#: What keeps the solution finite where planes do not differ, relative to the mean of the moments.
RIDGE = 1e-7
#: Inputs of a plane: its taps, then itself.
INPUTS = PAIRS + 1
#: The taps that are used: of 5 x 5 pixels, of 3 x 3, none.
NEAR = [k for k in range(PAIRS) if abs(k // SIDE - REACH) <= 1 and abs(k % SIDE - REACH) <= 1]
CHOICES: tuple[list[int], ...] = (list(range(PAIRS)), NEAR, [])


def with_post_filter(engine: RefiningEngine, picture: Picture, data: bytes, run: Run) -> bytes:
    """A file without a filter -> one with the filter that pays best, itself if none does.

    Nor if the model is tuned for eyes: what they see of photographs the least squares hardly change, and measuring it
    takes as long as an eighth of the encoding.
    """
    if engine.visual:
        return data
    parsed = container.parse(data)
    blocks = list(_blocks(engine, picture, parsed, run))
    height, width = picture.pixels.shape[:2]
    price = engine.distortion_weight(parsed.header.quality) * height * width
    found = fit(blocks, price)
    if found is None:
        return data
    with_it = container.write(parsed.header, parsed.tiles, {**parsed.side, "post_filter": found})
    before = after = count = 0.0
    for pixels, levels in blocks:
        size = pixels.shape[0] * pixels.shape[1]
        before += engine.distortion(pixels, levels) * size
        after += engine.distortion(pixels, _shown(levels, found)) * size
        count += size
    return with_it if price * (before - after) / count > 8.0 * (len(with_it) - len(data)) else data


def _blocks(engine: Engine, picture: Picture, parsed: Container, run: Run) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pixels of a picture and what its file decodes to, (h, w[, 3]) uint8 each, of all blocks or of FITTED that are
    spread over it."""
    header = parsed.header
    grid = Grid.of(engine, header.height, header.width, block_side(header.tile))
    count = len(grid.places)
    areas: list[Window | None] = [None]
    if count > FITTED:
        areas = [grid.places[(2 * n + 1) * count // (2 * FITTED)] for n in range(FITTED)]
    for area in areas:
        yield from compared(engine, picture, parsed, run, area)


def fit(blocks: list[tuple[np.ndarray, np.ndarray]], price: float) -> PostFilter | None:
    """The filter that makes bits + price * squared error least, None where none makes it less.

    blocks: pixels and what they were decoded to, (h, w[, 3]) uint8 each; price: bits that a mean squared error of 1, on
    [0, 1], is worth.
    """
    moments, error, count = _moments(blocks)
    planes = error.shape[1]
    worth = price / (count * planes)
    best, lowest = None, 0.0
    for taps in CHOICES:
        weights = _solved(moments, error, taps)
        for exponents in STEPS:
            part = _rounded(weights, planes, exponents)
            values = _values(part)
            saved = 2.0 * float((values * error).sum()) - float((values * (moments @ values)).sum())
            cost = golomb.bits_of(part.taps)[1] + golomb.bits_of(part.own)[1] - worth * saved
            if cost < lowest:
                best, lowest = part, cost
    return best


def _moments(blocks: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray, int]:
    """Sums over all pixels: products of the inputs, (C * INPUTS, C * INPUTS), those of inputs and errors,
    (C * INPUTS, C), both float64; how many pixels there are."""
    moments, error, count = 0.0, 0.0, 0
    for pixels, levels in blocks:
        target, planes = planes_of(pixels), planes_of(levels)
        height, width = planes.shape[1:]
        padded = surroundings(planes, Window(0, 0, height, width))
        rows = max(BAND // width, 1)
        for top in range(0, height, rows):
            bottom = min(top + rows, height)
            inputs = _inputs(padded[:, top : bottom + 2 * REACH])
            off = (target[:, top:bottom] - planes[:, top:bottom]).reshape(len(planes), -1)
            moments = moments + (inputs @ inputs.T).astype(np.float64)
            error = error + (inputs @ off.T).astype(np.float64)
        count += height * width
    return np.asarray(moments), np.asarray(error), count


def _inputs(padded: np.ndarray) -> np.ndarray:
    """(C, r + 4, w + 4) float32 -> what weights multiply, (C * INPUTS, r * w): of each plane its taps, then own."""
    planes, height, width = len(padded), padded.shape[1] - 2 * REACH, padded.shape[2] - 2 * REACH
    middle = padded[:, REACH : REACH + height, REACH : REACH + width]
    found = np.empty((planes, INPUTS, height, width), np.float32)
    for k in range(PAIRS):
        down, across = divmod(k, SIDE)
        up, back = SIDE - 1 - down, SIDE - 1 - across
        found[:, k] = padded[:, down : down + height, across : across + width]
        found[:, k] += padded[:, up : up + height, back : back + width]
        found[:, k] -= 2 * middle
    found[:, PAIRS] = middle - np.float32(0.5)
    return found.reshape(planes * INPUTS, -1)


def _solved(moments: np.ndarray, error: np.ndarray, taps: list[int]) -> np.ndarray:
    """The weights of least squared error, (C * INPUTS, C) float64, zero but for the taps named and own."""
    planes = error.shape[1]
    used = np.array([plane * INPUTS + k for plane in range(planes) for k in (*taps, PAIRS)])
    part = moments[np.ix_(used, used)]
    ridge = RIDGE * max(np.trace(part) / len(part), 1e-12) * np.eye(len(part))
    weights = np.zeros_like(error)
    weights[used] = np.linalg.solve(part + ridge, error[used])
    return weights


def _rounded(weights: np.ndarray, planes: int, exponents: tuple[int, int]) -> PostFilter:
    by_plane = weights.T.reshape(planes, planes, INPUTS)  # out, in, input
    parts = by_plane[..., :PAIRS], by_plane[..., PAIRS]
    taps, own = (
        np.clip(np.rint(np.ldexp(part, e)), -MOST, MOST).astype(np.int32)
        for part, e in zip(parts, exponents, strict=True)
    )
    return PostFilter(taps, own, exponents)


def _values(post_filter: PostFilter) -> np.ndarray:
    """The weights of a filter as `_solved` gives them."""
    taps, own = post_filter.weights()
    by_plane = np.concatenate([taps, own[..., None]], axis=2)
    return by_plane.reshape(len(own), -1).T


def _shown(levels: np.ndarray, post_filter: PostFilter) -> np.ndarray:
    """(h, w[, 3]) uint8 without a filter -> with it, but for what rounding hid."""
    padded = surroundings(planes_of(levels), Window(0, 0, *levels.shape[:2]))
    return levels_of(filtered(padded, post_filter))
