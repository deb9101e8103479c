"""Laws of the training loop: it resumes bit for bit, stops on request, and never loses the last good state."""

from __future__ import annotations

import csv
import errno
import importlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from places import ROOT
from small_models import FLAGSHIP, SMALL, as_batch, small_flagship

from aecodec import checkpoint
from aecodec.contracts import (
    BusyError,
    CheckpointError,
    MissingDependencyError,
    OutputError,
    OutputExistsError,
    UsageError,
)
from aecodec.data.folders import list_photos
from aecodec.models.exact_hyperprior import ExactHyperprior
from aecodec.train import loop as train
from aecodec.train.config import TrainConfig, resolve
from aecodec.train.optimizer import make_optimizer, rate_factor
from aecodec.zoo.registry import read_header

BASE = {
    "family": FLAGSHIP,
    "model": {**SMALL, "quantise_from": 0.5},
    "device": "cpu",
    "steps": 6,
    "calibration": 1,
    "batch": 2,
    "crop": 64,
    "hold_out": 1,
    "warmup": 2,
    "log_every": 2,
    "evaluate_every": 4,
    "save_every": 100,
    "initialise": False,
}
#: Columns of the curve that a clock decides.
CLOCK = ("elapsed", "images_per_second")


def config(**changes) -> TrainConfig:
    return TrainConfig(**{**BASE, **changes})


def stop_at(step: int, monkeypatch: pytest.MonkeyPatch, number: int = signal.SIGINT) -> None:
    """Send this process a signal once the loop has taken that many steps."""
    original = train.train_step

    def spy(run, module, pack):
        original(run, module, pack)
        if run.position.step == step:
            os.kill(os.getpid(), number)

    monkeypatch.setattr(train, "train_step", spy)


def read_state(folder: Path) -> dict:
    return torch.load(folder / train.STATE_FILE, weights_only=True)


def read_curve(folder: Path) -> list[dict[str, str]]:
    with open(folder / train.CURVE_FILE, newline="") as file:
        return [{k: v for k, v in row.items() if k not in CLOCK} for row in csv.DictReader(file)]


def assert_same(a, b, place: str = "") -> None:
    assert type(a) is type(b), place
    if isinstance(a, torch.Tensor):
        assert torch.equal(a, b), place
    elif isinstance(a, dict):
        assert a.keys() == b.keys(), place
        for key in a:
            assert_same(a[key], b[key], f"{place}/{key}")
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b), place
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            assert_same(x, y, f"{place}/{i}")
    else:
        assert a == b, place


@pytest.mark.parametrize("optimizer", ["adamw", "soap"])
def test_resuming_continues_bit_for_bit(tmp_path, photo_folder, monkeypatch, optimizer):
    if optimizer == "soap":
        pytest.importorskip("pytorch_optimizer")
    settings = config(optimizer=optimizer)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train.fit(settings, photo_folder, whole)
    with monkeypatch.context() as patch:
        stop_at(3, patch)
        first = train.fit(settings, photo_folder, parts)
    assert (first.step, first.interrupted, first.finished) == (3, True, False)
    second = train.fit(settings, photo_folder, parts, resume=parts / train.STATE_FILE)
    assert (second.step, second.interrupted, second.finished) == (6, False, True)

    one, two = read_state(whole), read_state(parts)
    del one["progress"]["elapsed"], two["progress"]["elapsed"]
    assert_same(one, two)
    assert read_curve(whole) == read_curve(parts)
    assert checkpoint.load(first.checkpoint).fingerprint == checkpoint.load(whole / train.CHECKPOINT_FILE).fingerprint


def test_two_trainings_into_one_folder_are_refused_and_the_first_goes_on(tmp_path, photo_folder, monkeypatch):
    original = train.train_step
    refused: list[str] = []

    def step(run, module, source):
        if not refused:
            with pytest.raises(BusyError, match=rf"is being written by process {os.getpid()} on ") as caught:
                train.fit(config(), photo_folder, tmp_path, resume=train.AUTO)
            refused.append(str(caught.value))
        original(run, module, source)

    monkeypatch.setattr(train, "train_step", step)
    assert train.fit(config(), photo_folder, tmp_path).finished
    assert refused
    assert not list(tmp_path.glob(".*"))


