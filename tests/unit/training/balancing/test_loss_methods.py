"""What each method that puts weights on losses promises of them."""

import math

import pytest
import torch
from torchjd.scalarization import DWA, FAMO, GeometricMean

from tests.unit.training.balancing.toys import Toy
from training.balancing.loss_weights import relative_change
from training.errors import InvalidOption


def _factors(balancer, *batches):
    return [balancer.factors(torch.tensor(batch)) for batch in batches]


def test_static_weights_are_the_ones_given():
    toy = Toy()
    balancer = toy.balancer("static", weights={"b": 0.25})

    toy.gradients(balancer)

    assert balancer.statistics() == {"weight/a": 1.0, "weight/b": 0.25, "weight/c": 1.0}


def test_magnitude_makes_all_weighted_losses_equal_and_its_factors_sum_to_the_tasks():
    losses = [0.05, 2.0, 0.6]

    (factors,) = _factors(Toy().balancer("magnitude"), losses)

    weighted = factors * torch.tensor(losses)
    torch.testing.assert_close(weighted, weighted.mean().expand(3))
    assert factors.sum().item() == pytest.approx(3.0)


def test_magnitude_follows_a_running_mean_without_a_cold_start():
    """By hand, decay 0.5: after losses 4 and 2 the mean is (0.25 * 4 + 0.5 * 2) / 0.75."""
    balancer = Toy(scales=(1.0, 1.0)).balancer("magnitude", options={"decay": 0.5})

    _, factors = _factors(balancer, [4.0, 1.0], [2.0, 1.0])

    mean = (0.25 * 4 + 0.5 * 2) / 0.75
    wanted = torch.tensor([1 / mean, 1.0])
    torch.testing.assert_close(factors, wanted * 2 / wanted.sum())


def test_magnitude_learns_nothing_from_a_batch_without_labels_and_takes_likelihoods_by_size():
    balancer = Toy(scales=(1.0, 1.0)).balancer("magnitude")

    first, missing, negative = _factors(balancer, [1.0, 1.0], [1.0, 0.0], [1.0, -1.0])

    for factors in (first, missing, negative):
        torch.testing.assert_close(factors, torch.ones(2))


def _kendall(losses, kinds, steps, rate):
    """The paper's objective, term by term, started where its factors are 1."""
    share = torch.tensor([{"regression": 0.5, "classification": 1.0}[kind] for kind in kinds])
    s = torch.log(share).requires_grad_()
    course = []
    for _ in range(steps):
        loss = (share * torch.exp(-s) * losses + s / 2).sum()
        (slope,) = torch.autograd.grad(loss, s)
        course.append((share * torch.exp(-s)).detach())
        s = (s - rate * slope).detach().requires_grad_()
    return course


def test_a_half_for_regression_and_one_for_classification_are_the_same_course():
    losses = torch.tensor([2.0, 0.3])

    one = _kendall(losses, ("regression", "classification"), 20, 0.1)
    other = _kendall(losses, ("classification", "regression"), 20, 0.1)

    for a, b in zip(one, other, strict=True):
        torch.testing.assert_close(a, b)


def test_uncertainty_takes_the_course_of_the_paper():
    toy = Toy(scales=(1.0, 1.0))
    balancer = toy.balancer("uncertainty")
    losses = torch.tensor([2.0, 0.3])

    for wanted in _kendall(losses, ("regression", "classification"), 20, 0.1):
        torch.testing.assert_close(torch.exp(-balancer.log_variance_T).detach(), wanted)
        balancer.log_variance_T.grad = None
        balancer.backward(losses.clone().requires_grad_(), None)
        with torch.no_grad():
            balancer.log_variance_T -= 0.1 * balancer.log_variance_T.grad


@pytest.mark.parametrize(("loss", "end"), [(1e-6, -3.0), (1e6, 3.0)])
def test_uncertainty_is_bounded_on_both_sides_and_comes_back(loss, end):
    """torch-rechub clamps its log-variance at 0 inside the loss: weights cannot rise, and a clamped one is stuck."""
    balancer = Toy(scales=(1.0,)).balancer("uncertainty")
    sgd = torch.optim.SGD(balancer.parameters(), lr=0.1)

    def train(value, steps):
        for _ in range(steps):
            sgd.zero_grad()
            balancer.backward(torch.tensor([value], requires_grad=True), None)
            sgd.step()
            balancer.after_step(lambda: torch.tensor([value]))
        return balancer.log_variance_T.item()

    assert train(loss, 80) == end
    assert train(0.5, 400) == pytest.approx(0.0, abs=0.05)


def test_uncertainty_settles_at_the_inverse_of_twice_the_loss():
    balancer = Toy(scales=(1.0, 1.0)).balancer("uncertainty")
    adam = torch.optim.Adam(balancer.parameters(), lr=0.05)

    for _ in range(500):
        adam.zero_grad()
        balancer.backward(torch.tensor([0.1, 2.0], requires_grad=True), None)
        adam.step()

    factors = torch.exp(-balancer.log_variance_T).tolist()
    assert factors == pytest.approx([1 / (2 * 0.1), 1 / (2 * 2.0)], rel=0.02)


def test_uncertainty_learns_nothing_from_a_batch_without_labels():
    balancer = Toy(scales=(1.0, 1.0)).balancer("uncertainty")

    balancer.backward(torch.tensor([1.0, 0.0], requires_grad=True), None)

    assert balancer.log_variance_T.grad.tolist() == [-0.5, 0.0]


def test_a_static_weight_is_kept_as_a_preference_by_uncertainty():
    balancer = Toy(scales=(1.0, 1.0)).balancer("uncertainty", weights={"a": 4.0})

    losses = torch.tensor([1.0, 1.0], requires_grad=True)
    balancer.backward(losses, None)

    assert losses.grad.tolist() == [4.0, 1.0]


