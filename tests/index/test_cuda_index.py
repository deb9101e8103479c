"""The CUDA backend: its kernels in Triton's interpreter, their compilation for a device, and the whole on one."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from interpreted_hamming import CASES, case, windows
from places import ROOT, TESTS

from aecodec.contracts import UsageError
from aecodec.index.cuda import CudaScanner, group_rows
from aecodec.index.native import NativeScanner


@pytest.fixture(scope="module")
def interpreted() -> dict[str, bool]:
    """Name of a case -> whether the interpreted kernels gave what the oracle gives."""
    environment = {**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": str(ROOT)}
    script = TESTS / "interpreted_hamming.py"
    done = subprocess.run([sys.executable, str(script)], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(line) for line in done.stdout.splitlines())


@pytest.mark.parametrize("name", [*CASES, "windows"])
def test_interpreted_kernels_equal_the_oracle(interpreted, name):
    assert interpreted[name]


def test_kernels_compile_for_a_device():
    """Triton needs no device to compile for one: each kernel, for Hopper, with the instructions it was written for."""
    program = (
        "import sys; sys.path.insert(0, 'tests'); import compiled_hamming as c\n"
        "for name, ptx in c.compile_all(90): print(name, *(w in ptx for w in c.EXPECTED[name]))\n"
    )
    environment = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={**environment, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) >= 7
    assert not [line for line in lines if "False" in line]


@pytest.mark.parametrize(
    ("count", "k", "expected"), [(1, 1, 128), (10**6, 10, 256), (10**9, 10, 8192), (10**8, 2048, 256)]
)
def test_groups_balance_the_two_passes(count, k, expected):
    assert group_rows(count, k) == expected


def test_without_a_device_it_says_so():
    import torch

    if torch.cuda.is_available():
        CudaScanner(np.zeros((1, 8), np.uint8))
    else:
        with pytest.raises(UsageError, match="CUDA device"):
            CudaScanner(np.zeros((1, 8), np.uint8))


@pytest.mark.gpu
@pytest.mark.parametrize("name", CASES)
def test_equals_the_oracle_on_a_device(name):
    assert case(*CASES[name], device="cuda")


@pytest.mark.gpu
def test_windows_are_found_on_a_device():
    assert windows("cuda")


@pytest.mark.gpu
@pytest.mark.parametrize("queries", [1, 8, 64, 300])
@pytest.mark.parametrize("width", [4, 8, 11, 16, 32, 64])
@pytest.mark.parametrize("k", [1, 10, 2048])
def test_equals_the_native_backend_on_a_device(width, queries, k):
    rng = np.random.default_rng(width)
    codes = rng.integers(0, 256, (1_000_003, width), np.uint8)
    codes[::3] = codes[0]  # a third of the rows tie
    asked = np.concatenate([codes[:1], rng.integers(0, 256, (queries - 1, width), np.uint8)])
    expected = NativeScanner(codes).search(asked, k)
    for options in ({}, {"budget": 0, "shard_bytes": 4 << 20}):
        ours = CudaScanner(codes, **options)
        assert ours.resident == (not options)
        for mine, right in zip(ours.search(asked, k), expected, strict=True):
            assert np.array_equal(mine, right)
