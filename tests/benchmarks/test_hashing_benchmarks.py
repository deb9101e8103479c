"""The hashing benchmarks on tiny data: figures by their definitions, resuming, what is refused."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from benchmark_scripts import BENCHMARKS, rows_of, run
from click.testing import Result
from conftest import natural_picture
from extras import is_here
from PIL import Image
from small_hasher import CONFIG, save_hasher

from aecodec.index.windows import LAYOUT, LAYOUTS
from aecodec.nn.backbone import Backbone
from aecodec.train.config import resolve
from aecodec.train.state import build_model

TINY = [
    "steps=3",
    "batch=16",
    "log_every=1",
    "model.widths=[8]",
    "model.blocks=[0]",
    "model.features=16",
    "model.decoder=8",
]


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Import a benchmark file as it is when run as a script."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module


# -- learned codes on labelled sets --------------------------------------------------------------


@pytest.fixture
def bars(tmp_path: Path) -> Path:
    """An .npz of 12 x 12 pictures of two classes, horizontal and vertical bars, noisy."""
    rng = np.random.default_rng(0)
    arrays = {}
    for split, count in (("train", 100), ("test", 12)):
        labels = rng.integers(0, 2, count).astype(np.uint8)
        pictures = rng.integers(0, 60, (count, 12, 12))
        for picture, label in zip(pictures, labels, strict=True):
            at = int(rng.integers(2, 8))
            (picture if label else picture.T)[at : at + 3] += 180
        arrays |= {f"x_{split}": pictures.astype(np.uint8), f"y_{split}": labels}
    path = tmp_path / "bars.npz"
    np.savez(path, **arrays)
    return path


def hashing(module: Any, data: Path, tmp_path: Path, *more: str) -> Result:
    settings = [part for setting in TINY for part in ("--set", setting)]
    return run(
        module("semantic_hashing").main,
        f"mnist={data}",
        "--seeds",
        2,
        "--queries",
        10,
        "--runs",
        tmp_path / "runs",
        "--out",
        tmp_path / "out",
        *settings,
        *more,
    )


def test_the_table_holds_every_method_length_and_seed_and_goes_on(module, bars, tmp_path):
    first = hashing(module, bars, tmp_path)
    assert first.exit_code == 0, first.output
    for method in ("LSH", "PCA-sign", "ITQ", "semantic-hash"):
        assert f"| mnist | {method} |" in first.output
    path = tmp_path / "out" / "semantic_hashing.csv"
    rows = rows_of(path)
    assert len(rows) == 3 * (2 + 1 + 2 + 2)
    assert {row["queries"] for row in rows} == {"10"}
    assert all(0 <= float(row["map_all"]) <= 1 for row in rows)
    before = path.read_bytes()
    again = hashing(module, bars, tmp_path)
    assert again.exit_code == 0, again.output
    assert path.read_bytes() == before
    assert again.output == first.output


def test_an_interrupted_training_says_so_and_can_be_continued(module, bars, tmp_path):
    stopped = hashing(module, bars, tmp_path, "--max-seconds", "0.000001")
    assert stopped.exit_code == 1
    assert "call again" in stopped.output
    assert hashing(module, bars, tmp_path).exit_code == 0


def test_labels_only_score(module, bars, tmp_path):
    assert hashing(module, bars, tmp_path).exit_code == 0
    with np.load(bars) as pack:
        arrays = dict(pack)
    np.savez(bars, **{**arrays, "y_train": np.zeros(100, np.uint8), "y_test": np.zeros(12, np.uint8)})
    other = tmp_path / "other"
    assert hashing(module, bars, other).exit_code == 0
    models = [
        [row["model"] for row in rows_of(folder / "out" / "semantic_hashing.csv")] for folder in (tmp_path, other)
    ]
    assert models[0] == models[1]
    assert all(float(row["map_all"]) == 1 for row in rows_of(other / "out" / "semantic_hashing.csv"))


def test_a_recipe_of_patches_is_trained_on_what_was_made_of_the_database(module, bars, tmp_path, monkeypatch):
    recipes = tmp_path / "recipes"
    recipes.mkdir()
    text = "size: digits\nhold_out: 0\nthreads: 1\nmodel: {patches: 8, patch_axes: 12, teacher: 6, neighbours: 3, "
    text += "neighbours_of: teacher, decoder: 0, reconstruction: 0.0}\n"
    for name in ("mnist", "mnist-patches"):
        (recipes / f"semantic-hash-{name}.yaml").write_text(text)
    benchmark = module("semantic_hashing")
    monkeypatch.setattr(benchmark, "RECIPES", recipes)
    monkeypatch.setitem(globals(), "TINY", ["steps=3", "batch=16"])
    flags = ["--words", 8, "--axes", 12, "--features", 6, "--neighbours", 3]
    by_seed = f"mnist={tmp_path}/taught-{{seed}}.npz"
    for seed in range(2):
        refused = hashing(module, bars, tmp_path, "--taught", by_seed)
        assert refused.exit_code == 2
        assert "of a file that exists" in refused.output
        made = run(module("teach_neighbours").main, f"{bars}:x_train", tmp_path / f"taught-{seed}.npz", *flags)
        assert made.exit_code == 0
    done = hashing(module, bars, tmp_path, "--taught", by_seed)
    assert done.exit_code == 0, done.output
    learned = [row for row in rows_of(tmp_path / "out" / "semantic_hashing.csv") if "patches" in row["method"]]
    assert len(learned) == 2 * 3
    # Horizontal and vertical bars, and no chance: at random it is about a half.
    assert all(float(row["map_all"]) > 0.6 for row in learned)


def test_sources_that_cannot_be_used_are_named(module, bars, tmp_path):
    main = module("semantic_hashing").main
    assert "no recipe for 'digits'" in run(main, f"digits={bars}").output
    assert "of a file that exists" in run(main, f"mnist={tmp_path}/none.npz").output
    with np.load(bars) as pack:
        np.savez(tmp_path / "bare.npz", x_train=pack["x_train"], x_test=pack["x_test"])
    assert "holds no labels" in run(main, f"mnist={tmp_path}/bare.npz", "--runs", tmp_path / "r").output


def coloured(tmp_path: Path) -> Path:
    """A pack of 32 x 32 colour pictures of two classes, dark and light."""
    rng = np.random.default_rng(0)
    arrays = {}
    for split, count in (("train", 40), ("test", 12)):
        labels = rng.integers(0, 2, count).astype(np.uint8)
        pictures = rng.integers(0, 100, (count, 32, 32, 3)) + 150 * labels[:, None, None, None]
        arrays |= {f"x_{split}": pictures.astype(np.uint8), f"y_{split}": labels}
    np.savez(tmp_path / "colours.npz", **arrays)
    return tmp_path / "colours.npz"


def test_features_of_a_backbone_are_packed_and_hashed(module, monkeypatch, tmp_path):
    packer = module("backbone_features")
    monkeypatch.setattr(packer, "NAME", "test_efficientnet")
    monkeypatch.setattr(packer, "BLOCK", 16)
    torch.manual_seed(0)
    backbone = Backbone("test_efficientnet", 3).eval()
    published = {f"_layer{n}": value for n, value in enumerate(backbone.net.state_dict().values())}
    data, weights, out = coloured(tmp_path), tmp_path / "published.pth", tmp_path / "features.npz"
    torch.save({**published, "_fc": torch.zeros(3)}, weights)
    done = run(packer.main, data, weights, out, "--side", 48, "--tests", 10)
    assert done.exit_code == 0, done.output
    with np.load(out) as pack, np.load(data) as pictures:
        assert pack["x_train"].shape == (40, backbone.width)
        assert np.array_equal(pack["y_test"], pictures["y_test"][:10])
        first = torch.from_numpy(pictures["x_test"][:10]).permute(0, 3, 1, 2) / 255.0
        expected = backbone(F.interpolate(first, size=(48, 48), mode="bicubic").clamp(0, 1)).detach().numpy()
        assert np.allclose(pack["x_test"], expected, atol=0.05 * np.abs(expected).max())
    before = out.read_bytes()
    assert len(list((tmp_path / "features.blocks").iterdir())) == 4
    monkeypatch.setattr(packer, "features_of", None)  # every block is there: none is computed again
    assert run(packer.main, data, weights, out, "--side", 48, "--tests", 10).exit_code == 0
    assert out.read_bytes() == before

    settings = ("model.backbone=timm:test_efficientnet", "model.shape=[3,48,48]", "model.features=16")
    more = [part for setting in (*settings, "steps=3", "batch=16") for part in ("--set", setting)]
    table = run(
        module("semantic_hashing").main, f"cifar10-lite0={out}", "--seeds", 1, "--runs", tmp_path / "runs", *more
    )
    assert table.exit_code == 0, table.output
    assert "| cifar10-lite0 | ITQ |" in table.output
    assert "| cifar10-lite0 | semantic-hash |" in table.output


def test_weights_of_another_network_are_refused(module, monkeypatch, tmp_path):
    packer = module("backbone_features")
    monkeypatch.setattr(packer, "NAME", "test_efficientnet")
    data, weights = coloured(tmp_path), tmp_path / "published.pth"
    for content, fault in (({"_layer0": torch.zeros(3)}, "does not fit"), ([1, 2], "not a file of tensors")):
        torch.save(content, weights)
        refused = run(packer.main, data, weights, tmp_path / "out.npz")
        assert refused.exit_code == 1
        assert fault in refused.output


# -- near duplicates -----------------------------------------------------------------------------


def save(folder: Path, count: int, seed: int) -> Path:
    folder.mkdir(parents=True)
    for number in range(count):
        picture = natural_picture(64 + number, 80, 100 * seed + number)
        Image.fromarray(picture).save(folder / f"{number}.png")
    return folder


def test_distances_are_those_of_the_first_bits_and_of_the_nearest_windows(module):
    prints = module("fingerprints")
    rng = np.random.default_rng(1)
    left, right = rng.integers(0, 256, (5, 3, 8), np.uint8), rng.integers(0, 256, (7, 3, 8), np.uint8)
    one = prints.Description("key", {"short": 16, "long": 64}, lambda pixels: pixels)

    def apart(a: np.ndarray, b: np.ndarray, bits: int) -> int:
        return int(np.unpackbits(a ^ b)[:bits].sum())

    for name, bits in one.lengths.items():
        wholes = [[apart(a[0], b[0], bits) for b in right] for a in left]
        assert np.array_equal(one.distances(name, left[:, :1], right[:, :1]), wholes)
        pairs = [(0, 0), (0, 1), (0, 2), (1, 0), (2, 0)]
        nearest = [[min(apart(a[i], b[j], bits) for i, j in pairs) for b in right] for a in left]
        assert np.array_equal(one.distances(name, left, right), nearest)


def test_rows_are_kept_and_made_anew_for_changed_files(module, tmp_path):
    prints = module("fingerprints")
    paths = sorted(save(tmp_path / "pictures", 3, 1).iterdir())
    one = prints.of_imagehash("phash", 8)
    first = prints.describe_files([one], paths, tmp_path / "cache")
    again = prints.describe_files([one], paths, tmp_path / "cache")
    assert one.pictures == 3
    assert np.array_equal(first[one.key], again[one.key])
    Image.fromarray(natural_picture(70, 70, 5)).save(paths[0])
    assert not np.array_equal(prints.describe_files([one], paths, tmp_path / "cache")[one.key], first[one.key])


def test_thresholds_and_recalls_are_their_definitions(module):
    near = module("near_duplicates")
    rng = np.random.default_rng(0)
    search = near.Search()
    distances = rng.integers(0, 40_000, (6, 250_006)).astype(np.uint16)
    distances[[0, 1, 2], [0, 1, 2]] = 0
    distances[3, 3] = distances[3].min()
    search.add("a", distances)
    limit = search.threshold()
    false = distances[:, 6:].ravel().astype(int)
    assert (false <= limit).mean() < near.FALSE_POSITIVES <= (false <= limit + 1).mean()
    found = search.score("m", 8, "a", np.ones(6, bool), "all", 5)
    first = [distances[q, q] < np.delete(distances[q], q).min() for q in range(6)]
    assert found.recall_at_1 == pytest.approx(np.mean(first))
    assert found.false_positive_rate == pytest.approx((false <= 5).mean())
    hits = sum(distances[q, q] <= 5 for q in range(6))
    assert found.precision_within == pytest.approx(hits / (hits + (false <= 5).sum()))


def test_near_duplicates_make_their_table(module, monkeypatch, tmp_path):
    near = module("near_duplicates")
    monkeypatch.setattr(near, "AEC_QUALITIES", (40,))
    hasher = save_hasher(tmp_path / "small-hash.safetensors", CONFIG)
    queries, others = save(tmp_path / "originals", 3, 1), save(tmp_path / "others", 4, 2)
    copy = others / "copy.jpg"
    Image.open(queries / "1.png").save(copy, quality=95)
    options = ("--queries", queries, "--distractors", others, "--hasher", hasher, "--out", tmp_path / "out")
    done = run(near.main, *options)
    assert done.exit_code == 0, done.output
    assert f"to be looked at: {queries / '1.png'} and {copy}" in done.output
    rows = rows_of(tmp_path / "out" / "near_duplicates.csv")
    assert {row["count"] for row in rows} == {"3"}
    assert {"aec-40", "crop-60", "jpeg-10", "collage"} <= {row["transformation"] for row in rows}
    assert {"small-hash-16", "small-hash-64", "phash-64", "dhash-256"} <= {row["method"] for row in rows}
    assert ("pdq-256" in {row["method"] for row in rows}) == is_here("pdqhash")
    jpeg = [row for row in rows if (row["method"], row["transformation"]) == ("phash-64", "jpeg-50")]
    assert [float(row["recall_at_1"]) for row in jpeg] == [pytest.approx(2 / 3, abs=1e-5)]  # one ties with its copy
    done = run(near.main, *options, "--leave-out", copy)
    assert done.exit_code == 0, done.output
    assert "to be looked at" not in done.output
    rows = rows_of(tmp_path / "out" / "near_duplicates.csv")
    jpeg = [row for row in rows if (row["method"], row["transformation"]) == ("phash-64", "jpeg-50")]
    assert [float(row["recall_at_1"]) for row in jpeg] == [1.0]


def test_near_duplicates_by_windows_are_a_table_of_the_hashers_alone(module, monkeypatch, tmp_path):
    near = module("near_duplicates")
    hasher = save_hasher(tmp_path / "small-hash.safetensors", CONFIG)
    queries, others = save(tmp_path / "originals", 3, 1), save(tmp_path / "others", 4, 2)
    cache, out = tmp_path / "cache", tmp_path / "out"
    options = ("--queries", queries, "--distractors", others, "--hasher", hasher, "--windows", "--cache", cache)
    options += ("--only", "crop-30", "--only", "mirrored")
    done = run(near.main, *options, "--out", out)
    assert done.exit_code == 0, done.output
    rows = rows_of(out / "near_duplicates_windows.csv")
    lengths = ("small-hash-16", "small-hash-64")
    assert {row["method"] for row in rows} == {*lengths, *(f"{name}-windows" for name in lengths)}
    assert {row["transformation"] for row in rows} == {"crop-30", "mirrored"}
    kept = sorted(cache.iterdir())
    assert len(kept) == 2 * 3  # the database and two changes, whole and with windows
    monkeypatch.setattr(near, "transform", lambda *_: pytest.fail("its rows are there"))
    assert run(near.main, *options, "--out", out).exit_code == 0
    assert rows_of(out / "near_duplicates_windows.csv") == rows
    assert sorted(cache.iterdir()) == kept


def test_looks_alike_makes_its_table(module, monkeypatch, tmp_path):
    alike = module("looks_alike")
    monkeypatch.setattr(alike, "SMALLEST_CLASS", 4)
    hasher = save_hasher(tmp_path / "small-hash.safetensors", CONFIG)
    for seed, (name, count) in enumerate({"large": 5, "small": 3}.items()):
        save(tmp_path / "classes" / name, count, seed)
    done = run(alike.main, "--classes", tmp_path / "classes", "--hasher", hasher, "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    rows = rows_of(tmp_path / "out" / "looks_alike.csv")
    assert {row["category"] for row in rows} == {"large", "all"}
    assert {"colour-histogram", "small-hash-64", "phash-64"} <= {row["method"] for row in rows}


@pytest.mark.parametrize("windows", [False, True])
def test_group_distances_make_their_table(module, tmp_path, windows):
    distances = module("group_distances")
    hasher = save_hasher(tmp_path / "small-hash.safetensors", CONFIG)
    classes = tmp_path / "classes"
    for seed, (name, count) in enumerate({"a": 4, "b": 6, "twice": 6, "c": 3}.items()):
        save(classes / name, count, seed)
    taken = distances.largest_classes(classes, 8, ("twice",))
    assert [f"{path.parent.name}{path.stem}" for path in taken] == ["b0", "b1", "b2", "b3", "b4", "b5", "a0", "a1"]
    for number in range(4):
        (classes / "b" / f"{number}.png").write_bytes((classes / "b" / "5.png").read_bytes())
    originals = save(tmp_path / "originals", 2, 9)
    options = ("--leave-out", "twice", "--pictures", 8, "--queries", originals, "--out", tmp_path / "out")
    options = (*options, "--windows") if windows else options
    done = run(distances.main, "--classes", classes, "--hasher", hasher, *options)
    assert done.exit_code == 0, done.output
    name = "group_distances_windows.md" if windows else "group_distances.md"
    rows = [line.split(" | ") for line in (tmp_path / "out" / name).read_text().splitlines()[2:]]
    assert {row[0] for row in rows} == {"| 16", "| 64"}
    wrong = [float(row[2].removesuffix(" %")) for row in rows if row[0] == "| 64"]
    assert wrong == sorted(wrong)
    assert wrong[0] >= 50.0  # five of eight pictures are one, and four of them are not the first
    if windows:
        header = (tmp_path / "out" / name).read_text().splitlines()[0]
        assert header.endswith("| wrong pairs in a million | crop-80 | crop-60 | crop-60-sides | crop-30 |")
        rates = [float(row[4]) for row in rows if row[0] == "| 64"]
        assert rates == sorted(rates)
        assert rates[-1] <= 1e6
    kinds = sorted(change for names in distances.KINDS.values() for change in names)
    assert kinds == sorted(distances.USUAL)


def test_layouts_of_windows_are_compared_by_the_rule_of_indexes(module, tmp_path):
    layouts = module("window_layouts")
    assert LAYOUTS[LAYOUT] == tuple(window for name in ("5 at 80 %", "16 at 60 %") for window in layouts.PARTS[name])
    hasher = save_hasher(tmp_path / "small-hash.safetensors", CONFIG)
    pictures = save(tmp_path / "pictures", 6, 4)
    done = run(layouts.main, pictures, "--queries", 2, "--hasher", hasher, "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    rows = [line.split(" | ") for line in (tmp_path / "out" / "window_layouts.md").read_text().splitlines()[2:]]
    assert len(rows) == 2 * len(layouts.LAYOUTS)
    assert {row[2] for row in rows if row[1] == "5 at 80 % and 16 at 60 %"} == {"22"}
    codes = {"": np.zeros((4, 3, 2), np.uint8), "a": np.full((1, 3, 2), 255, np.uint8)}
    codes["a"][0, 2], codes[""][1:, :, 0] = 0, 255
    limit, found = layouts.recalls(codes, lambda rows: rows)
    assert (limit, found) == (-1 + 8, {"a": 1.0})
    assert layouts.recalls(codes, lambda rows: rows[:, :1])[1] == {"a": 0.0}


@pytest.mark.parametrize("recipe", sorted((BENCHMARKS / "recipes").glob("semantic-hash-*.yaml")), ids=lambda p: p.stem)
def test_every_recipe_makes_a_hasher(recipe):
    config = resolve("semantic-hash", recipe, [])
    channels = 3 if "cifar10" in recipe.name else 1
    model = build_model(config, (channels, 28, 28))
    assert (*model.config.prefixes, model.n_bits) == (16, 32, 64)


def test_kept_copies_are_counted(module, tmp_path):
    kept = module("kept_copies")
    photos = save(tmp_path / "photos", 2, 1)
    Image.new("RGB", (40, 40), "red").save(photos / "flat.png")
    done = run(kept.main, "--photos", photos, "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    lines = (tmp_path / "out" / "kept_copies.md").read_text().splitlines()
    rows = {cells[1].strip(): [float(cell) for cell in cells[2:5]] for cells in (line.split("|") for line in lines[2:])}
    assert list(rows) == list(kept.COPIES)
    assert rows["half size"][0] == 1.0
    assert rows["double size"][0] == 0.0
    facts = json.loads((tmp_path / "out" / "kept_copies.json").read_text())
    assert (facts["photographs"], facts["flat"], facts["flattest"][0]) == (3, 1, 0.0)
