"""Retrieval metrics against their definitions, written out slowly."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aecodec.metrics import average_precision, mean_average_precision, precision_within, recall_at


def precision_of_order(ranked: list[bool], k: int | None) -> float:
    """AP of one ranking by its definition: the precision at each relevant rank among the first k, averaged."""
    ranked = ranked[:k]
    precisions = [sum(ranked[: i + 1]) / (i + 1) for i, hit in enumerate(ranked) if hit]
    return sum(precisions) / len(precisions) if precisions else 0.0


def ranking(distances: np.ndarray, relevant: np.ndarray) -> list[bool]:
    order = sorted(range(len(distances)), key=lambda row: (distances[row], row))
    return [bool(relevant[row]) for row in order]


@st.composite
def searches(draw: st.DrawFn, most: int = 24) -> tuple[np.ndarray, np.ndarray]:
    """(1, n) distances with many ties and (1, n) relevance."""
    n = draw(st.integers(1, most))
    distances = draw(st.lists(st.integers(0, 5), min_size=n, max_size=n))
    relevant = draw(st.lists(st.booleans(), min_size=n, max_size=n))
    return np.array([distances], np.uint16), np.array([relevant])


@given(searches(), st.integers(1, 30))
def test_average_precision_by_row_is_its_definition(search, k):
    distances, relevant = search
    for cut in (None, k):
        expected = precision_of_order(ranking(distances[0], relevant[0]), cut)
        assert average_precision(distances, relevant, k=cut)[0] == pytest.approx(expected)


@settings(max_examples=40)
@given(searches(most=6))
def test_expected_average_precision_is_the_mean_over_all_orders_of_ties(search):
    distances, relevant = search
    n = distances.shape[1]
    scores = []
    for order in permutations(range(n)):
        rows = list(order)
        scores.append(precision_of_order(ranking(distances[0][rows], relevant[0][rows]), None))
    assert average_precision(distances, relevant, ties="expected")[0] == pytest.approx(np.mean(scores))


@given(searches())
def test_expected_average_precision_does_not_depend_on_the_type_of_the_distances(search):
    distances, relevant = search
    whole = average_precision(distances, relevant, ties="expected")
    assert average_precision(distances / 7.0 - 3.0, relevant, ties="expected") == pytest.approx(whole)


@given(searches(most=40))
def test_without_ties_both_rules_agree(search):
    _, relevant = search
    distances = np.random.default_rng(0).permutation(relevant.shape[1])[None].astype(np.float32)
    by_row = average_precision(distances, relevant)
    assert average_precision(distances, relevant, ties="expected") == pytest.approx(by_row)


def test_a_perfect_ranking_scores_one_and_a_query_without_answers_zero():
    distances = np.array([[0, 1, 2, 3]] * 2, np.uint16)
    relevant = np.array([[True, True, False, False], [False] * 4])
    assert average_precision(distances, relevant).tolist() == [1.0, 0.0]
    assert average_precision(distances, relevant, k=1).tolist() == [1.0, 0.0]
    assert average_precision(distances, relevant, ties="expected").tolist() == [1.0, 0.0]


def test_the_mean_is_over_queries_not_over_blocks():
    rng = np.random.default_rng(1)
    distances, relevant = rng.integers(0, 9, (7, 30)), rng.random((7, 30)) < 0.3
    blocks = [(distances[:2], relevant[:2]), (distances[2:], relevant[2:])]
    assert mean_average_precision(blocks, k=10) == pytest.approx(average_precision(distances, relevant, k=10).mean())


@given(searches(), st.integers(0, 6), st.integers(1, 30))
def test_precision_within_a_radius_and_recall_are_their_definitions(search, radius, k):
    distances, relevant = search
    inside = [r for d, r in zip(distances[0], relevant[0], strict=True) if d <= radius]
    precision = sum(inside) / len(inside) if inside else 0.0
    assert precision_within(distances, relevant, radius)[0] == pytest.approx(precision)
    assert recall_at(distances, relevant, k)[0] == float(any(ranking(distances[0], relevant[0])[:k]))


def test_what_cannot_be_scored_is_refused():
    distances, relevant = np.zeros((1, 3), np.uint16), np.zeros((1, 3), bool)
    for wrong in ({"k": 0}, {"k": 2, "ties": "expected"}, {"ties": "lucky"}):
        with pytest.raises(ValueError, match=r"k must|AP@all only|ties are"):
            average_precision(distances, relevant, **wrong)
    with pytest.raises(ValueError, match="expected two arrays"):
        average_precision(distances, relevant[:, :2])
    with pytest.raises(ValueError, match="at least one query"):
        mean_average_precision([])
