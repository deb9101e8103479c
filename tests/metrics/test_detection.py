"""Laws of the detection metrics: their definitions, limit cases, thresholds that keep their promise."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from extras import needs
from hypothesis import given
from hypothesis import strategies as st

from aecodec.contracts import MissingDependencyError
from aecodec.metrics.detection import auroc, average_precision, roc_curve, threshold_for

scored = st.lists(st.tuples(st.integers(-5, 5), st.booleans()), min_size=2, max_size=60).filter(
    lambda rows: len({label for _, label in rows}) == 2
)


@needs("sklearn")
@given(scored)
def test_average_precision_is_precision_times_gain_in_recall(rows):
    scores, labels = np.array([s for s, _ in rows], float), np.array([label for _, label in rows])
    expected, recalled = 0.0, 0.0
    for threshold in sorted(set(scores.tolist()), reverse=True):
        reported = scores >= threshold
        recall = (reported & labels).sum() / labels.sum()
        expected += (recall - recalled) * (reported & labels).sum() / reported.sum()
        recalled = recall
    assert average_precision(scores, labels) == pytest.approx(expected, abs=1e-12)


@needs("sklearn")
@given(scored)
def test_auroc_is_the_chance_of_a_pair_in_order(rows):
    scores, labels = np.array([s for s, _ in rows], float), np.array([label for _, label in rows])
    strange, normal = scores[labels], scores[~labels]
    pairs = (strange[:, None] > normal) + 0.5 * (strange[:, None] == normal)
    assert auroc(scores, labels) == pytest.approx(pairs.mean(), abs=1e-12)
    assert auroc(-scores, labels) == pytest.approx(1.0 - auroc(scores, labels), abs=1e-12)


@needs("sklearn")
@given(scored)
def test_a_roc_curve_has_the_rates_of_every_threshold(rows):
    scores, labels = np.array([s for s, _ in rows], float), np.array([label for _, label in rows])
    false, true = roc_curve(scores, labels)
    thresholds = [np.inf, *sorted(set(scores.tolist()), reverse=True)]
    assert false.tolist() == pytest.approx([(scores[~labels] >= limit).mean() for limit in thresholds])
    assert true.tolist() == pytest.approx([(scores[labels] >= limit).mean() for limit in thresholds])


@needs("sklearn")
def test_infinite_scores_are_scores():
    scores, labels = np.array([-np.inf, 1.0, 2.0, np.inf]), np.array([False, True, False, True])
    assert auroc(scores, labels) == 0.75
    assert average_precision(scores, labels) == pytest.approx((1 + 2 / 3) / 2)


def test_without_scikit_learn_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.metrics", None)
    with pytest.raises(MissingDependencyError, match=r"aecodec\[bench\]"):
        auroc(np.array([1.0, 2.0]), np.array([True, False]))


@given(st.lists(st.floats(-10, 10), min_size=1, max_size=50), st.floats(0, 0.99))
def test_a_threshold_keeps_its_rate_and_is_the_lowest_that_does(scores, rate):
    values = np.array(scores)
    threshold = threshold_for(values, rate)
    assert (values > threshold).mean() <= rate
    below = values[values < threshold]
    if len(below):
        assert (values > below.max()).mean() > rate


def test_what_makes_no_sense_is_refused():
    with pytest.raises(ValueError, match="one kind only"):
        auroc(np.array([1.0, 2.0]), np.array([True, True]))
    with pytest.raises(ValueError, match="one shape"):
        auroc(np.array([1.0]), np.array([True, False]))
    with pytest.raises(ValueError, match="not a number"):
        auroc(np.array([1.0, np.nan]), np.array([True, False]))
    with pytest.raises(ValueError, match="rate"):
        threshold_for(np.array([1.0]), 1.0)
    with pytest.raises(ValueError, match="none"):
        threshold_for(np.array([]), 0.1)
