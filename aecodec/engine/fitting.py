"""A hasher made of a feature extractor in ONNX: looked at, run over some pictures, centred, turned, saved."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..contracts import CheckpointError, ImageReadError, UsageError
from ..data.files import read_bytes
from ..zoo import stored
from ..zoo.stored import Stored
from .extractor import CENTRE, FAMILY, GRAPH, LAYOUTS, MAX_SIDE, PROJECTION, TYPES, Extractor, ExtractorNetwork
from .networks import OnnxNetworks
from .onnx_file import MAX_BYTES, fault_of
from .rotation import principal_axes, random_axes, rotate_to_bits

ROTATIONS = ("itq", "random")
#: Shorter codes that a longer one begins with, where it is longer.
LENGTHS = (64, 128, 256, 512)
#: Side of pictures where the model leaves it open.
DEFAULT_SIDE = 224
#: What torchvision's and timm's extractors take: of RGB in [0, 1].
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Taking:
    """How pictures are handed to a model. side: where the model leaves it open. mean, deviation: of levels in [0,
    range], one number or one for each channel; range: 1 or 255. reversed: blue before red. output: by name, the first
    unless given. A model that takes bytes gets them as they are."""

    side: int | None = None
    mean: tuple[float, ...] = IMAGENET[0]
    deviation: tuple[float, ...] = IMAGENET[1]
    range: int = 1
    reversed: bool = False
    output: str | None = None


def look_at(path: Path, taking: Taking) -> Extractor:
    """The model of an ONNX file, ready to run over squares, with what its graph says of them.

    Raises CheckpointError for a file that is no such model or not to be trusted, UsageError for what does not go with
    it.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise CheckpointError(f"{path}: {path.stat().st_size} bytes; at most {MAX_BYTES} are read")
        graph = read_bytes(path)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror or error})") from error
    except ImageReadError as error:  # it names the file itself
        raise CheckpointError(str(error)) from error
    if wrong := fault_of(graph):
        raise CheckpointError(f"{path}: {wrong}")
    kept = Stored(path.stem, FAMILY, {}, {}, graphs={GRAPH: graph})
    inputs, outputs = OnnxNetworks(kept, path).ends(GRAPH)
    if len(inputs) != 1 or len(inputs[0].shape) != 4 or inputs[0].type not in TYPES:
        found = ", ".join(f"{one.name} {one.type} {one.shape}" for one in inputs)[:200]
        raise CheckpointError(f"{path}: expected one input of pictures of uint8 or float, N x C x H x W, found {found}")
    names = [one.name for one in outputs]
    if taking.output is not None and taking.output not in names:
        raise UsageError(f"{path}: no output {taking.output!r}; there are: {', '.join(names)}")
    shape = [side if isinstance(side, int) and side > 0 else None for side in inputs[0].shape]
    config: dict[str, Any] = {
        "graph": hashlib.sha256(graph).hexdigest(),
        "type": inputs[0].type,
        "input": inputs[0].name,
        "output": taking.output or names[0],
        "batch": shape[0] or 0,
        "range": str(taking.range),
        "mean": [float(level) for level in taking.mean],
        "deviation": [float(level) for level in taking.deviation],
        "reversed": taking.reversed,
        "n_bits": 8,
        "prefixes": [],
    }
    refused: CheckpointError | None = None
    for layout in layouts_of(shape):
        channels, height, width = shape[1:] if layout == "NCHW" else (shape[3], *shape[1:3])
        side = side_of(path, height, width, taking.side)
        levels = {
            key: [sum(config[key]) / 3] for key in ("mean", "deviation") if channels == 1 and len(config[key]) == 3
        }
        asked = {**config, **levels, "layout": layout, "shape": [channels or 3, side, side]}
        extractor = Extractor(replace(kept, config=asked), path)
        try:
            extractor.features(np.zeros((1, channels or 3, side, side), np.float32))
            return extractor
        except CheckpointError as error:  # of an order of axes that the graph leaves open, the other may do
            refused = refused or error
    raise refused or CheckpointError(f"{path}: takes {inputs[0].shape}; pictures have 1 or 3 channels")


