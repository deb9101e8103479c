"""A checkpoint's graphs run by ONNX Runtime, each session made when it is first needed, its weights handed over."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..contracts import CheckpointError, OutOfMemoryError
from ..parallel import Lock, after_fork
from ..zoo.stored import Stored

#: Releases before it lack external initialisers from memory.
OLDEST = (1, 17)
#: CPU threads of sessions that are made from now on; 0: one per core.
_threads = 0


def limit_threads(count: int) -> None:
    """CPU threads of each session that is made from now on."""
    global _threads
    _threads = count


def threads() -> int:
    """CPU threads of each session that is made from now on; 0: one per core."""
    return _threads


def runtime() -> Any:
    """The package onnxruntime. Raises CheckpointError if it is missing or too old: no model runs.

    Some of its releases tell their maker how they are used, and keep a number of this machine, unless a variable says
    before they are imported that they may not: nothing here speaks to anybody who was not asked for. Their thread for
    that would also keep a forked child from ending.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        import onnxruntime
    except ImportError as error:
        missing = CheckpointError("the models need the package onnxruntime: pip install onnxruntime")
        raise OutOfMemoryError.below(error) or missing from error
    if tuple(int(part) for part in onnxruntime.__version__.split(".")[:2]) < OLDEST:
        wanted = ".".join(map(str, OLDEST))
        raise CheckpointError(f"the models need onnxruntime {wanted} or later, found {onnxruntime.__version__}")
    return onnxruntime


def holds_weight(graph: bytes, weight: str) -> bool:
    """Whether a serialised graph has an initialiser of a name: field 8 of a TensorProto, a string and its length."""
    name = weight.encode()
    return len(name) < 128 and b"\x42" + bytes([len(name)]) + name in graph


def _reason(error: Exception) -> str:
    """The first line of what an error says."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


class OnnxNetworks:
    """See `latents.protocol.Networks`. May be called from several threads, and in forked children."""

    def __init__(self, stored: Stored, path: Path, lean: Iterable[str] = ()) -> None:
        """path: of the checkpoint, for errors; lean: networks that give their memory back after each run, of which much
        is needed at once. Raises CheckpointError without onnxruntime."""
        self._lean = frozenset(lean)
        self._runtime, self._stored, self._path = runtime(), stored, path
        self._sessions: dict[str, Any] = {}
        self._lock = Lock()
        after_fork(self._forget)

    def _forget(self) -> None:
        """In a forked child: sessions whose threads did not come along are never used again.

        Nor are they ever taken down, which would wait for those threads: a reference is left that nobody gives back.
        """
        for session in self._sessions.values():
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(session))
        self._sessions = {}

    def __call__(self, name: str, /, **inputs: np.ndarray) -> np.ndarray:
        """Run a network. Raises CheckpointError if its graph is missing or no graph, or cannot take the inputs."""
        return self.run(name, inputs)

    def several(self, name: str, outputs: tuple[str, ...], /, **inputs: np.ndarray) -> list[np.ndarray]:
        """Run a network that gives several results. Raises as it does where it gives one."""
        return self._run(name, inputs, list(outputs))

    def run(self, name: str, inputs: Mapping[str, np.ndarray], output: str | None = None) -> np.ndarray:
        """The same with inputs of any names. output: by name, the first unless given."""
        return self._run(name, inputs, None if output is None else [output])[0]

    def _run(self, name: str, inputs: Mapping[str, np.ndarray], outputs: list[str] | None) -> list[np.ndarray]:
        session = self._session(name)
        taken = {key: np.ascontiguousarray(value) for key, value in inputs.items()}
        try:
            results = session.run(outputs, taken)
        except Exception as error:  # whatever onnxruntime raises of its own
            fails = CheckpointError(f"{self._path}: its network {name} fails ({_reason(error)})")
            raise OutOfMemoryError.below(error) or fails from error
        if not results or not all(isinstance(result, np.ndarray) for result in results):
            raise CheckpointError(f"{self._path}: its network {name} gives no array")
        return list(results)

    def hold(self, names: Iterable[str]) -> bool:
        """Whether the checkpoint has the graphs of all of these networks."""
        return all(name in self._stored.graphs for name in names)

    def ends(self, name: str) -> tuple[list[Any], list[Any]]:
        """What a network takes and gives, as ONNX Runtime tells it: name, type and shape of each. Raises as `run`."""
        session = self._session(name)
        return list(session.get_inputs()), list(session.get_outputs())

    def _session(self, name: str) -> Any:
        with self._lock:
            if name not in self._sessions:
                self._sessions[name] = self._open(name)
            return self._sessions[name]

    def _open(self, name: str) -> Any:
        if name not in self._stored.graphs:
            raise CheckpointError(f"{self._path}: holds no graph of its network {name}")
        options = self._runtime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = _threads, 1
        # Threads that wait in a loop for each other take a quarter more CPU time, and on busy cores half as long again.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 4
        options.enable_cpu_mem_arena = options.enable_mem_pattern = name not in self._lean
        graph = self._stored.graphs[name]
        names = [key for key in self._stored.tensors if holds_weight(graph, key)]
        weights = [
            self._runtime.OrtValue.ortvalue_from_numpy(
                value.astype(np.float32) if value.dtype == np.float16 else np.ascontiguousarray(value)
            )
            for value in (self._stored.tensors[key] for key in names)
        ]
        try:
            options.add_external_initializers(names, weights)
            return self._runtime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # whatever onnxruntime raises of its own
            fails = CheckpointError(f"{self._path}: the graph of its network {name} cannot be run ({_reason(error)})")
            raise OutOfMemoryError.below(error) or fails from error
