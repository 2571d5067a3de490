"""Platt's map: the least cross-entropy, whatever the scores look like, and never another order."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from contract.calibration import Identity, Platt, apply_calibration
from training.calibrate import fit_platt


def _sigmoid(x):
    return 1 / (1 + np.exp(-x))


def _rows(mean, spread, slope, intercept, rows=20_000):
    rng = np.random.default_rng(0)
    logit = rng.normal(mean, spread, rows)
    return (rng.random(rows) < _sigmoid(slope * logit + intercept)).astype(float), _sigmoid(logit)


WORLDS = [
    (0.0, 1.0, 1.0, 0.0),
    (0.0, 1.0, 0.5, -2.0),
    (-6.0, 0.1, 5.0, 28.0),  # rare events, scores close together
    (-6.0, 0.3, 0.2, -1.0),
    (4.0, 3.0, 0.3, -5.0),  # odds far too long, as sample weights make them
    (-3.0, 2.0, 3.0, 0.0),
]


@pytest.mark.parametrize("world", WORLDS)
def test_it_finds_what_an_independent_solver_finds(world):
    labels, scores = _rows(*world)
    positives, negatives = labels.sum(), len(labels) - labels.sum()
    target = np.where(labels == 1, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    logit = np.log(scores / (1 - scores))[:, None]
    reference = LogisticRegression(C=1e12, tol=1e-12, max_iter=5_000).fit(
        np.r_[logit, logit], np.r_[np.ones_like(target), np.zeros_like(target)], sample_weight=np.r_[target, 1 - target]
    )

    got = fit_platt(labels, scores)

    assert got.slope == pytest.approx(reference.coef_[0, 0], rel=1e-3)
    assert got.intercept == pytest.approx(reference.intercept_[0], rel=1e-3, abs=1e-3)


@pytest.mark.parametrize("world", WORLDS)
def test_calibrated_scores_have_the_total_of_the_labels(world):
    labels, scores = _rows(*world)

    calibrated = apply_calibration(fit_platt(labels, scores), scores)

    assert calibrated.mean() == pytest.approx(labels.mean(), rel=1e-3)


def test_odds_that_sample_weights_made_too_long_come_down_again():
    """Positives that weigh three make odds three times too long: the map is a shift by log 3."""
    labels, scores = _rows(-1.0, 1.0, 1.0, -np.log(3), rows=200_000)

    got = fit_platt(labels, scores)

    assert got.slope == pytest.approx(1.0, abs=0.03)
    assert got.intercept == pytest.approx(-np.log(3), abs=0.03)


def test_rows_without_a_label_do_not_count():
    labels, scores = _rows(*WORLDS[1])
    holed = np.r_[labels, np.full(500, np.nan)]

    assert fit_platt(holed, np.r_[scores, np.full(500, 0.999)]) == fit_platt(labels, scores)


def test_separable_rows_give_a_finite_slope():
    logit = np.r_[np.linspace(-3, -1, 50), np.linspace(1, 3, 50)]

    got = fit_platt((logit > 0).astype(float), _sigmoid(logit))

    assert 1.0 < got.slope < 10.0


def test_scores_that_are_worse_than_chance_keep_their_order_and_get_the_right_total():
    labels, scores = _rows(0.0, 1.0, -1.0, -2.0)

    got = fit_platt(labels, scores)

    assert got.slope == 1.0
    assert apply_calibration(got, scores).mean() == pytest.approx(labels.mean(), rel=1e-3)


def test_scores_that_are_all_alike_become_the_rate():
    labels = np.r_[np.ones(30), np.zeros(970)]

    got = apply_calibration(fit_platt(labels, np.full(1_000, 0.4)), np.full(1_000, 0.4))

    assert got == pytest.approx(np.full(1_000, 0.03), abs=1e-4)


@pytest.mark.parametrize("extreme", [0.0, 1.0])
def test_scores_of_exactly_nought_or_one_are_survived(extreme):
    labels, scores = _rows(*WORLDS[0], rows=1_000)
    scores[:10] = extreme

    got = fit_platt(labels, scores)

    assert isinstance(got, Platt)
    assert np.isfinite([got.slope, got.intercept]).all()


@pytest.mark.parametrize("labels", [np.zeros(5), np.ones(5), np.full(5, np.nan), np.zeros(0)])
def test_one_class_alone_says_nothing(labels):
    assert fit_platt(labels, np.full(len(labels), 0.3)) == Identity()
