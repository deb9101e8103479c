"""A codec as the benchmark sees it, from a picture to real file bytes and back, and the clocks it is watched with."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL import Image


@dataclass(frozen=True)
class FileCodec:
    """One codec at fixed settings.

    name: as in tables and file names. version: what must be the same for two runs to be comparable.
    qualities: the points of its curve. encode: (RGB picture, quality) -> a whole file.
    decode: a whole file -> RGB picture.
    tile_codec: the object whose `decode_tile` is the entropy decoder, if the codec gives access to it.
    scale: what quality means: "quality" is the codec's own 0 to 100, anything else is a unit of its own.
    limits: the lowest and the highest quality that it takes. integer: whether only integers are qualities.
    falling: whether a larger number means fewer bits.
    learned: whether it is a network, whose arithmetic is counted.
    """

    name: str
    settings: str
    version: str
    qualities: tuple[float, ...]
    encode: Callable[[Image.Image, float], bytes]
    decode: Callable[[bytes], Image.Image]
    tile_codec: Any = None
    scale: str = "quality"
    limits: tuple[float, float] = (0, 100)
    integer: bool = True
    falling: bool = False
    learned: bool = False

    @property
    def poorest(self) -> float:
        """The point of fewest bits."""
        return max(self.qualities) if self.falling else min(self.qualities)


@dataclass
class Stopwatch:
    """Wall-clock and CPU seconds; CPU seconds count every thread and every finished child process."""

    wall: float = 0.0
    cpu: float = 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        """Add the duration of the block."""
        wall, cpu = time.perf_counter(), _cpu_seconds()
        try:
            yield
        finally:
            self.wall += time.perf_counter() - wall
            self.cpu += _cpu_seconds() - cpu


def _cpu_seconds() -> float:
    children = os.times()
    return time.process_time() + children.children_user + children.children_system


@dataclass
class TileWatch:
    """What `decode_tile` did. tiles: (payload, the LatentCode it decoded to) of each call."""

    stopwatch: Stopwatch = field(default_factory=Stopwatch)
    tiles: list[tuple[bytes, Any]] = field(default_factory=list)


@contextmanager
def watching(tile_codec: Any) -> Iterator[TileWatch]:
    """Time and keep every call of a TileCodec's `decode_tile` inside the block."""
    watch, original = TileWatch(), tile_codec.decode_tile

    def watched(data: bytes, *args: Any) -> Any:
        with watch.stopwatch.running():
            code = original(data, *args)
        watch.tiles.append((data, code))
        return code

    tile_codec.decode_tile = watched
    try:
        yield watch
    finally:
        del tile_codec.decode_tile  # the instance's attribute: the class's method shows again