def test_a_run_is_gone_on_with_or_kept_but_never_begun_anew_in_its_folder(tmp_path, photo_folder, monkeypatch):
    with monkeypatch.context() as patch:
        stop_at(2, patch)
        assert train.fit(config(), photo_folder, tmp_path, resume=train.AUTO).step == 2
    with pytest.raises(OutputExistsError, match="holds a run already"):
        train.fit(config(), photo_folder, tmp_path)
    assert read_state(tmp_path)["progress"]["step"] == 2
    assert train.fit(config(), photo_folder, tmp_path, resume=train.AUTO).step == 6


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_a_usable_checkpoint_and_state(tmp_path, photo_folder, monkeypatch, number):
    before = signal.getsignal(number)
    stop_at(1, monkeypatch, number)
    outcome = train.fit(config(), photo_folder, tmp_path)
    assert outcome.interrupted
    assert outcome.step == 1
    assert checkpoint.load(outcome.checkpoint).family == FLAGSHIP
    assert read_state(tmp_path)["progress"]["step"] == 1
    assert signal.getsignal(number) is before


def test_time_runs_out_cleanly(tmp_path, photo_folder):
    outcome = train.fit(config(steps=10**6), photo_folder, tmp_path, max_seconds=0.001)
    assert not outcome.interrupted
    assert not outcome.finished
    assert checkpoint.load(outcome.checkpoint).metadata["steps"] == outcome.step


def test_report_and_curve_hold_the_figures(tmp_path, photo_folder):
    reports = []
    train.fit(config(steps=4), photo_folder, tmp_path, report=lambda run, means: reports.append((run, means)))
    assert [run.position.step for run, _ in reports] == [4, 4]
    for _, means in reports:
        assert {"loss", "bpp", "mse", "psnr", "images_per_second", "grad_norm"} <= means.keys()
        assert means["images_per_second"] > 0
    assert "eval_bpp" in reports[-1][1]
    assert [row["step"] for row in read_curve(tmp_path)] == ["2", "4"]


def test_evaluation_can_use_a_folder_of_its_own(tmp_path, photo_folder):
    """All of the data is trained on, and the held-out figures are those of the other folder."""
    reports: list[dict[str, float]] = []
    train.fit(
        config(steps=1, hold_out=1),
        photo_folder,
        tmp_path / "run",
        evaluation=photo_folder,
        report=lambda run, means: reports.append(means),
    )
    card = read_header(tmp_path / "run" / train.CHECKPOINT_FILE)["card"]
    assert card["pictures"] == len(list_photos(photo_folder))
    assert reports[-1]["eval_loss"] > 0


def test_a_full_disk_leaves_the_old_state(tmp_path, photo_folder, monkeypatch):
    settings = config(steps=2)
    train.fit(settings, photo_folder, tmp_path)
    old = (tmp_path / train.STATE_FILE).read_bytes()

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    original = train.train_step

    def step_then_fill(run, module, pack):
        original(run, module, pack)
        monkeypatch.setattr(os, "fsync", full)

    monkeypatch.setattr(train, "train_step", step_then_fill)
    with pytest.raises(OutputError, match="No space left"):
        train.fit(config(steps=4), photo_folder, tmp_path, resume=tmp_path / train.STATE_FILE)
    assert (tmp_path / train.STATE_FILE).read_bytes() == old
    assert not list(tmp_path.glob(".*tmp"))


