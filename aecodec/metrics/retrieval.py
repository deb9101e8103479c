"""How well a ranking brings the relevant pictures to the front: average precision, precision within a radius, recall.

A ranking is given by the distances of a query to every row of a database, so that any method can be scored. Hamming
distances are small integers and tie by the thousand, hence every figure states what it does with ties:

- ``row``: equal distances are ranked by row, the lowest first, as an index returns them. If the order of the rows tells
  anything about their classes, shuffle them first.
- ``expected``: the mean over all orders of the tied rows, in closed form (McSherry and Najork 2008, "Computing
  information retrieval performance measures efficiently in the presence of tied scores"). It depends on no order.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import numpy as np

Ties = Literal["row", "expected"]


def _checked(distances: np.ndarray, relevant: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if distances.ndim != 2 or distances.shape != relevant.shape or distances.shape[1] == 0:
        raise ValueError(f"expected two arrays (queries, rows), found {distances.shape} and {relevant.shape}")
    return distances, relevant.astype(bool)


def average_precision(
    distances: np.ndarray, relevant: np.ndarray, *, k: int | None = None, ties: Ties = "row"
) -> np.ndarray:
    """Average precision of each query, (Q,) float64 in [0, 1].

    distances: (Q, N), any real type; relevant: (Q, N), what should come first. Without ``k`` (AP@all) it is the mean,
    over the relevant rows, of the precision at the rank of each. With ``k`` (AP@k) the same over those among the first
    k, as the hashing literature computes it: divided by how many relevant rows the first k hold, 0 where they hold
    none. A query with no relevant row at all scores 0. Raises ValueError for shapes that differ, k < 1, or ``expected``
    with a k, which has no closed form under that division.
    """
    distances, relevant = _checked(distances, relevant)
    if k is not None and k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    if ties == "expected":
        if k is not None:
            raise ValueError("ties='expected' is defined for AP@all only")
        # harmonic[n] = 1 + 1/2 + ... + 1/n
        harmonic = np.concatenate([[0.0], np.cumsum(1.0 / np.arange(1, distances.shape[1] + 1))])
        return np.array([_expected_precision(d, r, harmonic) for d, r in zip(distances, relevant, strict=True)])
    if ties != "row":
        raise ValueError(f"ties are 'row' or 'expected', got {ties!r}")
    return np.array([_precision_by_row(d, r, k) for d, r in zip(distances, relevant, strict=True)])


def _precision_by_row(distances: np.ndarray, relevant: np.ndarray, k: int | None) -> float:
    ranked = relevant[np.argsort(distances, kind="stable")][:k]
    ranks = np.flatnonzero(ranked) + 1
    return float((np.arange(1, len(ranks) + 1) / ranks).mean()) if len(ranks) else 0.0


def _expected_precision(distances: np.ndarray, relevant: np.ndarray, harmonic: np.ndarray) -> float:
    """AP@all averaged over the orders of ties.

    In a group of n tied rows, r of them relevant, after N rows with R relevant ones, place j is relevant with
    probability r / n, and then (j - 1)(r - 1) / (n - 1) more are expected before it in the group. Hence the group adds
    (r / n) * sum over j of (R + 1 + (j - 1)(r - 1) / (n - 1)) / (N + j); with h = sum of 1 / (N + j) the second part
    of it is (r - 1) / (n - 1) * (n - (N + 1) h).
    """
    total = int(relevant.sum())
    if not total:
        return 0.0
    integers = np.issubdtype(distances.dtype, np.unsignedinteger)
    group = distances if integers else np.unique(distances, return_inverse=True)[1]
    n = np.bincount(group).astype(np.float64)
    r = np.bincount(group[relevant], minlength=len(n)).astype(np.float64)
    before, relevant_before = np.cumsum(n) - n, np.cumsum(r) - r
    # Empty groups add nothing: their r is 0.
    h = harmonic[(before + n).astype(np.int64)] - harmonic[before.astype(np.int64)]
    others = np.where(n > 1, (r - 1) / np.maximum(n - 1, 1), 0.0)
    return float((r / np.maximum(n, 1) * ((relevant_before + 1) * h + others * (n - (before + 1) * h))).sum() / total)


def mean_average_precision(
    blocks: Iterable[tuple[np.ndarray, np.ndarray]], *, k: int | None = None, ties: Ties = "row"
) -> float:
    """The mean of `average_precision` over all queries of blocks (distances, relevant). Raises ValueError if none."""
    scores = [average_precision(distances, relevant, k=k, ties=ties) for distances, relevant in blocks]
    if not scores:
        raise ValueError("expected at least one query, found none")
    return float(np.concatenate(scores).mean())


def precision_within(distances: np.ndarray, relevant: np.ndarray, radius: float = 2) -> np.ndarray:
    """Share of relevant rows among those at most ``radius`` away, (Q,) float64; a query that finds none scores 0."""
    distances, relevant = _checked(distances, relevant)
    near = distances <= radius
    found = near.sum(1)
    return np.where(found > 0, (near & relevant).sum(1) / np.maximum(found, 1), 0.0)


def recall_at(distances: np.ndarray, relevant: np.ndarray, k: int = 1) -> np.ndarray:
    """Whether a relevant row is among the first k, ties by row, (Q,) float64 in {0, 1}.

    The measure of a search with one right answer; with several, finding any of them counts.
    """
    distances, relevant = _checked(distances, relevant)
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    first = np.argsort(distances, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(relevant, first, axis=1).any(1).astype(np.float64)
