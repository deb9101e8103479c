"""Laws of the variational families: closed forms against Monte Carlo, the order of the bounds, the limits of beta."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from bumps import error, items, train

from aecodec import checkpoint
from aecodec.contracts import CheckpointError, Variational
from aecodec.nn.variational import (
    bernoulli_log_density,
    gaussian_log_density,
    kl_to_standard,
    reparametrise,
    standard_log_density,
)
from aecodec.tasks.generate import manifold


@pytest.fixture(scope="module")
def vae():
    return train("vae", items(), 500, latents=2, hidden=(64,))


def test_the_closed_form_of_the_divergence_is_its_monte_carlo_estimate():
    rng = torch.Generator().manual_seed(0)
    mean, log_variance = torch.randn(3, 5, generator=rng), torch.randn(3, 5, generator=rng)
    many = mean.repeat_interleave(100_000, 0), log_variance.repeat_interleave(100_000, 0)
    z = reparametrise(*many, rng)
    estimate = (gaussian_log_density(z, *many) - standard_log_density(z)).view(3, -1)
    spread = estimate.std(1) / 100_000**0.5
    assert ((kl_to_standard(mean, log_variance) - estimate.mean(1)).abs() < 5 * spread).all()
    assert torch.equal(kl_to_standard(torch.zeros(1, 4), torch.zeros(1, 4)), torch.zeros(1))


def test_reparametrised_samples_carry_the_gradient():
    mean, log_variance = torch.zeros(1, 3, requires_grad=True), torch.zeros(1, 3, requires_grad=True)
    z = reparametrise(mean, log_variance, torch.Generator().manual_seed(0))
    z.sum().backward()
    assert torch.equal(mean.grad, torch.ones(1, 3))
    assert torch.allclose(log_variance.grad, 0.5 * z.detach())


def test_densities_are_normalised():
    logits = torch.tensor([[0.7, -1.3]])
    outcomes = torch.cartesian_prod(torch.tensor([0.0, 1.0]), torch.tensor([0.0, 1.0]))
    total = sum(bernoulli_log_density(x[None], logits).exp() for x in outcomes)
    assert float(total) == pytest.approx(1.0, abs=1e-6)
    grid = torch.linspace(-12, 12, 4001)[:, None]
    density = gaussian_log_density(grid, torch.tensor([[0.4]]), torch.tensor([[0.9]])).exp()
    assert float(torch.trapezoid(density, grid[:, 0])) == pytest.approx(1.0, abs=1e-4)


def test_the_elbo_is_below_the_likelihood_which_grows_with_the_samples(vae):
    assert isinstance(vae, Variational)
    x = torch.bernoulli(items(60, seed=3), generator=torch.Generator().manual_seed(0))
    rng = torch.Generator().manual_seed(1)
    elbo = float(vae.elbo(x, rng, 200).mean())
    bounds = [
        float(torch.stack([vae.log_likelihood(x, rng, k) for _ in range(60 // k + 1)]).mean()) for k in (1, 5, 50)
    ]
    assert elbo == pytest.approx(bounds[0], abs=0.35), "one sample gives the ELBO"
    assert elbo < bounds[1] < bounds[2] < 0
    wide, fine = (vae.log_likelihood(x[:4], torch.Generator().manual_seed(2), 700) for _ in range(2))
    assert torch.equal(wide, fine)


def test_the_likelihood_of_a_plane_is_its_integral(vae):
    x = torch.bernoulli(items(3, seed=4), generator=torch.Generator().manual_seed(0))
    side = torch.linspace(-5, 5, 201)
    z = torch.cartesian_prod(side, side)
    joint = torch.stack([vae.log_density(one.expand(len(z), -1, -1, -1), z) for one in x]) + standard_log_density(z)
    exact = torch.logsumexp(joint.double(), 1) + 2 * np.log(10 / 200)
    found = vae.log_likelihood(x, torch.Generator().manual_seed(0), 4000)
    assert torch.allclose(found.double(), exact, atol=0.1)


def test_without_the_divergence_it_reconstructs_like_an_autoencoder():
    x = items(200)
    free = train("vae", x, 300, latents=4, hidden=(32,), beta=0.0, likelihood="gaussian")
    bound = train("vae", x, 300, latents=4, hidden=(32,), beta=30.0, likelihood="gaussian")
    plain = train("autoencoder", x, 300, latents=4, hidden=(32,))
    assert error(free, x) < 1.5 * error(plain, x)
    assert error(bound, x) > 2.0 * error(free, x)


def test_the_plane_decodes_smoothly(vae):
    grid = manifold(vae, 12).view(12, 12, -1)
    neighbours = (grid[1:] - grid[:-1]).square().mean()
    strangers = (grid.flatten(0, 1)[:, None] - grid.flatten(0, 1)[None]).square().mean()
    assert float(neighbours) < 0.1 * float(strangers)


def test_a_likelihood_or_beta_that_makes_no_sense_is_refused():
    for wrong in ({"likelihood": "poisson"}, {"beta": -1.0}, {"kind": "transformer"}, {"shape": (5,), "kind": "conv"}):
        with pytest.raises(CheckpointError):
            checkpoint.build("vae", wrong)
