"""A utility is a formula over outcomes, and nothing else."""

import numpy as np
import pytest

from contract.fusion_bundle import Utility
from tests.unit.training.fusing.logs import make_log, some_log
from training.errors import UtilityError
from training.fusing.utility import gain

NAN = float("nan")


def _log(click, duration):
    rows = len(click)
    heads = {name: np.full(rows, 0.5) for name in ("ctr", "duration_seconds", "price")}
    return make_log({**heads, "click": click, "duration": duration}, [2, rows - 2])


def _gains(formula, log, missing="zero"):
    return gain(Utility(formula=formula, missing=missing), log)


def test_the_gain_is_the_formula_of_the_outcomes():
    gained = _gains("click + 0.01 * duration", _log([1, 0, 1], [30, 0, 100]))

    assert gained.gains.tolist() == [1.3, 0.0, 2.0]


def test_an_outcome_that_is_not_known_counts_as_nothing():
    gained = _gains("click + 0.01 * duration", _log([1, 0, 1], [NAN, NAN, 100]))

    assert gained.gains.tolist() == [1.0, 0.0, 2.0]
    assert gained.log.num_rows == 3


def test_masked_rows_leave_with_their_gain_and_a_request_without_rows_leaves_too():
    log = _log([1, 1, 0, 1], [NAN, NAN, NAN, 8])

    gained = _gains("where(click, duration, 0)", log, missing="mask")

    assert gained.gains.tolist() == [0.0, 8.0]
    assert gained.log.requests.tolist() == ["r1"]
    assert gained.log.offsets.tolist() == [0, 2]
    assert gained.log.columns["click"].tolist() == [0.0, 1.0]


def test_a_listwise_utility_looks_at_one_request_at_a_time():
    gained = _gains("minmax(duration)", _log([1, 1, 1, 1], [1, 3, 100, 300]))

    assert gained.gains.tolist() == [0.0, 1.0, 0.0, 1.0]


@pytest.mark.parametrize("formula", ["ctr", "click + duration_seconds", "price"])
def test_a_utility_over_predictions_or_fields_is_refused(formula):
    with pytest.raises(UtilityError, match="unknown name"):
        _gains(formula, some_log(5))


@pytest.mark.parametrize(
    ("formula", "said"),
    [
        ("click - 0.5", "lowest"),
        ("1 / click", "inf"),
        ("sqrt(click - 1)", "nan"),
        ("0 * click", "0 for every impression"),
    ],
)
def test_gains_that_no_ranking_can_be_judged_by_are_refused(formula, said):
    with pytest.raises(UtilityError, match=said):
        _gains(formula, _log([1, 0, 1], [1, 1, 1]))
