"""Laws of checkpoints: what is saved is what is loaded, damage is noticed, and nothing is computed anew."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from small_models import FLAGSHIP, SMALL, small_flagship

from aecodec import checkpoint
from aecodec.coding import tables as tables_module
from aecodec.contracts import CheckpointError, FrozenModel, OutputError
from aecodec.engine.opening import check_golden
from aecodec.entropy import hyper_prior, scale_mixture, scale_net
from aecodec.models.exact_hyperprior import ExactHyperprior
from aecodec.zoo import stored
from aecodec.zoo.registry import find_model


def save(model: torch.nn.Module, path: Path, **changes) -> bytes:
    return checkpoint.save(model, path, **{"name": "small", "family_name": FLAGSHIP, "card": {"steps": 0}, **changes})


def same_codec(a: FrozenModel, b: FrozenModel) -> bool:
    ours, theirs = a.module.state_dict(), b.module.state_dict()
    tensors = ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)
    parts = ("frequencies", "lengths", "offsets")
    tables = a.module.tables.keys() == b.module.tables.keys() and all(
        np.array_equal(getattr(a.module.tables[key], part), getattr(b.module.tables[key], part))
        and a.module.tables[key].escape == b.module.tables[key].escape
        for key in a.module.tables
        for part in parts
    )
    return a.fingerprint == b.fingerprint and a.module.config == b.module.config and tensors and tables


def test_a_loaded_model_has_its_name_its_card_and_is_ready_for_use(tmp_path):
    """Its weights and tables: tests/models/test_contracts.py."""
    path = tmp_path / "model.safetensors"
    fingerprint = save(small_flagship(), path, card={"steps": 7, "note": "ü"})
    loaded = checkpoint.load(path)
    assert (loaded.name, loaded.family, loaded.fingerprint) == ("small", FLAGSHIP, fingerprint)
    assert loaded.metadata["steps"] == 7
    assert loaded.metadata["note"] == "ü"
    assert not loaded.module.training
    assert not any(p.requires_grad for p in loaded.module.parameters())


def test_saving_is_repeatable(tmp_path):
    first, second, third = (tmp_path / name for name in ("first", "second", "third"))
    fingerprint = save(small_flagship(), first)
    assert save(small_flagship(), second) == fingerprint
    assert save(checkpoint.load(first).module, third) == fingerprint
    assert same_codec(checkpoint.load(first), checkpoint.load(third))


def test_half_precision_is_smaller_and_codes_as_itself(tmp_path):
    full, half = tmp_path / "full", tmp_path / "half"
    save(small_flagship(), full)
    model = small_flagship()
    save(model, half, half=True)
    saved_bytes = full.stat().st_size - half.stat().st_size
    assert saved_bytes == pytest.approx(2 * sum(p.numel() for p in model.parameters()), rel=0.01)
    loaded = checkpoint.load(half).module.state_dict()
    for key, value in model.state_dict().items():
        assert torch.equal(value, loaded[key]), key


def test_the_fingerprint_changes_with_every_tensor_and_the_config(model_file):
    loaded = checkpoint.load(model_file)
    config = {"a": 1}
    tensors = {key: value.numpy() for key, value in loaded.module.state_dict().items()}
    seen = {stored.fingerprint(FLAGSHIP, config, tensors)}
    for key, value in tensors.items():
        changed = value.copy()
        flat = changed.reshape(-1)
        flat[-1] = flat[-1] + 1
        seen.add(stored.fingerprint(FLAGSHIP, config, {**tensors, key: changed}))
    key = "analysis.enter.weight"
    seen.add(stored.fingerprint(FLAGSHIP, config, {**tensors, key: tensors[key].astype(np.float64)}))
    seen.add(stored.fingerprint(FLAGSHIP, config, {**tensors, key: tensors[key].reshape(-1)}))
    seen.add(stored.fingerprint(FLAGSHIP, config, {k: v for k, v in tensors.items() if k != key}))
    seen.add(stored.fingerprint(FLAGSHIP, {"a": 2}, tensors))
    seen.add(stored.fingerprint("another", config, tensors))
    assert len(seen) == len(tensors) + 6
    assert stored.fingerprint(FLAGSHIP, config, tensors) in seen


def test_loading_computes_no_table_and_freezes_nothing(model_file, monkeypatch):
    def forbidden(*_: object, **__: object) -> None:
        raise AssertionError("a probability was computed while loading")

    for owner, name in (
        (tables_module, "quantise_pmf"),
        (tables_module, "freeze_pmfs"),
        (hyper_prior, "freeze_pmfs"),
        (hyper_prior.HyperPrior, "log2_likelihood"),
        (scale_mixture, "freeze_symmetric"),
        (scale_mixture.ScaleMixture, "log2_likelihood"),
        (scale_net.ScaleNet, "freeze"),
        (scale_net.ExactConv, "freeze"),
        (ExactHyperprior, "freeze"),
    ):
        monkeypatch.setattr(owner, name, forbidden)
    loaded = checkpoint.load(model_file)
    assert set(loaded.module.tables) == {"y", "z"}
    code = loaded.module.quantise(loaded.module.analyse(torch.rand(1, 3, 64, 64)), 500)
    loaded.module.encode_tile(code)


def test_missing_truncated_and_foreign_files_are_checkpoint_errors(tmp_path, model_file):
    path = tmp_path / "model.safetensors"
    with pytest.raises(CheckpointError, match="no such"):
        checkpoint.load(path)
    content = model_file.read_bytes()
    for length in (0, 4, 8, 100, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(CheckpointError):
            checkpoint.load(path)
    path.write_bytes(content + b"\0")
    with pytest.raises(CheckpointError):
        checkpoint.load(path)
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(CheckpointError, match="format"):
        checkpoint.load(path)
    with pytest.raises(CheckpointError):
        checkpoint.load(tmp_path)


def flips(content: bytes, count: int) -> list[int]:
    """Bit positions: spread over the header, where words have meanings, and over the tensors."""
    rng = np.random.default_rng(0)
    header = 8 * (8 + int.from_bytes(content[:8], "little"))
    return [*range(16), *rng.integers(16, header, count).tolist(), *rng.integers(header, 8 * len(content), 30).tolist()]


def test_a_flipped_bit_is_noticed_or_touches_the_model_card_alone(tmp_path, model_file):
    content, whole = model_file.read_bytes(), checkpoint.load(model_file)
    path = tmp_path / "model.safetensors"
    noticed = 0
    positions = flips(content, 120)
    for position in positions:
        damaged = bytearray(content)
        damaged[position // 8] ^= 1 << (position % 8)
        path.write_bytes(bytes(damaged))
        try:
            loaded = checkpoint.load(path)
        except CheckpointError:
            noticed += 1
            continue
        assert same_codec(whole, loaded), f"bit {position}"
    assert noticed > 0.8 * len(positions)


def test_unknown_keys_and_unfit_values_of_a_configuration_are_refused():
    with pytest.raises(CheckpointError, match="no configuration key colour"):
        checkpoint.build(FLAGSHIP, {**SMALL, "colour": 1})
    for bad in ({"channels": "many"}, {"latents": -1}, {"latents": 30}, {"channels": None}):
        with pytest.raises(CheckpointError, match="cannot be built"):
            checkpoint.build(FLAGSHIP, {**SMALL, **bad})


def test_a_model_unfit_for_exact_coding_is_not_written(tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"old")
    blown = small_flagship()
    with torch.no_grad():
        blown.scale_net.layers[0].bias.fill_(1e9)
    with pytest.raises(CheckpointError, match="exact"):
        save(blown, path)
    diverged = small_flagship()
    with torch.no_grad():
        diverged.synthesis.leave.weight[0, 0] = float("nan")
    with pytest.raises(CheckpointError, match=r"synthesis\.leave\.weight.*not finite"):
        save(diverged, path)
    assert path.read_bytes() == b"old"


def test_a_folder_in_the_way_is_an_output_error(tmp_path):
    with pytest.raises(OutputError):
        save(small_flagship(initialised=False), tmp_path)


def test_the_golden_digest_is_compared_with_the_recorded_one(tmp_path, model_file, monkeypatch):
    check = check_golden(model_file)
    assert (check.name, check.exact, check.found) == ("small", True, check.recorded)
    monkeypatch.setattr("aecodec.engine.opening.golden_digest", lambda coder: "other integers")
    assert not check_golden(model_file).exact
    with pytest.raises(CheckpointError, match="codes no pictures"):
        check_golden(find_model("vae-digits"))
