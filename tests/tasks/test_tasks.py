"""Laws of the tasks: anomaly scores, generation, transfer, restoration of files of any size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from bumps import items, train
from conftest import natural_picture
from PIL import Image

from aecodec import checkpoint
from aecodec.contracts import UnknownName, UsageError
from aecodec.tasks import anomaly, generate, transfer
from aecodec.tasks.restore import box_mask, estimate_sigma, read_mask, restore, restore_pixels


@pytest.fixture(scope="module")
def plain() -> Any:
    return train("autoencoder", items(), 200, latents=4, hidden=(64,))


@pytest.fixture(scope="module")
def vae() -> Any:
    return train("vae", items(), 150, latents=2, hidden=(32,))


@pytest.fixture(scope="module")
def restorer() -> Any:
    torch.manual_seed(0)
    kinds = ("gaussian", "impulse", "region", "scribble", "downsample", "grey")
    model = checkpoint.build("restoration", {"corruptions": kinds, "widths": (8, 12), "blocks": 1})
    with torch.no_grad():
        model.net.leave.weight.mul_(30.0)
    return model.eval().requires_grad_(False)


# -- anomaly ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("score", ["error", "surprise"])
def test_scores_do_not_depend_on_the_order_of_the_batch(vae, score):
    x = items(300, seed=5)
    order = torch.randperm(300, generator=torch.Generator().manual_seed(0))
    found = anomaly.scores(vae, x, score)
    assert torch.allclose(anomaly.scores(vae, x[order], score), found[order], rtol=1e-4, atol=1e-6)
    alone = torch.cat([anomaly.scores(vae, x[i : i + 1], score) for i in range(5)])
    assert torch.allclose(alone, found[:5], rtol=1e-4, atol=1e-6)


def test_what_was_never_seen_scores_higher_and_is_found_where_it_is(plain):
    x = items(200, seed=6)
    strange = x.clone()
    strange[:, :, 1:3, 5:7] = 1.0 - strange[:, :, 1:3, 5:7]
    assert (anomaly.scores(plain, strange) > anomaly.scores(plain, x)).float().mean() > 0.9
    extra = (anomaly.heat_map(plain, strange) - anomaly.heat_map(plain, x)).mean(0)
    assert extra[1:3, 5:7].mean() > 3 * extra.mean()
    assert torch.allclose(anomaly.heat_map(plain, x).mean((1, 2)), anomaly.scores(plain, x), atol=1e-6)


def test_a_detector_keeps_its_false_alarm_rate(plain):
    normal = items(400, seed=7)
    detector = anomaly.fit(plain, normal, 0.1)
    assert (anomaly.scores(plain, normal) > detector.threshold).float().mean() <= 0.1
    with pytest.raises(UsageError, match="variational"):
        anomaly.fit(plain, normal, 0.1, "surprise")
    with pytest.raises(UsageError, match="shape"):
        anomaly.scores(plain, normal[:, :, :4])
    with pytest.raises(UsageError, match="rate"):
        anomaly.fit(plain, normal, 1.5)
    with pytest.raises(UsageError, match="score"):
        anomaly.scores(plain, normal, "beauty")


# -- generate --------------------------------------------------------------------------------------------------------


def test_a_way_begins_and_ends_at_its_items(vae):
    x = items(2, seed=8)
    way = generate.interpolate(vae, x[0], x[1], 5)
    assert torch.allclose(way[[0, -1]], vae.reconstruct(x), atol=1e-6)
    with pytest.raises(UsageError, match="2 steps"):
        generate.interpolate(vae, x[0], x[1], 1)
    with pytest.raises(UsageError, match="shape"):
        generate.interpolate(vae, x[0, 0], x[1, 0], 3)


def test_samples_are_repeatable_and_only_a_prior_gives_any(vae, plain):
    drawn = [generate.sample(vae, 4, torch.Generator().manual_seed(1)) for _ in range(2)]
    assert torch.equal(*drawn)
    assert drawn[0].shape == (4, 1, 8, 8)
    with pytest.raises(UsageError, match="variational"):
        generate.sample(plain, 4, torch.Generator())
    with pytest.raises(UsageError, match="2 latents"):
        generate.manifold(plain, 3)


def test_a_sheet_holds_every_item_once():
    x = torch.rand(5, 3, 4, 6)
    page = generate.sheet(x, 2, gap=1)
    assert page.shape == (3, 3 * 5 + 1, 2 * 7 + 1)
    assert torch.equal(page[:, 1:5, 1:7], x[0])
    assert torch.equal(page[:, 11:15, 1:7], x[4])
    assert (page[:, 11:15, 8:14] == 1).all()


# -- transfer --------------------------------------------------------------------------------------------------------


def labelled(count: int, seed: int) -> tuple[torch.Tensor, np.ndarray]:
    """Bumps of three classes, by where their middle lies."""
    x = items(count, seed)
    column = (x.sum((1, 2)) * torch.arange(8.0)).sum(1) / x.sum((1, 2, 3))
    return x, np.digitize(column.numpy(), [3.2, 4.6]) + 4


def test_frozen_means_frozen(plain):
    x, y = labelled(60, 0)
    for frozen in (True, False):
        classifier = transfer.Classifier(plain, 3, frozen=frozen)
        before = {key: value.clone() for key, value in classifier.state_dict().items()}
        transfer.fine_tune(classifier, x, y - 4, steps=5)
        moved = {key for key, value in classifier.state_dict().items() if not torch.equal(value, before[key])}
        assert {"head.weight", "head.bias"} <= moved
        assert any(key.startswith("encoder") for key in moved) == (not frozen)
    assert not any(p.requires_grad for p in plain.parameters()), "the model itself is copied"


def test_a_probe_reads_the_classes_and_finds_the_optimum(plain):
    from sklearn.linear_model import LogisticRegression

    x, y = labelled(600, 1)
    asked, truth = labelled(600, 2)
    features, others = transfer.extract(plain, x), transfer.extract(plain, asked)
    probe = transfer.fit_probe(features, y, penalty=0.01)
    assert probe.error(others, truth) < 0.15
    scaled = ((features - probe.mean) / probe.scale).numpy()
    peer = LogisticRegression(C=1 / (0.01 * len(y)), max_iter=500, tol=1e-6).fit(scaled, y)
    assert np.allclose(peer.coef_.T, probe.weight.numpy(), atol=0.02)


def test_few_labels_are_even_and_differ_by_seed():
    y = np.repeat([3, 5, 9], 50)
    chosen = [transfer.few_labels(y, 30, seed) for seed in (0, 0, 1)]
    assert (np.bincount(y[chosen[0]], minlength=10)[[3, 5, 9]] == 10).all()
    assert len(set(chosen[0])) == 30
    assert (chosen[0] == chosen[1]).all()
    assert set(chosen[0]) != set(chosen[2])
    for count, complaint in ((31, "evenly"), (300, "wanted")):
        with pytest.raises(UsageError, match=complaint):
            transfer.few_labels(y, count, 0)
    with pytest.raises(UsageError, match="unknown classes"):
        transfer.check_labels(y, np.array([3, 7]))


# -- restore ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", ["denoise", "upscale", "colourise", "despeckle"])
@pytest.mark.parametrize("shape", [(150, 200, 3), (131, 97), (1, 5, 3), (7, 2)])
def test_tiles_make_no_difference_at_any_size(restorer, task, shape):
    pixels = natural_picture(*shape[:2])
    pixels = pixels if len(shape) == 3 else pixels[..., 1]
    whole, tiled = (restore_pixels(restorer, pixels, task, sigma=20.0, tile=tile) for tile in (4096, 64))
    factor = 2 if task == "upscale" else 1
    colours = (3,) if task == "colourise" or len(shape) == 3 else ()
    assert whole.shape == (shape[0] * factor, shape[1] * factor, *colours)
    assert int(np.abs(whole.astype(int) - tiled).max()) <= 1
    assert restorer.reach < 64


def test_inpainting_a_file_leaves_what_is_known(restorer):
    pixels = natural_picture(120, 90)
    mask = box_mask((10, 20, 30, 40), 120, 90)
    done = restore_pixels(restorer, pixels, "inpaint", mask=mask, tile=64)
    assert (done[~mask] == pixels[~mask]).all()
    assert (done[mask] != pixels[mask]).any()


def test_masks_come_from_pictures_and_boxes(tmp_path: Path):
    Image.fromarray((box_mask((1, 2, 3, 4), 10, 12) * 255).astype(np.uint8)).save(tmp_path / "mask.png")
    assert (read_mask(tmp_path / "mask.png", 10, 12) == box_mask((1, 2, 3, 4), 10, 12)).all()
    with pytest.raises(UsageError, match="12x10"):
        read_mask(tmp_path / "mask.png", 12, 10)
    for box in ((-1, 0, 2, 2), (0, 0, 0, 2), (11, 0, 2, 2)):
        with pytest.raises(UsageError, match="does not lie"):
            box_mask(box, 10, 12)


def test_noise_is_measured():
    rng = torch.Generator().manual_seed(0)
    for sigma in (0.02, 0.1):
        x = 0.5 + sigma * torch.randn(1, 3, 101, 100, generator=rng)
        assert estimate_sigma(x) == pytest.approx(sigma, rel=0.05)
    assert estimate_sigma(torch.full((1, 1, 4, 4), 0.3)) == 0.0


def test_a_task_or_model_that_does_not_fit_is_said(restorer, plain):
    x = torch.rand(1, 3, 16, 16)
    with pytest.raises(UnknownName, match="rain"):
        restore(restorer, x, "rain")
    with pytest.raises(UsageError, match="restoration family"):
        restore(plain, x, "denoise")
    with pytest.raises(UsageError, match="at least 0"):
        restore(restorer, x, "denoise", sigma=-1.0)


@pytest.mark.parametrize("sigma", [float("nan"), float("inf"), -float("inf"), -1.0, 1e9])
def test_noise_that_is_no_number_is_refused_whatever_the_task(restorer, sigma):
    for task in ("denoise", "colourise"):
        with pytest.raises(UsageError, match="noise"):
            restore(restorer, torch.full((1, 3, 8, 8), 0.5), task, sigma=sigma)
