"""Relations by the graph of neighbours: the graph by its definition, diffusion by a dense oracle, and a hasher trained
on what the script makes of small pictures."""

from __future__ import annotations

import numpy as np
import teach_neighbours
import torch
import torch.nn.functional as F
from click.testing import CliRunner
from conftest import natural_picture
from teach_neighbours import diffused, main, nearest, transitions

from aecodec import Hasher
from aecodec.cli import run


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_nearest_are_the_nearest_others_by_cosine():
    vectors = torch.randn(30, 5, generator=rng()) * torch.rand(30, 1, generator=rng(1))
    found = nearest(vectors, 4)
    for row, chosen in enumerate(found.tolist()):
        cosine = F.cosine_similarity(vectors[row : row + 1], vectors, dim=1)
        others = sorted((other for other in range(30) if other != row), key=lambda other: -float(cosine[other]))
        assert chosen == others[:4]


def test_edges_that_both_ask_for_weigh_more_and_all_are_normalised_by_degrees():
    # 0 and 1 ask for each other, 2 asks for 1, which does not ask for it.
    graph = transitions(torch.tensor([[1], [0], [1]])).to_dense()
    weight = torch.tensor([[0.2, 1.0, 0.0], [1.0, 0.2, 0.2], [0.0, 0.2, 0.2]])
    degree = weight.sum(1)
    assert torch.allclose(graph, weight / (degree[:, None] * degree[None, :]).sqrt())
    assert torch.allclose(graph @ degree.sqrt(), degree.sqrt())


def test_diffusion_is_that_of_all_eigenvectors_where_none_is_left_out():
    graph = transitions(nearest(torch.randn(24, 3, generator=rng()), 3))
    values, vectors = torch.linalg.eigh(graph.to_dense())
    walked = F.normalize(vectors * values.clamp(min=0.0) ** 2, dim=1)
    found = diffused(graph, 24, 2, rng())
    assert torch.allclose(found @ found.T, walked @ walked.T, atol=1e-3)


def test_pictures_of_parts_that_do_not_touch_are_alike_within_and_unlike_across():
    apart = torch.cat([torch.randn(20, 4, generator=rng()) + 9.0 * side for side in (-1.0, 1.0)])
    found = diffused(transitions(nearest(apart, 5)), 8, 64, rng())
    similarity = found @ found.T
    assert similarity[:20, :20].min() > 0.9
    assert similarity[20:, 20:].min() > 0.9
    assert similarity[:20, 20:].abs().max() < 1e-3


def test_a_hasher_is_trained_on_what_the_script_leaves(tmp_path):
    pictures = np.stack([natural_picture(16, 16, seed) for seed in range(24)])
    np.savez(tmp_path / "pictures.npz", images=pictures)
    out = tmp_path / "taught.npz"
    sizes = ["--words", "8", "--axes", "12", "--features", "6", "--neighbours", "3", "--mirrored"]
    made = CliRunner().invoke(main, [str(tmp_path / "pictures.npz"), str(out), *sizes])
    assert made.exit_code == 0, made.output
    assert np.load(out)["items"].shape == (24, 18)
    settings = {
        "steps": 2,
        "batch": 8,
        "hold_out": 0,
        "device": "cpu",
        "model.shape": "[3,16,16]",
        "model.patches": 8,
        "model.patch_axes": 12,
        "model.patch_mirrored": "true",
        "model.patch_weights": out.with_suffix(".safetensors"),
        "model.decoder": 0,
        "model.reconstruction": 0.0,
        "model.teacher": 6,
        "model.neighbours": 3,
        "model.neighbours_of": "teacher",
        "model.neighbours_from": 0.0,
    }
    flags = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    assert run(["train", "semantic-hash", "--data", str(out), "--out", str(tmp_path / "run"), *flags]) == 0
    hasher = Hasher.from_pretrained(tmp_path / "run" / "model.safetensors")
    turned = pictures.transpose(0, 3, 1, 2)
    codes = hasher.hash(turned)
    assert codes.shape == (24, 8)
    assert np.array_equal(hasher.hash(np.ascontiguousarray(turned[..., ::-1])), codes)
    assert len(np.unique(codes, axis=0)) > 12


def test_what_is_no_picture_is_refused(tmp_path):
    np.savez(tmp_path / "vectors.npz", items=np.zeros((40, 8), np.float32))
    refused = CliRunner().invoke(main, [str(tmp_path / "vectors.npz"), str(tmp_path / "out.npz")])
    assert refused.exit_code == 1
    assert "pictures of 8 bits were expected" in refused.output
    assert not (tmp_path / "out.npz").exists()


def test_pictures_sorted_by_kind_are_learned_from_as_shuffled_ones_are(tmp_path, monkeypatch):
    """The dictionary is learned from some of them, drawn from all."""
    monkeypatch.setattr(teach_neighbours, "LEARNED", 20)
    kinds = [np.kron(np.eye(16, dtype=np.uint8)[turn], np.full((16, 1), 255, np.uint8)) for turn in (1, -1)]
    seen: list[torch.Tensor] = []
    learn = teach_neighbours.PatchFeatures.learn
    monkeypatch.setattr(
        teach_neighbours.PatchFeatures, "learn", lambda self, x, rng: (seen.append(x), learn(self, x, rng))
    )
    np.savez(tmp_path / "sorted.npz", images=np.stack([kinds[0]] * 40 + [kinds[1]] * 40))
    sizes = ["--words", "4", "--axes", "8", "--features", "2", "--neighbours", "3"]
    assert CliRunner().invoke(main, [str(tmp_path / "sorted.npz"), str(tmp_path / "out.npz"), *sizes]).exit_code == 0
    assert len(seen[0]) == 20
    assert 0 < sum(torch.equal(x[0], seen[0][0][0]) for x in seen[0]) < 20
