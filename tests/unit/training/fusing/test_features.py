"""What a learned fusion reads is never an outcome, nor anything that gives one away."""

import numpy as np
import pytest

from contract.fusion_bundle import FusionFeature
from tests.unit.training.fusing.logs import DOCUMENT, some_log
from training.errors import InvalidOption, LabelLeak
from training.fusing.features import chosen_features, feature_matrix, refuse_leaking


def _names(features):
    return [(feature.name, feature.source) for feature in features]


def test_every_head_is_read_unless_some_are_named_and_fields_only_where_they_are():
    assert _names(chosen_features(DOCUMENT, (), ())) == [("ctr", "head"), ("duration_seconds", "head")]
    assert _names(chosen_features(DOCUMENT, ("ctr",), ("price",))) == [("ctr", "head"), ("price", "field")]


@pytest.mark.parametrize(("heads", "fields"), [(("click",), ()), ((), ("duration",))])
def test_an_outcome_is_refused_by_its_name(heads, fields):
    with pytest.raises(LabelLeak, match="is an outcome"):
        chosen_features(DOCUMENT, heads, fields)


def test_a_column_that_the_log_does_not_have_is_refused_with_those_that_it_has():
    with pytest.raises(InvalidOption, match="it has: price"):
        chosen_features(DOCUMENT, (), ("prize",))
    with pytest.raises(InvalidOption, match="no head 'price'"):
        chosen_features(DOCUMENT, ("price",), ())


def _refuse(log, *names, allowed=()):
    features = tuple(FusionFeature(name=name, source="field") for name in names)
    refuse_leaking(log, features, allowed=allowed)


def test_honest_heads_pass():
    _refuse(some_log(400), "ctr", "duration_seconds", "price")


@pytest.mark.parametrize(
    "leak",
    [
        lambda log: log.columns["click"] * 3 + 0.1 * log.columns["price"] / 9,
        lambda log: np.where(log.columns["click"] == 1, log.columns["price"], np.nan),
        lambda log: np.where(np.isnan(log.columns["duration"]), 5.0, log.columns["duration"]),
    ],
    ids=["tells the click by its size", "is there only after a click", "holds the duration"],
)
def test_a_field_that_gives_an_outcome_away_is_refused(leak):
    log = some_log(400)
    log.columns["price"] = leak(log)

    with pytest.raises(LabelLeak, match="'price' alone gives away"):
        _refuse(log, "ctr", "price")
    _refuse(log, "ctr", "price", allowed=["price"])


def test_what_is_not_finite_is_missing_and_columns_keep_their_order():
    log = some_log(4)
    log.columns["ctr"][:2] = [np.inf, np.nan]

    matrix = feature_matrix(log, chosen_features(DOCUMENT, ("duration_seconds", "ctr"), ()))

    assert matrix.dtype == np.float32
    assert np.isnan(matrix[:2, 1]).all()
    np.testing.assert_array_equal(matrix[:, 0], log.columns["duration_seconds"].astype(np.float32))
