"""The comparison of engines on two small pictures: it counts what it says, and tells latents that differ."""

from __future__ import annotations

from dataclasses import replace

import engine_agreement
import pytest
import torch  # noqa: F401 (both engines are compared)
from benchmark_scripts import run

from aecodec.engine.torch_engine import TorchEngine


def test_engines_agree_and_a_difference_is_noticed(pictures, tmp_path, monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("bjontegaard")
    arguments = [pictures, "--qualities", "10,40,70,95", "--limit", "1", "--out", tmp_path]
    done = run(engine_agreement.main, *arguments)
    assert done.exit_code == 0, done.output
    assert (tmp_path / "agreement.md").read_text().splitlines()[-1].startswith("| 8 | 0 | ")
    decode = TorchEngine.decode_tile

    def wrong(self, *tile):
        code = decode(self, *tile)
        return replace(code, y=code.y + 1)

    monkeypatch.setattr(TorchEngine, "decode_tile", wrong)
    assert run(engine_agreement.main, *arguments).exit_code == 1
