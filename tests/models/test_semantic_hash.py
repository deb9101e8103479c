"""Laws of the family semantic-hash: balanced bits, the contrast by its definition, each term's limits, backbones."""

from __future__ import annotations

import math
import sys
from dataclasses import replace

import numpy as np
import pytest
import timm
import torch
from conftest import natural_picture
from safetensors.torch import save_file
from small_models import as_batch
from store_views import stored
from torch import nn

from aecodec import Hasher, checkpoint
from aecodec.cli import run
from aecodec.contracts import CheckpointError, MissingDependencyError
from aecodec.data.arrays import ArraySet
from aecodec.engine.graphs import add_graphs
from aecodec.models.semantic_hash import SIZES, SemanticHash, SemanticHashConfig
from aecodec.nn.binary import above_zero, bi_half, masked, sampled_codes, straight_through
from aecodec.nn.contrast import mutual_neighbours, nt_xent, relation_loss
from aecodec.nn.fold import fold_batch_norms
from aecodec.nn.patches import PatchFeatures
from aecodec.nn.taught import join, split, split_vectors
from aecodec.nn.trunk import Trunk
from aecodec.nn.views import RECIPES, ViewRecipe, random_view

FAMILY = "semantic-hash"
SMALL = SemanticHashConfig(
    shape=(3, 16, 16),
    n_bits=32,
    prefixes=(8, 16),
    widths=(8, 16),
    strides=(2, 2),
    blocks=(1, 0),
    features=32,
    decoder=8,
)


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures(count: int = 12, side: int = 16) -> torch.Tensor:
    return torch.cat([as_batch(natural_picture(side, side, seed)) for seed in range(count)])


def small(**changes: object) -> SemanticHash:
    torch.manual_seed(0)
    return SemanticHash(replace(SMALL, **changes))


