"""Laws of the gradients that encoder effort follows: by hand they are those of torch, and in a graph those by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import natural_picture
from small_models import SMALL, small_flagship

from aecodec import checkpoint
from aecodec.coding.tables import freeze_symmetric
from aecodec.data.tiling import Window
from aecodec.engine import adjoints, onnx_refinement
from aecodec.engine.graphs import export_graphs
from aecodec.engine.networks import OnnxNetworks
from aecodec.engine.onnx_refinement import Adam, BitSlopes, OnnxRefinement, VisualRefinement, soft_round
from aecodec.engine.opening import open_engine
from aecodec.engine.protocol import Canvas
from aecodec.latents.context import STEPS, step_map
from aecodec.nn import quantise
from aecodec.zoo.registry import TUNES, find_model
from aecodec.zoo.stored import Stored

HEIGHT, WIDTH = 8, 12
#: A knot, so that offsets are the model's own.
QUALITY = 500


@pytest.fixture(scope="module")
def model() -> torch.nn.Module:
    """Of random weights, so that every path counts."""
    model = small_flagship().eval().requires_grad_(False)
    rng = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        parameter.add_(0.05 * torch.randn(parameter.shape, generator=rng))
    return model


@pytest.fixture(scope="module")
def networks(model) -> OnnxNetworks:
    tensors = {name: value.numpy() for name, value in model.state_dict().items()}
    return OnnxNetworks(
        Stored("small", "exact-hyperprior", {}, tensors, graphs=export_graphs("exact-hyperprior", model)), Path("small")
    )


@pytest.fixture
def draw() -> Callable[..., torch.Tensor]:
    rng = torch.Generator().manual_seed(2)
    return lambda *shape, scale=1.0: scale * torch.randn(shape, generator=rng)


def planes(draw, scale: float = 1.0) -> torch.Tensor:
    return draw(1, SMALL["latents"], HEIGHT, WIDTH, scale=scale)


def steps() -> torch.Tensor:
    return torch.from_numpy(step_map(SMALL["latents"], HEIGHT, WIDTH))[None].float()


def agree(found: torch.Tensor, expected: torch.Tensor) -> None:
    assert expected.abs().max() > 0
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=float(1e-5 * expected.abs().max()))


def agree_in_a_graph(networks: OnnxNetworks, name: str, expected: torch.Tensor, **inputs: torch.Tensor) -> None:
    found = networks(name, **{key: value.numpy() for key, value in inputs.items()})
    agree(torch.from_numpy(found), expected)


def test_synthesis_forth_and_back(model, networks, draw):
    gain = torch.rand(1, SMALL["channels"]) + 0.5
    y_hat = planes(draw, 3.0).requires_grad_()
    x_hat = model.synthesis(y_hat, gain)
    gradient = draw(*x_hat.shape)
    (expected,) = torch.autograd.grad(x_hat, y_hat, gradient)
    y_hat, x_hat = y_hat.detach(), x_hat.detach()
    found, on = adjoints.synthesis(model.synthesis, y_hat, gain)
    assert 0 < on.float().mean() < 1
    agree(found, x_hat)
    agree(adjoints.synthesis_back(model.synthesis, on, gain, gradient), expected)
    forth = networks.several("synthesis_forth", ("x_hat", "on"), y_hat=y_hat.numpy(), gain=gain.numpy())
    agree(torch.from_numpy(forth[0]), x_hat + 0.5)
    assert np.mean(forth[1] != on.numpy()) < 1e-3  # a sum next to 0 may fall to either side
    agree_in_a_graph(networks, "synthesis_back", expected, on=on, gain=gain, gradient=gradient)


def test_means_and_the_gradient_through_the_four_steps(model, networks, draw):
    z, temperature, reach = draw(1, SMALL["hyper_latents"], 2, 3, scale=2.0).round(), 0.4, 2.0
    to_y_hat, to_residual = planes(draw), planes(draw)
    y = planes(draw, 3.0).requires_grad_()

    def quantised(values: torch.Tensor) -> torch.Tensor:
        return quantise.soft_round(values, temperature).clamp(-reach, reach)

    masks = [steps() == step for step in range(STEPS)]
    y_hat, residual, mean = model.mean_context.reconstruct(
        model.hyper_features(z), torch.zeros_like(y), lambda mean: quantised(y - mean), masks
    )
    (expected,) = torch.autograd.grad((to_y_hat * y_hat + to_residual * residual).sum(), y)
    moved = (y - mean).detach().requires_grad_()
    (slope,) = torch.autograd.grad(quantised(moved).sum(), moved)
    inputs = {"z": z, "y_hat": y_hat.detach(), "steps": steps()}
    inputs |= {"to_y_hat": to_y_hat, "to_residual": to_residual, "slope": slope}
    both = torch.cat([mean.detach(), expected], dim=1)
    agree(adjoints.means_and_gradient(model, *inputs.values()), both)
    agree_in_a_graph(networks, "means_and_gradient", both, **inputs)


def test_the_gradient_in_hyper_latents(model, networks, draw):
    """That of the cost but for the prior's bits, which are those of a table and need no network."""
    y, weight = planes(draw, 3.0), torch.rand(1, SMALL["latents"], 1, 1)
    z = draw(1, SMALL["hyper_latents"], 2, 3, scale=2.0).requires_grad_()
    (expected,) = torch.autograd.grad(model.hyper_cost(z, y, QUALITY, lambda value: value, weight), z)
    knot = torch.tensor([5])
    below, above = (model.hyper_prior.log2_likelihood(torch.floor(z.detach()) + n, knot) for n in (0, 1))
    expected = expected - (below - above)
    offset = model.scale_net.offset[None, 5]
    inputs = {"z": z.detach(), "y": y, "steps": steps(), "offset": offset, "weight": weight[:, :, 0, 0]}
    agree(adjoints.hyper_gradient(model, *inputs.values()), expected)
    agree_in_a_graph(networks, "hyper_gradient", expected, **inputs)


