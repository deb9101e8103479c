"""The benchmark of engines on a tiny picture: every engine that is here gives the same pixels, the others a reason."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from benchmark_scripts import load_script, rows_of, run
from places import GOLDEN

from aecodec.zoo import stored
from aecodec.zoo.registry import find_model


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Any:
    return load_script(monkeypatch, "engines")


def test_every_engine_is_measured_in_one_run_and_computes_the_same(script, tmp_path):
    out = tmp_path / "out"
    result = run(script.main, "--size", "128x64", "--runs", 1, "--out", out)
    assert result.exit_code == 0, result.output
    rows = rows_of(out / "engines.csv")
    origin = json.loads((out / "engines.json").read_text())
    names = ["ONNX Runtime, float32", "torch, float32, channels last", "torch, bfloat16, channels last"]
    names += ["OpenVINO, float32", "OpenVINO, bfloat16"]
    absent = tuple(origin["left_out"])
    assert [row["engine"] for row in rows] == [name for name in names if not name.startswith(absent)]
    assert all(float(row[f"{step}_s"]) > 0 for row in rows for step in script.STEPS)
    for row in rows:
        assert float(row["difference"]) < (0.1 if "float32" in row["engine"] else 20)
    assert len((out / "engines.md").read_text().splitlines()) == 2 + len(rows)


def test_what_is_not_installed_is_left_out_with_the_reason(script, monkeypatch):
    monkeypatch.setattr(script, "find_spec", lambda name: None)
    found, left_out = script.engines(find_model(), 500)
    assert [each.name for each in found] == ["ONNX Runtime, float32"]
    assert left_out == {"torch": "torch is not installed", "OpenVINO": "openvino, onnx not installed"}


def test_a_model_without_graphs_is_refused(script):
    result = run(script.main, "--model", GOLDEN / "v1" / "exact-hyperprior.safetensors")
    assert result.exit_code == 1
    assert "holds no graphs" in result.output


def test_weights_are_put_back_into_a_graph(script):
    onnx = pytest.importorskip("onnx")
    kept = stored.read(find_model())
    for name in script.STEPS:
        model = onnx.load_from_string(script.with_weights(kept, name))
        onnx.checker.check_model(model)
        held = {each.name: onnx.numpy_helper.to_array(each) for each in model.graph.initializer}
        weights = held.keys() & kept.tensors.keys()
        assert weights
        assert all(np.array_equal(held[key], kept.tensors[key].astype(np.float32)) for key in weights)
