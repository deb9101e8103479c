"""Files of one size: the search finds what trying every quality finds, on scales of every kind."""

from __future__ import annotations

import math

import pytest
from conftest import natural_picture
from PIL import Image

from aecodec.bench.codecs import FileCodec
from aecodec.bench.opening import open_codec
from aecodec.bench.sizing import at_most, common_size, nearest
from aecodec.contracts import AecodecError

IMAGE = Image.fromarray(natural_picture(64, 96))


def fake(name: str, size, **more) -> FileCodec:
    """A codec whose files have a size by a formula of the quality."""
    more = {"qualities": (0.0, 100.0), **more}
    return FileCodec(name, "", "1", encode=lambda image, quality: bytes(int(size(quality))), decode=None, **more)


def test_the_search_finds_what_trying_every_quality_finds():
    webp = open_codec("webp")
    sizes = [len(webp.encode(IMAGE, quality)) for quality in range(101)]
    for target in (sizes[0] // 2, sizes[0], sizes[40] + 1, sizes[40], sizes[77] - 1, 2 * sizes[100]):
        off = min(abs(size - target) for size in sizes)
        assert abs(len(nearest(webp, IMAGE, target).data) - target) == off
        below = [size for size in sizes if size <= target]
        assert len(at_most(webp, IMAGE, target).data) == (max(below) if below else sizes[0])


#: A codec of each kind of scale, and how far off a size it may be.
SCALES = [
    (fake("rising", lambda quality: 100 + 50 * quality, integer=False), 0.01),
    (
        fake(
            "distance", lambda d: 9000 / (1 + d), qualities=(0.5, 12.0), scale="distance", integer=False, falling=True
        ),
        0.01,
    ),
    (fake("QP", lambda qp: 9000 * 2 ** (-qp / 6), qualities=(1, 47), scale="QP", falling=True), 0.08),
    (fake("checkpoints", lambda number: 500 * number, qualities=(1, 2, 3, 4, 5, 6), scale="checkpoint"), 0.2),
]


@pytest.mark.parametrize(("codec", "reach"), SCALES, ids=[codec.name for codec, _ in SCALES])
def test_a_size_is_met_as_nearly_as_the_scale_allows(codec, reach):
    for target in (1250, 1500, 2900):
        found = nearest(codec, IMAGE, target)
        assert abs(len(found.data) - target) <= reach * target
        assert codec.encode(IMAGE, found.quality) == found.data
        assert len(at_most(codec, IMAGE, target).data) <= target


def test_the_common_size_is_one_that_every_codec_can_make():
    def failing(image, quality):
        raise AecodecError("no such thing")

    said: list[str] = []
    large = fake("large", lambda quality: 4000 + round(quality))
    broken = FileCodec("broken", "", "1", (1.0,), failing, None)
    target, able = common_size([fake("small", lambda quality: 10), large, broken], IMAGE, 0.25, "a.png", said.append)
    assert (target, [codec.name for codec in able]) == (4000, ["small", "large"])
    assert said == ["a.png: broken is left out: no such thing"]
    assert common_size([fake("small", lambda quality: 10)], IMAGE, 0.5, "a.png", said.append)[0] == math.ceil(
        64 * 96 * 0.5 / 8
    )
