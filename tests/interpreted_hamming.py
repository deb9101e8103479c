"""Runs the CUDA backend's kernels in Triton's interpreter; a script, because the interpreter is chosen at import.

    TRITON_INTERPRET=1 python tests/interpreted_hamming.py

Prints a line of JSON for each case: its name and whether every array equals the oracle's.
"""

from __future__ import annotations

import json

import numpy as np

from aecodec.index.cuda import CudaScanner
from aecodec.index.oracle import NumpyScanner
from aecodec.index.windows import nearest_rows, rows_within

#: Name -> count, width in bytes, queries, k, kind of codes, options.
CASES: dict[str, tuple] = {
    "one query": (900, 8, 1, 10, "random", {}),
    "one query, 256 bits": (700, 32, 1, 10, "clustered", {}),
    "a few queries": (900, 8, 5, 100, "clustered", {}),
    "a few queries, odd width": (500, 3, 7, 10, "random", {}),
    "tensor cores": (600, 8, 20, 5, "random", {}),
    "tensor cores, two tiles of queries": (140, 8, 130, 1, "clustered", {}),
    "tensor cores, 32 bits": (600, 4, 12, 10, "ties", {}),
    "tensor cores, 96 bits": (400, 12, 12, 10, "clustered", {}),
    "tensor cores, 256 bits": (200, 32, 9, 5, "random", {}),
    "too wide for tensor cores": (130, 136, 10, 5, "clustered", {}),
    "constant": (1000, 8, 2, 200, "constant", {}),
    "all ties, a batch": (400, 8, 10, 150, "ties", {}),
    "one row": (1, 8, 9, 3, "random", {}),
    "as many hits as rows": (257, 8, 2, 257, "random", {}),
    "streamed": (1000, 8, 3, 40, "clustered", {"budget": 0, "shard_bytes": 8 * 300}),
    "streamed, a batch": (700, 8, 11, 10, "ties", {"budget": 0, "shard_bytes": 8 * 300}),
    "streamed, shards smaller than k": (400, 8, 2, 150, "random", {"budget": 0, "shard_bytes": 8 * 70}),
    "a small workspace": (900, 8, 11, 10, "clustered", {"workspace": 200_000}),
}


def make_codes(count: int, width: int, kind: str, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    if kind == "random":
        return rng.integers(0, 256, (count, width), np.uint8)
    if kind == "clustered":
        flips = np.packbits(rng.random((count, width, 8)) < 0.06, axis=2)[:, :, 0]
        return rng.integers(0, 256, (4, width), np.uint8)[rng.integers(0, 4, count)] ^ flips
    codes = np.full((count, width), 173, np.uint8)
    if kind == "ties":
        codes[rng.random(count) < 0.5, 0] ^= 1
    return codes


def case(count: int, width: int, queries: int, k: int, kind: str, options: dict, device: str = "cpu") -> bool:
    """Whether search, and range search with a radius that most rows are beyond, give what the oracle gives."""
    codes = make_codes(count, width, kind, 0)
    asked = make_codes(queries, width, "random", 1)
    asked[0] = codes[-1]
    ours, oracle = CudaScanner(codes, device=device, **options), NumpyScanner(codes)
    expected = oracle.search(asked, k)
    radius = int(expected[1][:, -1].min())
    pairs = zip(
        (*ours.search(asked, k), *ours.range_search(asked, radius)),
        (*expected, *oracle.range_search(asked, radius)),
        strict=True,
    )
    return all(mine.dtype == right.dtype and np.array_equal(mine, right) for mine, right in pairs)


def windows(device: str = "cpu") -> bool:
    """Whether pictures are found by their windows as with the oracle, by number and by radius."""
    sets = make_codes(40 * 22, 8, "clustered", 2).reshape(40, 22, 8)
    wholes, shown = np.ascontiguousarray(sets[:, 0]), np.ascontiguousarray(sets[:, 1:]).reshape(-1, 8)
    ours = [CudaScanner(codes, device=device) for codes in (wholes, shown)]
    oracle = [NumpyScanner(codes) for codes in (wholes, shown)]
    found = [
        (nearest_rows(sets[7], *scanners, 21, 3), rows_within(sets[7], *scanners, 21, 3)) for scanners in (ours, oracle)
    ]
    return all(np.array_equal(mine, right) for mine, right in zip(*found, strict=True)) and 7 in found[0][1]


if __name__ == "__main__":
    for name, values in CASES.items():
        print(json.dumps([name, case(*values)]), flush=True)
    print(json.dumps(["windows", windows()]), flush=True)
