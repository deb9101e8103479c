"""The filter of the decoded picture: its bytes there and back, its kernel against the sum that the format names."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aecodec.coding.post_filter import FINEST, MOST, PAIRS, REACH, SIDE, PostFilter
from aecodec.contracts import BitstreamError


def some_filter(planes: int = 3, seed: int = 0, most: int = 40, exponents: tuple[int, int] = (8, 10)) -> PostFilter:
    rng = np.random.default_rng(seed)
    taps, own = (
        rng.integers(-most, most + 1, shape).astype(np.int32) for shape in ((planes, planes, PAIRS), (planes, planes))
    )
    return PostFilter(taps, own, exponents)


def same(a: PostFilter, b: PostFilter) -> bool:
    return np.array_equal(a.taps, b.taps) and np.array_equal(a.own, b.own) and a.exponents == b.exponents


@settings(max_examples=60, deadline=None)
@given(st.sampled_from([1, 3]), st.integers(0, 999), st.sampled_from([0, 1, 40, MOST]), st.integers(0, FINEST))
def test_what_is_packed_is_unpacked(planes, seed, most, exponent):
    before = some_filter(planes, seed, most, (exponent, FINEST - exponent))
    data = before.pack()
    assert same(before, PostFilter.unpack(data))
    for end in range(len(data)):
        with pytest.raises(BitstreamError, match="post filter"):
            PostFilter.unpack(data[:end])
    with pytest.raises(BitstreamError, match="stand for nothing"):
        PostFilter.unpack(data + b"\0")


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=80), st.sampled_from([b"", b"\1", b"\3"]))
def test_other_bytes_are_refused_or_say_one_filter_in_one_way(data, head):
    try:
        found = PostFilter.unpack(head + data)
    except BitstreamError:
        return
    assert np.isfinite(found.kernel()[0]).all()
    again = PostFilter.unpack(found.pack())
    assert same(found, again)
    assert len(found.pack()) <= len(head + data)


def test_weights_beyond_the_format_are_not_packed():
    for wrong in (some_filter(most=1, exponents=(FINEST + 1, 0)), some_filter(planes=2)):
        with pytest.raises(ValueError, match="post filter"):
            wrong.pack()
    large = some_filter()
    large.own[0, 0] = MOST + 1
    with pytest.raises(ValueError, match="at most"):
        large.pack()


@pytest.mark.parametrize("planes", [1, 3])
def test_the_kernel_is_the_sum_that_the_format_names(planes):
    found = some_filter(planes)
    taps, own = (part * 2.0**-e for part, e in zip((found.taps, found.own), found.exponents, strict=True))
    p = np.random.default_rng(1).random((planes, SIDE, SIDE))
    wanted = p[:, REACH, REACH] + (own * (p[:, REACH, REACH] - 0.5)).sum(axis=1)
    flat = p.reshape(planes, -1)
    for k in range(PAIRS):
        wanted += (taps[:, :, k] * (flat[:, k] + flat[:, SIDE * SIDE - 1 - k] - 2 * p[:, REACH, REACH])).sum(axis=1)
    weights, biases = found.kernel()
    assert np.allclose((weights * p).sum(axis=(1, 2, 3)) + biases, wanted, atol=1e-5)


def test_a_filter_of_zeros_changes_nothing():
    weights, biases = some_filter(most=0).kernel()
    identity = np.zeros_like(weights)
    identity[[0, 1, 2], [0, 1, 2], REACH, REACH] = 1
    assert np.array_equal(weights, identity)
    assert not biases.any()
