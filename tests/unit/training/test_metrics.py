"""Metrics against values worked out by hand and against slow, obvious definitions."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training import metrics


def _slow_auc(labels, scores):
    wins = [
        1.0 if a > b else 0.5 if a == b else 0.0
        for a, la in zip(scores, labels, strict=True)
        for b, lb in zip(scores, labels, strict=True)
        if la > lb
    ]
    return sum(wins) / len(wins) if wins else math.nan


rows = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 1), st.integers(-3, 3)), min_size=1, max_size=40)


@given(rows)
def test_auc_of_every_group_is_the_share_of_pairs_in_the_right_order(rows):
    groups, labels, scores = (np.array(column) for column in zip(*rows, strict=True))
    slow = [_slow_auc(labels[groups == g], scores[groups == g]) for g in np.unique(groups)]
    kept = [value for value in slow if not math.isnan(value)]

    got = metrics.grouped_auc(labels, scores.astype(float), groups, weighting="uniform")

    assert got.groups == len(kept)
    assert got.skipped == len(slow) - len(kept)
    assert got.value == pytest.approx(np.mean(kept)) if kept else math.isnan(got.value)


def test_row_weighted_gauc_weighs_groups_by_their_rows():
    labels = np.array([1, 0, 1, 0, 0, 0])
    scores = np.array([2.0, 1.0, 0.0, 1.0, 2.0, 3.0])
    groups = np.array([0, 0, 1, 1, 1, 1])

    assert metrics.grouped_auc(labels, scores, groups, weighting="rows").value == pytest.approx(2 / 6)
    assert metrics.grouped_auc(labels, scores, groups, weighting="uniform").value == pytest.approx(0.5)


def test_ndcg_of_the_third_place_is_one_half():
    labels, scores = np.array([0, 0, 1.0]), np.array([3.0, 2.0, 1.0])

    assert metrics.ndcg_at(labels, scores, np.zeros(3), k=10) == pytest.approx(0.5)
    assert metrics.ndcg_at(labels, scores, np.zeros(3), k=2) == 0.0


def test_lists_without_a_positive_do_not_count_in_ndcg():
    labels, lists = np.array([1.0, 0, 0, 0]), np.array([0, 0, 1, 1])

    assert metrics.ndcg_at(labels, np.array([2.0, 1, 2, 1]), lists) == 1.0


def test_xauc_counts_tied_predictions_as_half_right():
    truth = np.array([1.0, 2.0, 3.0])

    assert metrics.xauc(truth, np.zeros(3)) == pytest.approx(0.5)
    assert metrics.xauc(truth, truth) == 1.0


def test_bias_is_negative_when_predictions_are_too_short():
    assert metrics.duration_bias(np.array([10.0, 10.0]), np.array([5.0, 5.0])) == pytest.approx(-1.0)


def test_pgr_is_mean_predicted_over_mean_observed():
    assert metrics.predicted_over_observed(np.array([10.0, 30.0]), np.array([5.0, 5.0])) == 0.25
    assert math.isnan(metrics.predicted_over_observed(np.zeros(2), np.ones(2)))


def test_the_bias_table_shows_parts_that_cancel_in_the_total():
    truth, predicted = np.array([30.0, 10.0, 10.0, 30.0]), np.array([40.0, 20.0, 20.0, 0.0])

    table = metrics.bias_table(truth, predicted, bins=2)

    assert metrics.duration_bias(truth, predicted) == 0.0
    assert table == [
        {"predicted": 10.0, "observed": 20.0, "rows": 2, "bias_tre": -1.0},
        {"predicted": 30.0, "observed": 20.0, "rows": 2, "bias_tre": pytest.approx(1 / 3)},
    ]


def test_spearman_of_a_rising_map_is_one():
    values = np.array([3.0, 1.0, 2.0])

    assert metrics.spearman(values, np.exp(values)) == pytest.approx(1.0)


def test_a_single_class_has_no_auc():
    assert math.isnan(metrics.auc(np.zeros(3), np.arange(3.0)))