# -- bits ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [2, 7, 64])
def test_bi_half_gives_each_bit_to_half_of_the_batch_and_to_the_largest_logits(count):
    logits = torch.randn(count, 5, generator=rng())
    bits = bi_half(logits)
    assert torch.equal(bits.sum(0), torch.full((5,), float((count + 1) // 2)))
    for column in range(5):
        ones, zeros = logits[bits[:, column] == 1, column], logits[bits[:, column] == 0, column]
        assert ones.min() >= zeros.max()


def test_bi_half_breaks_ties_by_row_and_agrees_with_the_sign_where_that_is_balanced():
    assert bi_half(torch.zeros(4, 1))[:, 0].tolist() == [1, 1, 0, 0]
    logits = torch.tensor([[-1.0], [2.0], [-0.1], [0.0]])
    assert torch.equal(bi_half(logits), above_zero(logits))


def test_straight_through_has_the_value_of_the_bits_and_the_gradient_of_the_probabilities():
    logits = torch.randn(6, 3, generator=rng(), requires_grad=True)
    weights = torch.randn(6, 3, generator=rng(1))
    bits = above_zero(logits.detach())
    out = straight_through(bits, torch.sigmoid(logits))
    assert torch.equal(out.detach(), bits)
    (out * weights).sum().backward()
    p = torch.sigmoid(logits.detach())
    assert torch.allclose(logits.grad, weights * p * (1 - p))


def test_masked_numbers_are_zero_and_the_others_keep_the_mean():
    features = torch.ones(200, 50)
    out = masked(features, 0.25, rng())
    assert out.unique().tolist() == pytest.approx([0.0, 4 / 3])
    assert float(out.mean()) == pytest.approx(1.0, abs=0.02)
    assert not torch.equal(out[:100], out[100:])
    generator = rng()
    assert masked(features, 0.0, generator) is features
    assert torch.equal(generator.get_state(), rng().get_state())


# -- contrast ------------------------------------------------------------------------------------


def test_nt_xent_is_its_definition():
    similarity = torch.randn(8, 8, generator=rng())
    terms = []
    for row in range(8):
        partner = (row + 4) % 8
        others = sum(math.exp(similarity[row, k]) for k in range(8) if k != row)
        terms.append(-math.log(math.exp(similarity[row, partner]) / others))
    assert float(nt_xent(similarity)) == pytest.approx(np.mean(terms), rel=1e-5)


def test_pictures_that_count_as_the_same_are_averaged_over():
    similarity = torch.randn(6, 6, generator=rng())
    alike = torch.zeros(3, 3, dtype=torch.bool)
    alike[0, 1] = alike[1, 0] = True
    terms = []
    for row in range(6):
        partners = [k for k in range(6) if k != row and (k % 3 == row % 3 or {k % 3, row % 3} == {0, 1})]
        others = sum(math.exp(similarity[row, k]) for k in range(6) if k != row)
        terms.append(np.mean([-math.log(math.exp(similarity[row, k]) / others) for k in partners]))
    assert float(nt_xent(similarity, alike)) == pytest.approx(np.mean(terms), rel=1e-5)
    assert torch.equal(nt_xent(similarity, torch.zeros(3, 3, dtype=torch.bool)), nt_xent(similarity))


def test_mutual_neighbours_are_mutual_and_never_oneself():
    vectors = torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [0.1, 1.0], [-1.0, -1.0]])
    found = mutual_neighbours(vectors, 1)
    assert torch.nonzero(found).tolist() == [[0, 1], [1, 0], [2, 3], [3, 2]]
    everyone = mutual_neighbours(vectors, 99)
    assert torch.equal(everyone, ~torch.eye(5, dtype=torch.bool))


# -- the model -----------------------------------------------------------------------------------


def test_each_weight_adds_its_part():
    batch = pictures()
    nothing = {"contrast": 0.0, "reconstruction": 0.0, "kl": 0.0, "decorrelation": 0.0}
    names = {"contrast": "contrast", "reconstruction": "mse", "kl": "kl", "decorrelation": "correlation"}
    for weight, part in names.items():
        loss = small(**{**nothing, weight: 2.5}).loss(batch, rng())
        assert float(loss.total.detach()) == pytest.approx(2.5 * float(loss.parts[part]), rel=1e-5)
    assert float(small(**nothing).loss(batch, rng()).total.detach()) == 0.0


@pytest.mark.parametrize(
    "change",
    [
        {"noise": 0.0},
        {"bi_half": False},
        {"straight_through": False},
        {"temperature": 0.1},
        {"neighbours": 3},
        {"neighbours": 3, "neighbours_of": "features"},
        {"neighbours": 3, "neighbours_of": "pixels"},
        {"mask": 0.3},
        {"prefixes": ()},
        {"strides": (4, 2)},
        {"views": "photos"},
        {"first_views": "originals"},
    ],
)
def test_each_variant_changes_the_loss(change):
    batch = pictures()
    plain, changed = (float(small(**c).loss(batch, rng(), 0.5).total.detach()) for c in ({}, change))
    assert math.isfinite(changed)
    assert plain != changed


def test_neighbours_wait_for_their_share_of_the_training():
    batch = pictures()
    late = small(neighbours=3, neighbours_from=0.4)
    plain = small()
    assert torch.equal(late.loss(batch, rng(), 0.3).total, plain.loss(batch, rng(), 0.3).total)


def test_without_a_straight_through_the_codes_are_probabilities_and_with_it_bits():
    logits = torch.randn(10, 32, generator=rng())
    soft, _ = sampled_codes(logits, rng(), noise=0.3, balanced=True, hard=False)
    hard, p = sampled_codes(logits, rng(), noise=0.3, balanced=True, hard=True)
    assert soft.abs().max() < 1
    assert torch.equal(hard.abs(), torch.ones_like(hard))
    assert torch.equal(hard[:5].sum(0), torch.full((32,), 1.0))  # bi-half: 3 of 5 rows of each view
    assert torch.allclose((p.logit() / 2 - logits).std(), torch.tensor(0.3), atol=0.1)


def test_items_larger_than_the_hashed_square_are_cut_down():
    loss = small().loss(pictures(6, 24), rng())
    assert torch.isfinite(loss.total)


@pytest.mark.parametrize("name", sorted(SIZES))
def test_named_sizes_hash_their_shape(name):
    config = SIZES[name]
    model = SemanticHash(config).eval()
    bits = model.hash(torch.rand(2, *config.shape, generator=rng()))
    assert bits.dtype == torch.bool
    assert bits.shape == (2, model.n_bits) == (2, config.n_bits)
    assert (model.decoder is None) == (not config.decoder)
    if config.decoder:
        assert model.decoder(torch.ones(1, config.n_bits)).shape == (1, *config.shape)


@pytest.mark.parametrize(
    "wrong",
    [
        {"n_bits": 12, "prefixes": ()},
        {"prefixes": (64, 32)},
        {"prefixes": (128,)},
        {"shape": (2, 8, 8)},
        {"shape": (8, 8)},
        {"views": "none"},
        {"first_views": "none"},
        {"widths": (8,)},
        {"neighbours_of": "labels"},
        {"mask": 1.0},
        {"mask": -0.1},
        {"widths": (), "blocks": ()},
        {"strides": (2,)},
        {"backbone": "resnet18"},
        {"trunk_blocks": (1, 0)},
        {"trunk_blocks": (1,) * 9},
        {"trunk_blocks": (1, 2), "shape": (1, 16, 16)},
        {"relation": 1.0},
        {"halves": 1.5},
        {"decoder": 0},
        {"trunk_blocks": (1, 1), "frozen": 2},
        {"trunk_blocks": (1, 1, 1, 1), "shape": (3, 16, 16)},
        {"stored_views": 2, "decoder": 0, "reconstruction": 0.0},
        {"trunk_blocks": (1, 1), "frozen": 1, "stored_views": 1, "decoder": 0, "reconstruction": 0.0},
        {"neighbours": 3, "neighbours_of": "teacher"},
        {"neighbours": 3, "neighbours_of": "teacher", "teacher": 8, "halves": 0.5},
        {"patches": -1},
        {"patches": 8, "patch_axes": 0},
        {"patches": 8, "trunk_blocks": (1, 1)},
        {"patches": 8, "shape": (3, 11, 16)},
    ],
)
def test_a_configuration_that_makes_no_hasher_is_refused(wrong):
    with pytest.raises(CheckpointError, match="cannot be built"):
        checkpoint.build(FAMILY, wrong)


def test_folding_the_norms_changes_logits_by_rounding_only():
    model = small()
    model.loss(pictures(), rng()).total.backward()  # moves the running averages off their start
    model.eval()
    x = pictures()
    with torch.no_grad():
        before = model.logits(x)
        fold_batch_norms(model)
        after = model.logits(x)
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in model.modules())
    assert torch.allclose(before, after, atol=1e-4)


