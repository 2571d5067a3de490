"""What each method that combines gradients promises of its direction."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchjd.aggregation import CAGrad, GradVacWeighting, IMTLGWeighting, PCGradWeighting

from tests.unit.training.balancing.toys import GRADIENT_METHODS, Linear, direction

CONFLICT = [[1.0, 0.0, 0.2], [-0.6, 1.0, 0.1]]
THREE = [[1.0, 0.0, 0.2], [-0.6, 1.0, 0.1], [0.1, -0.8, 0.5]]


@st.composite
def rows(draw, sizes=(2, 3, 4)):
    """Gradients ``[K, P]`` whose lengths differ up to a hundredfold."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    size = draw(st.sampled_from(sizes))
    return rng.normal(size=(size, 6)) * 10 ** rng.uniform(-1, 1, size=(size, 1))


def _unit(rows):
    rows = np.asarray(rows, np.float64)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.mark.parametrize("name", ["cagrad", "gradvac", "pcgrad", "upgrad"])
@given(rows())
@settings(max_examples=20, deadline=None)
def test_where_nothing_conflicts_surgery_leaves_the_sum_alone(name, gradients):
    gradients = np.abs(gradients)
    options = {"c": 0.0} if name == "cagrad" else None

    np.testing.assert_allclose(direction(name, gradients, options=options), gradients.sum(axis=0), rtol=1e-4)


@given(rows())
@settings(max_examples=50, deadline=None)
def test_upgrad_conflicts_with_no_task(gradients):
    d = direction("upgrad", gradients)

    assert (_unit(gradients) @ d).min() >= -1e-5 * np.linalg.norm(gradients)


@given(rows(sizes=(2,)))
@settings(max_examples=50, deadline=None)
def test_pcgrad_of_two_tasks_conflicts_with_neither(gradients):
    d = direction("pcgrad", gradients)

    assert (_unit(gradients) @ d).min() >= -1e-5 * np.linalg.norm(gradients)


def test_pcgrad_of_two_tasks_is_the_projection_worked_by_hand():
    a, b = np.array(CONFLICT)

    expected = (a - (a @ b) / (b @ b) * b) + (b - (a @ b) / (a @ a) * a)

    np.testing.assert_allclose(direction("pcgrad", CONFLICT), expected, rtol=1e-5)


def test_pcgrad_of_three_tasks_may_still_conflict_which_is_why_upgrad_is_there():
    """PCGrad#9 asks whether it may; it may."""
    rng = np.random.default_rng(0)
    worst = 0.0
    for _ in range(200):
        gradients = rng.normal(size=(3, 3))
        worst = min(worst, (_unit(gradients) @ direction("pcgrad", gradients)).min())

    assert worst < -0.1


def test_pcgrad_draws_its_order_from_the_seed():
    drawn = {tuple(direction("pcgrad", THREE, seed=seed).round(5)) for seed in range(12)}

    assert len(drawn) > 1
    np.testing.assert_array_equal(direction("pcgrad", THREE, seed=3), direction("pcgrad", THREE, seed=3))


def test_pcgrad_draws_a_new_order_for_every_batch():
    linear = Linear.make("pcgrad", THREE)

    assert len({tuple(linear.direction().round(5)) for _ in range(12)}) > 1


@given(rows())
@settings(max_examples=50, deadline=None)
def test_mgda_serves_every_task_at_least_by_its_own_length(gradients):
    d = direction("mgda", gradients) / len(gradients)

    assert (gradients @ d).min() >= d @ d - 1e-4 * (gradients**2).sum(axis=1).max()


@given(rows(), st.integers(0, 2**32 - 1))
@settings(max_examples=50, deadline=None)
def test_no_convex_combination_is_shorter_than_mgdas(gradients, seed):
    d = direction("mgda", gradients) / len(gradients)

    others = np.random.default_rng(seed).dirichlet(np.ones(len(gradients)), size=50) @ gradients
    assert np.linalg.norm(d) <= np.linalg.norm(others, axis=1).min() * (1 + 1e-4)


def test_mgda_leans_to_the_smallest_gradient_and_normalising_stops_that():
    gradients = [[100.0, 0.0], [0.0, 1.0]]

    plain, normalised = (direction("mgda", gradients, options={"normalise": on}) for on in (False, True))

    assert plain[0] < 0.03
    np.testing.assert_allclose(normalised, [50.5, 50.5], rtol=1e-5)


