"""Which backend answers soonest: by device, number of codes, their width and the size of a batch of queries."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import numpy as np

from ..contracts import MissingDependencyError
from .codes import check_codes

#: Pairs of query and 64-bit word below which NumPy is done before compiled kernels are loaded.
_FEW = 200_000
#: Pairs below which a device's launches cost more than the scan (an estimate: to be measured on a device).
_DEVICE = 50_000_000


def choose(n: int, n_bits: int, batch: int, device: str) -> tuple[str, str]:
    """The backend for n codes of n_bits and batches of so many queries on "cpu" or "cuda" -> its name and why."""
    pairs = n * max(batch, 1) * -(-n_bits // 64)
    size = f"{n:,} codes of {n_bits} bits, {batch:,} {'query' if batch == 1 else 'queries'} at a time"
    if device.startswith("cuda") and pairs >= _DEVICE:
        return "cuda", f"{size}: enough work for the CUDA device"
    if pairs <= _FEW:
        return "numpy", f"{size}: NumPy is done before anything faster is loaded"
    engine = _native_engine()
    if engine != "numpy":
        return "native", f"{size}: the compiled kernels ({engine}) scan fastest"
    if find_spec("faiss"):
        return "faiss", f"{size}: no compiled kernels here (no C compiler, no Numba), faiss is next"
    return "numpy", f"{size}: neither compiled kernels nor faiss are here"


def _native_engine() -> str:
    from .native import engine

    found = engine()[0]
    return found.name if found else "numpy"


class AutoScanner:
    """Answers each batch with the backend that `choose` names; each is built when first needed."""

    def __init__(self, codes: np.ndarray, *, device: str | None = None) -> None:
        """codes: (N, B) uint8, perhaps a memory map.

        device: "cpu" or "cuda"; unless given "cuda" if torch is loaded and sees such a device.
        """
        self._codes = check_codes(codes)
        self._device = device or _present_device()
        self._scanners: dict[str, Any] = {}

    def choice(self, batch: int = 1) -> tuple[str, str]:
        """Name and reason for a batch of so many queries."""
        count, width = self._codes.shape
        return choose(count, 8 * width, batch, self._device)

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """See `contracts.Scanner.search`."""
        return self._scanner(len(queries)).search(queries, k)

    def range_search(self, queries: np.ndarray, radius: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """See `contracts.Scanner.range_search`."""
        return self._scanner(len(queries)).range_search(queries, radius)

    def _scanner(self, batch: int) -> Any:
        from . import backend

        name = self.choice(batch)[0]
        if name not in self._scanners:
            try:
                self._scanners[name] = backend(name).load()(self._codes)
            except MissingDependencyError:
                if name != "cuda":
                    raise
                self._device = "cpu"  # a device without Triton: the processor's backends remain
                return self._scanner(batch)
        return self._scanners[name]


def _present_device() -> str:
    """ "cuda" if torch is loaded and sees such a device: a light command does not load torch to find out."""
    import sys

    torch = sys.modules.get("torch")
    return "cuda" if torch is not None and torch.cuda.is_available() else "cpu"
