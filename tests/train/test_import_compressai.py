"""Weights of compressai become checkpoints; anything else is refused by name, and no pickled code is run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from small_models import WITHOUT_COMPRESSAI

from aecodec.contracts import BusyError, CheckpointError, OutputExistsError, UnknownName
from aecodec.data.locks import locked
from aecodec.train.compressai_weights import ARCHITECTURES, import_state_dict
from aecodec.zoo.registry import read_header

google = pytest.importorskip("compressai.models.google", reason=WITHOUT_COMPRESSAI)


def theirs(name: str) -> Any:
    torch.manual_seed(0)
    return google.FactorizedPrior(8, 12) if name == "factorized-prior" else google.MeanScaleHyperprior(8, 12)


@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
def test_every_form_of_the_same_weights_makes_the_same_checkpoint(name: str, tmp_path: Path) -> None:
    """Plain, wrapped by a training script, in safetensors, under the names of earlier releases, with coder tables."""
    model = theirs(name)
    state = {k: v.contiguous() for k, v in model.state_dict().items()}
    torch.save(state, tmp_path / "plain-1.pth.tar")
    first = import_state_dict(tmp_path / "plain-1.pth.tar", out=tmp_path / "first")
    assert (first.family, first.name, first.config["n"], first.config["m"]) == (name, "plain-1", 8, 12)
    header = read_header(first.path)
    assert (header["family"], header["name"], header["fingerprint"]) == (name, "plain-1", first.fingerprint)
    assert header["card"]["architecture"] == ARCHITECTURES[name]
    assert header["card"]["imported_from"] == "plain-1.pth.tar"

    old = {}
    for key, value in state.items():
        for new, short in (("matrices.", "_matrix"), ("biases.", "_bias"), ("factors.", "_factor")):
            key = key.replace(f"entropy_bottleneck.{new}", f"entropy_bottleneck.{short}")
        old[f"module.{key}"] = value
    torch.save(old, tmp_path / "old.pth")
    save_file(state, tmp_path / "new.safetensors")
    model.update(force=True)
    torch.save({"epoch": 3, "loss": 1.5, "state_dict": model.state_dict()}, tmp_path / "wrapped.pth")
    for source in ("old.pth", "new.safetensors", "wrapped.pth"):
        again = import_state_dict(tmp_path / source, name, "renamed", out=tmp_path / "out", overwrite=True)
        assert again.name == "renamed"
        assert again.fingerprint == first.fingerprint


def _saved(folder: Path, content: Any) -> Path:
    torch.save(content, folder / "weights.pth")
    return folder / "weights.pth"


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: google.ScaleHyperprior(8, 12).state_dict(), "bmshj2018-hyperprior"),
        (lambda: google.JointAutoregressiveHierarchicalPriors(8, 12).state_dict(), "autoregressive"),
        (lambda: google.FactorizedPriorReLU(8, 12).state_dict(), "no GDN"),
        (lambda: torch.nn.Linear(2, 2).state_dict(), "no transforms"),
        (lambda: [torch.ones(2)], "expected a state dict"),
        (lambda: {"state_dict": {"a": 3}}, "expected names and tensors"),
        (lambda: {**google.FactorizedPrior(8, 12).state_dict(), "g_b.weight": torch.ones(1)}, "unknown g_b.weight"),
        (lambda: {**google.FactorizedPrior(8, 12).state_dict(), "g_s.6.bias": torch.ones(4)}, "has shape"),
        (
            lambda: {k: v for k, v in google.FactorizedPrior(8, 12).state_dict().items() if "g_s.2" not in k},
            r"lacks g_s.2.bias",
        ),
        (
            lambda: {**google.FactorizedPrior(8, 12).state_dict(), "g_s.6.bias": torch.full((3,), float("inf"))},
            "not finite",
        ),
    ],
)
def test_other_weights_are_refused(build: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=message):
        import_state_dict(_saved(tmp_path, build()), out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_two_imports_of_one_model_do_not_overwrite_each_other(tmp_path: Path) -> None:
    with locked(tmp_path / "out"), pytest.raises(BusyError, match="out: is being written by process"):
        import_state_dict(tmp_path / "weights.pth", out=tmp_path / "out", overwrite=True, wait=0)


def test_wrong_requests_are_refused(tmp_path: Path) -> None:
    weights = _saved(tmp_path, google.FactorizedPrior(8, 12).state_dict())
    with pytest.raises(CheckpointError, match="expected weights of mbt2018-mean"):
        import_state_dict(weights, "mean-scale-hyperprior", out=tmp_path / "out")
    with pytest.raises(CheckpointError, match="cannot become"):
        import_state_dict(weights, "exact-hyperprior", out=tmp_path / "out")
    with pytest.raises(UnknownName):
        import_state_dict(weights, "nothing", out=tmp_path / "out")
    with pytest.raises(OutputExistsError):
        import_state_dict(weights, out=weights)
    with pytest.raises(CheckpointError, match="no such file"):
        import_state_dict(tmp_path / "absent.pth", out=tmp_path / "out")
    for name in ("damaged.pth", "damaged.safetensors"):
        (tmp_path / name).write_bytes(weights.read_bytes()[:2000])
        with pytest.raises(CheckpointError, match="not a file of weights"):
            import_state_dict(tmp_path / name, out=tmp_path / "out")


class Surprise:
    """An object whose unpickling would run code."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return (print, ("this must not be printed",))


def test_pickled_code_is_not_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(CheckpointError, match="not a file of weights"):
        import_state_dict(_saved(tmp_path, {"state_dict": Surprise()}), out=tmp_path / "out")
    assert "must not be printed" not in capsys.readouterr().out
