"""What holds for any traffic: random arrivals, lengths, deadlines, cancels, poison and broken runners."""

import math
from dataclasses import dataclass

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from service.runtime.cost import Cost
from tests.simulator import Customer, Simulation, alone

TINY = 1e-8
"""An event loop fires a timer up to a nanosecond early, and virtual time is a sum of floats."""
TENTHS_OF_MS = st.integers(0, 800).map(lambda tenths: tenths / 10_000)


@dataclass(frozen=True, kw_only=True)
class Traffic:
    customers: list
    settings: dict
    factors: list
    broken: frozenset

    def simulate(self):
        """Run it; give the simulation and the outcomes."""
        starts = iter(range(10**9))
        simulation = Simulation(
            factors=(self.factors[n % len(self.factors)] for n in range(10**9)),
            breaks=lambda: RuntimeError("no thread") if next(starts) in self.broken else None,
            **self.settings,
        )
        return simulation, simulation.run(self.customers)


def customers(*, patience=True, trouble=True):
    optional = st.none() | TENTHS_OF_MS.map(lambda seconds: seconds + 0.0005)
    return st.builds(
        lambda gap, **facts: (gap, facts),
        st.just(0.0) | TENTHS_OF_MS,
        rows=st.integers(1, 60),
        patience=optional if patience else st.none(),
        leaves_after=optional if trouble else st.none(),
        is_poisoned=st.sampled_from([False] * 6 + [True]) if trouble else st.just(False),
    )


@st.composite
def traffic(draw):
    arrivals, now = [], 0.0
    for gap, facts in draw(st.lists(customers(), min_size=1, max_size=30)):
        now += gap
        arrivals.append(Customer(arrives=now, **facts))
    return Traffic(
        customers=arrivals,
        settings={
            "workers": draw(st.integers(1, 3)),
            "max_batch_rows": draw(st.integers(1, 80)),
            "max_waiting_rows": draw(st.sampled_from([40, 200, 10_000])),
            "max_queue_wait_s": draw(st.sampled_from([0.002, 0.02, math.inf])),
        },
        factors=draw(st.lists(st.sampled_from([0.0, 0.5, 1.0, 1.0, 1.0, 3.0, 40.0]), min_size=1, max_size=8)),
        broken=draw(st.frozensets(st.integers(0, 30), max_size=3)),
    )


@settings(max_examples=300, deadline=None)
@given(traffic())
def test_every_caller_gets_exactly_one_outcome_and_it_is_one_that_is_due_to_it(traffic):
    _, outcomes = traffic.simulate()

    failed_whole = 0
    for number, (customer, outcome) in enumerate(zip(traffic.customers, outcomes, strict=True)):
        event(outcome.kind)
        match outcome.kind:
            case "answered":
                assert outcome.scores == alone(number, customer)
                assert outcome.at < customer.deadline
                assert not customer.is_poisoned
            case "failed":
                failed_whole += not customer.is_poisoned
            case "late":
                assert outcome.at >= customer.deadline - TINY
            case "left":
                assert outcome.at == pytest.approx(customer.arrives + customer.leaves_after, abs=TINY)
            case "refused":
                assert outcome.at == pytest.approx(customer.arrives, abs=TINY)
    assert failed_whole <= len(traffic.broken)


@settings(max_examples=80, deadline=None)
@given(traffic())
def test_no_graph_call_is_longer_than_a_batch_and_no_more_run_than_there_are_runners(traffic):
    simulation, _ = traffic.simulate()

    assert all(rows <= traffic.settings["max_batch_rows"] for rows, _ in simulation.graph.calls)
    assert simulation.executor.most_at_work <= traffic.settings["workers"]


@settings(max_examples=80, deadline=None)
@given(traffic())
def test_nothing_is_left_behind(traffic):
    simulation, _ = traffic.simulate()

    assert simulation.batcher.waiting_rows == 0
    assert simulation.executor.at_work == 0
    assert simulation.executor.is_shut


@settings(max_examples=80, deadline=None)
@given(traffic())
def test_the_fitted_cost_is_never_negative_and_never_infinite(traffic):
    simulation, _ = traffic.simulate()

    cost = simulation.model.cost
    assert all(0.0 <= part < math.inf for part in (cost.call_s, cost.row_s, cost.request_s))
    assert 1.0 <= simulation.model.margin <= 2.0


@settings(max_examples=80, deadline=None)
@given(traffic())
def test_what_happens_to_one_caller_does_not_change_what_its_neighbours_are_answered(traffic):
    """Without deadlines and limits everyone who stays and is whole is answered, whatever the others do."""
    patient = [Customer(**(vars(each) | {"patience": None})) for each in traffic.customers]
    unlimited = traffic.settings | {"max_waiting_rows": 10**9, "max_queue_wait_s": math.inf}
    calm = Traffic(customers=patient, settings=unlimited, factors=traffic.factors, broken=frozenset())

    _, outcomes = calm.simulate()

    for number, (customer, outcome) in enumerate(zip(patient, outcomes, strict=True)):
        if customer.leaves_after is None and not customer.is_poisoned:
            assert outcome.kind == "answered"
            assert outcome.scores == alone(number, customer)


@settings(max_examples=80, deadline=None)
@given(traffic())
def test_those_who_are_equal_are_served_in_order_of_arrival(traffic):
    whole = [Customer(arrives=each.arrives, rows=each.rows) for each in traffic.customers]
    calm = Traffic(customers=whole, settings=traffic.settings | {"workers": 1}, factors=[1.0], broken=frozenset())

    simulation, _ = calm.simulate()

    served = [number for _, numbers in simulation.graph.calls for number in numbers]
    assert served == sorted(served)


@settings(max_examples=80, deadline=None)
@given(traffic())
def test_a_request_is_never_refused_while_a_runner_idles_even_by_a_model_that_expects_hours(traffic):
    whole = [Customer(arrives=each.arrives, rows=each.rows, patience=each.patience) for each in traffic.customers]
    simulation = Simulation(**traffic.settings, believed=Cost(call_s=3600.0, row_s=1.0, request_s=1.0))
    refused_at = []
    queue = simulation.batcher._queue
    check = queue._check

    def watched(*args):
        idle, refusal = len(queue._at_work) < queue._workers, check(*args)
        refused_at.append(idle and refusal is not None)
        return refusal

    queue._check = watched
    outcomes = simulation.run(whole)

    assert not any(refused_at)
    assert outcomes[0].kind != "refused"