@pytest.mark.parametrize("grey", [False, True])
@pytest.mark.parametrize(("tune", "refined_by"), [("psnr", OnnxRefinement), ("visual", VisualRefinement)])
def test_the_slope_of_the_error_is_that_of_torch(tune, refined_by, grey):
    path = find_model(TUNES[tune])
    engine, model = open_engine(path, engine="onnx"), checkpoint.load(path).module.float()
    pixels = natural_picture(192, 192)[:170]
    target = pixels[..., 0] if grey else pixels
    y = engine.analyse(natural_picture(192, 192))
    code, everything = engine.quantise(y, QUALITY), Window(0, 0, *y.shape[1:])
    canvas = Canvas(y, np.zeros_like(y), everything, target, Window(0, 0, *target.shape[:2]))
    window = engine.dequantise(code)
    found = refined_by(engine._coder, engine._networks, code, canvas)._error_slope(window)
    leaf = torch.from_numpy(window)[None].requires_grad_()
    x_hat = model.synthesis(leaf, torch.from_numpy(engine._coder._gain("branch_out", QUALITY))[None])[:, :, :170] + 0.5
    shown = x_hat.mean(dim=1, keepdim=True) if grey else x_hat
    x = torch.from_numpy(np.atleast_3d(target)).permute(2, 0, 1)[None] / 255
    distortion = model.distortion(x.expand(1, 3, -1, -1), shown.clamp(0, 1).expand(1, 3, -1, -1))
    (expected,) = torch.autograd.grad(distortion.sum() * engine.distortion_weight(QUALITY) * 170 * 192, leaf)
    off = found - expected[0].numpy()
    assert np.sqrt(np.square(off).mean()) < 0.01 * float(expected.square().mean().sqrt())


@pytest.mark.parametrize("grey", [False, True])
def test_bands_of_a_window_give_what_it_gives_as_a_whole(monkeypatch, grey):
    """The pixels that a change of the latents moves, and the gradient of their error."""
    engine = open_engine(find_model(), engine="onnx")
    height, width = 28, 4
    pixels = natural_picture(16 * height, 16 * width)[:-40]
    target = pixels[..., 0] if grey else pixels
    y = engine.analyse(natural_picture(16 * height, 16 * width))
    code, everything = engine.quantise(y, QUALITY), Window(0, 0, height, width)
    canvas = Canvas(y, np.zeros_like(y), everything, target, Window(0, 0, *target.shape[:2]))
    refinement = OnnxRefinement(engine._coder, engine._networks, code, canvas)
    window = engine.dequantise(code)
    found = []
    for positions in (height * width, 30):
        monkeypatch.setattr(onnx_refinement, "BAND", positions)
        found.append((refinement._synthesised(window), refinement._error_slope(window)))
    (pixels, gradient), (in_bands, gradient_in_bands) = found
    np.testing.assert_allclose(in_bands, pixels, atol=1e-5)
    assert np.abs(gradient_in_bands - gradient).max() < 1e-5 * np.abs(gradient).max()


def test_silent_latents_and_clamped_indices_are_among_those_of_the_laws(model, draw):
    index, _ = adjoints.scale_index(
        model.scale_net, draw(1, SMALL["hyper_latents"], 2, 3, scale=2.0), model.scale_net.offset[None, 0]
    )
    assert (index < 0.5).any()
    assert (index > 0.5).any()


def test_soft_rounding_is_that_of_torch_and_so_is_its_slope():
    x = torch.linspace(-3, 3, 1201, requires_grad=True)
    for temperature in (1.0, 0.3, 0.1):
        soft = quantise.soft_round(x, temperature)
        (slope,) = torch.autograd.grad(soft.sum(), x)
        values, slopes = soft_round(x.detach().numpy(), temperature)
        np.testing.assert_allclose(values, soft.detach().numpy(), atol=1e-5)
        inside = np.abs(x.detach().numpy() - np.rint(x.detach().numpy())) > 2e-4  # torch's is 0 where d is clamped
        np.testing.assert_allclose(slopes[inside], slope.numpy()[inside], rtol=1e-3, atol=1e-5)


def test_adam_is_that_of_torch():
    rng = np.random.default_rng(0)
    ours, theirs = np.zeros(50, np.float32), torch.zeros(50, requires_grad=True)
    adam, optimizer = Adam(ours), torch.optim.Adam([theirs], betas=(0.8, 0.95), eps=1e-8)
    for size in (0.1, 0.1, 0.03):
        gradient = rng.standard_normal(50).astype(np.float32)
        adam.step(gradient, size)
        optimizer.param_groups[0]["lr"] = size
        theirs.grad = torch.from_numpy(gradient)
        optimizer.step()
    np.testing.assert_allclose(ours, theirs.detach().numpy(), rtol=1e-5, atol=1e-7)


def test_slopes_of_bits_are_the_differences_of_bits_at_integers():
    tables = freeze_symmetric([np.array([0.9, 0.05]), np.array([0.3, 0.2, 0.1, 0.05])])
    rng = np.random.default_rng(0)
    indices, low = rng.integers(0, 2, 200), rng.integers(-6, 6, 200)
    slopes = BitSlopes(tables, indices)(low.astype(np.float32))
    for index, at, slope in zip(indices, low, slopes, strict=True):
        below, above = (tables.bits(np.array([at + n]), np.array([index])) for n in (0, 1))
        assert slope == pytest.approx(above - below, abs=1e-4)
