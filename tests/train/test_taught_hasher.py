"""The embedded hasher's recipe on a few small pictures: shrunk, taught, views stored, trained, hashed with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from click.testing import CliRunner
from conftest import natural_picture
from PIL import Image
from published_trunk import published
from shrink_photos import main as shrink
from store_views import main as store
from teach import main as teach
from teach import principal

from aecodec import Hasher
from aecodec.cli import run
from aecodec.nn.trunk import STAGES
from aecodec.train.config import resolve
from aecodec.train.loop import fit
from aecodec.zoo.stored import read

RECIPE = Path(__file__).parents[2] / "scripts" / "zoo" / "photo-kinds.yaml"
ALL_BLOCKS = [stage[-1] for stage in STAGES]


def called(command, *arguments: object) -> str:
    result = CliRunner().invoke(command, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("taught")
    for place, seeds in (("photos", range(6)), ("tests", (4, 9))):
        (folder / place).mkdir()
        for seed in seeds:
            Image.fromarray(natural_picture(48, 64, seed)).save(folder / place / f"{seed}.png")
    torch.save(published(ALL_BLOCKS, top=True), folder / "weights.pth")
    return folder


def test_pictures_near_a_test_set_are_left_out(folder):
    said = called(shrink, folder / "photos", folder / "squares.npz", "--side", 40, "--windows", 2)
    assert "18 squares of 6 pictures" in said
    apart = called(
        shrink, folder / "photos", folder / "apart.npz", "--side", 40, "--windows", 2, "--unlike", folder / "tests"
    )
    assert "4.png is near a picture of" in apart
    assert len(np.load(folder / "apart.npz")["images"]) < 18
    nothing = CliRunner().invoke(
        shrink, [str(folder / "tests"), str(folder / "none.npz"), "--unlike", str(folder / "tests")]
    )
    assert nothing.exit_code == 1
    assert "no picture to shrink" in nothing.output


def test_the_recipe_makes_a_hasher(folder):
    called(shrink, folder / "photos", folder / "squares.npz", "--side", 64, "--windows", 2)
    called(teach, folder / "weights.pth", folder / "taught.npz", folder / "squares.npz", "--side", 32, "--features", 8)
    content = yaml.safe_load(RECIPE.read_text())
    content["model"] |= {"shape": [3, 48, 48], "trunk_weights": str(folder / "weights.pth"), "teacher": 8}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(content))
    called(store, folder / "recipe.yaml", folder / "taught.npz", folder / "views.npz")
    again = folder / "again.npz"
    called(store, folder / "recipe.yaml", folder / "taught.npz", again)
    assert np.array_equal(np.load(again)["items"], np.load(folder / "views.npz")["items"])
    config = resolve("semantic-hash", folder / "recipe.yaml", ["steps=2", "batch=6", "hold_out=3"])
    outcome = fit(config, folder / "views.npz", folder / "run")
    hasher = Hasher.from_pretrained(outcome.checkpoint)
    assert (hasher.lengths, hasher.side) == ((64, 128), 48)
    picture = [natural_picture(48, 64, 0)]
    assert hasher.hash_pixels(picture).shape == (1, 16)
    finer = [
        "train", "semantic-hash", "--config", str(folder / "recipe.yaml"), "--data", str(folder / "views.npz"),
        "--set", "steps=1", "--set", "batch=6", "--set", "learning_rate=1e-9", "--set", "hold_out=3",
        "--weights", str(outcome.checkpoint), "--out",
    ]  # fmt: skip
    assert run([*finer, str(folder / "finer")]) == 0
    # Running averages of the norms moved on; the weights hardly did.
    begun, gone_on = (read(folder / name / "model.safetensors").tensors for name in ("run", "finer"))
    np.testing.assert_allclose(gone_on["head.0.weight"], begun["head.0.weight"], atol=1e-3)
    assert run([*finer, str(folder / "other"), "--set", "model.features=32"]) == 4


def test_principal_axes_keep_similarities_and_come_in_order():
    draws = np.random.default_rng(0)
    features = draws.standard_normal((40, 3)) @ draws.standard_normal((3, 10)) + 1.0
    kept = principal(features, 4)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    centred = unit - unit.mean(0)
    # Three directions, and what the common length of one bends them.
    np.testing.assert_allclose(principal(features, 10) @ principal(features, 10).T, centred @ centred.T, atol=1e-9)
    assert (np.diff(kept.var(0)) <= 0).all()
    np.testing.assert_allclose(kept.mean(0), 0, atol=1e-9)
