"""Overfitted tiles: the same integers by every implementation, the same costs by every fitter, no other bytes read."""

from __future__ import annotations

import hashlib
import math
import zlib

import numpy as np
import pytest
from conftest import natural_picture
from extras import needs
from hypothesis import given, settings
from hypothesis import strategies as st

from aecodec.codec.overfitted import FINGERPRINT
from aecodec.coding import golomb
from aecodec.contracts import BitstreamError
from aecodec.overfitted import fitting, native, payload, priors, tables, waves
from aecodec.overfitted.context import ACTIVATION_MAX, POINT, WEIGHT_POINT, FixedContext, largest_sum
from aecodec.overfitted.layout import CONTEXT, FIXED_WEIGHTS, GROUPS, SLICES, WEIGHTS, count_latents, tensors
from aecodec.overfitted.synthesis import synthesise
from aecodec.overfitted.weights import CodedWeights, pack, unpack

compiled = pytest.mark.skipif(not native.available(), reason="no C compiler")
SIZES = [(1, 1), (1, 70), (37, 53), (66, 130)]


def some_weights(seed: int = 0, spread: float = 0.15, prior: int = 0) -> CodedWeights:
    rng = np.random.default_rng(seed)
    off = rng.normal(0.0, spread, WEIGHTS) + priors.priors()[prior] * 2.0**-priors.POINT
    return CodedWeights.of(off, (7, 8, 7, 6, 8, 9, 7), prior)


