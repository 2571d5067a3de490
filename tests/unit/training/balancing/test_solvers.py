"""The K by K solvers: their answers satisfy the conditions of optimality, whatever the gradients are."""

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torchjd.aggregation import MGDAWeighting

from training.balancing.solvers import (
    bargaining_weights,
    conflict_averse_weights,
    dual_cone_weights,
    equal_projection_weights,
    min_norm_weights,
    nonnegative_qp,
)

KINDS = ("random", "one dominates", "two alike", "opposed", "fewer dimensions than tasks", "hull around 0")


@st.composite
def gradients(draw, kinds=KINDS):
    """Gradients ``[K, P]`` of K tasks, degenerate ones among them."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    kind, size = draw(st.sampled_from(kinds)), draw(st.integers(2, 6))
    rows = rng.normal(size=(size, size - 1 if kind == "fewer dimensions than tasks" else 12))
    if kind == "one dominates":
        rows[0] *= 1e3
    if kind == "two alike":
        rows[-1] = rows[0] * rng.choice([1.0, 2.0])
    if kind == "opposed":
        rows[-1] = -rows[0] * rng.choice([1.0, 3.0])
    if kind == "hull around 0":
        rows -= rows.mean(axis=0)
    return rows / np.sqrt((rows**2).sum(axis=1).mean())


def _gram(rows):
    return rows @ rows.T


def _independent(rows):
    lengths = np.sqrt((rows**2).sum(axis=1))
    assume(np.linalg.eigvalsh(_gram(rows) / np.outer(lengths, lengths)).min() > 1e-3)
    return _gram(rows), lengths


@given(gradients(), st.integers(0, 2**32 - 1))
def test_the_quadratic_program_meets_its_conditions_of_optimality(rows, seed):
    q = _gram(rows)
    c = q @ np.random.default_rng(seed).normal(size=len(q))

    x = nonnegative_qp(q, c)

    slope = q @ x - c
    assert x.min() >= 0
    assert slope.min() >= -1e-7
    assert abs(x @ slope) <= 1e-6 * max(1.0, np.abs(x).max())


def test_a_quadratic_program_whose_unconstrained_answer_is_negative_stops_at_zero():
    np.testing.assert_allclose(nonnegative_qp(np.diag([1.0, 2.0]), np.array([-3.0, 4.0])), [0.0, 2.0])


@given(gradients())
def test_the_shortest_vector_of_the_hull_is_as_near_to_every_gradient_as_it_is_long(rows):
    gramian = _gram(rows)

    weights = min_norm_weights(gramian)

    assert weights.min() >= 0
    assert weights.sum() == pytest.approx(1.0)
    # <g_k, d> >= |d|^2 for every k is sufficient and necessary for d to be the shortest.
    assert (gramian @ weights).min() >= weights @ gramian @ weights - 1e-6


def test_the_shortest_vector_of_two_gradients_is_the_closed_form_of_the_paper():
    a, b = np.array([1.0, 0.0]), np.array([1.0, 2.0])
    share = np.clip((b - a) @ b / ((a - b) @ (a - b)), 0, 1)

    np.testing.assert_allclose(min_norm_weights(_gram(np.stack([a, b]))), [share, 1 - share])


def test_eight_tasks_are_solved_where_frank_wolfe_stops_eight_percent_short():
    """TorchJD's MGDA ends when a step is below 1e-3, which is no measure of how far it is from the answer."""
    rows = np.random.default_rng(3).normal(size=(8, 50)) * np.logspace(0, 1, 8)[:, None]
    gramian = _gram(rows)

    def gap(weights):
        return 1 - (gramian @ weights).min() / (weights @ gramian @ weights)

    assert gap(MGDAWeighting()(torch.from_numpy(gramian)).numpy()) > 0.01
    assert gap(min_norm_weights(gramian)) < 1e-6