# -- backbones -----------------------------------------------------------------------------------

BACKBONE = {"shape": (3, 32, 32), "n_bits": 32, "prefixes": (16,), "features": 32, "backbone": "timm:test_resnet"}


def test_a_backbone_is_frozen_and_its_features_are_what_is_reconstructed(tmp_path):
    torch.manual_seed(0)
    model = checkpoint.build(FAMILY, BACKBONE)
    before = {key: value.clone() for key, value in model.encoder.state_dict().items()}
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    for step in range(3):
        optimizer.zero_grad()
        model.loss(pictures(8, 32), rng(step)).total.backward()
        optimizer.step()
    assert all(torch.equal(value, before[key]) for key, value in model.encoder.state_dict().items())
    assert all(p.grad is not None for p in model.head.parameters())
    assert model.decoder(torch.ones(1, 32)).shape == (1, model.encoder.width)
    path = tmp_path / "hash.safetensors"
    checkpoint.save(model.eval(), path, name="on-features", family_name=FAMILY, card={})
    loaded = checkpoint.load(path).module
    x = pictures(4, 32)
    assert torch.equal(loaded.hash(x), model.hash(x))


@pytest.mark.parametrize("change", [{}, {"neighbours": 3, "neighbours_of": "features", "neighbours_from": 0.0}])
def test_features_that_the_backbone_gave_before_train_as_the_pictures_do(monkeypatch, change):
    monkeypatch.setitem(RECIPES, "same", ViewRecipe())
    x = pictures(8, 32)
    found = []
    for given in (lambda model: x, lambda model: model.encoder(x)):
        torch.manual_seed(0)
        model = checkpoint.build(FAMILY, {**BACKBONE, "views": "same", "noise": 0.0, **change})
        loss = model.loss(given(model), rng(), 1.0).total
        loss.backward()
        found.append((loss.detach(), model.head[0].weight.grad))
    assert torch.allclose(found[0][0], found[1][0], rtol=1e-4)
    assert torch.allclose(found[0][1], found[1][1], rtol=1e-2, atol=1e-4)


