"""Laws of the doors of training: states, weights, configurations and curves of anybody end in a named error."""

from __future__ import annotations

import contextlib
import copy
import zipfile

import numpy as np
import pytest
import torch

from aecodec.contracts import AecodecError, CheckpointError, UsageError
from aecodec.data.arrays import ArraySet
from aecodec.data.pickled import read_pickled
from aecodec.train import state as states
from aecodec.train.config import parse_settings, read_config_file, resolve
from aecodec.train.curve import CURVE_FILE, Curve
from aecodec.train.processes import World

SETTINGS = ["steps=4", "batch=2", "model.hidden=[8]", "model.latents=4"]
HUGE = 1 << 80


@pytest.fixture(scope="module")
def world():
    return World(torch.device("cpu"))


@pytest.fixture
def run(world):
    items = torch.zeros((4, 1, 4, 4), dtype=torch.uint8)
    return states.start_run(resolve("autoencoder", None, SETTINGS), ArraySet(items), world)


@pytest.fixture
def content(run, world, tmp_path):
    states.save_state(run, tmp_path, world)
    return torch.load(tmp_path / states.STATE_FILE, weights_only=True)


def put(path: tuple, value):
    """A change of a nested state."""

    def change(state):
        node = state
        for part in path[:-1]:
            node = node[part]
        node[path[-1]] = value(node[path[-1]]) if callable(value) else value

    return change


CHANGES = {
    "a config that is a list": put(("config",), ["family"]),
    "a family of another": put(("config", "family"), "vae"),
    "a family that is a number": put(("config", "family"), HUGE),
    "a step below nothing": put(("progress", "step"), -5),
    "a step beyond all": put(("progress", "step"), HUGE),
    "a step that is a word": put(("progress", "step"), "many"),
    "time that is not a number": put(("progress", "elapsed"), float("nan")),
    "progress of another kind": put(("progress",), [1, 2]),
    "averages without end": put(("meter", "sums"), {"mse": float("inf")}),
    "counts of nothing": put(("meter", "counts"), {"mse": 0}),
    "a meter that is a number": put(("meter",), 3),
    "a generator of another kind": put(("rng",), "seed"),
    "a generator of floats": put(("rng",), torch.zeros(3)),
    "weights that are not numbers": put(("model",), lambda w: {k: torch.full_like(v, torch.nan) for k, v in w.items()}),
    "weights of another shape": put(("model",), lambda w: {k: v[:0] for k, v in w.items()}),
    "weights that are words": put(("ema",), lambda w: dict.fromkeys(w, "heavy")),
    "no weights": put(("ema",), {}),
    "an optimiser without groups": put(("optimizer", "param_groups"), []),
    "an optimiser's group that is a word": put(("optimizer", "param_groups"), ["group"]),
    "a rate that is a list": put(("optimizer", "param_groups", 0, "lr"), [1.0]),
    "a rate that is not a number": put(("optimizer", "param_groups", 0, "lr"), float("nan")),
    "an optimiser's state of no parameter": put(("optimizer", "state"), {99: {}}),
    "an optimiser's state that is a list": put(("optimizer", "state"), [1]),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_state_with_a_field_of_another_kind_is_not_resumed_from(name, run, world, content, tmp_path):
    changed = copy.deepcopy(content)
    CHANGES[name](changed)
    torch.save(changed, tmp_path / "bad.pt")
    with pytest.raises(CheckpointError, match="cannot be resumed from"):
        states.load_state(run, tmp_path / "bad.pt", world)


@pytest.mark.parametrize("key", ["config", "model", "ema", "optimizer", "rng", "progress"])
def test_a_state_that_lacks_a_part_is_not_resumed_from(key, run, world, content, tmp_path):
    del content[key]
    torch.save(content, tmp_path / "bad.pt")
    with pytest.raises(CheckpointError, match=f"{key} is missing"):
        states.load_state(run, tmp_path / "bad.pt", world)


@pytest.mark.parametrize("setting", [("amsgrad", True), ("amsgrad", None), ("fused", False), ("betas", (0.1, 0.2))])
def test_settings_of_an_optimiser_are_those_of_the_run_that_goes_on(setting, run, world, content, tmp_path):
    """A step that they were not meant for would find out."""
    content["optimizer"]["param_groups"][0].update([setting])
    path = tmp_path / "set.pt"
    torch.save(content, path)
    before = dict(run.optimizer.param_groups[0])
    states.load_state(run, path, world)
    assert {k: v for k, v in run.optimizer.param_groups[0].items() if k != "params"} == {
        k: v for k, v in before.items() if k != "params"
    }
    sum(p.square().sum() for p in run.model.parameters()).backward()
    run.optimizer.step()


def test_tensors_that_claim_more_than_their_file_holds_are_refused(tmp_path):
    path = tmp_path / "w.pth"
    torch.save({"a": torch.zeros(1).expand(1 << 40)}, path)
    with pytest.raises(CheckpointError, match="claim"):
        read_pickled(path, CheckpointError)
    nested = []
    for _ in range(100):
        nested = [nested]
    torch.save(nested, path)
    with pytest.raises(CheckpointError, match="nested"):
        read_pickled(path, CheckpointError)


def test_an_archive_that_grows_when_it_is_read_is_refused(tmp_path):
    path = tmp_path / "w.pth"
    torch.save({"a": torch.zeros(1 << 16)}, tmp_path / "plain.pth")
    with zipfile.ZipFile(tmp_path / "plain.pth") as plain, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for entry in plain.infolist():
            packed.writestr(entry.filename, plain.read(entry))
    with pytest.raises(CheckpointError, match="compressed"):
        read_pickled(path, CheckpointError)


def test_no_prefix_and_no_flipped_byte_of_a_file_of_weights_is_a_traceback(tmp_path):
    path = tmp_path / "w.pth"
    torch.save({"a": torch.arange(8.0)}, path)
    whole, rng, messages = path.read_bytes(), np.random.default_rng(0), []
    for _ in range(150):
        data = bytearray(whole)
        for place in rng.integers(0, len(data), rng.integers(1, 4)):
            data[place] = rng.integers(256)
        path.write_bytes(bytes(data[: rng.integers(1, len(data) + 1)]))
        try:
            read_pickled(path, CheckpointError)
        except CheckpointError as error:
            messages.append(str(error))
    assert len(messages) > 30
    assert not [message for message in messages if "\n" in message]


YAML = ["2024-13-45", "2024-01-01", "{a: {b: " * 60 + "1" + "}}" * 60, "[" * 2000, ".nan", ".inf", "-.inf"]
YAML += [
    "!!python/object/apply:os.system [ls]",
    "!!binary aaaa",
    "!!set {a}",
    "{1: 2}",
    "'\\x00",
    "&a [*a]",
    "9" * 5000,
]
LAUGHS = "a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
    f"{chr(98 + n)}: &{chr(98 + n)} [{', '.join([f'*{chr(97 + n)}'] * 10)}]\n" for n in range(7)
)