def some_latents(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Mostly small, some beyond every table, some beyond what contexts show."""
    rng = np.random.default_rng(seed)
    latents = np.rint(rng.laplace(0.0, 3.0, count_latents(height, width))).astype(np.int32)
    latents[rng.integers(0, len(latents), 5)] *= 300
    return latents


def test_the_format_is_what_its_fingerprint_says():
    content = b"overfitted 1" + tables.frequencies().astype("<u4").tobytes() + priors.priors().astype("<i4").tobytes()
    assert hashlib.sha256(content).digest()[:8] == FINGERPRINT


def test_any_exponential_gives_the_tables():
    """No constant lies so near to a whole number that an error of the last bits could move it."""
    for scale in range(tables.SCALES):
        exact = math.exp(-1.0 / (tables.FRACTIONS * 2.0 ** ((scale - tables.UNIT_SCALE) / 8.0))) * 2.0**40
        assert 2.0**-9 < exact % 1.0 < 1.0 - 2.0**-9


def test_tables_are_the_laplace_distributions_that_they_stand_for():
    frequencies = tables.frequencies().astype(np.float64) / (1 << 20)
    assert frequencies.min() > 0.0
    np.testing.assert_array_equal(frequencies.sum(axis=1), 1.0)
    for scale, fraction in ((0, 8), (20, 0), (37, 11), (79, 15)):
        width, mean = 2.0 ** ((scale - 37) / 8.0), (fraction - 8) / 16.0

        def cdf(x: np.ndarray, width: float = width, mean: float = mean) -> np.ndarray:
            off = (x - mean) / width
            return np.where(off < 0, 0.5 * np.exp(-np.abs(off)), 1.0 - 0.5 * np.exp(-np.abs(off)))

        edges = np.arange(-tables.REACH, tables.REACH + 2) - 0.5
        row = frequencies[16 * scale + fraction]
        np.testing.assert_allclose(row[:-1], np.diff(cdf(edges)), atol=2e-4)


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_latents_come_back(height, width):
    weights, latents = some_weights(), some_latents(height, width)
    words = waves.encode(latents, weights.context(), height, width)
    np.testing.assert_array_equal(waves.decode(words, weights.context(), height, width), latents)


@compiled
@pytest.mark.parametrize(("height", "width"), SIZES)
@pytest.mark.parametrize("spread", [0.0, 0.15, 0.8])
def test_the_kernels_read_what_numpy_writes(height, width, spread):
    weights, latents = some_weights(1, spread, prior=1), some_latents(height, width, 1)
    words = waves.encode(latents, weights.context(), height, width)
    np.testing.assert_array_equal(native.decode(words, weights.context(), height, width), latents)


def slow_tables(weights: np.ndarray, column: list[int]) -> tuple[int, int]:
    """One position in Python's own integers, as the format has it."""
    parts = np.split(weights, np.cumsum([400, 400, 40, 20, 20]))
    x = [value << POINT for value in column]
    for matrix, added in ((parts[0], parts[3]), (parts[1], parts[4])):
        sums = [sum(int(w) * v for w, v in zip(matrix[20 * o : 20 * o + 20], x, strict=True)) for o in range(20)]
        assert max(map(abs, sums)) < 1 << 31
        rows = zip(sums, added, x, strict=True)
        x = [min(max((s + int(b) + (v << WEIGHT_POINT) + 512) >> 10, 0), ACTIVATION_MAX) for s, b, v in rows]
    mean, scale = (
        sum(int(w) * v for w, v in zip(parts[2][20 * o : 20 * o + 20], x, strict=True)) + int(parts[5][o])
        for o in range(2)
    )
    mean = min(max((mean + (1 << 13)) >> 14, -127 * 16), 127 * 16)
    scale = min(max(((scale + (1 << 14)) >> 15) + 37, 0), 79)
    whole = (mean + 8) >> 4
    return whole, 16 * scale + mean - 16 * whole + 8


@pytest.mark.parametrize("spread", [0.05, 0.6])
def test_contexts_are_the_integers_of_the_format(spread):
    context = some_weights(2, spread).context()
    contexts = np.random.default_rng(0).integers(-127, 128, (CONTEXT, 40))
    whole, table = context.tables(contexts.astype(np.float64))
    for position in range(40):
        expected = slow_tables(context.weights, contexts[:, position].tolist())
        assert (whole[position], table[position]) == expected


def test_weights_whose_sums_could_leave_32_bits_are_refused():
    weights = np.zeros(FIXED_WEIGHTS, np.int32)
    weights[0] = largest_sum() // ACTIVATION_MAX
    FixedContext(weights)
    weights[0] += 1
    with pytest.raises(ValueError, match="32 bits"):
        FixedContext(weights)
    with pytest.raises(BitstreamError, match="not exact"):
        CodedWeights(np.full(WEIGHTS, 1 << 20, np.int32), (0,) * len(GROUPS), 0).context()


@given(st.lists(st.integers(-(1 << 20), 1 << 20), min_size=1, max_size=30), st.tuples(*[st.integers(0, 10)] * 7))
def test_weights_come_back(numbers, exponents):
    weights = CodedWeights(np.resize(np.array(numbers, np.int32), WEIGHTS), exponents, 2)
    data = pack(weights)
    found, size = unpack(data + b"what follows")
    assert size == len(data)
    np.testing.assert_array_equal(found.values, weights.values)
    assert (found.exponents, found.prior) == (weights.exponents, weights.prior)
    bits = sum(golomb.bits_of(weights.values[part])[1] for part in SLICES)
    assert len(data) == 1 + len(GROUPS) + -(-bits // 8)


@settings(max_examples=60)
@given(st.binary(max_size=400), st.integers(0, 2**32 - 1))
def test_no_bytes_but_whole_tiles_are_read(noise, seed):
    height, width = 20, 33
    data = bytearray(payload.write(some_weights(), some_latents(height, width), height, width))
    rng = np.random.default_rng(seed)
    for place in rng.integers(0, len(data), 1 + len(noise) % 5):
        data[place] ^= 1 << int(rng.integers(8))
    for damaged in (noise, bytes(data), bytes(data[: int(rng.integers(len(data)))])):
        try:
            weights, latents = payload.read(damaged, height, width)
        except BitstreamError:
            continue
        assert latents.shape == (count_latents(height, width),)
        assert payload.pixels(weights, latents, height, width, grey=False).shape == (height, width, 3)


@compiled
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_both_synthesise_the_same_colours(height, width):
    weights, latents = some_weights(3, 0.1, prior=1).floats(), some_latents(height, width, 3)
    expected = synthesise(latents, weights, height, width)
    with native.NativeFit(height, width) as fit:
        found = fit.render(latents.astype(np.float32), weights)
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5 * np.abs(expected).max())


@compiled
@needs("torch")
@pytest.mark.parametrize(("height", "width"), SIZES)
@pytest.mark.parametrize("noisy", [False, True])
def test_the_kernels_have_the_gradients_of_torch(height, width, noisy):
    from aecodec.overfitted.torch_fit import TorchFit

    rng = np.random.default_rng(4)
    latents = rng.normal(0.0, 2.0, count_latents(height, width)).astype(np.float32)
    weights = (some_weights(4, 0.1).floats() + rng.normal(0.0, 0.05, WEIGHTS)).astype(np.float32)
    noise = rng.standard_normal(len(latents), dtype=np.float32) if noisy else None
    target, found = rng.random((height, width, 3), np.float32), []
    for fitter in (native.NativeFit(height, width), TorchFit(height, width)):
        fitter.set_target(target)
        to_latents, to_weights = np.zeros_like(latents), np.zeros_like(weights)
        costs = fitter.gradients(latents, weights, noise, 0.3, 0.2, 100.0, to_latents, to_weights)
        moments, moved = np.zeros((2, len(latents)), np.float32), latents.copy()
        fitter.step(moved, to_latents, moments, (0.1, 0.9, 0.95, 10.0, 20.0))
        found.append((costs, fitter.cost(latents, weights), to_latents, to_weights, moved))
        fitter.close()
    kernels, expected = found
    np.testing.assert_allclose(kernels[:2], expected[:2], rtol=1e-5)
    for mine, theirs in zip(kernels[2:4], expected[2:4], strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=0, atol=1e-5 * np.abs(theirs).max())
    np.testing.assert_allclose(kernels[4], expected[4], atol=1e-3)


@compiled
@pytest.mark.parametrize("noisy", [False, True])
def test_turns_have_the_gradients_of_the_whole(noisy):
    """Those of the latents each time, those of the weights together, but for the digits that 16-bit floats lack."""
    height, width, turns = 70, 300, 4
    rng = np.random.default_rng(6)
    latents = rng.normal(0.0, 2.0, count_latents(height, width)).astype(np.float32)
    weights = some_weights(6, 0.05, prior=1).floats()
    noise = rng.standard_normal(len(latents), dtype=np.float32) if noisy else None

    def gradients(turn: int) -> tuple[np.ndarray, np.ndarray]:
        found = np.zeros_like(latents), np.zeros_like(weights)
        fit.gradients(latents, weights, noise, 0.3, 0.2, 100.0, *found, turn)
        return found

    def far(found: np.ndarray, expected: np.ndarray) -> float:
        return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))

    with native.NativeFit(height, width) as fit:
        fit.set_target(rng.random((height, width, 3), np.float32))
        whole, parts = gradients(-1), [gradients(turn) for turn in range(2, 2 + turns)]
    assert max(far(part[0], whole[0]) for part in parts) < 0.02
    assert min(far(part[1], whole[1]) for part in parts) > 0.02
    mean = np.mean([part[1] for part in parts], axis=0)
    for name, expected in tensors(whole[1]).items():
        assert far(tensors(mean)[name], expected) < 0.03, name


