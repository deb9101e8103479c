"""The table of Hamming backends, all of them exact: one class each, imported only when asked for."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any

from ..contracts import UnknownName


@dataclass(frozen=True)
class Backend:
    """Where a backend lives: module, class (a `contracts.Scanner`), and the kind of device it runs on.

    device: "cpu" for one that runs anywhere, "cuda" for one that needs such a device and raises UsageError without.
    """

    module: str
    scanner: str
    summary: str
    device: str = "cpu"

    def load(self) -> Any:
        """Import the backend -> its class."""
        return getattr(import_module(f"{__name__}.{self.module}"), self.scanner)


INDEXES: dict[str, Backend] = {
    "auto": Backend("choice", "AutoScanner", "the backend that answers soonest"),
    "numpy": Backend("oracle", "NumpyScanner", "the oracle: NumPy alone"),
    "native": Backend("native", "NativeScanner", "compiled kernels, as fast as memory"),
    "multi-index": Backend("multi_index", "MultiIndexScanner", "tables of parts of the codes, for small radii"),
    "cuda": Backend("cuda", "CudaScanner", "kernels of our own on a CUDA device", "cuda"),
    "faiss": Backend("faiss_backends", "FaissScanner", "faiss IndexBinaryFlat"),
    "faiss-gpu": Backend("faiss_backends", "FaissGpuScanner", "faiss GpuIndexBinaryFlat", "cuda"),
}


def backend(name: str) -> Backend:
    """Raises UnknownName, listing what exists."""
    try:
        return INDEXES[name]
    except KeyError:
        raise UnknownName(f"no index backend {name!r}; there are: {', '.join(sorted(INDEXES))}") from None