@given(rows(sizes=(2, 3)))
@settings(max_examples=50, deadline=None)
def test_nash_gains_per_weight_are_reciprocal(gradients):
    linear = Linear.make("nash_mtl", gradients)
    d = linear.direction()
    reported = linear.balancer.statistics()
    weights = np.array([reported[f"weight/{task}"] for task in linear.balancer.parts.tasks])

    product = weights * (gradients @ d)

    assert weights.min() > 0
    np.testing.assert_allclose(product, product.mean(), rtol=2e-2)


def test_nash_does_not_know_the_size_of_a_loss():
    """nash-mtl#13: losses of 600 and 700 got weights of 1e-3 there; here size cancels out of the direction."""
    small = direction("nash_mtl", CONFLICT)
    large = direction("nash_mtl", np.array(CONFLICT) * [[600.0], [1.0]])

    np.testing.assert_allclose(_unit([large]), _unit([small]), atol=1e-5)
    assert np.linalg.norm(large) > 100 * np.linalg.norm(small)


@given(rows(sizes=(2, 3)))
@settings(max_examples=50, deadline=None)
def test_imtl_projects_alike_on_every_task_and_never_uphill(gradients):
    projections = _unit(gradients) @ direction("imtl_g", gradients)

    assert projections.min() > 0
    np.testing.assert_allclose(projections, projections.mean(), rtol=2e-2)


def test_weights_that_sum_to_one_can_climb_on_every_task_at_once():
    """TorchJD's IMTL-G, and the paper's closed form, which LibMTL inverts: a small third gradient flips the sign."""
    gradients = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.05, 0.05, 0.02]])

    theirs = IMTLGWeighting()(torch.from_numpy(gradients @ gradients.T)).numpy() @ gradients

    assert (gradients @ theirs).max() < 0
    assert (gradients @ direction("imtl_g", gradients)).min() > 0


def test_aligned_gradients_all_have_the_smallest_singular_value():
    """LibMTL calls torch.symeig, which PyTorch removed in 2.0, and stops with an error here."""
    gradients = np.array(THREE) * [[3.0], [1.0], [0.2]]
    u, singular, vt = np.linalg.svd(gradients, full_matrices=False)
    aligned = singular.min() * u @ vt

    d = direction("aligned_mtl", gradients)

    np.testing.assert_allclose(np.linalg.svd(aligned)[1], singular.min())
    np.testing.assert_allclose(d, aligned.sum(axis=0), rtol=1e-3)


@pytest.mark.parametrize(
    ("scale", "value"), [("median", np.median), ("rmse", lambda singular: np.sqrt((singular**2).mean()))]
)
def test_aligned_gradients_can_keep_a_longer_step(scale, value):
    gradients = np.array(THREE) * [[3.0], [1.0], [0.2]]
    u, singular, vt = np.linalg.svd(gradients, full_matrices=False)

    d = direction("aligned_mtl", gradients, options={"scale": scale})

    np.testing.assert_allclose(d, value(singular) * (u @ vt).sum(axis=0), rtol=1e-3)


def test_aligned_gradients_that_are_alike_do_not_collapse_to_their_rounding():
    gradients = np.array([[1.0, 2.0, 3.0], [1.0, 2.0, 3.0 + 1e-6]])

    np.testing.assert_allclose(direction("aligned_mtl", gradients), gradients.sum(axis=0), rtol=1e-3)


@given(rows(sizes=(2, 3)), st.floats(0.1, 0.9))
@settings(max_examples=50, deadline=None)
def test_cagrad_stays_in_its_ball_and_serves_the_worst_task_no_worse_than_the_mean(gradients, c):
    mean = gradients.mean(axis=0)
    d = direction("cagrad", gradients, options={"c": c}) * (1 + c) / len(gradients)

    assert np.linalg.norm(d - mean) <= c * np.linalg.norm(mean) + 1e-4 * np.abs(gradients).max()
    assert (gradients @ d).min() >= (gradients @ mean).min() - 1e-3 * (gradients**2).max()


def test_cagrad_of_two_tasks_is_the_best_point_of_the_circle():
    gradients = np.array([[1.0, 0.0], [-0.6, 1.0]])
    mean, angles = gradients.mean(axis=0), np.linspace(0, 2 * np.pi, 100_001)
    circle = mean + 0.5 * np.linalg.norm(mean) * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    best = circle[(circle @ gradients.T).min(axis=1).argmax()]

    np.testing.assert_allclose(direction("cagrad", gradients), best * 2 / 1.5, rtol=1e-3)


def test_cagrad_in_torchjd_needs_cvxpy_and_ours_does_not():
    with pytest.raises(ImportError, match="cvxpy"):
        CAGrad(c=0.5)


