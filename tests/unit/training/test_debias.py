"""Debiasing: when each kind is right, and that the graph does what was fitted."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from contract.durations import Isotonic, LogNormal, NoDebias, Smearing
from training.debias import default_debias, fit_debias, isotonic_map
from training.heads.duration import debiased, piecewise_linear

LOG = np.linspace(1.0, 5.0, 400)
AT = (np.arange(250) + 0.5) / 250
RESIDUALS = {
    "normal": stats.norm.ppf(AT, scale=0.8),
    "skewed": np.log(stats.gamma.ppf(AT, 0.7)),
    "two-valued": np.where(AT < 0.7, -0.6, 1.4),
}


def _rows(residuals):
    """Give truth and the naive seconds of a right mean logarithm, each prediction with every residual."""
    residuals = residuals - residuals.mean()
    return np.exp(LOG[:, None] + residuals).ravel() - 1.0, np.repeat(np.expm1(LOG), len(residuals))


def _bias(kind, truth, naive):
    seconds = debiased(fit_debias(kind, truth, naive), torch.tensor(naive)).numpy()
    return seconds.sum() / truth.sum() - 1


def test_the_lognormal_correction_is_right_where_residuals_are_normal_and_only_there():
    assert abs(_bias("lognormal", *_rows(RESIDUALS["normal"]))) < 0.01
    assert abs(_bias("lognormal", *_rows(RESIDUALS["skewed"]))) > 0.05
    assert abs(_bias("lognormal", *_rows(RESIDUALS["two-valued"]))) > 0.03


@pytest.mark.parametrize("factor", [0.3, 1.0, 1.3])
def test_the_lognormal_correction_is_right_of_an_objective_that_does_not_predict_the_mean_logarithm(factor):
    truth, naive = _rows(RESIDUALS["normal"])

    assert abs(_bias("lognormal", truth, (1 + naive) * factor - 1)) < 0.01


def test_what_is_a_mean_already_is_left_alone_by_the_lognormal_correction():
    truth, naive = _rows(RESIDUALS["normal"])
    means = (1 + naive) * np.exp(RESIDUALS["normal"]).mean() - 1

    assert fit_debias("lognormal", truth, means).variance == pytest.approx(0.0, abs=0.01)


@pytest.mark.parametrize("residuals", list(RESIDUALS))
def test_smearing_meets_the_held_out_total_whatever_the_residuals(residuals):
    assert abs(_bias("smearing", *_rows(RESIDUALS[residuals]))) < 1e-9


@pytest.mark.parametrize("residuals", list(RESIDUALS))
def test_smearing_is_duans_where_residuals_do_not_depend_on_the_prediction(residuals):
    truth, naive = _rows(RESIDUALS[residuals])

    duan = np.mean((1 + truth) / (1 + naive))

    assert fit_debias("smearing", truth, naive).factor == pytest.approx(duan, rel=1e-9)


@pytest.mark.parametrize("residuals", list(RESIDUALS))
def test_the_isotonic_map_meets_the_total_and_nearly_each_tenth_of_it(residuals):
    truth, naive = _rows(RESIDUALS[residuals])
    seconds = debiased(fit_debias("isotonic", truth, naive), torch.tensor(naive)).numpy()

    assert abs(seconds.sum() / truth.sum() - 1) < 1e-9
    for rows in np.array_split(np.argsort(naive, kind="stable"), 10):
        assert abs(seconds[rows].mean() / truth[rows].mean() - 1) < 0.03


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 500)), min_size=1, max_size=300))
def test_the_isotonic_map_rises_and_keeps_equal_predictions_together(pairs):
    naive, truth = np.array(pairs, dtype=np.float64).T

    fitted = isotonic_map(truth, naive)

    assert (np.diff(fitted.points) > 0).all()
    assert (np.diff(fitted.seconds) >= -1e-9).all()
    assert min(fitted.seconds) >= 0
    assert np.interp(naive, fitted.points, fitted.seconds).sum() == pytest.approx(truth.sum(), rel=1e-9)


def test_the_isotonic_map_does_not_blow_a_hair_of_prediction_up_to_a_world_of_truth():
    """A barely trained model predicts 40.6 to 40.7 s for all; ONNX Runtime and torch differ in its sixth digit."""
    rng = np.random.default_rng(0)
    naive = 40.6 + 0.1 * rng.random(400)

    fitted = isotonic_map(rng.lognormal(3, 1, 400), naive)

    points, seconds = np.log1p(fitted.points), np.log1p(fitted.seconds)
    assert (np.diff(seconds) <= 5.01 * np.diff(points)).all()


def test_a_constant_prediction_becomes_the_mean_of_all_rows():
    """Ties were once cut into bins, of which the first alone was kept."""
    truth = np.arange(1_000.0)

    assert isotonic_map(truth, np.full(1_000, 5.0)) == Isotonic(points=(5.0,), seconds=(499.5,))


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.floats(0, 1e4, width=32), min_size=1, max_size=40, unique=True),
    st.lists(st.floats(-10, 2e4, width=32), min_size=1, max_size=20),
    st.randoms(use_true_random=False),
)
def test_the_graphs_interpolation_is_numpys(points, x, random):
    points = np.cumsum(np.abs(np.sort(points)) + 0.1)
    values = np.sort([random.uniform(0, 1e4) for _ in points])

    got = piecewise_linear(torch.tensor(x), points.tolist(), values.tolist())

    wanted = np.interp(x, points, values)
    np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-3 * values.max() + 1e-3)


def test_no_row_with_a_duration_fits_nothing():
    assert fit_debias("smearing", np.array([np.nan]), np.array([3.0])) == NoDebias()


def test_rows_without_a_duration_do_not_count():
    truth, naive = np.array([1.0, np.nan, 7.0]), np.array([0.5, 100.0, 2.0])

    assert fit_debias("smearing", truth, naive) == Smearing(factor=10.0 / 4.5)
    assert isinstance(fit_debias("lognormal", truth, naive), LogNormal)


def test_objectives_that_are_a_mean_by_themselves_are_not_debiased_unless_asked():
    assert {kind: default_debias(kind) for kind in ("log_mse", "log_huber", "ziln", "d2q")} == dict.fromkeys(
        ("log_mse", "log_huber", "ziln", "d2q"), "smearing"
    )
    assert {default_debias(kind) for kind in ("wlr", "cread", "transun")} == {"none"}
