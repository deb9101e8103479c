"""Laws of the detection metrics: scikit-learn's figures, limit cases, thresholds that keep their promise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from aecodec.metrics.detection import auroc, average_precision, roc_curve, threshold_for

scored = st.lists(st.tuples(st.integers(-5, 5), st.booleans()), min_size=2, max_size=60).filter(
    lambda rows: len({label for _, label in rows}) == 2
)


@settings(deadline=None)
@given(scored)
def test_both_figures_are_those_of_scikit_learn_ties_included(rows):
    scores, labels = np.array([s for s, _ in rows], float), np.array([label for _, label in rows])
    assert auroc(scores, labels) == pytest.approx(roc_auc_score(labels, scores))
    assert average_precision(scores, labels) == pytest.approx(average_precision_score(labels, scores))


@given(scored)
def test_auroc_is_the_chance_of_a_pair_in_order(rows):
    scores, labels = np.array([s for s, _ in rows], float), np.array([label for _, label in rows])
    strange, normal = scores[labels], scores[~labels]
    pairs = (strange[:, None] > normal) + 0.5 * (strange[:, None] == normal)
    assert auroc(scores, labels) == pytest.approx(pairs.mean(), abs=1e-12)
    assert auroc(-scores, labels) == pytest.approx(1.0 - auroc(scores, labels), abs=1e-12)


@given(scored)
def test_a_roc_curve_climbs_from_nothing_to_everything(rows):
    scores, labels = np.array([s for s, _ in rows], float), np.array([label for _, label in rows])
    false, true = roc_curve(scores, labels)
    assert (false[0], true[0], false[-1], true[-1]) == (0.0, 0.0, 1.0, 1.0)
    assert (np.diff(false) >= 0).all()
    assert (np.diff(true) >= 0).all()


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