@given(gradients(), st.integers(0, 5))
def test_a_projection_onto_the_dual_cone_conflicts_with_no_gradient_and_moves_only_where_it_must(rows, which):
    gramian = _gram(rows)
    u = np.eye(len(rows))[which % len(rows)]

    v = dual_cone_weights(gramian, u)

    agreement = gramian @ v
    assert agreement.min() >= -1e-7
    assert (v - u).min() >= -1e-12
    assert abs((v - u) @ agreement) <= 1e-6 * max(1.0, np.abs(v).max())


@given(gradients(), st.floats(0.05, 0.95))
@settings(max_examples=60)
def test_no_direction_of_the_ball_serves_the_worst_off_task_better(rows, c):
    gramian, size = _gram(rows), len(rows)
    mean = rows.mean(axis=0)
    radius = c * np.linalg.norm(mean)
    assume(radius > 1e-6)

    d = conflict_averse_weights(gramian, c) @ rows

    worst = (rows @ d).min()
    assert np.linalg.norm(d - mean) <= radius * (1 + 1e-6)
    rng = np.random.default_rng(size)
    for _ in range(40):
        away = rng.dirichlet(np.full(size, 0.3)) @ rows + 0.1 * rng.normal(size=rows.shape[1])
        other = mean + radius * away / np.linalg.norm(away)
        assert (rows @ other).min() <= worst + 1e-6
        assert (rows @ (0.99 * d + 0.01 * other)).min() <= worst + 1e-6


@given(gradients(), st.floats(0.05, 0.95))
@settings(max_examples=60)
def test_the_conflict_averse_direction_reaches_the_dual_bound_of_the_paper(rows, c):
    """Weak duality: any w on the simplex bounds the worst task's gain from above; some w has to meet it."""
    gramian, size = _gram(rows), len(rows)
    mean, radius = rows.mean(axis=0), c * np.linalg.norm(rows.mean(axis=0))
    assume(radius > 1e-6)
    weights = conflict_averse_weights(gramian, c)
    push = weights - 1.0 / size
    assume(push.sum() > 1e-9)

    w = push / push.sum()
    bound = (w @ rows) @ mean + radius * np.linalg.norm(w @ rows)

    assert push.min() >= -1e-12
    assert (rows @ (weights @ rows)).min() == pytest.approx(bound, abs=1e-5)


@pytest.mark.parametrize("c", [0.0, 0.5])
def test_gradients_that_cancel_leave_the_mean_as_it_is(c):
    np.testing.assert_allclose(conflict_averse_weights(np.array([[1.0, -1.0], [-1.0, 1.0]]), c), [0.5, 0.5])


@given(gradients())
def test_bargainers_weigh_each_gradient_by_the_inverse_of_what_it_gains(rows):
    gramian, lengths = _independent(rows)

    weights = bargaining_weights(gramian)

    product = weights * (gramian @ weights)
    assert weights.min() > 0
    np.testing.assert_allclose(product, product.mean(), rtol=1e-4)
    assert weights @ lengths == pytest.approx(lengths.sum())


@given(gradients())
def test_a_bargain_is_finite_and_hurts_nobody_even_where_there_is_nothing_to_gain(rows):
    gramian = _gram(rows)

    weights = bargaining_weights(gramian)

    assert np.isfinite(weights).all()
    assert weights.min() > 0
    assert (gramian @ weights).min() >= -1e-4 * np.abs(gramian).max()


@given(gradients())
def test_the_bisector_has_one_positive_projection_on_every_unit_gradient(rows):
    gramian, lengths = _independent(rows)

    weights = equal_projection_weights(gramian)

    projections = gramian @ weights / lengths
    assert projections.min() > 0
    np.testing.assert_allclose(projections, projections.mean(), rtol=1e-4)


@given(gradients())
def test_a_bisector_is_never_longer_than_the_gradients_laid_end_to_end(rows):
    gramian = _gram(rows)

    weights = equal_projection_weights(gramian)

    assert np.sqrt(max(weights @ gramian @ weights, 0.0)) <= np.sqrt(np.diagonal(gramian)).sum() * (1 + 1e-6)


def test_opposite_gradients_have_no_bisector():
    np.testing.assert_array_equal(equal_projection_weights(np.array([[1.0, -2.0], [-2.0, 4.0]])), [0.0, 0.0])