@pytest.mark.parametrize("text", YAML)
def test_settings_that_are_none_are_usage_errors(text, tmp_path, monkeypatch):
    with pytest.raises(UsageError):
        parse_settings([f"steps={text}"])
    (tmp_path / "c.yaml").write_text(f"steps: {text}")
    with pytest.raises(UsageError):
        read_config_file(tmp_path / "c.yaml")
    monkeypatch.setenv("AECODEC_TRAIN_STEPS", text.replace("\x00", ""))
    with pytest.raises(UsageError):
        resolve("autoencoder", None, [])


def test_a_configuration_of_laughs_and_one_of_a_megabyte_are_refused(tmp_path):
    for text in (LAUGHS, "a" * (2 << 20), "- a\n" * 20_000):
        (tmp_path / "c.yaml").write_text(text)
        with pytest.raises(UsageError):
            read_config_file(tmp_path / "c.yaml")


def test_no_number_of_a_configuration_is_without_end():
    from aecodec.train.config import TrainConfig

    numbers = [
        n for n, f in TrainConfig.model_fields.items() if isinstance(f.default, (int, float)) or f.default is None
    ]
    numbers = [n for n in numbers if not isinstance(TrainConfig.model_fields[n].default, bool)]
    assert len(numbers) > 20
    for name in numbers:
        for value in (float("nan"), float("inf"), float("-inf"), 10**400, 10**30, -(10**30), -1):
            with pytest.raises(UsageError, match=name):
                resolve("autoencoder", None, [], {name: value})


@pytest.mark.parametrize(
    "text", [b"\xff\xfe\x00", b"step\n\xc2\xb2\n", b'step,a\n"' + b"x" * 200_000, b"step\n" + b"9" * 5000]
)
def test_a_curve_of_anybody_is_left_or_named(text, tmp_path):
    (tmp_path / CURVE_FILE).write_bytes(text)
    with contextlib.suppress(AecodecError):
        Curve(tmp_path, 10, (1,)).close()
