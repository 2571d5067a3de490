"""LambdaRank's trees in ONNX: the same decisions, missing values included."""

import lightgbm
import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from contract.fusion_bundle import FusionFeature, Utility
from tests.unit.training.fusing.logs import make_log, some_log
from training.errors import ParityError, UtilityError
from training.fusing.contenders import mean_of
from training.fusing.features import RankingRows, ranking_rows
from training.fusing.graphs import check_scores, graph_scores, parity_rows
from training.fusing.judging import Yardstick
from training.fusing.lambdarank import GainLevels, fit_lambdarank
from training.fusing.methods import METHODS, learn
from training.fusing.splitting import time_split
from training.fusing.tree_graph import export_trees, float32_at_most
from training.fusing.utility import gain

UTILITY = Utility(formula="click + 0.01 * duration")
NDCG = Yardstick()
FEATURES = (FusionFeature(name="ctr", source="head"), FusionFeature(name="duration_seconds", source="head"))


def _booster(features, target, *, categories="auto", **settings):
    data = lightgbm.Dataset(features, label=target, categorical_feature=categories)
    plain = {"objective": "regression", "num_leaves": 15, "min_data_in_leaf": 5, "verbosity": -1, "num_threads": 1}
    return lightgbm.train(plain | settings, data, num_boost_round=40)


def _rows(*, holes, seed=0):
    rng = np.random.default_rng(seed)
    x = (rng.normal(size=(3_000, 4)) * [1e-3, 1.0, 1e3, 1.0]).astype(np.float32)
    x[rng.random(x.shape) < holes] = np.nan
    target = (
        np.nan_to_num(x[:, 0]) * 1e3 + np.isnan(x[:, 1]) * 2.0 + np.nan_to_num(x[:, 2]) / 1e3 + rng.normal(size=3_000)
    )
    return x, target


@pytest.mark.parametrize("holes", [0.0, 0.2], ids=["fitted without missing values", "fitted with missing values"])
def test_the_graph_scores_as_lightgbm_does_missing_and_far_values_included(tmp_path, holes):
    x, target = _rows(holes=holes)
    booster = _booster(x, target)
    export_trees(booster, tmp_path / "trees.onnx")

    worst = check_scores(tmp_path / "trees.onnx", booster.predict, parity_rows(x))

    assert worst < 1e-5
    extreme = np.full((2, 4), np.inf, dtype=np.float32) * [[1], [-1]]
    np.testing.assert_allclose(
        graph_scores(tmp_path / "trees.onnx", extreme.astype(np.float32)), booster.predict(extreme), rtol=1e-5
    )


def test_a_value_on_a_threshold_goes_where_lightgbm_sends_it(tmp_path):
    x, target = _rows(holes=0.1)
    booster = _booster(x, target)
    export_trees(booster, tmp_path / "trees.onnx")
    node = onnx.load(tmp_path / "trees.onnx").graph.node[0]
    held = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}

    for column in range(4):
        chosen = np.array(held["nodes_featureids"]) == column
        thresholds = np.array(held["nodes_values"], dtype=np.float32)[
            chosen & (np.array(held["nodes_modes"]) == b"BRANCH_LEQ")
        ]
        rows = np.tile(np.nanmedian(x, axis=0), (3 * len(thresholds), 1)).astype(np.float32)
        around = [np.nextafter(thresholds, -np.inf), thresholds, np.nextafter(thresholds, np.inf)]
        rows[:, column] = np.concatenate(around)

        np.testing.assert_allclose(
            graph_scores(tmp_path / "trees.onnx", rows), booster.predict(rows), rtol=1e-5, atol=1e-6
        )


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_threshold_rounds_down_so_that_every_float32_is_on_the_same_side(threshold):
    low = np.float32(float32_at_most(threshold))

    assert float(low) <= threshold or threshold >= 1e300
    with np.errstate(over="ignore"):
        above = np.nextafter(low, np.float32(np.inf))
    assert float(above) > threshold or np.isinf(above)


