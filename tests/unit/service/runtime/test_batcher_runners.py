"""What goes wrong with the runners, and on the way out."""

import asyncio
import gc
import math
import threading
import weakref

import numpy as np
import pytest

from service.errors import DeadlineExceeded, InferenceFailed, Overloaded, ShuttingDown
from service.runtime.batcher import Batcher
from tests.factories import tiny_inputs
from tests.fakes import PATIENCE_S, FakeRuntime, ManualClock, Recorder
from tests.simulator import TRUE_COST, Customer, Simulation, alone, inputs_of
from tests.virtual_time import run_virtually


def within(coroutine):
    return asyncio.run(asyncio.wait_for(coroutine, PATIENCE_S))


def make_batcher(run, **settings):
    limits = {"max_batch_rows": 100, "max_waiting_rows": 1000, "workers": 1, "max_queue_wait_s": math.inf}
    return Batcher(run, clock=ManualClock(), observer=Recorder(), **limits | settings)


@pytest.mark.parametrize("death", [SystemExit, KeyboardInterrupt, MemoryError, asyncio.CancelledError])
def test_a_runner_that_dies_fails_its_caller_and_the_next_one_is_served(death):
    deaths = [death("gone")]

    def run(inputs):
        if deaths:
            raise deaths.pop()
        return FakeRuntime().run(inputs)

    async def scenario():
        batcher = make_batcher(run)
        with pytest.raises(InferenceFailed):
            await batcher.submit(tiny_inputs(2), deadline=None)
        answer = await batcher.submit(tiny_inputs(2), deadline=None)
        await batcher.aclose()
        return answer

    assert len(within(scenario()).heads["ctr"]) == 2


@pytest.mark.parametrize("extra", [-1, 1])
def test_a_graph_that_gives_more_or_fewer_values_than_rows_is_a_failure_and_no_answer(extra):
    def run(inputs):
        return {"ctr": np.zeros(len(inputs.request_index) + extra, np.float32)}

    async def scenario():
        batcher = make_batcher(run)
        with pytest.raises(InferenceFailed, match="values of 'ctr' for 2 candidates"):
            await batcher.submit(tiny_inputs(2), deadline=None)
        await batcher.aclose()

    within(scenario())


def test_when_no_thread_can_be_had_those_who_wait_are_told_so_and_the_queue_goes_on():
    starts = iter(range(1000))
    simulation = Simulation(breaks=lambda: RuntimeError("can't start new thread") if 1 <= next(starts) <= 4 else None)
    customers = [Customer(arrives=number * 1e-6, rows=10) for number in range(4)]
    late = [Customer(arrives=1.0, rows=10)]

    outcomes = simulation.run([*customers, *late])

    assert [outcome.kind for outcome in outcomes] == ["answered", "failed", "failed", "failed", "answered"]
    assert "can't start new thread" in outcomes[1].error.detail


def test_a_long_line_that_no_runner_can_take_does_not_run_out_of_stack():
    starts = iter(range(10**6))
    simulation = Simulation(
        breaks=lambda: RuntimeError("no thread") if next(starts) else None, max_batch_rows=1, max_queue_wait_s=math.inf
    )

    outcomes = simulation.run([Customer(arrives=number * 1e-9, rows=1) for number in range(3000)])

    assert [outcome.kind for outcome in outcomes] == ["answered"] + ["failed"] * 2999


def test_a_failed_part_fails_the_whole_request_and_takes_its_other_parts_out_of_the_line():
    simulation = Simulation(max_batch_rows=10)
    customers = [
        Customer(arrives=0.0, rows=10),
        Customer(arrives=1e-6, rows=100, is_poisoned=True),
        Customer(arrives=2e-6, rows=10),
    ]

    outcomes = simulation.run(customers)

    assert [outcome.kind for outcome in outcomes] == ["answered", "failed", "answered"]
    assert len(simulation.graph.calls) == 4  # one more of its parts had begun when the loop heard of the failure


def test_whoever_leaves_takes_all_its_parts_along():
    simulation = Simulation(max_batch_rows=10)
    customers = [Customer(arrives=0.0, rows=10), Customer(arrives=1e-6, rows=100, leaves_after=1e-4)]

    outcomes = simulation.run(customers)

    assert [outcome.kind for outcome in outcomes] == ["answered", "left"]
    assert [rows for rows, _ in simulation.graph.calls] == [10]


