"""Who is let in, who is not, and that it was right: what would have become of those who were refused."""

import math
from dataclasses import replace

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from service.runtime.admission import _level
from service.runtime.cost import Cost
from tests.simulator import TRUE_COST, Customer, Simulation, noise, poisson

HALF_A_MICROSECOND = 5e-7
"""Costs and arrivals are whole microseconds, so nobody is done on the very instant of a deadline."""
ARRIVALS = st.lists(
    st.tuples(
        st.integers(0, 10).map(lambda tenths: tenths / 10_000),
        st.integers(1, 60),
        st.none() | st.integers(10, 60).map(lambda tenths: tenths / 10_000 + HALF_A_MICROSECOND),
    ),
    min_size=8,
    max_size=30,
)


def customers_of(arrivals):
    customers, now = [], 0.0
    for gap, rows, patience in arrivals:
        now += gap
        customers.append(Customer(arrives=now, rows=rows, patience=patience))
    return customers


@settings(max_examples=150, deadline=None)
@given(arrivals=ARRIVALS, max_batch_rows=st.integers(10, 100))
def test_had_those_been_let_in_who_were_refused_they_or_someone_before_them_would_have_been_late(
    arrivals, max_batch_rows
):
    """With the true cost known and one runner: let the first who was refused in after all, and see."""

    def simulation():
        knowing = Simulation(max_batch_rows=max_batch_rows, max_queue_wait_s=math.inf)
        knowing.model.observe = lambda **_: None
        return knowing

    customers = customers_of(arrivals)
    first = next((n for n, outcome in enumerate(simulation().run(customers)) if outcome.kind == "refused"), None)
    if first is None:
        event("nobody was refused")
        return

    insistent = simulation()
    insistent.batcher._queue._admission.refuse = lambda *_: None
    outcomes = insistent.run(customers[: first + 1])

    event(f"refused: {outcomes[first].kind}")
    assert "late" in [outcome.kind for outcome in outcomes]


def at_once(*requests):
    """Make customers who come in this order at practically the same time."""
    return [
        Customer(arrives=number * 1e-6, rows=rows, patience=patience)
        for number, (rows, patience) in enumerate(requests)
    ]


def kinds(outcomes):
    return [outcome.kind for outcome in outcomes]


def test_a_request_that_cannot_be_answered_in_time_is_refused_at_once_with_the_time_to_return():
    simulation = Simulation(max_batch_rows=1000)
    outcomes = simulation.run(at_once((1000, None), (1000, 0.019), (1000, 0.02)))

    assert kinds(outcomes) == ["answered", "answered", "refused"]
    assert outcomes[2].at == pytest.approx(2e-6)
    assert 0.0 < outcomes[2].error.retry_after_s < 0.01
    assert simulation.observer.refusals == ["deadline"]


def test_coming_back_after_the_time_that_was_named_is_enough():
    crowd = at_once((1000, None), (1000, 0.019), (1000, 0.02))
    retry_after_s = Simulation(max_batch_rows=1000).run(crowd)[2].error.retry_after_s

    patient = [*crowd, replace(crowd[2], arrives=crowd[2].arrives + retry_after_s + 1e-4)]

    assert kinds(Simulation(max_batch_rows=1000).run(patient))[2:] == ["refused", "answered"]


def test_a_request_without_a_deadline_is_refused_when_those_who_wait_would_delay_it_for_too_long():
    crowd = at_once(*[(1000, None)] * 6)
    simulation = Simulation(max_batch_rows=1000, max_queue_wait_s=0.02)

    outcomes = simulation.run(crowd)

    assert kinds(outcomes) == ["answered"] * 4 + ["refused"] * 2
    assert simulation.observer.refusals == ["wait", "wait"]


def test_a_tight_deadline_goes_before_those_who_have_time():
    outcomes = Simulation(max_batch_rows=1000).run(at_once((1000, None), (1000, None), (1000, 0.09), (500, 0.015)))

    assert kinds(outcomes) == ["answered"] * 4
    first, patient, middle, tight = (outcome.at for outcome in outcomes)
    assert first < tight < middle < patient


def test_nobody_overtakes_whom_it_would_make_late():
    outcomes = Simulation(max_batch_rows=1000).run(at_once((1000, None), (1000, 0.018), (500, 0.015)))

    assert kinds(outcomes) == ["answered", "answered", "refused"]


def test_a_request_without_a_deadline_is_not_overtaken_for_longer_than_the_wait_that_is_promised():
    """A stream that alone fills the graph, every request with a tight deadline, and one request without any."""
    stream = [Customer(arrives=number * 0.004, rows=500, patience=0.012) for number in range(200)]
    lone = Customer(arrives=0.0401, rows=500)
    customers = sorted([*stream, lone], key=lambda customer: customer.arrives)

    outcomes = Simulation(max_batch_rows=500, max_queue_wait_s=0.05).run(customers)

    waited = outcomes[customers.index(lone)].at - lone.arrives
    assert outcomes[customers.index(lone)].kind == "answered"
    assert waited <= 0.05 + 2 * TRUE_COST.seconds(1000, 2)


