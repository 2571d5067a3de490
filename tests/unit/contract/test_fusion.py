"""Fusion: a profile is checked before it scores."""

import math

import numpy as np
import pytest

from contract.errors import FormulaError, ScoreError
from contract.fusion import FusionProfile, compile_fusion

HEADS = {"ctr": "head (probability)"}


def test_a_score_that_is_not_finite_ranks_last_and_is_counted():
    fusion = compile_fusion(FusionProfile(formula="rank(ctr)"), HEADS)

    scores, bad = fusion.score({"ctr": [0.1, math.nan, 0.2]}, 3)

    assert (scores.tolist(), bad) == ([0, -math.inf, 1], 1)


def test_a_strict_profile_refuses_such_a_score():
    fusion = compile_fusion(FusionProfile(formula="1 / ctr", non_finite="fail"), HEADS)

    with pytest.raises(ScoreError, match="candidate 1"):
        fusion.score({"ctr": [1.0, 0.0]}, 2)


def test_a_request_may_replace_one_weight():
    fusion = compile_fusion(FusionProfile(formula="w * ctr", weights={"w": 2}), HEADS)

    assert fusion.score({"ctr": [1.0]}, 1, weights={"w": 3})[0].tolist() == [3]
    assert fusion.reads == {"ctr"}


@pytest.mark.parametrize("weights", [{"ctr": 1}, {"log": 1}, {"unread": 1}])
def test_a_weight_that_hides_a_name_or_is_unread_is_refused(weights):
    with pytest.raises(FormulaError, match="the weight"):
        compile_fusion(FusionProfile(formula="ctr", weights=weights), HEADS)


def test_a_formula_of_weights_alone_is_refused_since_it_ranks_nothing():
    with pytest.raises(FormulaError, match="weights alone"):
        compile_fusion(FusionProfile(formula="2 * w", weights={"w": 1}), HEADS)


def test_scoring_leaves_the_heads_as_they_were():
    fusion = compile_fusion(FusionProfile(formula="ctr"), HEADS)
    heads = {"ctr": np.array([0.1, math.nan])}

    fusion.score(heads, 2)

    np.testing.assert_array_equal(heads["ctr"], [0.1, math.nan])


@pytest.mark.filterwarnings("error")
def test_scores_near_the_largest_float_are_finite():
    fusion = compile_fusion(FusionProfile(formula="ctr * 1e300"), HEADS)

    scores, bad = fusion.score({"ctr": [1.0, 1e3, 1e9]}, 3)

    assert (scores.tolist(), bad) == ([1e300, 1e303, -math.inf], 1)


@pytest.mark.parametrize("size", [1, 8_192, 8_193, 20_000])
@pytest.mark.parametrize("broken", [math.nan, math.inf, -math.inf])
def test_one_score_that_is_not_finite_is_found_wherever_it_stands(size, broken):
    fusion = compile_fusion(FusionProfile(formula="2 * ctr"), HEADS)
    heads = np.ones(size)
    heads[size // 2] = broken

    scores, bad = fusion.score({"ctr": heads}, size)

    assert (scores[size // 2], bad) == (-math.inf, 1)
