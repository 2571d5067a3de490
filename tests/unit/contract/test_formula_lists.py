"""Functions over the candidates of a request, for one request and for many end to end."""

import math
from itertools import pairwise

import numpy as np
import pytest

from contract.errors import ScoreError
from contract.formula import compile_formula
from contract.fusion import FusionProfile, compile_fusion
from tests.formulas import LISTWISE

NAN, INF = math.nan, math.inf


@pytest.mark.parametrize("function", LISTWISE)
@pytest.mark.parametrize("broken", [NAN, INF, -INF])
def test_a_candidate_without_a_finite_value_does_not_disturb_the_others(function, broken):
    run = compile_formula(f"{function}(a)", {"a"})

    scores = run({"a": [3.0, broken, 1.0, 2.0]}, 4)

    assert math.isnan(scores[1])
    assert scores[[0, 2, 3]].tolist() == run({"a": [3.0, 1.0, 2.0]}, 3).tolist()


@pytest.mark.parametrize(("function", "alone"), [("rank", 1), ("zscore", 0), ("minmax", 0), ("softmax", 1)])
def test_a_list_of_one_has_a_defined_answer(function, alone):
    run = compile_formula(f"{function}(a)", {"a"})

    assert run({"a": [7.5]}, 1).tolist() == [alone]
    assert run({"a": []}, 0).tolist() == []
    assert run({"a": [7.5, 1.0, 1.0, 8.0]}, 4, np.array([0, 1, 1, 3, 4]))[[0, 3]].tolist() == [alone, alone]


def test_equal_values_have_a_zscore_of_nought():
    assert compile_formula("zscore(a)", {"a"})({"a": [0.1] * 3}, 3).tolist() == [0, 0, 0]


def test_rank_gives_one_to_the_best_and_ties_their_mean():
    assert compile_formula("rank(a)", {"a"})({"a": [1, 5, 5, 9]}, 4).tolist() == [0, 0.5, 0.5, 1]


@pytest.mark.parametrize("function", LISTWISE)
def test_hundreds_of_long_lists_score_as_each_by_itself_to_the_last_bit(function):
    rng = np.random.default_rng(5)
    offsets = np.cumsum([0, *rng.integers(0, 300, size=200)])
    size = int(offsets[-1])
    column = np.where(rng.random(size) < 0.02, np.nan, np.round(rng.normal(size=size), 2)).astype(np.float32)
    run = compile_formula(f"{function}(a) + a", {"a"})

    together = run({"a": column}, size, offsets)

    alone = [run({"a": column[start:stop]}, stop - start) for start, stop in pairwise(offsets)]
    assert np.isnan(together).sum() == np.isnan(column).sum() > 0
    np.testing.assert_array_equal(together, np.concatenate(alone))


def test_a_list_without_any_finite_value_leaves_the_next_one_alone():
    scores = compile_formula("minmax(a)", {"a"})({"a": [NAN, INF, 1.0, 3.0, NAN]}, 5, np.array([0, 2, 4, 5]))

    np.testing.assert_array_equal(scores, [NAN, NAN, 0, 1, NAN])


@pytest.mark.parametrize("lists", [[], [0, 2], [1, 3], [0, 2, 1, 3]])
def test_lists_that_do_not_part_the_candidates_are_refused(lists):
    with pytest.raises(ValueError, match="from 0 to the 3 candidates"):
        compile_formula("rank(a)", {"a"})({"a": [1.0, 2.0, 3.0]}, 3, np.array(lists, dtype=np.int64))


def test_a_fusion_scores_several_requests_at_once_with_the_same_policy_for_all():
    profile = FusionProfile(formula="w * rank(ctr)", weights={"w": 2.0})
    heads, lists = {"ctr": np.array([0.1, 0.3, NAN, 0.9, 0.2], dtype=np.float32)}, np.array([0, 3, 5])

    scores, bad = compile_fusion(profile, {"ctr": "head"}).score(heads, 5, lists=lists)

    assert (scores.tolist(), bad) == ([0, 2, -INF, 2, 0], 1)
    strict = compile_fusion(profile.model_copy(update={"non_finite": "fail"}), {"ctr": "head"})
    with pytest.raises(ScoreError, match="candidate 2"):
        strict.score(heads, 5, lists=lists)
