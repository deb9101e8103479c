"""How well a score tells anomalies from normal items: ROC curve, AUROC, average precision, and thresholds."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..contracts import MissingDependencyError


def _ranked(scores: np.ndarray, anomalous: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Labels (n,) bool, and scores as their ranks (n,), equal scores alike: no figure here depends on more of them."""
    scores, anomalous = np.asarray(scores, np.float64), np.asarray(anomalous, bool)
    if scores.ndim != 1 or scores.shape != anomalous.shape:
        raise ValueError(f"expected scores and labels of one shape (n,), found {scores.shape} and {anomalous.shape}")
    if not anomalous.any() or anomalous.all():
        raise ValueError("expected both normal and anomalous items, found one kind only")
    if np.isnan(scores).any():
        raise ValueError("a score is not a number")
    # Ranks, since scikit-learn takes no infinite scores.
    return anomalous, np.unique(scores, return_inverse=True)[1]


def _sklearn() -> Any:
    """The module sklearn.metrics. Raises MissingDependencyError."""
    try:
        import sklearn.metrics
    except ImportError as error:
        raise MissingDependencyError(
            f"figures of detection need scikit-learn: pip install 'aecodec[bench]' ({error})"
        ) from error
    return sklearn.metrics


def roc_curve(scores: np.ndarray, anomalous: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """False- and true-alarm rates at every threshold from the highest score down, both from 0 to 1.

    scores: (n,) larger for anomalies; anomalous: (n,) bool. Equal scores fall together. Raises ValueError unless both
    kinds of items are there, and for NaN; MissingDependencyError without scikit-learn.
    """
    labels, ranks = _ranked(scores, anomalous)
    false, true, _ = _sklearn().roc_curve(labels, ranks, drop_intermediate=False)
    return false, true


def auroc(scores: np.ndarray, anomalous: np.ndarray) -> float:
    """The chance that a random anomaly scores above a random normal item, ties counting half. As `roc_curve`."""
    labels, ranks = _ranked(scores, anomalous)
    return float(_sklearn().roc_auc_score(labels, ranks))


def average_precision(scores: np.ndarray, anomalous: np.ndarray) -> float:
    """Sum of precision times gain in recall over the thresholds, no interpolation. As `roc_curve`."""
    labels, ranks = _ranked(scores, anomalous)
    return float(_sklearn().average_precision_score(labels, ranks))


def threshold_for(normal_scores: np.ndarray, false_alarm_rate: float) -> float:
    """The lowest threshold that at most this share of normal scores lie above. Raises ValueError.

    normal_scores: (n,), n at least 1, of items that were not trained on; false_alarm_rate in [0, 1).
    """
    scores = np.sort(np.asarray(normal_scores, np.float64))
    if scores.ndim != 1 or not len(scores):
        raise ValueError("expected the scores of some normal items, found none")
    if not 0.0 <= false_alarm_rate < 1.0:
        raise ValueError(f"a false-alarm rate lies in [0, 1), found {false_alarm_rate}")
    allowed = int(np.floor(false_alarm_rate * len(scores)))
    return float(scores[len(scores) - 1 - allowed])
