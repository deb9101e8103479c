"""Grids of latents and the weights of the networks: how many there are, and where each lies in one array."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

#: Grids of latents: grid k has a value for each 2^k x 2^k pixels.
GRIDS = 7
#: Inputs of the context network: neighbours in the same grid, five of the next coarser one, one of the one after it.
CONTEXT = 20
#: Units of the synthesis between its two dense layers.
HIDDEN = 48
COLOURS = 3
TAPS = 4

#: Tensor -> shape, in the order in which they lie in an array of all weights. w1, w2, w3: matrices of the context
#: network (outputs, inputs), b1, b2, b3: what is added; v1, v2, c1, c2: the same of the synthesis; k1, k2, d1, d2: its
#: convolutions (outputs, inputs, rows, columns); taps: of the filter that leads to each level from the next.
SHAPES: Mapping[str, tuple[int, ...]] = MappingProxyType(
    {
        "w1": (CONTEXT, CONTEXT),
        "w2": (CONTEXT, CONTEXT),
        "w3": (2, CONTEXT),
        "b1": (CONTEXT,),
        "b2": (CONTEXT,),
        "b3": (2,),
        "v1": (HIDDEN, GRIDS),
        "v2": (COLOURS, HIDDEN),
        "c1": (HIDDEN,),
        "c2": (COLOURS,),
        "k1": (COLOURS, COLOURS, 3, 3),
        "k2": (COLOURS, COLOURS, 3, 3),
        "d1": (COLOURS,),
        "d2": (COLOURS,),
        "taps": (GRIDS - 1, TAPS),
    }
)
#: Tensors that share a quantisation step and a code, in the order in which they are coded.
GROUPS = (("w1", "w2", "w3"), ("b1", "b2", "b3"), ("v1", "v2"), ("c1", "c2"), ("k1", "k2"), ("d1", "d2"), ("taps",))
#: The groups of the context network, which is computed in fixed point.
FIXED_GROUPS = 2


def _ends() -> dict[str, int]:
    ends, end = {}, 0
    for name, shape in SHAPES.items():
        end += int(np.prod(shape))
        ends[name] = end
    return ends


_ENDS = _ends()
WEIGHTS = _ENDS["taps"]
#: Where the weights of the context network end.
FIXED_WEIGHTS = _ENDS["b3"]
#: Each group's part of an array of all weights.
SLICES = tuple(slice(_ENDS[group[0]] - int(np.prod(SHAPES[group[0]])), _ENDS[group[-1]]) for group in GROUPS)


def tensors(weights: np.ndarray) -> dict[str, np.ndarray]:
    """(WEIGHTS,) -> views of it by the names of SHAPES."""
    return {name: weights[end - int(np.prod(SHAPES[name])) : end].reshape(SHAPES[name]) for name, end in _ENDS.items()}


def grid_sizes(height: int, width: int) -> list[tuple[int, int]]:
    """Height and width of each grid of a tile, finest first."""
    return [(-(-height >> k), -(-width >> k)) for k in range(GRIDS)]


def split_grids(latents: np.ndarray, height: int, width: int) -> list[np.ndarray]:
    """(n,), the grids of a tile one after another, finest first -> views of it, (h, w) each."""
    sizes = grid_sizes(height, width)
    ends = np.cumsum([h * w for h, w in sizes])
    return [latents[end - h * w : end].reshape(h, w) for (h, w), end in zip(sizes, ends, strict=True)]


def count_latents(height: int, width: int) -> int:
    """Values of all grids of a tile."""
    return sum(h * w for h, w in grid_sizes(height, width))