def test_the_parts_of_a_long_list_run_on_all_runners_at_once():
    simulation = Simulation(max_batch_rows=1000, workers=2)
    customer = Customer(arrives=0.0, rows=1500)

    (outcome,) = simulation.run([customer])

    assert outcome.scores == alone(0, customer)
    assert outcome.at == pytest.approx(TRUE_COST.seconds(750, 1))


def test_those_who_run_alone_after_a_failure_are_not_joined_by_newcomers_either():
    simulation = Simulation()
    failing = [Customer(arrives=n * 1e-6, rows=10, is_poisoned=n == 1) for n in range(3)]
    newcomers = [Customer(arrives=0.0011, rows=10), Customer(arrives=0.0018, rows=10, patience=0.05)]

    outcomes = simulation.run([*failing, *newcomers])

    assert [outcome.kind for outcome in outcomes] == ["answered", "failed", "answered", "answered", "answered"]
    assert [members for _, members in simulation.graph.calls] == [[0], [1, 2], [3], [4], [1], [2]]


def test_an_answer_in_parts_waited_until_the_first_part_began_and_took_until_the_last_was_done():
    async def scenario():
        simulation = Simulation(max_batch_rows=1000)
        batcher = simulation.batcher
        first = asyncio.create_task(batcher.submit(inputs_of(0, Customer(arrives=0.0, rows=1000)), deadline=None))
        await asyncio.sleep(0)
        answer = await batcher.submit(inputs_of(1, Customer(arrives=0.0, rows=3000)), deadline=None)
        await first
        return answer

    answer = run_virtually(scenario())

    assert answer.queue_s == pytest.approx(TRUE_COST.seconds(1000, 1))
    assert answer.infer_s == pytest.approx(3 * TRUE_COST.seconds(1000, 1))


def test_a_batch_that_fails_is_taken_apart_and_its_members_run_alone_in_order():
    simulation = Simulation()
    customers = [Customer(arrives=n * 1e-6, rows=10, is_poisoned=n == 2) for n in range(5)]

    outcomes = simulation.run(customers)

    assert [outcome.kind for outcome in outcomes] == ["answered", "answered", "failed", "answered", "answered"]
    assert [members for _, members in simulation.graph.calls] == [[0], [1, 2, 3, 4], [1], [2], [3], [4]]
    assert [call["reason"] for call in simulation.observer.calls] == ["idle", "alone", "alone", "alone"]


@pytest.mark.parametrize("rows", [10, 5000])
def test_what_a_request_brought_along_is_freed_with_its_answer_and_not_at_the_next_collection(rows):
    async def scenario():
        simulation = Simulation()
        inputs = inputs_of(1, Customer(arrives=0.0, rows=rows))
        held = weakref.ref(inputs.request)
        task = asyncio.create_task(simulation.batcher.submit(inputs, deadline=10.0))
        del inputs
        await task
        await simulation.batcher.aclose()
        return held

    gc.disable()
    try:
        assert run_virtually(scenario())() is None
    finally:
        gc.enable()


def test_the_last_batches_before_the_end_say_that_the_queue_was_drained():
    async def scenario():
        gate, entered = threading.Event(), threading.Event()

        def run(inputs):
            entered.set()
            assert gate.wait(PATIENCE_S)
            return FakeRuntime().run(inputs)

        observer = Recorder()
        batcher = make_batcher(run)
        batcher._observer = observer
        tasks = [asyncio.create_task(batcher.submit(tiny_inputs(1), deadline=None)) for _ in range(2)]
        assert await asyncio.to_thread(entered.wait, PATIENCE_S)
        closing = asyncio.create_task(batcher.aclose())
        await asyncio.sleep(0)
        with pytest.raises(ShuttingDown):
            batcher.check(rows=1, deadline=None)
        gate.set()
        await closing
        await asyncio.gather(*tasks)
        return [call["reason"] for call in observer.calls]

    assert within(scenario()) == ["idle", "drain"]


def test_what_submit_would_refuse_can_be_refused_before_anything_is_spent_on_it():
    async def scenario():
        simulation = Simulation()
        batcher = simulation.batcher
        batcher.check(rows=1000, deadline=None)
        with pytest.raises(DeadlineExceeded):
            batcher.check(rows=1, deadline=0.0)

        first = asyncio.create_task(batcher.submit(inputs_of(1, Customer(arrives=0.0, rows=500)), deadline=None))
        await asyncio.sleep(0)
        with pytest.raises(Overloaded):
            batcher.check(rows=1, deadline=0.001)
        first.cancel()
        return simulation.observer.refusals

    assert run_virtually(scenario()) == ["deadline"]
