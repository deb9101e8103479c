"""The Hamming benchmarks on small codes: every method takes part, figures by their definitions, what is refused."""

from __future__ import annotations

import importlib
import json
from typing import Any

import numpy as np
import pytest
from benchmark_scripts import BENCHMARKS, rows_of, run
from extras import needs


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Import a benchmark file as it is when run as a script."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module


def test_every_method_takes_part(module, monkeypatch, tmp_path):
    hamming = module("hamming")
    monkeypatch.setattr(hamming, "REPEATED", 0.0)
    done = run(hamming.main, "--case", "4000x64", "--batches", "1,5", "--rounds", 1, "--out", tmp_path)
    assert done.exit_code == 0, done.output
    rows = rows_of(tmp_path / "cpu.csv")
    names = [peer.name for peer in module("hamming_peers").peers("cpu")]
    assert [row["method"] for row in rows if row["batch"] == "5"] == names
    assert [row["method"] for row in rows if row["batch"] == "1"] == ["reading memory", *names]
    for row in rows:
        seconds, asked = float(row["seconds"]), int(row["asked"])
        assert float(row["queries_per_s"]) == pytest.approx(asked / seconds, rel=1e-4)
        assert float(row["distances_per_s"]) == pytest.approx(4000 * asked / seconds, rel=1e-4)
        assert 1 <= asked <= int(row["batch"])
    assert json.loads((tmp_path / "cpu.json").read_text())["k"] == 10
    assert (tmp_path / "cpu.md").read_text() in done.output


def test_a_method_that_gives_other_distances_is_found_out(module, monkeypatch):
    hamming, peers = module("hamming"), module("hamming_peers")
    wrong = peers.Peer("wrong", lambda codes: lambda queries, k: (None, np.zeros((len(queries), k))))
    honest = peers.Peer("numpy", peers.ours("numpy"))
    monkeypatch.setattr(peers, "peers", lambda device: [honest, wrong])
    done = run(hamming.main, "--case", "500x64", "--batches", "1", "--rounds", 1)
    assert done.exit_code == 1
    assert "wrong and numpy give different distances" in done.output


def test_ratios_are_to_the_best_faiss(module):
    hamming = module("hamming")
    rows = [
        hamming.Row(10, 64, 1, name, 1, 1 / q, q, 10 * q, 0.5, 3 * q, 0.5, 0.0, None)
        for name, q in (("faiss, OpenMP 1", 2.0), ("faiss, OpenMP 2", 4.0), ("native", 10.0))
    ]
    assert [line.split("|")[7].strip() for line in hamming.table(rows).splitlines()[2:]] == [
        "0.50 (0.50)",
        "1.00 (1.00)",
        "2.50 (2.50)",
    ]


@pytest.mark.parametrize(
    "arguments",
    [["--case", "many"], ["--case", "10x7"], ["--case", "0x8"], ["--batches", "a few"], ["--device", "tpu"]],
)
def test_what_makes_no_sense_is_refused(module, arguments):
    assert run(module("hamming").main, *arguments).exit_code == 2


def test_codes_are_the_same_every_time(module):
    hamming = module("hamming")
    assert np.array_equal(hamming.make_codes(100, 24, 3), hamming.make_codes(100, 24, 3))
    assert hamming.make_codes(100, 24, 3).shape == (100, 3)
    assert not np.array_equal(hamming.make_codes(100, 24, 3), hamming.make_codes(100, 24, 4))


def test_a_large_index_step_by_step(module, tmp_path):
    done = run(module("hamming_large").main, tmp_path, "--codes", 2000, "--repeats", 1, "--out", tmp_path)
    assert done.exit_code == 0, done.output
    steps = [row["step"] for row in rows_of(tmp_path / "large.csv")]
    assert steps[:5] == ["make codes", "build", "save", "map", "first search"]
    assert (tmp_path / "2000x64.hix").stat().st_size > 16_000


@needs("faiss")
def test_recall_of_the_exact_is_one(module, monkeypatch, tmp_path):
    monkeypatch.setattr(module("hamming_recall"), "REPEATED", 0.0)
    rng = np.random.default_rng(0)
    pictures = {
        name: rng.integers(0, 256, (count, 8, 8), np.uint8) for name, count in (("x_train", 600), ("x_test", 250))
    }
    np.savez(tmp_path / "pictures.npz", **pictures)
    done = run(module("hamming_recall").main, tmp_path / "pictures.npz", "--codes", 1500, "--out", tmp_path)
    assert done.exit_code == 0, done.output
    rows = rows_of(tmp_path / "recall.csv")
    assert {row["method"] for row in rows} == {"native", "faiss-ivf", "faiss-hnsw", "multi-index"}
    exact = {(row["method"], row["setting"]): row for row in rows}
    assert float(exact["native", "exact"]["recall"]) == 1.0
    assert exact["native", "radius 6"]["found"] == exact["multi-index", "radius 6"]["found"]
    assert all(0 < float(row["recall"]) <= 1 for row in rows)


@pytest.mark.gpu
def test_every_method_takes_part_on_a_device(module, tmp_path):
    done = run(
        module("hamming").main,
        "--device",
        "cuda",
        "--case",
        "100000x64",
        "--batches",
        "1,64",
        "--rounds",
        1,
        "--out",
        tmp_path,
    )
    assert done.exit_code == 0, done.output
    assert {"reading memory", "tensor cores", "cuda"} <= {row["method"] for row in rows_of(tmp_path / "cuda.csv")}
