"""How well a score tells anomalies from normal items: ROC curve, AUROC, average precision, and thresholds."""

from __future__ import annotations

import numpy as np


def _checked(scores: np.ndarray, anomalous: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    scores, anomalous = np.asarray(scores, np.float64), np.asarray(anomalous, bool)
    if scores.ndim != 1 or scores.shape != anomalous.shape:
        raise ValueError(f"expected scores and labels of one shape (n,), found {scores.shape} and {anomalous.shape}")
    if not anomalous.any() or anomalous.all():
        raise ValueError("expected both normal and anomalous items, found one kind only")
    if np.isnan(scores).any():
        raise ValueError("a score is not a number")
    return scores, anomalous


def roc_curve(scores: np.ndarray, anomalous: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """False- and true-alarm rates at every threshold from the highest score down, both from 0 to 1.

    scores: (n,) larger for anomalies; anomalous: (n,) bool. Equal scores fall together. Raises ValueError unless both
    kinds of items are there.
    """
    scores, anomalous = _checked(scores, anomalous)
    order = np.argsort(-scores, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)
    true = np.cumsum(anomalous[order])[ends]
    false = ends + 1 - true
    return np.append(0.0, false / (~anomalous).sum()), np.append(0.0, true / anomalous.sum())


def auroc(scores: np.ndarray, anomalous: np.ndarray) -> float:
    """The chance that a random anomaly scores above a random normal item, ties counting half. As `roc_curve`."""
    false, true = roc_curve(scores, anomalous)
    return float(np.sum(np.diff(false) * (true[1:] + true[:-1]) / 2.0))


def average_precision(scores: np.ndarray, anomalous: np.ndarray) -> float:
    """Sum of precision times gain in recall over the thresholds, no interpolation. As `roc_curve`."""
    scores, anomalous = _checked(scores, anomalous)
    order = np.argsort(-scores, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)
    true = np.cumsum(anomalous[order])[ends]
    gained = np.diff(np.append(0, true)) / anomalous.sum()
    return float(np.sum(gained * true / (ends + 1)))


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