def test_a_batch_is_not_filled_past_the_deadline_of_a_member():
    simulation = Simulation(max_batch_rows=2000)
    outcomes = simulation.run(at_once((1000, None), (200, 0.0125), *[(1000, None)] * 2))

    assert kinds(outcomes) == ["answered"] * 4
    assert [rows for rows, _ in simulation.graph.calls] == [1000, 200, 2000]
    assert [call["reason"] for call in simulation.observer.calls] == ["idle", "deadline", "idle"]


def test_while_a_runner_hangs_newcomers_are_refused_and_afterwards_let_in_again():
    """The first call takes 10 s instead of 9 ms."""
    customers = [Customer(arrives=number * 0.05, rows=1000, patience=0.2) for number in range(220)]
    outcomes = Simulation(factors=iter([1000.0] + [1.0] * 1000)).run(customers)

    hanging = [outcome.kind for outcome in outcomes if outcome.at < 9.0]
    later = [outcome.kind for customer, outcome in zip(customers, outcomes, strict=True) if customer.arrives > 9.5]
    assert hanging.count("late") <= 4
    assert hanging.count("refused") >= 160
    assert set(later) == {"answered"}


def test_a_pause_at_light_load_turns_nobody_away_who_has_time():
    """The first call takes half a second, five times the wait that is promised, and few come meanwhile."""
    customers = [Customer(arrives=n * 0.02, rows=100, patience=2.0 if n % 2 else None) for n in range(50)]
    outcomes = Simulation(factors=iter([400.0] + [1.0] * 100)).run(customers)

    assert set(kinds(outcomes)) == {"answered"}


def test_where_a_call_is_longer_than_the_wait_that_is_promised_few_are_refused_at_light_load():
    slow = Cost(call_s=0.15, row_s=1e-5, request_s=0.0)
    simulation = Simulation(true_cost=slow, believed=slow, factors=noise(0.1))

    outcomes = simulation.run(poisson(rate=20, count=500, rows=(10, 100)))

    assert set(kinds(outcomes)) == {"answered"}


@pytest.mark.parametrize("wrong_by", [1 / 1000, 1 / 10, 10, 1000])
def test_a_model_that_is_wrong_by_far_finds_its_way_back(wrong_by):
    wrong = Cost(
        call_s=wrong_by * TRUE_COST.call_s, row_s=wrong_by * TRUE_COST.row_s, request_s=wrong_by * TRUE_COST.request_s
    )
    customers = poisson(rate=100, count=1000, patience=lambda rng: rng.choice([None, 0.08]))
    simulation = Simulation(believed=wrong, factors=noise(0.1))

    outcomes = simulation.run(customers)

    assert kinds(outcomes)[60:].count("answered") >= 0.99 * 940
    assert simulation.model.cost.seconds(500, 1) == pytest.approx(TRUE_COST.seconds(500, 1), rel=0.2)


@settings(deadline=None)
@given(
    busy_s=st.lists(st.integers(0, 100).map(lambda hundredths: hundredths / 100), min_size=1, max_size=5),
    work_s=st.integers(0, 500).map(lambda hundredths: hundredths / 100),
)
def test_work_that_is_poured_over_the_runners_is_all_there_and_lies_level(busy_s, work_s):
    level = _level(busy_s, work_s)

    assert sum(max(0.0, level - until) for until in busy_s) == pytest.approx(work_s)
    assert level >= min(busy_s)


def test_one_who_is_lost_does_not_keep_others_out_of_its_batch():
    """The first call takes four times as long, so the second request cannot make its deadline any more."""
    crowd = at_once((1000, None), (500, 0.036), *[(500, None)] * 3)
    simulation = Simulation(factors=iter([4.0, 1.0, 1.0]), max_batch_rows=2000)

    outcomes = simulation.run(crowd)

    assert kinds(outcomes) == ["answered", "late", "answered", "answered", "answered"]
    assert [rows for rows, _ in simulation.graph.calls] == [1000, 2000]


def test_with_two_runners_a_request_is_still_only_as_fast_as_one():
    outcomes = Simulation(workers=2, max_batch_rows=1000).run(at_once((1000, None), (1000, None), (1000, 0.015)))

    assert kinds(outcomes) == ["answered", "answered", "refused"]


def test_whoever_is_first_in_line_may_be_longer_than_the_line_may_be():
    simulation = Simulation(max_waiting_rows=50)
    outcomes = simulation.run(at_once((10, None), (100, None), (1, None)))

    assert kinds(outcomes) == ["answered", "answered", "refused"]
    assert simulation.observer.refusals == ["rows"]
    assert outcomes[2].error.retry_after_s > 0.0


def test_of_two_runners_one_that_idles_is_enough_to_be_let_in():
    """The model expects an hour, and the first call really takes a second."""
    simulation = Simulation(workers=2, believed=Cost(call_s=3600.0, row_s=0.0, request_s=0.0), factors=iter([100.0, 1]))

    outcomes = simulation.run(at_once((1000, None), (1000, 1.0)))

    assert kinds(outcomes) == ["answered", "answered"]
