"""Laws of the flagship besides those of every codec: quality, silence, wild weights, balance and calibration."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import natural_picture
from small_models import FLAGSHIP, SMALL, as_batch, small_flagship

from aecodec import checkpoint
from aecodec.contracts import QUALITY_KNOTS, FrozenModel, LatentCode
from aecodec.entropy.context import ungroup
from aecodec.models.exact_hyperprior import ExactHyperprior
from aecodec.nn.quantise import round_ste, uniform_noise
from aecodec.nn.transforms import from_blocks, to_blocks
from aecodec.nn.visual import seen, seen_in_turn

HEIGHT, WIDTH = 8, 12


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


def test_random_weights_code_as_exactly_as_fitted_ones(picture):
    for seed in range(3):
        wild = small_flagship(seed, initialised=False).eval().requires_grad_(False)
        for parameter in wild.parameters():
            parameter.mul_(2.0)
        wild.freeze()
        wild.prove_exact()
        code = wild.quantise(wild.analyse(as_batch(picture)), 700)
        assert same(code, wild.decode_tile(wild.encode_tile(code), 700, HEIGHT, WIDTH))


def test_the_reconstruction_resembles_the_picture(model, latents, picture):
    x = as_batch(picture)
    errors = []
    for quality in (0, 500, 1000):
        x_hat = model.synthesise(model.dequantise(model.quantise(latents, quality)), quality)
        assert x_hat.shape == x.shape
        errors.append(float((x_hat - x).square().mean()))
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 0.01


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
    mse, bits = fast_forward(plain, x, position, rng)
    expected = (plain.lagrangian(position) * mse + bits / (x.shape[2] * x.shape[3])).mean()
    assert loss_and_gradient(plain, x, seed=4)[0] == pytest.approx(float(expected.detach()), rel=1e-6)


def fast_forward(model: ExactHyperprior, x: torch.Tensor, position: torch.Tensor, rng: torch.Generator) -> tuple:
    """`forward`, by blocks -> squared errors and bits."""
    blocks = to_blocks(x - 0.5)
    decoded, bits = model(blocks, position, rng, False)
    torch.testing.assert_close(to_blocks(from_blocks(decoded)), decoded, rtol=0, atol=0)
    return (decoded - blocks).square().mean(dim=(1, 2, 3)), bits


def plain_forward(model: ExactHyperprior, x: torch.Tensor, position: torch.Tensor, rng: torch.Generator) -> tuple:
    """What `forward` computes, by what a decoder runs: pixels in rows, every step over all latents."""
    y = model.analysis(x - 0.5) * model.gain(model.y_gain, position)[:, :, None, None]
    z = model.hyper_analysis(y)
    noise = uniform_noise(z, rng)
    z_bits = -model.hyper_prior.log2_likelihood(z + noise, (position + 0.5).long()).sum(dim=(1, 2, 3))
    z_hat = round_ste(z)
    index = model.scale_net(z_hat, position, False)
    y_hat, _, mean = model.mean_context.reconstruct(
        model.hyper_features(z_hat),
        torch.zeros_like(y),
        lambda mean: torch.where(index < 0.5, torch.zeros_like(y), round_ste(y - mean)),
    )
    quarter = y.numel() // 16
    noise = uniform_noise(y.new_empty(4, 4, quarter // (y.shape[1] // 4), y.shape[1] // 4), rng)
    noisy = y - mean + ungroup(list(noise), y.shape)
    y_bits = -model.mixture.log2_likelihood(noisy, index.clamp(0, 63)).sum(dim=(1, 2, 3))
    y_out = y_hat * model.gain(model.y_inverse, position)[:, :, None, None]
    x_hat = model.synthesis(y_out, model.gain(model.branch_out, position)) + 0.5
    return (x_hat - x).square().mean(dim=(1, 2, 3)), z_bits + y_bits


def test_training_computes_what_a_decoder_does(picture):
    """Values and every gradient: nothing but the order of sums differs."""
    found = {}
    for name in ("fast", "plain"):
        model = small_flagship()
        with torch.no_grad():
            for head in model.mean_context.head:
                head.weight.mul_(20.0)
        x = as_batch(picture).repeat(2, 1, 1, 1)
        x[1] = x[1].flip(2) ** 2
        position, rng = torch.tensor([7.3, 2.6]), torch.Generator().manual_seed(8)
        forward = fast_forward if name == "fast" else plain_forward
        mse, bits = forward(model, x, position, rng)
        (1e4 * mse + bits).sum().backward()
        found[name] = [mse.detach(), bits.detach(), *(p.grad for p in model.parameters())]
    for fast, plain in zip(found["fast"], found["plain"], strict=True):
        torch.testing.assert_close(fast, plain, rtol=1e-4, atol=1e-4 * float(plain.abs().max()))


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


def test_what_eyes_see_takes_its_share_of_the_distortion(picture):
    """One half of the batch by one measure, the other by the other."""
    x = as_batch(natural_picture(192, 192)).repeat(2, 1, 1, 1)
    model = checkpoint.build(FLAGSHIP, {**SMALL, "visual": 0.75})
    plain = small_flagship()
    model.load_state_dict(plain.state_dict())
    rng = torch.Generator().manual_seed(4)
    position = torch.rand(2, generator=rng) * (QUALITY_KNOTS - 1)
    with torch.no_grad():
        blocks = to_blocks(x - 0.5)
        decoded, bits = model(blocks, position, rng, False)
        mse, apart = (decoded - blocks).square().mean(dim=(1, 2, 3)), seen_in_turn(x, from_blocks(decoded) + 0.5)
        weight = model.lagrangian(position)
        expected = (weight * (0.25 * mse + 0.75 * apart) + bits / 192**2).mean()
    assert loss_and_gradient(model, x, seed=4)[0] == pytest.approx(float(expected), rel=1e-5)
    x_hat = (x + 0.1).clamp(0, 1)
    torch.testing.assert_close(model.distortion(x, x_hat), 0.25 * plain.distortion(x, x_hat) + 0.75 * seen(x, x_hat))
    torch.testing.assert_close(plain.distortion(x, x_hat), (x - x_hat).square().mean(dim=(1, 2, 3)))


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
