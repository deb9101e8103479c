"""Who takes part in the Hamming benchmark: each built over codes, then asked for the k nearest of a batch."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np

from aecodec.index import backend
from aecodec.index.native import NativeScanner
from aecodec.index.threads import cores

Search = Callable[[np.ndarray, int], Any]


@dataclass(frozen=True)
class Peer:
    """build: codes (N, B) uint8 -> a search, queries and k -> rows and distances (or something that holds them)."""

    name: str
    build: Callable[[np.ndarray], Search]


def ours(name: str, **options: Any) -> Callable[[np.ndarray], Search]:
    """A backend of the index."""
    return lambda codes: backend(name).load()(codes, **options).search


def faiss_flat(threads: int) -> Callable[[np.ndarray], Search]:
    """IndexBinaryFlat called as its documentation does, with so many OpenMP threads."""

    def build(codes: np.ndarray) -> Search:
        import faiss

        index = faiss.IndexBinaryFlat(8 * codes.shape[1])
        index.add(codes)

        def search(queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
            before = faiss.omp_get_max_threads()
            faiss.omp_set_num_threads(threads)
            try:
                distances, rows = index.search(queries, k)
            finally:
                faiss.omp_set_num_threads(before)  # torch's threads are the same setting
            return rows, distances

        return search

    return build


def faiss_gpu(codes: np.ndarray) -> Search:
    """GpuIndexBinaryFlat."""
    import faiss

    resources = faiss.StandardGpuResources()
    index = faiss.GpuIndexBinaryFlat(resources, 8 * codes.shape[1])
    index.add(codes)

    def search(queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        distances, rows = index.search(queries, k)
        return rows, distances

    return search


def usearch_exact(codes: np.ndarray) -> Search:
    """usearch's exact search with its default threading."""
    from usearch.index import MetricKind, ScalarKind
    from usearch.index import search as search_all

    def search(queries: np.ndarray, k: int) -> Any:
        found = search_all(codes, queries, k, MetricKind.Hamming, exact=True, dtype=ScalarKind.B1)
        return found.keys, found.distances

    return search


def peers(device: str) -> list[Peer]:
    """Those whose packages are here, for "cpu" or "cuda"."""
    have = {name for name in ("faiss", "usearch", "numba") if find_spec(name)}
    if device == "cuda":
        gpu = [Peer("faiss-gpu", faiss_gpu)] if "faiss" in have else []
        return [*gpu, Peer("cuda", ours("cuda"))]
    found = [Peer("numpy", ours("numpy"))]
    if "faiss" in have:
        found += [Peer(f"faiss, OpenMP {n}", faiss_flat(n)) for n in sorted({1, cores()})]
        found.append(Peer("faiss, a thread per query", ours("faiss")))
    if "usearch" in have:
        found.append(Peer("usearch", usearch_exact))
    if "numba" in have:
        found.append(Peer("native, numba", ours("native", engine_name="numba")))
    return [*found, Peer("native, 1 thread", ours("native", threads=1)), Peer("native", ours("native"))]


def reading(codes: np.ndarray) -> Callable[[], None]:
    """A function that reads all codes with every core and does nothing else."""
    return NativeScanner(codes, engine_name="c").read


def device_floors(nbytes: int) -> tuple[float, float]:
    """Bytes per second that a reduction reads from device memory, int8 operations per second of a large product."""
    import torch

    data = torch.zeros(min(nbytes, 4 << 30) // 4, dtype=torch.float32, device="cuda")
    left = torch.ones(8192, 8192, dtype=torch.int8, device="cuda")
    right = torch.ones(8192, 8192, dtype=torch.int8, device="cuda").t()
    reading = best_on_device(data.sum, 10)
    multiplying = best_on_device(lambda: torch._int_mm(left, right), 10)
    return data.nbytes / reading, 2 * 8192**3 / multiplying


def best_on_device(call: Callable[[], Any], rounds: int) -> float:
    """Shortest seconds of a call, the device's queue empty before and after."""
    import torch

    seconds = []
    for _ in range(rounds + 1):
        torch.cuda.synchronize()
        start = time.perf_counter()
        call()
        torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    return min(seconds[1:])
