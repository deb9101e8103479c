"""Part-segmented 3D shapes: surface points with part numbers, turned upright and into labelled voxels."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..contracts import ImageReadError
from .arrays import array_names, open_arrays

#: Voxels along each side, and part labels besides 0 (empty); further parts share the last label.
SIDE = 16
PARTS = 8
#: The largest coordinate: its third power, summed, is a number.
LARGEST = 1e9


def holds_shapes(source: str | Path) -> bool:
    """Whether the source is an .npz with arrays ``points`` and ``segment``."""
    return {"points", "segment"} <= array_names(source)


def read_shapes(source: str | Path) -> np.ndarray:
    """``points`` (N, P, 3) and ``segment`` (N, P) -> (N, SIDE, SIDE, SIDE) uint8 labels. Raises ImageReadError."""
    with open_arrays(source, "file of shapes") as pack:
        points, segment = pack["points"], pack["segment"]
    if points.ndim != 3 or points.shape[2] != 3 or segment.shape != points.shape[:2] or not points.size:
        raise ImageReadError(f"{source}: points {points.shape} and segment {segment.shape} do not fit each other")
    if segment.dtype.kind not in "iu" or np.abs(points).max() > LARGEST:
        raise ImageReadError(f"{source}: points within {LARGEST:g} and whole numbers of parts are expected")
    points, segment = points.astype(np.float64), segment.astype(np.int64)
    return np.stack([voxelise(upright(p), ordered_parts(p, s)) for p, s in zip(points, segment, strict=True)])


def upright(points: np.ndarray) -> np.ndarray:
    """Points (P, 3) in the axes of their own inertia: longest first, each pointing where the longer tail is.

    Poses of the files differ; this gives alike shapes alike poses, up to the ties of symmetric ones.
    """
    centred = points - points.mean(0)
    axes = np.linalg.eigh(centred.T @ centred)[1][:, ::-1]
    turned = centred @ axes
    signs = np.where((turned**3).sum(0) < 0, -1.0, 1.0)
    return turned * signs


def ordered_parts(points: np.ndarray, segment: np.ndarray) -> np.ndarray:
    """Part numbers of one shape -> 1, 2, ... by falling number of points (ties: nearest to the middle first), (P,)."""
    names, inverse, counts = np.unique(segment, return_inverse=True, return_counts=True)
    middle = points.mean(0)
    away = np.array([np.linalg.norm(points[segment == name].mean(0) - middle) for name in names])
    rank = np.empty(len(names), np.int64)
    rank[np.lexsort((away, -counts))] = np.arange(1, len(names) + 1)
    return np.minimum(rank[inverse], PARTS)


def voxelise(points: np.ndarray, labels: np.ndarray, side: int = SIDE) -> np.ndarray:
    """Points (P, 3) and labels (P,) >= 1 -> (side, side, side) uint8: in each voxel the most frequent label, or 0.

    The longest extent fills the grid but for a margin of one voxel; the shape stands in the middle.
    """
    low, high = points.min(0), points.max(0)
    scale = (side - 2) / max(float((high - low).max()), 1e-9)
    cells = np.clip(np.floor((points - (low + high) / 2) * scale + side / 2), 0, side - 1).astype(np.int64)
    votes = np.zeros((side, side, side, int(labels.max()) + 1), np.int64)
    np.add.at(votes, (*cells.T, labels), 1)
    return votes.argmax(3).astype(np.uint8)
