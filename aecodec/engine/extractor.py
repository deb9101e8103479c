"""Any feature extractor in ONNX as a hasher: its features centred and turned, the signs taken.

A checkpoint of the family FAMILY, which no training makes: the model as it came is its graph, and its configuration
holds the SHA-256 of that, so that the fingerprint is of the model as well as of what was fitted.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from ..contracts import CheckpointError
from ..data import records
from ..zoo.registry import MAX_WIDTH
from ..zoo.stored import Stored
from .networks import OnnxNetworks
from .onnx_file import fault_of

FAMILY = "onnx-hash"
GRAPH, CENTRE, PROJECTION = "features", "fit/centre", "fit/projection"
#: Sides of pictures, in pixels, and bits of a code, at most.
MAX_SIDE, MAX_BITS = 1024, 1024
#: Numbers of a feature vector at most: what is fitted grows with their square.
MAX_FEATURES = 1 << 13
LAYOUTS = ("NCHW", "NHWC")
TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(uint8)": np.uint8}
#: Pictures at once: features of large networks take hundreds of MB for each.
_BATCH = 8
_LEVELS = records.listing(records.number(0, 255), 3)
_FIELDS = {
    "shape": records.Kind(
        f"3 or 1, and two equal sides up to {MAX_SIDE}",
        lambda value: (
            isinstance(value, list)
            and len(value) == 3
            and all(type(side) is int for side in value)
            and value[0] in (1, 3)
            and value[1] == value[2]
            and 1 <= value[1] <= MAX_SIDE
        ),
    ),
    "n_bits": records.Kind(
        f"a multiple of 8 up to {MAX_BITS}", lambda value: type(value) is int and value in range(8, MAX_BITS + 1, 8)
    ),
    "prefixes": records.listing(records.integer(8, MAX_BITS), 8),
    "graph": records.hexadecimal(32),
    "layout": records.one_of(*LAYOUTS),
    "type": records.one_of(*TYPES),
    "input": records.text(),
    "output": records.text(),
    "batch": records.integer(0, 64),
    "range": records.one_of("1", "255"),
    "mean": _LEVELS,
    "deviation": records.listing(records.number(1e-6, 1e6), 3),
    "reversed": records.flag(),
}
#: What tells how it was fitted.
_PERHAPS = {
    "rotation": records.text(),
    "seed": records.integer(0, MAX_WIDTH),
    "pictures": records.integer(0, MAX_WIDTH),
}


class Extractor:
    """A feature extractor, ready to run. config: see FAMILY; graph: the model."""

    def __init__(self, kept: Stored, path: Path) -> None:
        """Raises CheckpointError for a configuration or a model that is not to be trusted."""
        self._path, self.config = path, kept.config
        if wrong := records.misfit(kept.config, _FIELDS, _PERHAPS):
            raise CheckpointError(f"{path}: its configuration is garbled ({wrong})")
        channels = kept.config["shape"][0]
        if not all(len(kept.config[key]) in (1, channels) for key in ("mean", "deviation")):
            raise CheckpointError(f"{path}: mean and deviation are one number, or one for each of {channels} channels")
        graph = kept.graphs.get(GRAPH, b"")
        if hashlib.sha256(graph).hexdigest() != kept.config["graph"]:
            raise CheckpointError(f"{path}: the model in it is not the one that it was made of")
        if wrong := fault_of(graph):
            raise CheckpointError(f"{path}: the model in it is refused: {wrong}")
        self.graph = graph
        self._networks = OnnxNetworks(kept, path)

    def prepared(self, x: np.ndarray) -> np.ndarray:
        """(n, C, H, W) float32 in [0, 1] -> what the model takes, by its range, mean, deviation, axes and type."""
        config = self.config
        kind = TYPES[config["type"]]
        if config["reversed"]:
            x = x[:, ::-1]
        if kind is np.uint8:
            x = np.rint(x * 255)
        else:
            mean, deviation = (np.asarray(config[key], np.float32)[:, None, None] for key in ("mean", "deviation"))
            x = (x * np.float32(config["range"]) - mean) / deviation
        if config["layout"] == "NHWC":
            x = x.transpose(0, 2, 3, 1)
        return np.ascontiguousarray(x, kind)

    def features(self, x: np.ndarray) -> np.ndarray:
        """(n, C, H, W) float32 in [0, 1] -> (n, D) float32. Maps and sequences are averaged over their places.

        Raises CheckpointError where the model gives anything else, or values that are not finite.
        """
        size = self.config["batch"] or _BATCH
        rows = []
        for start in range(0, len(x), size):
            part = x[start : start + size]
            count = len(part)
            if self.config["batch"]:
                part = np.concatenate([part, np.zeros((size - count, *part.shape[1:]), np.float32)])
            given = self._networks.run(GRAPH, {self.config["input"]: self.prepared(part)}, self.config["output"])
            rows.append(self._pooled(given, len(part))[:count])
        return np.concatenate(rows)

    def _pooled(self, given: np.ndarray, count: int) -> np.ndarray:
        if given.ndim not in (2, 3, 4) or len(given) != count or given.dtype.kind not in "fiu":
            raise CheckpointError(
                f"{self._path}: expected a vector or a map for each of {count} pictures, "
                f"got {given.dtype} of {given.shape}"
            )
        if given.ndim == 4:
            given = given.mean((2, 3) if self.config["layout"] == "NCHW" else (1, 2), dtype=np.float32)
        elif given.ndim == 3:
            given = given.mean(1, dtype=np.float32)
        if not 1 <= given.shape[1] <= MAX_FEATURES:
            raise CheckpointError(f"{self._path}: features of {given.shape[1]} numbers; 1 to {MAX_FEATURES} are taken")
        features = given.astype(np.float32)
        if not np.isfinite(features).all():
            raise CheckpointError(f"{self._path}: the model gives features that are not finite")
        return features


class ExtractorNetwork:
    """See `protocol.HashNetwork`; on the CPU, by ONNX Runtime."""

    def __init__(self, kept: Stored, path: Path) -> None:
        """Raises CheckpointError as `Extractor` does, and for a fit that does not go with its configuration."""
        self.name, self.fingerprint, self.config = kept.name, kept.fingerprint, kept.config
        self._path, self._extractor = path, Extractor(kept, path)
        centre, projection = kept.tensors.get(CENTRE), kept.tensors.get(PROJECTION)
        floats = [array for array in (centre, projection) if array is not None and array.dtype == np.float32]
        if len(floats) < 2 or [array.ndim for array in floats] != [1, 2]:
            raise CheckpointError(f"{path}: a centre (D,) and a projection (D, bits) of float32 are missing")
        self._centre, self._projection = floats
        if self._projection.shape != (len(self._centre), self.config["n_bits"]):
            raise CheckpointError(f"{path}: a projection of {self._projection.shape} does not go with its bits")
        lengths = [*self.config["prefixes"], self.config["n_bits"]]
        if lengths != sorted(set(lengths)) or any(length % 8 for length in lengths):
            raise CheckpointError(f"{path}: lengths of {lengths} bits are none of codes in one another")

    def logits(self, x: np.ndarray, bits: int | None = None) -> np.ndarray:
        """See `HashNetwork.logits`."""
        features = self._extractor.features(x)
        if features.shape[1] != len(self._centre):
            raise CheckpointError(
                f"{self._path}: fitted to {len(self._centre)} numbers, the model gives {features.shape[1]}"
            )
        turned: np.ndarray = (features - self._centre) @ self._projection
        return turned
