"""Laws of the flagship: files decode to the very latents that were encoded, whatever runs either end."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext

import numpy as np
import pytest
import torch
from conftest import FLAGSHIP, SMALL, as_batch, natural_picture, small_flagship

from aecodec import checkpoint
from aecodec.coding.tables import TOTAL
from aecodec.contracts import QUALITY_KNOTS, BitstreamError, FrozenModel, LatentCode
from aecodec.models.exact_hyperprior import ExactHyperprior

HEIGHT, WIDTH = 8, 12
QUALITIES = (0, 50, 333, 500, 999, 1000)


@contextmanager
def threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


SETTINGS: dict[str, Callable[[], AbstractContextManager]] = {
    "plain": nullcontext,
    "one thread": lambda: threads(1),
    "two threads": lambda: threads(2),
    "without mkldnn": lambda: torch.backends.mkldnn.flags(enabled=False),
    "bfloat16": lambda: torch.autocast("cpu", torch.bfloat16),
}


@pytest.fixture(scope="module")
def model(frozen: FrozenModel) -> ExactHyperprior:
    return frozen.module


@pytest.fixture(scope="module")
def latents(model: ExactHyperprior, picture: np.ndarray) -> torch.Tensor:
    return model.analyse(as_batch(picture))


def same(a: LatentCode, b: LatentCode) -> bool:
    assert a.z is not None
    assert b.z is not None
    return a.quality == b.quality and np.array_equal(a.y, b.y) and np.array_equal(a.z, b.z)


@pytest.mark.parametrize("quality", QUALITIES)
def test_decoding_gives_the_latents_that_were_encoded(model, latents, quality):
    code = model.quantise(latents, quality)
    decoded = model.decode_tile(model.encode_tile(code), quality, HEIGHT, WIDTH)
    assert same(code, decoded)
    assert decoded.y.shape == (32, HEIGHT, WIDTH)
    assert torch.equal(model.dequantise(decoded), model.dequantise(code))


def test_random_weights_code_as_exactly_as_fitted_ones(picture):
    for seed in range(3):
        wild = small_flagship(seed, initialised=False).eval().requires_grad_(False)
        for parameter in wild.parameters():
            parameter.mul_(2.0)
        wild.freeze()
        wild.prove_exact()
        code = wild.quantise(wild.analyse(as_batch(picture)), 700)
        assert same(code, wild.decode_tile(wild.encode_tile(code), 700, HEIGHT, WIDTH))


@pytest.mark.parametrize("decoder", SETTINGS)
@pytest.mark.parametrize("encoder", SETTINGS)
def test_who_encodes_and_who_decodes_makes_no_difference(model, picture, encoder, decoder):
    with torch.no_grad(), SETTINGS[encoder]():
        code = model.quantise(model.analyse(as_batch(picture)), 420)
        data = model.encode_tile(code)
    with torch.no_grad(), SETTINGS[decoder]():
        assert same(code, model.decode_tile(data, 420, HEIGHT, WIDTH))
        assert model.encode_tile(code) == data


def test_other_arithmetic_moves_pixels_only_a_little(model, picture):
    code = model.quantise(model.analyse(as_batch(picture)), 500)
    pictures = []
    for setting in SETTINGS.values():
        with ExitStack() as stack:
            stack.enter_context(setting())
            pictures.append(model.synthesise(model.dequantise(code), 500))
    for other in pictures[1:]:
        assert (other - pictures[0]).abs().max() < 0.05


def test_the_reconstruction_resembles_the_picture(model, latents, picture):
    x = as_batch(picture)
    errors = []
    for quality in (0, 500, 1000):
        x_hat = model.synthesise(model.dequantise(model.quantise(latents, quality)), quality)
        assert x_hat.shape == x.shape
        errors.append(float((x_hat - x).square().mean()))
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 0.01


def test_bytes_are_what_the_tables_say(model, latents):
    for quality in QUALITIES:
        code = model.quantise(latents, quality)
        ideal = sum(tables.bits(plane.symbols, plane.tables) for plane, tables in model.symbol_planes(code))
        actual = 8 * len(model.encode_tile(code))
        # The coder begins with an empty state, so its first symbol can cost up to log2(TOTAL) bits less.
        assert ideal - math.log2(TOTAL) <= actual < 1.005 * ideal + 64


def test_higher_quality_takes_more_bytes(model, latents):
    sizes = [len(model.encode_tile(model.quantise(latents, quality))) for quality in range(0, 1001, 100)]
    assert sizes == sorted(sizes)
    assert sizes[-1] > 4 * sizes[0]


def test_a_tile_without_anything_to_say_still_codes(model):
    silent = small_flagship(initialised=False).eval().requires_grad_(False)
    silent.scale_net.offset.fill_(-1000.0)
    silent.freeze()
    code = silent.quantise(silent.analyse(as_batch(natural_picture(128, 192, seed=5))), 1000)
    assert not code.y.any()
    assert same(code, silent.decode_tile(silent.encode_tile(code), 1000, HEIGHT, WIDTH))
    grey = model.quantise(model.analyse(torch.full((1, 3, 128, 192), 0.5)), 0)
    assert same(grey, model.decode_tile(model.encode_tile(grey), 0, HEIGHT, WIDTH))


def test_latents_far_beyond_every_table_still_code(model, latents):
    for gain in (1e2, 1e4, 1e8):
        code = model.quantise(latents * gain, 1000)
        assert same(code, model.decode_tile(model.encode_tile(code), 1000, HEIGHT, WIDTH))


def test_damaged_tiles_decode_to_something_or_raise(model, latents):
    data = model.encode_tile(model.quantise(latents, 300))
    rng = np.random.default_rng(0)
    for trial in range(40):
        damaged = bytearray(data)
        if trial % 2:
            damaged[rng.integers(len(data))] ^= 1 << int(rng.integers(8))
        else:
            damaged = damaged[: 4 * int(rng.integers(len(data) // 4))]
        try:
            code = model.decode_tile(bytes(damaged), 300, HEIGHT, WIDTH)
        except BitstreamError:
            continue
        assert code.y.shape == (32, HEIGHT, WIDTH)
        assert torch.isfinite(model.dequantise(code)).all()


def test_a_tile_of_the_wrong_size_or_quality_is_noticed_or_harmless(model, latents):
    data = model.encode_tile(model.quantise(latents, 300))
    for height, width, quality in ((4, 4, 300), (8, 16, 300), (8, 12, 900)):
        try:
            code = model.decode_tile(data, quality, height, width)
        except BitstreamError:
            continue
        assert code.y.shape == (32, height, width)


def loss_and_gradient(model: ExactHyperprior, x: torch.Tensor, seed: int) -> tuple[float, torch.Tensor]:
    model.zero_grad()
    total = model.loss(x, torch.Generator().manual_seed(seed)).total
    total.backward()
    return float(total.detach()), torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


def test_without_a_balance_the_loss_is_lambda_times_the_error_plus_the_rate(picture):
    """Against the plain formula, at the qualities and with the noise that the loss draws."""
    plain, x = small_flagship(), as_batch(picture).repeat(3, 1, 1, 1)
    rng = torch.Generator().manual_seed(4)
    position = torch.rand(3, generator=rng) * (QUALITY_KNOTS - 1)
    x_hat, bits = plain(x, position, rng, quantised=False)
    mse = (x_hat - x).square().mean(dim=(1, 2, 3))
    expected = (plain.lagrangian(position) * mse + bits / (x.shape[2] * x.shape[3])).mean()
    assert loss_and_gradient(plain, x, seed=4)[0] == pytest.approx(float(expected.detach()), rel=1e-6)


@pytest.mark.parametrize("balance", [0.5, 1.0])
def test_a_picture_weighs_lambda_to_minus_the_balance_relative_to_the_middle(picture, balance):
    plain, x = small_flagship(), as_batch(picture)
    balanced = checkpoint.build(FLAGSHIP, {**SMALL, "rate_balance": balance})
    balanced.load_state_dict(plain.state_dict())
    ends = plain.lagrangian(torch.tensor([0.0, QUALITY_KNOTS - 1.0]))
    for seed in range(4):
        position = torch.rand(1, generator=torch.Generator().manual_seed(seed)) * (QUALITY_KNOTS - 1)
        weight = float((plain.lagrangian(position) / ends.prod().sqrt()) ** -balance)
        loss, gradient = loss_and_gradient(plain, x, seed)
        other_loss, other_gradient = loss_and_gradient(balanced, x, seed)
        assert other_loss == pytest.approx(weight * loss, rel=1e-5)
        torch.testing.assert_close(
            other_gradient, weight * gradient, rtol=1e-3, atol=1e-5 * float(gradient.abs().max())
        )


def test_calibrated_tables_code_the_calibration_pictures_in_fewer_bits(picture):
    """Refitting to some pictures cannot make those pictures longer, and leaves their latents alone."""
    model = small_flagship().eval()
    model.freeze()
    batch = as_batch(picture)

    def coded() -> tuple[int, list[np.ndarray]]:
        y = model.analyse(batch)
        codes = [model.quantise(y, quality) for quality in (100, 500, 900)]
        return sum(len(model.encode_tile(code)) for code in codes), [code.y for code in codes]

    with torch.no_grad():
        before, latents = coded()
        model.calibrate([batch] * 4)
        after, same_latents = coded()
    assert after < before
    assert all(np.array_equal(a, b) for a, b in zip(latents, same_latents, strict=True))
