"""Laws of the dictionary of patches: its responses by the book, what it does not see, axes, files."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from conftest import natural_picture
from safetensors.torch import save_file
from small_models import as_batch

from aecodec.contracts import CheckpointError
from aecodec.nn.patches import PARTS, SIDE, SMALLEST, STRIDE, PatchFeatures

WORDS, WIDTH = 16, 12


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def pictures() -> torch.Tensor:
    return torch.cat([as_batch(natural_picture(20, 24, seed)) for seed in range(30)])


@pytest.fixture(scope="module")
def learned(pictures) -> PatchFeatures:
    features = PatchFeatures(3, WORDS, WIDTH)
    features.learn(pictures, rng())
    return features


def test_a_response_is_that_of_the_normalised_patch(learned, pictures):
    """Patch by patch: mean off, divided by the deviation, compared with each word, the excess over 1 averaged over the
    parts of the picture, square roots taken."""
    patches = F.unfold(pictures[:2], SIDE, stride=STRIDE).transpose(1, 2)
    centred = patches - patches.mean(2, keepdim=True)
    normalised = centred / (centred.square().mean(2, keepdim=True) + 0.04**2).sqrt()
    present = F.relu(normalised @ learned.words.flatten(1).T - learned.offset - 1.0)
    down, across = ((side - SIDE) // STRIDE + 1 for side in pictures.shape[2:])
    assert (down, across) == (8, 10)
    maps = present.transpose(1, 2).reshape(2, WORDS, down, across)
    parts = [
        maps[:, :, 2 * row : 2 * row + 2, 2 * column : 2 * column + 4].mean((2, 3))
        for row in range(PARTS)
        for column in range(PARTS)
    ]
    expected = torch.stack(parts, 2).flatten(1).sqrt()
    # The square root makes much of what is next to nothing.
    assert torch.allclose(learned.found(pictures[:2]), expected, atol=1e-2)
    assert torch.allclose(learned.found(pictures[:2]).square(), expected.square(), atol=1e-4)


def test_brightness_is_not_seen_and_a_flat_picture_gives_what_little_there_is(learned, pictures):
    dim = 0.5 * pictures[:4]
    assert torch.allclose(learned.found(dim + 0.25).square(), learned.found(dim).square(), atol=1e-3)
    flat = learned.found(torch.tensor([0.2, 0.9]).view(2, 1, 1, 1).expand(2, 3, 20, 24))
    assert torch.allclose(flat[0], flat[1], atol=1e-2)


def test_mirrored_features_are_the_same_for_the_mirror_image_and_add_what_both_hold(learned, pictures):
    mirrored = PatchFeatures(3, WORDS, WIDTH, mirrored=True)
    mirrored.load_state_dict(learned.state_dict())
    x = pictures[:6]
    assert torch.allclose(mirrored.found(x.flip(3)), mirrored.found(x), atol=1e-6)
    both = learned.found(x).square() + learned.found(x.flip(3)).square()
    assert torch.allclose(mirrored.found(x).square(), both, atol=1e-6)
    assert not torch.allclose(learned(x.flip(3)), learned(x), atol=1e-2)


def test_features_are_centred_uncorrelated_and_of_square_root_variances(learned, pictures):
    features = learned(pictures)
    assert features.shape == (30, WIDTH)
    assert features.mean(0).abs().max() < 1e-4
    found = learned.found(pictures)
    variances = torch.linalg.eigvalsh((found - found.mean(0)).T @ (found - found.mean(0)) / 30).flip(0)[:WIDTH]
    second = features.T @ features / 30
    assert torch.allclose(second, torch.diag(variances.sqrt()), atol=1e-3 * float(variances[0].sqrt()))


def test_axes_that_the_pictures_do_not_have_are_zero(pictures):
    features = PatchFeatures(3, WORDS, WIDTH)
    features.learn(pictures[:4], rng())
    assert torch.isfinite(features.axes).all()
    assert (features(pictures).abs().amax(0) > 0).tolist() == [True] * 3 + [False] * (WIDTH - 3)


def test_learning_is_repeatable_and_trains_nothing(learned, pictures):
    again = PatchFeatures(3, WORDS, WIDTH)
    again.learn(pictures, rng())
    assert all(torch.equal(value, learned.state_dict()[name]) for name, value in again.state_dict().items())
    assert not any(p.requires_grad for p in learned.parameters())


def test_the_smallest_picture_has_features_and_a_smaller_one_none(learned):
    grey = PatchFeatures(1, 4, 2)
    grey.learn(torch.rand(8, 1, SMALLEST, SMALLEST, generator=rng()), rng())
    assert torch.isfinite(grey(torch.rand(2, 1, SMALLEST, SMALLEST))).all()
    with pytest.raises(RuntimeError):
        grey(torch.rand(2, 1, SMALLEST - 1, SMALLEST - 1))


def test_a_dictionary_comes_from_a_file_of_its_own_and_no_other(learned, pictures, tmp_path):
    path = tmp_path / "patches.safetensors"
    save_file(learned.state_dict(), path)
    loaded = PatchFeatures(3, WORDS, WIDTH)
    loaded.load(path)
    assert torch.equal(loaded(pictures), learned(pictures))
    with pytest.raises(CheckpointError, match="no such file"):
        loaded.load(tmp_path / "absent.safetensors")
    with pytest.raises(CheckpointError, match="not a dictionary"):
        PatchFeatures(3, WORDS + 1, WIDTH).load(path)
    path.write_bytes(b"damaged")
    with pytest.raises(CheckpointError, match="not a dictionary"):
        loaded.load(path)
