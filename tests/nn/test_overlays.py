"""Laws of what is put around and over pictures: what each leaves of the picture, and what it never touches."""

from __future__ import annotations

import pytest
import torch

from aecodec.nn.draws import Draws
from aecodec.nn.luma import luma
from aecodec.nn.overlays import beside, captioned, filtered, framed, letters, stickered, tones

CHANGES = [framed, captioned, stickered, beside, filtered]


def draws(count: int, seed: int = 0) -> Draws:
    return Draws(count, torch.Generator().manual_seed(seed), torch.device("cpu"))


def flat(count: int, tone: float = 0.5, side: int = 32) -> torch.Tensor:
    return torch.full((count, 3, side, side), tone)


def noise(count: int, side: int = 32) -> torch.Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_each_is_repeatable_differs_between_pictures_and_stays_in_range(change):
    x = noise(1).expand(16, -1, -1, -1)
    first, again, other = (change(x, draws(16, seed)) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert len(first.flatten(1).unique(dim=0)) > 1
    assert first.shape == x.shape
    assert first.min() >= 0
    assert first.max() <= 1 + 1e-6


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_grey_pictures_stay_grey_pictures(change):
    assert change(noise(4)[:, :1], draws(4)).shape == (4, 1, 32, 32)


def test_a_frame_keeps_most_of_the_picture_in_its_middle():
    x = flat(64, 0.37)
    view = framed(x, draws(64))
    inside = (view - 0.37).abs().amax(1) < 1e-5
    assert inside[:, 16, 16].all()
    shares = inside.float().mean((1, 2))
    assert shares.min() > 0.3
    assert shares.max() < 1


def test_captions_are_black_and_white_and_most_of_the_picture_is_left():
    x = flat(64, 0.37)
    view = captioned(x, draws(64))
    written = (view - x).abs().amax(1) > 0
    assert set(view[:, 0][written].unique().tolist()) == {0.0, 1.0}
    assert written.float().mean((1, 2)).max() < 0.6


def test_a_sticker_covers_at_most_a_fifth():
    x = flat(64, 0.37)
    covered = (stickered(x, draws(64)) - x).abs().amax(1) > 1e-6
    assert covered.float().mean((1, 2)).max() < 0.2


def test_a_collage_is_half_the_picture_and_half_the_mirrored_other():
    x = torch.cat([flat(1, 0.2), flat(1, 0.8)])
    for seed in range(8):
        view = beside(x, draws(2, seed))
        assert torch.allclose(view.mean((1, 2, 3)), torch.tensor([0.5, 0.5]), atol=1e-5)
    left = torch.zeros(1, 3, 32, 32)
    left[..., :16] = 1.0
    pair = beside(torch.cat([left, flat(1, 0.0)]), draws(2, 3))
    # The first one's bright side is where it was in its own half, and mirrored in the other's collage.
    assert not torch.equal(pair[0], pair[1])


def test_a_filter_keeps_greys_in_their_order():
    ramp = torch.linspace(0, 1, 32).expand(48, 3, 32, 32)
    brightness = luma(filtered(ramp, draws(48)))[:, 0, 0]
    assert (brightness.diff(dim=1) >= -1e-5).all()


def test_tones_are_black_white_and_colours():
    x = flat(300)
    found = tones(x, draws(300))[:, :, 0, 0]
    black, white = (found == 0).all(1).float().mean(), (found == 1).all(1).float().mean()
    assert 0.2 < black < 0.5
    assert 0.2 < white < 0.5


def test_letters_leave_blank_lines():
    mask = letters(flat(3, side=48), draws(3))
    assert mask.shape == (3, 1, 48, 48)
    blank = ~mask.any((0, 1, 3))
    assert blank.sum() == 16
