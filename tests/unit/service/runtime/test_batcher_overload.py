"""A simulated day's worth of traffic at 70 % of capacity, and at three times what can be done."""

import pytest

from tests.simulator import TRUE_COST, Simulation, capacity, noise, poisson

SIGMA = 0.1
CAPACITY = capacity(factors=noise(SIGMA))


def without_deadline(_rng):
    return None


def of_three_kinds(rng):
    return rng.choice([None, 0.06, 0.2])


def simulate(load, count, *, patience=without_deadline, **settings):
    """Give the customers and their outcomes, and the simulation."""
    customers = poisson(rate=load * CAPACITY, count=count, patience=patience)
    simulation = Simulation(factors=noise(SIGMA, 1), **settings)
    return customers, simulation.run(customers), simulation


def answered(customers, outcomes):
    return [pair for pair in zip(customers, outcomes, strict=True) if pair[1].kind == "answered"]


def percentiles(customers, outcomes):
    """Give the median and the 99th percentile of the seconds to an answer."""
    waits = sorted(outcome.at - customer.arrives for customer, outcome in answered(customers, outcomes))
    return waits[len(waits) // 2], waits[int(0.99 * len(waits))]


@pytest.mark.parametrize("patience", [without_deadline, of_three_kinds])
def test_at_three_times_capacity_the_graph_does_nothing_but_answers_in_time(patience):
    customers, outcomes, simulation = simulate(3.0, 4000, patience=patience)

    kinds = [outcome.kind for outcome in outcomes]
    span = max(outcome.at for outcome in outcomes)
    rows = sum(customer.rows for customer, _ in answered(customers, outcomes))
    assert rows / span >= 0.9 * CAPACITY * 525
    assert kinds.count("answered") / span >= 0.9 * CAPACITY
    assert kinds.count("late") <= 0.005 * kinds.count("answered")
    assert simulation.batcher.waiting_rows == 0


def test_whoever_is_let_in_at_three_times_capacity_is_answered_within_the_wait_that_is_promised():
    customers, outcomes, _ = simulate(3.0, 4000)

    median, p99 = percentiles(customers, outcomes)
    assert p99 <= 0.1 + 2.5 * TRUE_COST.seconds(2048, 4)
    assert p99 <= 1.5 * median


def test_a_long_list_is_refused_no_more_often_than_a_short_one():
    customers, outcomes, _ = simulate(3.0, 4000)

    got = [customer.rows for customer, _ in answered(customers, outcomes)]
    assert sum(got) / len(got) == pytest.approx(525, rel=0.05)


def test_at_70_percent_nobody_is_refused_and_the_slowest_wait_no_longer_than_the_best_queue_would_make_them():
    customers, outcomes, _ = simulate(0.7, 6000)

    assert {outcome.kind for outcome in outcomes} == {"answered"}
    _, p99 = percentiles(customers, outcomes)
    assert p99 <= 1.3 * best_p99(customers)


def best_p99(customers):
    """The 99th percentile in order of arrival, each charged only its share of a full batch (Lindley 1952)."""
    share = TRUE_COST.call_s / 2048
    free, waits = 0.0, []
    for customer in customers:
        seconds = customer.rows * (TRUE_COST.row_s + share) + TRUE_COST.request_s
        free = max(free, customer.arrives) + seconds
        waits.append(free - customer.arrives)
    return sorted(waits)[int(0.99 * len(waits))]


def test_at_70_percent_with_deadlines_p99_stays_within_two_and_a_half_medians_for_a_few_refusals():
    customers, outcomes, _ = simulate(0.7, 6000, patience=lambda _: 0.022)

    median, p99 = percentiles(customers, outcomes)
    kinds = [outcome.kind for outcome in outcomes]
    assert p99 <= 2.5 * median
    assert kinds.count("answered") >= 0.9 * len(kinds)
    assert kinds.count("late") <= 0.002 * len(kinds)


def test_two_runners_at_three_times_capacity_lose_nothing_either():
    customers, outcomes, simulation = simulate(6.0, 4000, workers=2)

    span = max(outcome.at for outcome in outcomes)
    assert len(answered(customers, outcomes)) / span >= 0.9 * 2 * CAPACITY
    assert simulation.executor.most_at_work == 2