def test_weights_of_a_backbone_come_from_a_file(tmp_path):
    torch.manual_seed(5)
    trained = timm.create_model("test_resnet", pretrained=False)
    files = [tmp_path / "weights.safetensors", tmp_path / "weights.pth"]
    save_file(trained.state_dict(), files[0])
    torch.save({"state_dict": trained.state_dict()}, files[1])
    x = pictures(2, 32)
    for path in files:
        model = checkpoint.build(FAMILY, {**BACKBONE, "backbone_weights": str(path)})
        model.initialise(ArraySet(pictures(2, 32)), rng(0))
        model.eval()
        expected = trained.eval().forward_head(
            trained.forward_features((x - model.encoder.mean) / model.encoder.std), pre_logits=True
        )
        assert torch.allclose(model.encoder(x), expected, atol=1e-5)


def test_weights_that_are_not_there_are_named(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    broken = tmp_path / "broken.safetensors"
    save_file({"other": torch.zeros(1)}, broken)
    faults = {str(tmp_path / "absent.pth"): "no such file", str(broken): "lacks", "cache": "in the cache"}
    for source, message in faults.items():
        model = checkpoint.build(FAMILY, {**BACKBONE, "backbone_weights": source})
        with pytest.raises(CheckpointError, match=message):
            model.initialise(ArraySet(pictures(2, 32)), rng(0))
    with pytest.raises(CheckpointError, match="no model 'never_heard_of'"):
        checkpoint.build(FAMILY, {**BACKBONE, "backbone": "timm:never_heard_of"})


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(MissingDependencyError, match=r"aecodec\[timm\]"):
        checkpoint.build(FAMILY, BACKBONE)


def test_the_command_trains_on_top_of_a_backbone(tmp_path):
    trained, data = tmp_path / "weights.safetensors", tmp_path / "squares.npz"
    save_file(timm.create_model("test_resnet", pretrained=False).state_dict(), trained)
    np.savez(data, images=(pictures(8, 32).permute(0, 2, 3, 1).numpy() * 255).astype(np.uint8))
    settings = ["steps=1", "batch=4", "hold_out=0", "model.n_bits=32", "model.prefixes=[16]", "device=cpu"]
    flags = ["--backbone", "timm:test_resnet", "--backbone-weights", str(trained), "--out", str(tmp_path / "run")]
    more = [part for setting in settings for part in ("--set", setting)]
    assert run(["train", FAMILY, "--data", str(data), *flags, *more]) == 0
    loaded = checkpoint.load(tmp_path / "run" / "model.safetensors")
    assert loaded.module.config.backbone == "timm:test_resnet"
    weights = timm.create_model("test_resnet", checkpoint_path=str(trained)).state_dict()
    kept = loaded.module.encoder.net.state_dict()
    assert all(torch.equal(value, weights[key]) for key, value in kept.items())


# -- patches, neighbours of a teacher --------------------------------------------------------------

PATCHES = {"patches": 16, "patch_axes": 12, "decoder": 0, "reconstruction": 0.0, "views": "same"}
BY_TEACHER = {"teacher": 8, "neighbours": 3, "neighbours_of": "teacher", "neighbours_from": 0.0}


@pytest.fixture
def dictionary(tmp_path, monkeypatch) -> str:
    monkeypatch.setitem(RECIPES, "same", ViewRecipe())
    features = PatchFeatures(3, PATCHES["patches"], PATCHES["patch_axes"])
    features.learn(pictures(20), rng())
    save_file(features.state_dict(), tmp_path / "patches.safetensors")
    return str(tmp_path / "patches.safetensors")


def on_patches(weights: str, **changes: object) -> SemanticHash:
    model = small(**PATCHES, patch_weights=weights, noise=0.0, **changes)
    model.initialise(ArraySet(pictures(2)), rng())
    return model


@pytest.mark.parametrize("change", [{}, BY_TEACHER])
def test_features_of_patches_train_as_their_pictures_do(dictionary, change):
    vectors = np.random.default_rng(0).standard_normal((12, 8))
    x = torch.from_numpy(join((255 * pictures()).byte().numpy(), vectors)).float() / 255.0
    plain, taught = split(x, 8)
    model = on_patches(dictionary, **change)
    items = torch.cat([model.encoder(plain), taught], 1) if change else model.encoder(plain)
    losses = [on_patches(dictionary, **change).loss(given, rng()).total for given in (x if change else plain, items)]
    assert torch.allclose(*losses, rtol=1e-4)
    losses[1].backward()


def test_neighbours_by_the_teacher_are_those_of_its_features(dictionary):
    """Two pictures that the teacher sees alike are drawn together, whatever their own features are."""
    model = on_patches(dictionary, **{**BY_TEACHER, "neighbours": 1})
    own = model.encoder(pictures(6))
    pairs = torch.eye(8)[torch.tensor([0, 1, 2, 0, 1, 2])]
    expected = torch.zeros(6, 6, dtype=torch.bool)
    expected[torch.arange(6), torch.tensor([3, 4, 5, 0, 1, 2])] = True
    logits = model.head(own.repeat(2, 1))
    assert torch.equal(model._alike(own, own.repeat(2, 1), logits, pairs), expected)


def test_patches_need_their_dictionary():
    model = small(**{**PATCHES, "views": "photos"})
    with pytest.raises(CheckpointError, match="dictionary of patches"):
        model.initialise(ArraySet(pictures(2)), rng())


@pytest.mark.parametrize("mirrored", [False, True])
def test_a_hasher_on_patches_is_one_file_and_hashes_without_torch(dictionary, tmp_path, mirrored):
    model = on_patches(dictionary, patch_mirrored=mirrored)
    model.loss(pictures(), rng())  # moves the running averages off their start
    path = tmp_path / "hash.safetensors"
    checkpoint.save(model.eval(), path, name="on-patches", family_name=FAMILY, card={})
    add_graphs(path)
    codes = Hasher.from_pretrained(path, engine="onnx").hash((255 * pictures()).byte().numpy())
    expected = np.packbits(model.hash((255 * pictures()).byte().float() / 255.0).numpy(), axis=1)
    assert np.mean(np.unpackbits(codes) != np.unpackbits(expected)) < 0.01


# -- trunk, teacher, halves ----------------------------------------------------------------------

TAUGHT = {"trunk_blocks": (1, 1), "frozen": 1, "decoder": 0, "reconstruction": 0.0, "teacher": 8, "relation": 1.0}


def taught(count: int = 12, side: int = 24, seed: int = 0) -> torch.Tensor:
    features = np.random.default_rng(seed).standard_normal((count, 8))
    return torch.from_numpy(join((255 * pictures(count, side)).byte().numpy(), features)).float() / 255.0


def test_relations_that_are_the_teachers_cost_nothing_and_others_do():
    vectors = torch.nn.functional.normalize(torch.randn(10, 16, generator=rng()), dim=1)
    other = torch.nn.functional.normalize(torch.randn(10, 16, generator=rng(1)), dim=1)
    nobody = torch.zeros(10, 10, dtype=torch.bool)
    same = vectors @ vectors.T
    assert relation_loss(same, same, 0.1, nobody).abs() < 1e-6
    # Only differences count: a softmax does not see what is added to a whole row.
    assert relation_loss(same - 0.3, same, 0.1, nobody).abs() < 1e-6
    assert relation_loss(other @ other.T, same, 0.1, nobody) > 0.1


def test_relations_are_the_divergence_of_two_distributions_over_the_other_pictures():
    student, teacher = (torch.rand(5, 5, generator=rng(seed)) for seed in (0, 1))
    apart = torch.zeros(5, 5, dtype=torch.bool)
    apart[0, 3] = apart[3, 0] = True
    wanted = 0.0
    for row in range(5):
        others = [j for j in range(5) if j != row and not apart[row, j]]
        p, q = ((m[row, others] / 0.2).softmax(0) for m in (teacher, student))
        wanted += float((p * (p / q).log()).sum()) / 5
    assert math.isclose(float(relation_loss(student, teacher, 0.2, apart)), wanted, rel_tol=1e-4)


def test_pairs_that_are_left_out_of_the_relations_get_no_gradient():
    student = torch.rand(5, 5, generator=rng()).requires_grad_()
    apart = torch.zeros(5, 5, dtype=torch.bool)
    apart[1, 2] = True
    relation_loss(student, torch.rand(5, 5, generator=rng(1)), 0.1, apart).backward()
    assert student.grad is not None
    assert student.grad[1, 2] == 0
    assert (student.grad.diagonal() == 0).all()
    assert torch.isfinite(student.grad).all()


@pytest.mark.parametrize("halves", [0.0, 0.5, 1.0])
def test_a_taught_model_trains_all_but_its_frozen_stages(halves):
    model = small(**TAUGHT, halves=halves)
    loss = model.loss(taught(), rng())
    loss.total.backward()
    assert {"contrast", "relation"} <= set(loss.parts)
    assert "mse" not in loss.parts
    assert all((p.grad is not None) == p.requires_grad for p in model.parameters())


def test_halves_keep_the_batch_and_make_it_harder():
    whole, halved = (small(**TAUGHT, halves=share) for share in (0.0, 1.0))
    assert whole.loss(taught(), rng()).parts.keys() == halved.loss(taught(), rng()).parts.keys()
    codes = torch.where(torch.rand(24, 32, generator=rng()) < 0.5, -1.0, 1.0)
    features = torch.nn.functional.normalize(torch.randn(12, 8, generator=rng()), dim=1)
    # Halves i and i + 3 are one picture's: what the others' features are does not matter for them.
    other = features.clone()
    other[3:6] = torch.nn.functional.normalize(torch.randn(3, 8, generator=rng(1)), dim=1)
    assert torch.equal(halved._relation(codes, features, 3), halved._relation(codes, other, 3))


def test_a_trunk_begins_with_the_weights_named(tmp_path):
    model = small(**TAUGHT, trunk_weights=str(tmp_path / "none.pth"))
    with pytest.raises(CheckpointError, match=r"none\.pth"):
        model.initialise(ArraySet(torch.zeros(1, 3, 16, 16)), rng())


def test_stored_views_are_those_that_are_drawn_where_none_are_stored(tmp_path):
    model = small(**TAUGHT, stored_views=3, views="clothes", first_views="digits").eval()
    items = torch.from_numpy(stored(model, (255 * taught()).round().byte().numpy(), rng())).float()
    maps = model.encoder.map_shape(16, 16)
    assert items.shape == (12, 3 * math.prod(maps) + 8)
    views, teacher = split_vectors(items, 8)
    features = model.encoder.of_stored(views, 3, (3, 16, 16), rng())
    pictures_, wanted = split(taught(), 8)
    assert torch.allclose(teacher, wanted, atol=0.01)
    draws = rng()
    with torch.autocast("cpu", torch.bfloat16):
        first = random_view(pictures_, (16, 16), RECIPES["digits"], draws)
        others = [random_view(pictures_, (16, 16), RECIPES["clothes"], draws) for _ in range(2)]
    choice = torch.randint(1, 3, (12,), generator=rng())
    second = torch.stack([others[int(number) - 1][row] for row, number in enumerate(choice)])
    drawn = model.encoder(torch.cat([first, second]))
    assert torch.allclose(features, drawn, atol=0.03 * float(drawn.detach().abs().max()))


def test_a_model_learns_from_stored_views_what_comes_after_the_frozen_stages():
    model = small(**TAUGHT, stored_views=3)
    items = torch.from_numpy(stored(model, (255 * taught()).round().byte().numpy(), rng())).float()
    loss = model.loss(items, rng())
    loss.total.backward()
    assert {"contrast", "relation"} <= set(loss.parts)
    assert all((p.grad is not None) == p.requires_grad for p in model.parameters())


@pytest.mark.parametrize("frozen", [0, 1])
def test_maps_have_the_shape_that_is_told(frozen):
    trunk = Trunk((1, 1), frozen=frozen)
    assert trunk.early(torch.rand(2, 3, 17, 30)).shape == (2, *trunk.map_shape(17, 30))
