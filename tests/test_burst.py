"""Laws of training in bursts: pieces hold the set they were cut from, and a chain goes on where its last call ended."""

from __future__ import annotations

import copy
import csv
import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from conftest import FLAGSHIP, SMALL, natural_picture
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode

from aecodec import checkpoint
from aecodec.codec.codec import Codec
from aecodec.contracts import CheckpointError, ImageReadError
from aecodec.data.photos import open_photos
from aecodec.data.pieces import read_pieces, write_pieces
from aecodec.train import loop as train
from aecodec.train.config import TrainConfig, resolve
from aecodec.train.processes import World
from aecodec.train.state import Run, build_model, load_weights, start_run

SCRIPTS = Path(__file__).resolve().parent.parent / "scripts"
CPU = torch.device("cpu")
RECIPE = """
name: burst
batch: 2
crop: 64
hold_out: 2
calibration: 1
initialise: false
log_every: 5
evaluate_every: 1000
warmup: 3
half: true
"""


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "unused")
    module = importlib.import_module("burst")
    monkeypatch.setattr(module, "WARM_STEPS", 1)
    monkeypatch.setattr(module, "SAMPLE_EVERY", 2)
    monkeypatch.setattr(module, "HELD_QUALITIES", (20.0, 80.0))
    return module


@pytest.fixture
def pieces(photo_folder: Path, tmp_path: Path) -> list[Path]:
    largest = max(path.stat().st_size for path in photo_folder.iterdir())
    return write_pieces(photo_folder, tmp_path / "pieces", 2 * largest, hold_out=2, smallest=64)


def pixels_of(pack) -> set[bytes]:
    return {pack.picture(number).numpy().tobytes() for number in range(len(pack))}


def test_pieces_hold_the_very_pixels_and_the_same_choice(photo_folder, tmp_path, pieces):
    assert len(pieces) > 1
    limit = 2 * max(path.stat().st_size for path in photo_folder.iterdir())
    assert all(path.stat().st_size <= limit for path in pieces)
    training, held = open_photos(photo_folder, CPU, 2, 64)
    again, held_again = read_pieces(pieces, CPU)
    assert pixels_of(again) == pixels_of(training)
    assert held is not None
    assert held_again is not None
    assert pixels_of(held_again) == pixels_of(held)
    reversed_, _ = read_pieces(pieces[::-1], CPU)
    assert reversed_.names == again.names


def test_jpeg_travels_as_it_is_and_other_formats_shrink(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    Image.fromarray(natural_picture(96, 96)).save(folder / "a.jpg", quality=90)
    Image.fromarray(natural_picture(96, 96)).save(folder / "b.bmp")
    Image.fromarray(natural_picture(20, 96)).save(folder / "small.png")
    (piece,) = write_pieces(folder, tmp_path / "pieces", 1 << 20, hold_out=0, smallest=64)
    assert piece.stat().st_size < (folder / "a.jpg").stat().st_size + (folder / "b.bmp").stat().st_size
    assert (folder / "a.jpg").read_bytes() in piece.read_bytes()
    pack, held = read_pieces([piece], CPU)
    assert held is None
    assert len(pack) == 2
    assert np.asarray(Image.open(folder / "b.bmp")).tobytes() in pixels_of(pack)


def test_what_cannot_be_packed_or_unpacked_is_named(photo_folder, tmp_path):
    with pytest.raises(ImageReadError, match="a piece has at most"):
        write_pieces(photo_folder, tmp_path / "p", 1000, hold_out=1, smallest=64)
    with pytest.raises(ImageReadError, match="no picture can be read"):
        write_pieces(photo_folder, tmp_path / "p", 1 << 20, hold_out=1, smallest=5000)
    bad = tmp_path / "bad.zip"
    bad.write_bytes(b"no archive")
    with pytest.raises(ImageReadError, match=r"bad\.zip"):
        read_pieces([bad], CPU)


def burst(script: Any, tmp_path: Path, chain: str, out: str, *more: object) -> Result:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE)
    settings = [f"--set=model.{key}={value}" for key, value in SMALL.items()]
    arguments = [
        "--chain",
        tmp_path / chain,
        "--out",
        tmp_path / out,
        "--recipe",
        recipe,
        "--seconds",
        120,
        "--reserve",
        4,
        "--steps",
        5,
        "--device",
        "cpu",
        *settings,
        *more,
    ]
    return CliRunner().invoke(script.main, [str(a) for a in arguments])