def layouts_of(shape: list[int | None]) -> list[str]:
    """The orders of axes that an input of four may have, the likelier first: None is an axis that is left open."""
    channels = {"NCHW": shape[1], "NHWC": shape[3]}
    sure = [layout for layout in LAYOUTS if channels[layout] in (1, 3)]
    return sure or [layout for layout in LAYOUTS if channels[layout] is None]


def side_of(path: Path, height: int | None, width: int | None, asked: int | None) -> int:
    """The side of the squares that a model takes. Raises CheckpointError for other shapes, UsageError for a side that
    it does not take."""
    fixed = {side for side in (height, width) if side is not None}
    if len(fixed) > 1:
        raise CheckpointError(f"{path}: takes pictures of {height} x {width}; a hasher takes squares")
    side = fixed.pop() if fixed else asked or DEFAULT_SIDE
    if asked not in (None, side):
        raise UsageError(f"{path}: takes squares of {side} x {side}, not of {asked}")
    if not 1 <= side <= MAX_SIDE:
        raise CheckpointError(f"{path}: takes squares of {side} x {side}; up to {MAX_SIDE} are read")
    return side


def fit(features: np.ndarray, bits: int, rotation: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(N, D) float32 -> centre (D,) and projection (D, bits), float32.

    itq: principal axes, turned to lie near the corners of a cube (Gong and Lazebnik 2011). random: axes of a rotation
    that is drawn (random hyperplanes through the mean that are orthogonal). Raises UsageError for more bits than that
    gives, or fewer pictures than it needs.
    """
    count, width = features.shape
    if rotation not in ROTATIONS:
        raise UsageError(f"a rotation is one of {', '.join(ROTATIONS)}, got {rotation!r}")
    if bits > width:
        raise UsageError(f"features of {width} numbers give at most {width // 8 * 8} bits, not {bits}")
    least = bits + 1 if rotation == "itq" else 2
    if count < least:
        hint = "; --rotation random needs 2" if rotation == "itq" else ""
        raise UsageError(f"{bits} bits by {rotation} are fitted to at least {least} pictures, found {count}{hint}")
    centre = features.mean(0, dtype=np.float64).astype(np.float32)
    centred, rng = features - centre, np.random.default_rng(seed)
    if rotation == "random":
        return centre, random_axes(width, bits, rng)
    axes = principal_axes(centred, bits)
    return centre, (axes @ rotate_to_bits(centred @ axes, rng)[0]).astype(np.float32)


def make_hasher(
    path: Path,
    squares: Callable[[int, int], Iterable[np.ndarray]],
    target: Path,
    *,
    taking: Taking | None = None,
    name: str | None = None,
    bits: int = 256,
    rotation: str = "itq",
    seed: int = 0,
) -> ExtractorNetwork:
    """Fit a hasher to a feature extractor, and save it in one file that holds the model as well.

    squares: of a side and a number of channels, gives the pictures to fit to, (n, C, side, side) uint8 at a time. See
    `fit` for the others. Raises CheckpointError, UsageError, OutputError.
    """
    extractor = look_at(path, taking or Taking())
    channels, side, _ = extractor.config["shape"]
    features = [extractor.features(batch / np.float32(255)) for batch in squares(side, channels)]
    found = np.concatenate(features) if features else np.empty((0, bits), np.float32)
    centre, projection = fit(found, bits, rotation, seed)
    config: dict[str, Any] = {
        **extractor.config,
        "n_bits": bits,
        "prefixes": [length for length in LENGTHS if length < bits],
        "rotation": rotation,
        "seed": seed,
        "pictures": min(len(found), 1 << 16),
    }
    kept = Stored(
        name or path.stem,
        FAMILY,
        config,
        {CENTRE: centre, PROJECTION: projection},
        graphs={GRAPH: extractor.graph},
        card={"model": path.name, "pictures": len(found)},
    )
    network = ExtractorNetwork(kept, target)
    stored.write(kept, target)
    return network