def test_dwa_weighs_by_the_softmax_of_loss_ratios_worked_by_hand():
    balancer = Toy(scales=(1.0, 1.0)).balancer("dwa")
    course = [{"a": 2.0, "b": 1.0}, {"a": 1.0, "b": 0.9}]
    balancer.start_epoch(None)
    first = balancer.factors(torch.ones(2))
    balancer.start_epoch(course[0])
    second = balancer.factors(torch.ones(2))
    balancer.start_epoch(course[1])

    third = balancer.factors(torch.ones(2))

    assert first.tolist() == second.tolist() == [1.0, 1.0]
    powers = [math.exp(0.5 / 2), math.exp(0.9 / 2)]
    assert third.tolist() == pytest.approx([2 * power / sum(powers) for power in powers])


def test_dwa_is_torchjds_where_losses_are_positive():
    ours, theirs = Toy().balancer("dwa"), DWA()
    ours.start_epoch(None)

    for epoch in range(4):
        losses = torch.tensor([1.0, 2.0, 0.3]) * torch.tensor([0.9, 0.7, 0.5]) ** epoch
        values = losses.clone().requires_grad_()
        theirs(values).backward()
        torch.testing.assert_close(ours.factors(losses), values.grad)
        ours.start_epoch(dict(zip("abc", losses.tolist(), strict=True)))
        theirs.step()


def test_dwa_reads_a_falling_likelihood_as_progress():
    """A log-likelihood goes below 0, where its ratio would call progress a setback."""
    better = relative_change(torch.tensor([-2.0]), torch.tensor([-1.0]))
    worse = relative_change(torch.tensor([-0.5]), torch.tensor([-1.0]))

    assert better.item() < 1 < worse.item()


def test_random_weights_are_positive_and_sum_to_the_tasks():
    balancer = Toy().balancer("rlw")

    for factors in _factors(balancer, *[[1.0, 1.0, 1.0]] * 20):
        assert factors.min() > 0
        assert factors.sum().item() == pytest.approx(3.0)


def test_the_geometric_mean_sends_back_the_gradient_of_a_product():
    values = torch.tensor([0.05, 2.0, 0.6], requires_grad=True)
    (3 * GeometricMean()(values)).backward()

    (factors,) = _factors(Toy().balancer("gls"), values.tolist())

    torch.testing.assert_close(factors, values.grad)


@pytest.mark.parametrize("name", ["famo", "gls"])
def test_a_logarithm_of_a_negative_loss_is_refused_with_the_way_out(name):
    with pytest.raises(InvalidOption, match=r"lower_bounds=\{\"b\""):
        _factors(Toy().balancer(name), [1.0, -0.5, 1.0])


@pytest.mark.parametrize("name", ["famo", "gls"])
def test_a_lower_bound_makes_a_likelihood_fit(name):
    balancer = Toy().balancer(name, options={"lower_bounds": {"b": -1.0}})

    (factors,) = _factors(balancer, [0.5, -0.5, 0.5])

    torch.testing.assert_close(factors, torch.ones(3))


def test_famo_is_torchjds_step_for_step():
    ours, theirs = Toy().balancer("famo"), FAMO(3)
    losses = torch.tensor([0.3, 20.0, 0.01])

    for _ in range(30):
        values = losses.clone().requires_grad_()
        theirs(values).backward()
        torch.testing.assert_close(ours.factors(losses), 3 * values.grad, rtol=1e-4, atol=1e-6)
        after = losses * torch.tensor([0.99, 0.9, 1.01])
        ours.after_step(lambda after=after: after)
        theirs.update(after)
        losses = after


def test_famo_takes_weight_from_the_task_that_gains_most():
    balancer = Toy(scales=(1.0, 1.0)).balancer("famo")

    balancer.factors(torch.tensor([1.0, 1.0]))
    balancer.after_step(lambda: torch.tensor([0.5, 0.99]))

    factors = balancer.factors(torch.tensor([1.0, 1.0]))
    assert factors[0] < 1 < factors[1]


def test_famo_does_not_give_all_weight_to_a_task_without_labels():
    """A loss of 0 has a logarithm of minus infinity: with the released code's epsilon the task would take all."""
    balancer = Toy(scales=(1.0, 1.0)).balancer("famo")
    before = balancer.factors(torch.tensor([1.0, 1.0]))

    for _ in range(10):
        missing = balancer.factors(torch.tensor([1.0, 0.0]))
        balancer.after_step(lambda: torch.tensor([1.0, 0.0]))

    assert missing[0].item() == pytest.approx(1.0)
    torch.testing.assert_close(balancer.factors(torch.tensor([1.0, 1.0])), before)


def test_famo_moves_no_weight_of_the_model_in_its_second_pass():
    toy = Toy()
    balancer = toy.balancer("famo")
    toy.gradients(balancer)
    before = [parameter.grad for parameter in toy.parameters()]

    balancer.after_step(toy.losses)

    assert all(a is b for a, b in zip(before, [parameter.grad for parameter in toy.parameters()], strict=True))


def test_famo_compares_only_the_tasks_that_have_labels():
    """As if there were no third task: its share of the softmax must not pull the others."""
    three, two = Toy().balancer("famo"), Toy(scales=(1.0, 1.0)).balancer("famo")

    for _ in range(5):
        wide = three.factors(torch.tensor([1.0, 2.0, 0.0]))
        narrow = two.factors(torch.tensor([1.0, 2.0]))
        torch.testing.assert_close(wide[:2], narrow)
        three.after_step(lambda: torch.tensor([0.5, 1.9, 0.0]))
        two.after_step(lambda: torch.tensor([0.5, 1.9]))
