"""Laws of augmented views: in range, repeatable, the identity where nothing is asked for, and known special cases."""

from __future__ import annotations

import io
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from conftest import natural_picture
from PIL import Image
from small_models import as_batch

from aecodec.nn.luma import luma
from aecodec.nn.views import RECIPES, ViewRecipe, block_losses, blur, disjoint_halves, random_view

NOTHING = ViewRecipe(colour_p=0.0)


def batch(count: int = 6, side: int = 32) -> torch.Tensor:
    return torch.cat([as_batch(natural_picture(side, side, seed)) for seed in range(count)])


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("name", sorted(RECIPES))
@pytest.mark.parametrize("channels", [1, 3])
def test_views_are_repeatable_pictures_of_the_size_asked_for(name, channels):
    x = batch()[:, :channels]
    first, again, other = (random_view(x, (24, 28), RECIPES[name], rng(seed)) for seed in (1, 1, 2))
    assert first.shape == (6, channels, 24, 28)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.min() >= 0
    assert first.max() <= 1


def test_a_recipe_that_asks_for_nothing_changes_nothing():
    x = batch()
    assert torch.allclose(random_view(x, (32, 32), NOTHING, rng()), x, atol=1e-5)


SINGLE = [
    replace(NOTHING, area=0.3),
    replace(NOTHING, rotate=20.0),
    replace(NOTHING, shear=0.3),
    replace(NOTHING, elastic=0.05),
    replace(NOTHING, thickness_p=1.0),
    replace(NOTHING, flip_p=1.0),
    replace(NOTHING, zoom_out=1.5),
    replace(NOTHING, shift=0.1),
    replace(NOTHING, colour_p=1.0, gamma=1.5),
    replace(NOTHING, colour_p=1.0, brightness=0.4),
    replace(NOTHING, colour_p=1.0, contrast=0.4),
    replace(NOTHING, colour_p=1.0, saturation=0.4),
    replace(NOTHING, colour_p=1.0, hue=0.1),
    replace(NOTHING, grey_p=1.0),
    replace(NOTHING, blur_p=1.0),
    replace(NOTHING, blocks_p=1.0),
    replace(NOTHING, noise=0.1),
    replace(NOTHING, erase_p=1.0),
    replace(NOTHING, mark_p=1.0),
    replace(NOTHING, rotate=15.0, fill_p=1.0),
    replace(NOTHING, frame_p=1.0),
    replace(NOTHING, caption_p=1.0),
    replace(NOTHING, sticker_p=1.0),
    replace(NOTHING, beside_p=1.0),
    replace(NOTHING, filter_p=1.0),
    replace(NOTHING, area=0.5, aspect=1.5),
]


@pytest.mark.parametrize(
    "recipe",
    SINGLE,
    ids=lambda r: "+".join(f.name for f in fields(r) if getattr(r, f.name) != getattr(NOTHING, f.name)),
)
def test_each_field_changes_the_picture_by_itself(recipe):
    x = batch()
    view = random_view(x, (32, 32), recipe, rng())
    assert (view - x).abs().amax((1, 2, 3)).max() > 0.02


def test_every_field_of_a_recipe_is_covered():
    changed = {
        f.name for recipe in SINGLE for f in fields(recipe) if getattr(recipe, f.name) != getattr(NOTHING, f.name)
    }
    assert changed | {"padding", "erase", "colour_p"} == {f.name for f in fields(ViewRecipe)} | {"colour_p"}


def test_a_flip_is_a_mirror_image():
    x = batch()
    assert torch.allclose(random_view(x, (32, 32), replace(NOTHING, flip_p=1.0), rng()), x.flip(3), atol=1e-5)


def test_blur_keeps_a_constant_and_the_mean_and_grows_with_sigma():
    flat = torch.full((2, 3, 16, 16), 0.3)
    assert torch.allclose(blur(flat, torch.tensor([0.5, 1.5])), flat, atol=1e-6)
    x = batch(2)
    weak, strong = (blur(x, torch.full((2,), sigma)) for sigma in (0.5, 1.5))
    assert x.var() > weak.var() > strong.var()
    dot = torch.zeros(1, 1, 15, 15)
    dot[..., 7, 7] = 1.0
    spread = blur(dot, torch.tensor([1.0]))[0, 0]
    reach = np.exp(-0.5 * np.arange(-3, 4) ** 2.0)
    assert np.allclose(spread[7, 4:11].numpy() / float(spread[7, 7]), reach, atol=1e-5)


def test_block_losses_vanish_at_full_quality_and_leave_block_means_alone():
    x = batch(2, 24)
    assert (block_losses(x, torch.full((2,), 100.0)) - x).abs().max() < 4 / 255
    errors = [float((block_losses(x, torch.full((2,), q)) - x).square().mean()) for q in (60.0, 20.0, 5.0)]
    assert errors == sorted(errors)
    flat = torch.full((1, 1, 16, 16), 0.5)
    assert torch.allclose(block_losses(flat, torch.tensor([10.0])), flat, atol=1e-5)


def test_block_losses_resemble_those_of_jpeg():
    picture = natural_picture(64, 64, 5)[..., 1]
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=20)
    theirs = np.asarray(Image.open(buffer)) / 255.0
    x = torch.from_numpy(picture / 255.0).float()[None, None]
    ours = block_losses(x, torch.tensor([20.0]))[0, 0].clamp(0, 1).numpy()
    assert np.abs(ours - theirs).mean() < 0.25 * np.abs(picture / 255.0 - theirs).mean()


def test_luma_is_that_of_rec_601():
    pixels = torch.tensor([[1.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0], [1.0, 1.0, 1.0]]).T[None, :, None]
    assert torch.allclose(luma(pixels)[0, 0, 0], torch.tensor([0.299, 0.587, 0.114, 1.0]))


def test_a_turn_brings_in_one_tone_where_it_is_asked_to():
    x = torch.rand(20, 3, 32, 32, generator=rng())
    filled = random_view(x, (32, 32), replace(NOTHING, rotate=30.0, fill_p=1.0), rng(3))
    mirrored = random_view(x, (32, 32), replace(NOTHING, rotate=30.0, fill_p=1e-9), rng(3))
    changed = (filled != mirrored).any(1)
    assert changed.flatten(1).any(1).sum() > 10
    for picture, where in zip(filled, changed, strict=True):
        assert len(picture[:, where].T.unique(dim=0)) <= 1
    middle = slice(12, 20)
    assert not changed[:, middle, middle].any()


def test_halves_of_a_picture_share_none_of_its_pixels():
    height, width = 40, 48
    # Each pixel tells where it is: red across, green down.
    across = torch.linspace(0, 1, width).expand(height, width)
    down = torch.linspace(0, 1, height)[:, None].expand(height, width)
    x = torch.stack([across, down, torch.zeros(height, width)])[None].repeat(30, 1, 1, 1)
    halves = disjoint_halves(x, rng())
    assert halves.shape == (60, 3, height, width)
    first, second = halves.chunk(2)
    pixel = 1.5 / height
    apart = (second.amin((2, 3)) - first.amax((2, 3)))[:, :2]
    assert (apart.amax(1) > -pixel).all()
    # Cut both ways, somewhere in the middle, and never thinner than a third.
    assert 5 < (apart[:, 0] > apart[:, 1]).sum() < 25
    assert ((halves.amax((2, 3)) - halves.amin((2, 3)))[:, :2] > 0.3).all()