def test_a_chain_of_calls_goes_on_and_brings_its_files_home(script, tmp_path, pieces):
    """First one piece, then the rest with the state of the first, then a new chain from the weights alone."""
    (tmp_path / "first").mkdir()
    (tmp_path / "rest").mkdir()
    for number, piece in enumerate(pieces):
        piece.rename(tmp_path / ("first" if number == 0 else "rest") / piece.name)
    results, figures = [], []
    for out, chain, brought in (("out1", "chain", "first"), ("out2", "chain", "rest")):
        results.append(burst(script, tmp_path, chain, out, "--pieces", tmp_path / brought))
        assert results[-1].exit_code == 0, results[-1].output
        figures.append(json.loads((tmp_path / out / "burst.json").read_text()))
    assert [one["went_on"] for one in figures] == [False, True]
    assert figures[0]["pictures"] < figures[1]["pictures"] == 4
    steps = [one["steps_in_all"] for one in figures]
    assert steps == [5, 10]
    assert [one["steps"] for one in figures] == [5, 5]
    assert all(one["images_per_second"] > 0 and 0 < one["data_share"] < 1 for one in figures)
    files = sorted((tmp_path / "out2").iterdir())
    assert [path.name for path in files] == ["burst.json", "burst.log", "curve.csv", "held.csv", "model.safetensors"]
    assert all(path.stat().st_size < script.FILE_LIMIT for path in files)
    with open(tmp_path / "out2" / "curve.csv", newline="") as file:
        rows = [int(row["step"]) for row in csv.DictReader(file)]
    assert rows == sorted(set(rows))
    assert rows[-1] == steps[-1]
    with open(tmp_path / "out2" / "held.csv", newline="") as file:
        held = list(csv.DictReader(file))
    assert [float(row["quality"]) for row in held] == list(script.HELD_QUALITIES)
    assert {row["pictures"] for row in held} == {"2"}
    weights = tmp_path / "out2" / "model.safetensors"
    codec = Codec(checkpoint.load(weights))
    codec.decode(codec.encode(Image.fromarray(natural_picture(64, 64))))
    again = burst(script, tmp_path, "chain2", "out4", "--pieces", tmp_path / "rest", "--start", weights)
    assert again.exit_code == 0, again.output
    last = json.loads((tmp_path / "out4" / "burst.json").read_text())
    assert (last["went_on"], last["steps_in_all"]) == (False, 5)


def test_a_burst_that_cannot_be_is_refused_at_once(script, tmp_path, pieces, monkeypatch):
    result = burst(script, tmp_path, "empty", "out")
    assert result.exit_code == 1
    assert "no pieces" in result.output
    result = burst(script, tmp_path, "chain", "out", "--pieces", pieces[0].parent, "--reserve", 130)
    assert "no time is left" in result.output
    monkeypatch.setattr(script, "FILE_LIMIT", 1000)
    result = burst(script, tmp_path, "chain", "out")
    assert "come home" in result.output
    assert not (tmp_path / "out").exists()


def test_the_gpu_recipe_stays_within_its_budget():
    """10 million parameters, 60 kMAC per pixel to decode, and weights that come home in one file."""
    recipe = resolve(FLAGSHIP, SCRIPTS / "zoo" / "photo-small.yaml", [])
    model = build_model(recipe, (3, recipe.crop, recipe.crop)).eval()
    assert sum(parameter.numel() for parameter in model.parameters()) <= 10_000_000
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        z, numbers = (
            np.zeros((model.config.hyper_latents, 2, 2), np.int32),
            np.ones((model.config.latents, 8, 8), np.uint8),
        )
        model.freeze()
        y_hat, _ = model.walk(z, numbers, 500)(torch.zeros(1, model.config.latents, 8, 8), torch.round)
        model.synthesise(y_hat, 500)
    assert 20_000 < counter.get_total_flops() / 2 / 128**2 < 60_000
    assert recipe.compile
    assert recipe.half


def test_compiled_parts_are_whole_graphs_with_the_same_loss():
    """What `compile: true` does on a GPU, without the compiler behind the tracer."""
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    torch.manual_seed(0)
    plain = build_model(config(), (3, 64, 64))
    compiled = copy.deepcopy(plain)
    for child in compiled.children():
        child.compile(backend="eager")
    batch = torch.rand(2, 3, 64, 64)
    losses = []
    for model in (plain, compiled):
        total = model.loss(batch, torch.Generator().manual_seed(1), 1.0).total
        total.backward()
        losses.append(total.item())
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    assert not torch._dynamo.utils.counters["graph_break"]


def config(**changes) -> TrainConfig:
    base = {
        "family": FLAGSHIP,
        "model": SMALL,
        "device": "cpu",
        "steps": 4,
        "calibration": 0,
        "batch": 1,
        "crop": 64,
        "hold_out": 1,
        "warmup": 2,
        "initialise": False,
        "schedule": "wsd",
        "decay_share": 0.5,
    }
    return TrainConfig(**{**base, **changes})


def test_a_new_schedule_begins_where_the_state_stands(photo_folder, tmp_path, monkeypatch):
    rates: list[float] = []
    original = train.train_step

    def spy(run: Run, module, source):
        original(run, module, source)
        rates.append(run.optimizer.param_groups[0]["lr"] / run.config.learning_rate)

    monkeypatch.setattr(train, "train_step", spy)
    first = train.fit(config(), photo_folder, tmp_path)
    assert first.finished
    state = tmp_path / train.STATE_FILE
    assert train.fit(config(), photo_folder, tmp_path, resume=state).step == 4
    second = train.fit(config(), photo_folder, tmp_path, resume=state, new_schedule=True)
    assert (second.step, second.finished) == (8, True)
    assert rates[:4] == rates[4:] == pytest.approx([0.5, 1.0, 1.0, 0.5])
    # A burst that was cut short goes on with its own schedule, not with a third one.
    assert train.fit(config(steps=6), photo_folder, tmp_path, resume=state).step == 10


def test_weights_alone_begin_a_run_at_step_nought(photo_folder, tmp_path, model_file):
    source = train.open_batches(photo_folder, CPU, train.CropPlan(64, hold_out=1))
    run = start_run(config(), source, World(CPU), initialise=False)
    load_weights(run, model_file)
    expected = checkpoint.load(model_file).module.state_dict()
    for model in (run.model, run.ema):
        assert all(torch.equal(value, expected[key]) for key, value in model.state_dict().items())
    assert all(p.requires_grad for p in run.model.parameters())
    assert train.fit(config(steps=1), photo_folder, tmp_path, weights=model_file).step == 1
    wider = start_run(config(model={**SMALL, "channels": 8}), source, World(CPU), initialise=False)
    with pytest.raises(CheckpointError, match="do not fit"):
        load_weights(wider, model_file)
