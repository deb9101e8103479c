"""Laws of the families: PCA, sparsity, denoising, and what each does at the limits of its settings."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from bumps import error, items, train
from conftest import natural_picture
from sklearn.decomposition import PCA
from small_models import as_batch

from aecodec import checkpoint
from aecodec.contracts import Autoencoder, Restorer, UnknownName, UsageError, Variational
from aecodec.nn.corruptions import double, fill_smoothly, halve
from aecodec.nn.luma import luma

SHAPE = (1, 8, 8)
SINGLE = ["linear", "autoencoder", "sparse", "k-sparse", "vae"]


@pytest.mark.parametrize("family", SINGLE)
def test_a_code_per_item_is_what_the_tasks_expect(family):
    model = checkpoint.build(family, {"shape": SHAPE, "latents": 120})
    x = items(5)
    assert isinstance(model, Autoencoder)
    assert isinstance(model, Variational) == (family == "vae")
    z = model.encode(x)
    assert z.shape == (5, 120)
    assert model.decode(z).shape == x.shape
    assert torch.equal(model.reconstruct(x), model.decode(z))


@pytest.mark.parametrize("tied", [True, False])
def test_a_linear_autoencoder_spans_the_subspace_of_pca(tied):
    x = items()
    model = train("linear", x, 1500, 0.02, latents=4, tied=tied)
    fitted = PCA(4, svd_solver="full").fit(x.flatten(1).double().numpy())
    cosines = np.linalg.svd(fitted.components_ @ model.subspace().numpy(), compute_uv=False)
    assert math.degrees(math.acos(min(1.0, cosines.min()))) < 1.0
    flat = x.flatten(1).double().numpy()
    best = ((fitted.inverse_transform(fitted.transform(flat)) - flat) ** 2).sum(1).mean()
    assert best * (1 - 1e-4) <= error(model, x) <= 1.001 * best


def test_a_nonlinear_code_beats_pca_of_the_same_size():
    x, held = items(), items(seed=1)
    model = train("autoencoder", x, 600, latents=3, hidden=(64,))
    flat = x.flatten(1)
    basis = torch.linalg.svd(flat - flat.mean(0), full_matrices=False)[2][:3]
    rest = held.flatten(1) - flat.mean(0)
    assert error(model, held) < float((rest - rest @ basis.T @ basis).square().sum(1).mean())


def test_activity_falls_as_lambda_grows():
    x = items()
    norms = [
        float(train("sparse", x, 150, latents=96, sparsity=value).encode(x).sum(1).mean())
        for value in (0.0, 0.05, 0.2, 0.8)
    ]
    assert all(less < more for more, less in pairwise(norms))


@pytest.mark.parametrize("k", [1, 5, 40])
def test_exactly_k_units_are_active(k):
    torch.manual_seed(0)
    model = checkpoint.build("k-sparse", {"shape": SHAPE, "latents": 40, "active": k, "first_active": 40})
    z = model.encode(items(50))
    assert ((z != 0).sum(1) == k).all()
    assert (model.activity(0.0), model.activity(0.5), model.activity(1.0)) == (40, k, k)
    kept = (items(50).flatten(1) @ model.filters.t() + model.bias).topk(k, dim=1).values
    assert torch.allclose(z.sum(1), kept.sum(1), atol=1e-5)


def test_features_of_k_sparse_keep_alpha_times_as_many():
    model = checkpoint.build("k-sparse", {"shape": SHAPE, "latents": 100, "active": 10, "first_active": 10})
    assert ((model.features(items(9)) != 0).sum(1) == 30).all()


# -- restoration -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def restorer() -> Any:
    torch.manual_seed(0)
    kinds = ("gaussian", "impulse", "region", "scribble", "downsample", "grey")
    model = checkpoint.build("restoration", {"corruptions": kinds, "widths": (8, 12), "blocks": 1})
    with torch.no_grad():
        model.net.leave.weight.mul_(30.0)  # so that an untrained net does something
    return model.eval()


@pytest.fixture(scope="module")
def photo() -> torch.Tensor:
    return as_batch(natural_picture(45, 70))


def test_without_noise_a_denoiser_is_the_identity(restorer, photo):
    assert isinstance(restorer, Restorer)
    assert torch.equal(restorer.restore(photo, "gaussian", sigma=0.0), photo)
    moved = [float((restorer.restore(photo, "gaussian", sigma=s) - photo).abs().max()) for s in (1e-3, 1e-2)]
    assert 0 < moved[0] <= 6.1e-3
    assert moved[0] < moved[1] <= 6.1e-2


def test_inpainting_leaves_known_pixels_untouched(restorer, photo):
    hole = torch.zeros(1, 1, 45, 70)
    hole[..., 10:20, 30:50] = 1
    done = restorer.restore(photo, "region", hole=hole)
    assert torch.equal(done * (1 - hole), photo * (1 - hole))
    blind = restorer.restore(photo * (1 - hole), "region", hole=hole)
    assert torch.equal(done, blind), "what stands in the hole has no influence"


def test_colourising_keeps_the_luma(restorer, photo):
    grey = luma(photo).expand(-1, 3, -1, -1)
    grey = grey * 0.5 + 0.25
    done = restorer.restore(grey, "grey")
    inside = ((done > 0) & (done < 1)).all(1, keepdim=True)
    assert bool(inside.any())
    assert torch.allclose(luma(done)[inside], luma(grey)[inside], atol=1e-4)


def test_upscaling_doubles_the_sides(restorer, photo):
    assert restorer.restore(photo, "downsample").shape == (1, 3, 90, 140)
    small = halve(photo[:, :, :44])
    assert small.shape == (1, 3, 22, 35)
    assert torch.equal((small * 255).round() / 255, small)
    assert float((double(small) - photo[:, :, :44]).square().mean()) < float(photo.var())


def test_a_fill_is_smooth_and_touches_nothing_known(photo):
    hole = (torch.rand(1, 1, 45, 70, generator=torch.Generator().manual_seed(0)) < 0.7).float()
    filled = fill_smoothly(photo, hole)
    assert torch.equal(filled * (1 - hole), photo * (1 - hole))
    known = photo[(hole == 0).expand_as(photo)]
    assert float(filled.min()) >= float(known.min()) - 1e-5
    assert float(filled.max()) <= float(known.max()) + 1e-5
    flat = torch.full_like(photo, 0.3)
    assert torch.allclose(fill_smoothly(flat, hole), flat, atol=1e-5)
    assert torch.allclose(fill_smoothly(photo, torch.ones_like(hole)), torch.full_like(photo, 0.5))


def test_what_a_restorer_cannot_do_is_said(restorer, photo):
    with pytest.raises(UnknownName, match="rain"):
        checkpoint.build("restoration", {"corruptions": ("rain",)})
    with pytest.raises(UsageError, match="3 channels"):
        checkpoint.build("restoration", {"corruptions": ("grey",), "planes": 1})
    with pytest.raises(UnknownName, match="rain"):
        restorer.restore(photo, "rain")
    with pytest.raises(UsageError, match="3 channels"):
        restorer.restore(photo[:, :1], "gaussian", sigma=0.1)
    with pytest.raises(UsageError, match="mask"):
        restorer.restore(photo, "region")
    with pytest.raises(UsageError, match="mask"):
        restorer.restore(photo, "region", hole=torch.zeros(1, 1, 4, 4))
    with pytest.raises(UsageError, match="no meaning"):
        restorer.restore(photo, "grey", hole=torch.zeros(1, 1, 45, 70))


def test_a_denoiser_of_points_moves_them_towards_their_curve():
    angle = 2 * math.pi * torch.rand(1500, generator=torch.Generator().manual_seed(0))
    circle = (0.5 + 0.3 * torch.stack([angle.cos(), angle.sin()], 1))[:, :, None, None]
    model = train("autoencoder", circle, 700, latents=16, hidden=(64,), noise=0.06)
    away = circle[:200] + 0.06 * torch.randn(200, 2, 1, 1, generator=torch.Generator().manual_seed(1))

    def distance(points: torch.Tensor) -> float:
        return float(((points[:, :, 0, 0] - 0.5).norm(dim=1) - 0.3).abs().mean())

    assert distance(model.reconstruct(away)) < 0.6 * distance(away)
