import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kendalltau

from service.ranking.lists import Lists
from service.ranking.rank_change import kendall_tau_b, ranking_of

SCORES = st.integers(-5, 5) | st.just(float("-inf"))
PAIRED = st.lists(st.lists(st.tuples(SCORES, SCORES), min_size=1, max_size=40), min_size=1, max_size=8)


def lists_of(*lengths):
    return Lists.of_lengths(np.array(lengths))


def tau(first, second, lists):
    return kendall_tau_b(ranking_of(first, lists).codes, ranking_of(second, lists).codes, lists)


def test_the_best_score_of_each_list_is_first_and_equal_scores_keep_the_given_order():
    ranking = ranking_of(np.array([1.0, 3.0, 3.0, -np.inf, 5.0, 6.0]), lists_of(4, 2))

    assert ranking.places.tolist() == [2, 0, 1, 3, 1, 0]
    assert ranking.codes.tolist() == [1, 0, 0, 2, 1, 0]


def test_places_are_those_of_an_answer():
    random = np.random.default_rng(0)
    scores = random.integers(0, 9, 50).astype(float)

    places = ranking_of(scores, lists_of(50)).places

    assert np.argsort(places).tolist() == np.argsort(-scores, kind="stable").tolist()


def test_tau_by_hand():
    # Of three pairs two agree and one does not; then none; then all.
    first = np.array([3.0, 2.0, 1.0] * 3)
    second = np.array([3.0, 1.0, 2.0, 1.0, 2.0, 3.0, 30.0, 20.0, 10.0])

    assert tau(first, second, lists_of(3, 3, 3)).tolist() == pytest.approx([1 / 3, -1.0, 1.0])


def test_a_tie_counts_for_neither_side():
    # Pairs: (a, b) tied at first, (a, c) and (b, c) agree: 2 / sqrt((3 - 1) * 3).
    found = tau(np.array([2.0, 2.0, 1.0]), np.array([3.0, 2.0, 1.0]), lists_of(3))

    assert found.tolist() == pytest.approx([2 / np.sqrt(6)])


def test_tau_is_not_defined_where_a_side_tells_no_two_candidates_apart():
    found = tau(np.array([1.0, 1.0, 7.0, 1.0, 2.0]), np.array([1.0, 2.0, 7.0, 1.0, 2.0]), lists_of(2, 1, 2))

    assert np.isnan(found).tolist() == [True, True, False]


@given(PAIRED)
def test_tau_of_many_lists_with_ties_is_what_scipy_gives_for_each(rows):
    lists = lists_of(*map(len, rows))
    first, second = np.array([pair for row in rows for pair in row], dtype=float).T

    found = tau(first, second, lists)

    for row, mine in zip(rows, found, strict=True):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            theirs = kendalltau(*np.array(row, dtype=float).T).statistic
        assert mine == pytest.approx(theirs, abs=1e-12, nan_ok=True)


@given(st.lists(st.integers(1, 30), min_size=1, max_size=6), st.randoms(use_true_random=False))
def test_without_ties_the_same_order_is_one_and_the_reverse_is_minus_one(lengths, random):
    lists = lists_of(*(length + 1 for length in lengths))
    scores = np.array(random.sample(range(lists.size), lists.size), dtype=float)

    assert tau(scores, np.exp(scores / lists.size), lists).tolist() == pytest.approx([1.0] * len(lengths))
    assert tau(scores, -scores, lists).tolist() == pytest.approx([-1.0] * len(lengths))


def test_a_list_of_ten_thousand_takes_no_time_that_grows_with_its_square():
    random = np.random.default_rng(1)
    first, second = random.random(10_000), random.random(10_000)

    assert tau(first, second, lists_of(10_000))[0] == pytest.approx(kendalltau(first, second).statistic, abs=1e-12)