@compiled
def test_the_bits_that_a_fit_counts_are_those_of_the_file():
    height, width = 130, 200
    weights, latents = some_weights(5, 0.1), some_latents(height, width, 5) // 3
    with native.NativeFit(height, width) as fit:
        fit.set_target(np.zeros((height, width, 3), np.float32))
        counted, _ = fit.cost(latents.astype(np.float32), weights.floats())
    written = 32 * len(waves.encode(latents, weights.context(), height, width))
    assert counted == pytest.approx(written, rel=0.01)


@compiled
def test_a_fit_lowers_the_cost_and_is_reproduced():
    height, width, trade = 64, 96, 200.0
    target = natural_picture(height, width).astype(np.float32) / 255.0
    results = []
    for iterations in (2, 40, 40):
        with native.NativeFit(height, width) as fit:
            fit.set_target(target)
            state = fitting.begin(fit, trade)
            fitting.fit(fit, state, trade, iterations, lambda done, of: True)
            bits, error = fit.cost(np.rint(state.latents), state.weights)
            coded = fitting.code(fit, state, trade)
        results.append((bits / (height * width) + trade * error, zlib.crc32(state.latents), pack(coded)))
    assert results[1][0] < results[0][0]
    assert results[1] == results[2]


@needs("torch")
@pytest.mark.parametrize(("iterations", "rounded"), [(300, 24), (1200, 96), (2000, 96)])
def test_a_long_fit_rounds_its_latents_no_longer_than_it_does_good(iterations, rounded):
    """What counts is that it ends with them, and how long that takes is not a share of a long fit."""
    noiseless = []

    class Watched:
        height, width, latents = 8, 8, count_latents(8, 8)

        def gradients(self, latents, weights, noise, *others):
            noiseless.append(noise is None)

        def step(self, *_):
            pass

    state = fitting.State(np.zeros(Watched.latents, np.float32), np.zeros(WEIGHTS, np.float32))
    fitting.fit(Watched(), state, 200.0, iterations, lambda done, of: True)
    assert noiseless == [False] * (iterations - rounded) + [True] * rounded


def test_without_a_compiler_torch_fits(monkeypatch):
    monkeypatch.setattr(native, "available", lambda: False)
    fitter, target = fitting.open_fitter(20, 33), natural_picture(20, 33).astype(np.float32) / 255.0
    fitter.set_target(target)
    state = fitting.begin(fitter, 200.0)
    fitting.fit(fitter, state, 200.0, 3, lambda done, of: True)
    latents = np.rint(state.latents).astype(np.int32)
    data = payload.write(fitting.code(fitter, state, 200.0), latents, 20, 33)
    np.testing.assert_array_equal(payload.read(data, 20, 33)[1], latents)


def test_tensors_share_the_array():
    weights = np.zeros(WEIGHTS, np.float32)
    for part in tensors(weights).values():
        part += 1.0
    assert weights.min() == weights.max() == 1.0