def test_splits_by_category_and_zeros_as_missing_are_refused(tmp_path):
    x, target = _rows(holes=0.0)
    with pytest.raises(ParityError, match="missing values of type 'Zero'"):
        export_trees(_booster(x, target, zero_as_missing=True), tmp_path / "a.onnx")
    x[:, 0] = np.random.default_rng(0).integers(0, 6, len(x))
    target = (x[:, 0] == 3) * 9.0 + target
    with pytest.raises(ParityError, match="'=='"):
        export_trees(_booster(x, target, categories=[0]), tmp_path / "b.onnx")


def test_a_booster_that_found_no_split_is_a_graph_of_one_constant(tmp_path):
    booster = _booster(np.zeros((50, 2)), np.full(50, 3.0))
    export_trees(booster, tmp_path / "trees.onnx")

    got = graph_scores(tmp_path / "trees.onnx", np.zeros((3, 2), np.float32))

    np.testing.assert_allclose(got, booster.predict(np.zeros((3, 2))))


@given(hnp.arrays(np.float64, st.integers(1, 300), elements=st.floats(0, 1e6)))
def test_grades_rise_with_gains_and_are_worth_them_in_the_mean(gains):
    if not gains.any():
        with pytest.raises(UtilityError):
            GainLevels.of(gains)
        return
    levels = GainLevels.of(gains)
    grades = levels.grades(gains)

    order = np.argsort(gains)
    assert (np.diff(grades[order]) >= 0).all()
    assert (grades > 0).tolist() == (gains > 0).tolist()
    assert len(levels.worth) <= 65
    assert (np.diff(levels.worth) > 0).all()
    np.testing.assert_allclose(levels.worth[grades].sum(), gains.sum(), rtol=1e-9)
    if len(np.unique(gains)) <= 64:
        np.testing.assert_allclose(levels.worth[grades], gains, rtol=1e-9)


def test_it_learns_what_the_utility_asks_for(tmp_path):
    fit, stop = (gain(UTILITY, log) for log in time_split(some_log(3_000), 0.8))
    judged = gain(UTILITY, some_log(1_500, seed=9, first=3_000))
    graph = learn("lambdarank", fit, stop, FEATURES, tmp_path, yardstick=NDCG, seed=0)

    truth = judged.log.columns["ctr"] * (1 + 0.01 * judged.log.columns["duration_seconds"])
    chance = np.random.default_rng(0).random(judged.log.num_rows)
    worst, best = mean_of(chance, judged, NDCG), mean_of(truth, judged, NDCG)
    assert 0.9 < (mean_of(graph.scores(judged.log), judged, NDCG) - worst) / (best - worst) < 1.1
    assert graph.parity < 1e-5


def test_for_the_total_a_request_counts_as_much_as_it_has_to_gain(tmp_path):
    """Two kinds of requests with opposite wishes: whoever has more to gain is heard."""
    rng = np.random.default_rng(0)
    rich, x = np.repeat(rng.random(400) < 0.5, 8), rng.random(3_200)
    gains = np.where(rich, 50.0 * x, 1.0 - x)
    heads = {"ctr": x, "duration_seconds": rng.random(3_200), "price": x, "click": gains, "duration": gains}
    log = make_log(heads, [8] * 400)
    fit, stop = (gain(Utility(formula="click"), part) for part in time_split(log, 0.7))
    for method in METHODS:
        graph = learn(method, fit, stop, FEATURES, tmp_path, yardstick=Yardstick(measure="total", k=3), seed=0)

        assert np.corrcoef(graph.scores(log), x)[0, 1] > 0.8


def test_the_same_seed_grows_the_same_trees():
    rows = ranking_rows(gain(UTILITY, some_log(300)), FEATURES, NDCG)

    one, other = (fit_lambdarank(rows, rows, k=5, seed=3).model_to_string() for _ in range(2))

    assert one == other


def test_a_request_with_more_candidates_than_lightgbm_takes_is_refused():
    many = RankingRows(
        features=np.zeros((10_001, 1), np.float32),
        gains=np.ones(10_001),
        offsets=np.array([0, 10_001]),
        weights=np.ones(1),
    )

    with pytest.raises(UtilityError, match="10001 candidates"):
        fit_lambdarank(many, many, k=5, seed=0)