def _gradvac_against_torchjd(gradients, steps, scale=1.0):
    ours, theirs = Linear.make("gradvac", gradients[0] * scale), GradVacWeighting(beta=0.5)
    pairs = []
    for step in range(steps):
        each = torch.as_tensor(gradients[step] * scale, dtype=torch.float32)
        ours.rows = each
        wide = each.double()
        pairs.append((ours.direction(), (theirs(wide @ wide.T) @ wide).numpy()))
    return pairs


def test_gradvac_of_two_tasks_is_torchjds_where_gradients_are_of_ordinary_size():
    gradients = np.random.default_rng(5).normal(size=(8, 2, 4))

    for ours, theirs in _gradvac_against_torchjd(gradients, 8):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-5)


def test_gradvac_does_not_know_the_size_of_gradients():
    """TorchJD's and LibMTL's epsilon of 1e-8 beside products of norms halves the cosine of gradients of 1e-4."""
    gradients = np.random.default_rng(5).normal(size=(8, 2, 4))
    ordinary = [ours for ours, _ in _gradvac_against_torchjd(gradients, 8)]
    small = _gradvac_against_torchjd(gradients, 8, scale=1e-4)

    for wanted, (ours, _) in zip(ordinary, small, strict=True):
        np.testing.assert_allclose(ours * 1e4, wanted, rtol=1e-3, atol=1e-5)
    assert not np.allclose([theirs * 1e4 for _, theirs in small], ordinary, rtol=1e-2, atol=1e-2)


def test_gradvac_with_targets_of_zero_is_pcgrad():
    ours = direction("gradvac", CONFLICT, options={"beta": 0.0})

    np.testing.assert_allclose(ours, direction("pcgrad", CONFLICT), rtol=1e-4)


def test_gradvac_turns_a_gradient_to_its_target_cosine():
    linear = Linear.make("gradvac", CONFLICT, options={"beta": 0.0})
    linear.balancer.targets_TT[0, 1] = 0.7
    linear.balancer.targets_TT[1, 0] = -1.0  # b is left alone
    a, b = np.array(CONFLICT)

    turned = linear.direction() - b

    assert turned @ b / np.linalg.norm(turned) / np.linalg.norm(b) == pytest.approx(0.7, abs=1e-4)
    assert np.linalg.matrix_rank(np.stack([turned, a, b]), tol=1e-4) == 2


def test_gradvac_learns_nothing_of_a_task_from_a_batch_without_its_labels():
    linear = Linear.make("gradvac", THREE)
    linear.direction()
    before = linear.balancer.targets_TT.copy()
    linear.rows = torch.tensor(THREE) * torch.tensor([[1.0], [1.0], [0.0]])

    linear.direction()

    after = linear.balancer.targets_TT
    np.testing.assert_array_equal(after[2], before[2])
    np.testing.assert_array_equal(after[:, 2], before[:, 2])
    assert after[0, 1] != before[0, 1]


def test_gradvac_of_tasks_that_are_always_alike_stays_the_sum():
    linear = Linear.make("gradvac", [[1.0, 2.0], [1.0, 2.0]])

    for _ in range(60):
        d = linear.direction()

    np.testing.assert_allclose(d, [2.0, 4.0], rtol=1e-3)


def test_pcgrad_is_the_librarys_arithmetic():
    gradients = torch.tensor(CONFLICT, dtype=torch.float64)

    theirs = PCGradWeighting()(gradients @ gradients.T) @ gradients

    np.testing.assert_allclose(direction("pcgrad", CONFLICT), theirs.numpy(), rtol=1e-4)


@pytest.mark.parametrize("name", ["cagrad", "gradvac", "pcgrad", "upgrad"])
def test_a_static_weight_is_a_preference_for_surgery(name):
    heavy, light = (direction(name, CONFLICT, weights={"a": weight}) for weight in (5.0, 1.0))

    assert np.array(CONFLICT)[0] @ heavy > np.array(CONFLICT)[0] @ light


@pytest.mark.parametrize("name", ["imtl_g", "nash_mtl"])
def test_a_static_weight_does_not_turn_a_direction_that_knows_no_sizes(name):
    heavy, light = (direction(name, CONFLICT, weights={"a": weight}) for weight in (5.0, 1.0))

    np.testing.assert_allclose(_unit([heavy]), _unit([light]), atol=1e-5)


@pytest.mark.parametrize("name", GRADIENT_METHODS)
def test_a_gradient_that_is_not_finite_is_passed_on_and_does_not_crash_a_solver(name):
    assert not np.isfinite(direction(name, [[1.0, np.inf], [1.0, 2.0]])).all()