def test_states_that_cannot_be_resumed_from(tmp_path, photo_folder):
    train.fit(config(steps=1), photo_folder, tmp_path)
    good = tmp_path / train.STATE_FILE
    bad = tmp_path / "bad.pt"
    content = good.read_bytes()
    for damaged in (b"", b"not a state", content[: len(content) // 2]):
        bad.write_bytes(damaged)
        with pytest.raises(CheckpointError, match="cannot be resumed"):
            train.fit(config(), photo_folder, tmp_path / "again", resume=bad)
    torch.save([1, 2], bad)
    with pytest.raises(CheckpointError, match="cannot be resumed"):
        train.fit(config(), photo_folder, tmp_path / "again", resume=bad)
    with pytest.raises(CheckpointError, match="optimizer adamw"):
        train.fit(config(optimizer="soap"), photo_folder, tmp_path / "again", resume=good)
    with pytest.raises(CheckpointError, match="cannot be resumed"):
        train.fit(config(model={**SMALL, "channels": 8}), photo_folder, tmp_path / "again", resume=good)
    with pytest.raises(CheckpointError, match="cannot be resumed"):
        train.fit(config(), photo_folder, tmp_path / "again", resume=tmp_path / "missing.pt")


def test_steps_that_blow_up_are_left_out_and_counted(tmp_path, photo_folder, monkeypatch):
    original = ExactHyperprior.lagrangian
    monkeypatch.setattr(ExactHyperprior, "lagrangian", lambda self, position: original(self, position) * float("nan"))
    reports = []
    train.fit(config(steps=2, hold_out=0), photo_folder, tmp_path, report=lambda run, means: reports.append(means))
    assert reports[-1]["skipped"] == 2
    assert all(torch.isfinite(v).all() for v in read_state(tmp_path)["model"].values())


def test_only_matrix_products_leave_float32_under_autocast(monkeypatch, picture):
    model = small_flagship()
    seen: list[tuple[str, torch.dtype]] = []

    def watch(owner, name, label):
        original = getattr(owner, name)

        def spy(*args, **kwargs):
            result = original(*args, **kwargs)
            seen.extend((label, t.dtype) for t in (*args, result) if isinstance(t, torch.Tensor))
            return result

        monkeypatch.setattr(owner, name, spy)

    watch(model.mixture, "log2_likelihood", "likelihood of y")
    watch(model.hyper_prior, "log2_likelihood", "likelihood of z")
    watch(model.scale_net, "forward", "scales")
    x = as_batch(picture)[..., :128]
    results = {}
    for autocast in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            loss = model.loss(x, torch.Generator().manual_seed(1), 1.0)
        results[autocast] = loss
    assert {label for label, _ in seen} == {"likelihood of y", "likelihood of z", "scales"}
    assert {dtype for _, dtype in seen if dtype.is_floating_point} == {torch.float32}
    assert results[True].total.dtype == torch.float32
    assert {part.dtype for part in results[True].parts.values()} == {torch.float32}
    assert results[True].total.item() == pytest.approx(results[False].total.item(), rel=0.05)


DISTRIBUTED = """
import json, os, signal, sys
from pathlib import Path
import torch
from aecodec.train import loop as train
from aecodec.train.config import TrainConfig

torch.set_num_threads(1)
original = train.train_step
rank = int(os.environ["RANK"])
out = Path(sys.argv[2])

def spy(run, module, pack):
    original(run, module, pack)
    torch.save({"model": run.model.state_dict(), "rng": run.rng.get_state()}, out / f"rank{rank}.pt")
    if rank == 1 and run.position.step == 3:
        os.kill(os.getpid(), signal.SIGTERM)

train.train_step = spy
outcome = train.fit(TrainConfig(**json.loads(sys.argv[3])), Path(sys.argv[1]), out)
(out / f"outcome{rank}").write_text(f"{outcome.step} {outcome.interrupted}")
"""


def test_two_processes_stop_together_with_equal_weights(tmp_path, photo_folder):
    script, out = tmp_path / "script.py", tmp_path / "run"
    out.mkdir()
    script.write_text(DISTRIBUTED)
    # A budget of time decides the learning rate, so equal weights also mean that the clock was shared.
    settings = {**BASE, "steps": 10**6, "time_budget": 1000.0, "autocast": False}
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", str(script)]
    done = subprocess.run(
        [*command, str(photo_folder), str(out), json.dumps(settings)],
        capture_output=True,
        text=True,
        timeout=240,
        env=environment,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert {(out / f"outcome{rank}").read_text() for rank in (0, 1)} == {"3 True"}
    ranks = [torch.load(out / f"rank{rank}.pt", weights_only=True) for rank in (0, 1)]
    assert_same(ranks[0]["model"], ranks[1]["model"])
    assert not torch.equal(ranks[0]["rng"], ranks[1]["rng"])
    assert torch.equal(read_state(out)["rng"], torch.stack([rank["rng"] for rank in ranks]))
    assert len(list(out.glob("*.safetensors"))) == 1
    assert checkpoint.load(out / train.CHECKPOINT_FILE).metadata["steps"] == 3


def test_settings_override_in_order_and_survive_yaml(tmp_path, monkeypatch):
    file = tmp_path / "run.yaml"
    file.write_text("steps: 1\nbatch: 2\nseed: 3\nname: file\nmodel: {channels: 16, latents: 32}\n")
    monkeypatch.setenv("AECODEC_TRAIN_BATCH", "4")
    monkeypatch.setenv("AECODEC_TRAIN_SEED", "5")
    found = resolve(FLAGSHIP, file, ["seed=6", "name=set", "model.channels=8"], {"name": "flag", "device": None})
    assert (found.steps, found.batch, found.seed, found.name) == (1, 4, 6, "flag")
    assert found.model == {"channels": 8, "latents": 32}
    monkeypatch.delenv("AECODEC_TRAIN_BATCH")
    monkeypatch.delenv("AECODEC_TRAIN_SEED")
    file.write_text(found.to_yaml())
    assert resolve(FLAGSHIP, file, []) == found


@pytest.mark.parametrize(
    "setting", ["steps", "steps=0", "colour=red", "steps=[", "crop=100", "model=3", "=1", "name=two words"]
)
def test_bad_settings_are_usage_errors(setting):
    with pytest.raises(UsageError):
        resolve(FLAGSHIP, None, [setting])


def test_bad_environment_files_and_sizes_are_usage_errors(tmp_path, monkeypatch, photo_folder):
    with pytest.raises(UsageError, match="no size"):
        train.fit(config(size="colossal"), photo_folder, tmp_path)
    file = tmp_path / "bad.yaml"
    for content in ("[1, 2]", "a: [", "model: 3"):
        file.write_text(content)
        with pytest.raises(UsageError):
            resolve(FLAGSHIP, file, [])
    monkeypatch.setenv("AECODEC_TRAIN_STEPS", "[")
    with pytest.raises(UsageError, match="AECODEC_TRAIN_STEPS"):
        resolve(FLAGSHIP, None, [])


@pytest.mark.parametrize("blocked", ["yaml", "pydantic"])
def test_packages_missing_for_training_are_named(blocked, monkeypatch):
    monkeypatch.setitem(sys.modules, blocked, None)
    monkeypatch.delitem(sys.modules, "aecodec.train.config")
    with pytest.raises(MissingDependencyError, match=rf"{blocked}.*aecodec\[train\]"):
        importlib.import_module("aecodec.train.config")


def test_the_package_missing_for_soap_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "pytorch_optimizer", None)
    with pytest.raises(MissingDependencyError, match=r"pytorch-optimizer.*aecodec\[train\]"):
        make_optimizer(torch.nn.Linear(1, 1), config(optimizer="soap"))


def test_schedules_begin_warm_and_end_at_zero():
    for schedule in ("wsd", "cosine"):
        settings = config(schedule=schedule, warmup=10)
        assert rate_factor(settings, 0.0, 0) == pytest.approx(0.1)
        assert rate_factor(settings, 1.0, 100) == pytest.approx(0.0, abs=1e-12)
        factors = [rate_factor(settings, share / 50, 100) for share in range(51)]
        assert factors == sorted(factors, reverse=True)
    assert rate_factor(config(schedule="wsd", decay_share=0.3), 0.69, 100) == 1.0
