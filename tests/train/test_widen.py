"""Laws of scripts/widen.py: a wider codec computes what the narrower one did, and its new weights learn."""

from __future__ import annotations

import pytest
import torch
import widen
from click.testing import CliRunner
from conftest import natural_picture
from places import TESTS
from small_models import as_batch, small_flagship

from aecodec import checkpoint
from aecodec.contracts import UsageError
from aecodec.zoo import stored

HASHER = TESTS / "engine" / "small-hash.safetensors"


def test_a_widened_codec_has_the_same_latents_and_pictures():
    model = small_flagship().eval()
    torch.nn.init.normal_(model.branch_out, std=0.3)
    wide, x = widen.widened(model, 24).eval(), as_batch(natural_picture(128, 192))
    assert wide.analysis.enter.out_channels == 24
    with torch.no_grad():
        y = model.analyse(x)
        torch.testing.assert_close(wide.analyse(x), y)
        for quality in (0, 37, 100):
            torch.testing.assert_close(wide.synthesise(y, quality), model.synthesise(y, quality))


def test_gradients_reach_the_new_weights_through_what_reads_the_new_channels():
    """Two steps: the layers that join new channels to old begin at zero, and all behind them waits for the first."""
    narrow = small_flagship()
    model, x = widen.widened(narrow, 24).train(), as_batch(natural_picture(128, 128))
    optimizer = torch.optim.SGD(model.parameters(), 1e-3)
    for _ in range(2):
        optimizer.zero_grad()
        model.loss(x, torch.Generator().manual_seed(0)).total.backward()
        optimizer.step()
    for name, weight in model.named_parameters():
        for axis, (old, new) in enumerate(zip(narrow.get_parameter(name).shape, weight.shape, strict=True)):
            assert old == new or weight.grad.narrow(axis, old, new - old).any(), (name, axis)


def test_the_command_writes_a_checkpoint_that_training_can_begin_with(model_file, tmp_path):
    out = tmp_path / "wide.safetensors"
    result = CliRunner().invoke(widen.main, [str(model_file), "--channels", "20", "--out", str(out)])
    assert result.exit_code == 0, result.output
    kept = stored.read(out)
    assert kept.fingerprint.hex() in result.output
    assert kept.card["widened"] == {"channels": 16, "fingerprint": stored.read(model_file).fingerprint.hex()}
    assert checkpoint.load(out).module.config.channels == 20


def test_fewer_channels_and_other_families_are_refused(model_file, tmp_path):
    with pytest.raises(UsageError, match="more than 15"):
        widen.widened(small_flagship(), 15)
    for model, channels, fault in ((model_file, "15", "more than 15"), (HASHER, "64", "is not widened")):
        result = CliRunner().invoke(widen.main, [str(model), "--channels", channels, "--out", str(tmp_path / "no")])
        assert result.exit_code == 1
        assert fault in result.output
    assert not list(tmp_path.iterdir())
