import asyncio
import contextlib
import math
import threading
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contract.arrays import GraphInputs, SideArrays
from service.errors import DeadlineExceeded, InferenceFailed, Overloaded, ShuttingDown
from service.runtime.batcher import Batcher
from tests.fakes import ManualClock, Recorder

PATIENCE_S = 30.0


def make_inputs(number, rows, *, poisoned=False):
    """Make a request whose rows :class:`GatedGraph` scores ``1000 * number + position``."""
    request = np.array([[number, poisoned]], dtype=np.float32)
    candidate = np.arange(rows, dtype=np.float32)[:, None]
    return GraphInputs.single(
        SideArrays(ids=np.zeros((1, 0), np.int64), dense=request),
        SideArrays(ids=np.zeros((rows, 0), np.int64), dense=candidate),
    )


def expected_scores(number, rows):
    return [1000.0 * number + row for row in range(rows)]


class GatedGraph:
    """Waits at a gate, fails on poisoned requests, and keeps the request numbers of every batch."""

    def __init__(self, *, held=False):
        self.calls = []
        self.entered = threading.Semaphore(0)
        self.gate = threading.Event()
        if not held:
            self.gate.set()

    def run(self, inputs):
        self.calls.append([int(number) for number in inputs.request.dense[:, 0]])
        self.entered.release()
        assert self.gate.wait(PATIENCE_S), "the test never opened the gate"
        if inputs.request.dense[:, 1].any():
            raise ValueError("poisoned")
        return {"score": 1000 * inputs.request.dense[inputs.request_index, 0] + inputs.candidate.dense[:, 0]}


class Bench:
    """A batcher over a fake graph, and helpers to line requests up before it."""

    def __init__(self, runtime, *, max_batch_rows=10, max_waiting_rows=100, workers=1):
        self.runtime = runtime
        self.clock = ManualClock()
        self.observer = Recorder()
        self.batcher = Batcher(
            runtime.run,
            max_queue_wait_s=math.inf,
            max_batch_rows=max_batch_rows,
            max_waiting_rows=max_waiting_rows,
            workers=workers,
            clock=self.clock,
            observer=self.observer,
        )

    def submit(self, number, rows=2, *, deadline=None, poisoned=False):
        return asyncio.create_task(self.batcher.submit(make_inputs(number, rows, poisoned=poisoned), deadline=deadline))

    async def occupy(self, number=0, rows=1):
        """Give the graph a request and come back when it is at work on it."""
        task = self.submit(number, rows)
        assert await asyncio.to_thread(self.runtime.entered.acquire, timeout=PATIENCE_S)
        return task


@contextlib.asynccontextmanager
async def bench(*, held=False, **limits):
    bench = Bench(GatedGraph(held=held), **limits)
    try:
        yield bench
    finally:
        bench.runtime.gate.set()
        await bench.batcher.aclose()


async def turn():
    """Let every task that can run reach its next wait."""
    for _ in range(3):
        await asyncio.sleep(0)


async def scores(task):
    return (await task).heads["score"].tolist()


def within(coroutine):
    asyncio.run(asyncio.wait_for(coroutine, PATIENCE_S))


def test_an_idle_graph_takes_a_request_at_once_and_alone():
    async def scenario():
        async with bench() as b:
            assert await scores(b.submit(1, 3)) == expected_scores(1, 3)
            assert b.observer.batches == [(3, 1)]

    within(scenario())


def test_requests_that_wait_are_joined_in_order_up_to_the_batch_limit():
    async def scenario():
        async with bench(held=True, max_batch_rows=5) as b:
            tasks = [await b.occupy()] + [b.submit(number, 2) for number in (1, 2, 3)]
            await turn()
            b.runtime.gate.set()

            assert await scores(tasks[1]) == expected_scores(1, 2)
            assert await scores(tasks[2]) == expected_scores(2, 2)
            assert await scores(tasks[3]) == expected_scores(3, 2)
            assert b.runtime.calls == [[0], [1, 2], [3]]
            await tasks[0]
        assert b.observer.batches == [(1, 1), (4, 2), (2, 1)]

    within(scenario())


def test_a_request_that_does_not_fit_is_not_overtaken_by_a_smaller_one():
    async def scenario():
        async with bench(held=True, max_batch_rows=4) as b:
            tasks = [await b.occupy(), b.submit(1, 2), b.submit(2, 3), b.submit(3, 1)]
            await turn()
            b.runtime.gate.set()
            await asyncio.gather(*tasks)
            assert b.runtime.calls == [[0], [1], [2, 3]]

    within(scenario())


def test_a_request_larger_than_a_batch_is_split_evenly_and_joined_again_in_order():
    async def scenario():
        async with bench(held=True, max_batch_rows=4) as b:
            tasks = [await b.occupy(), b.submit(1, 1), b.submit(2, 9), b.submit(3, 1)]
            await turn()
            b.runtime.gate.set()
            assert await scores(tasks[2]) == expected_scores(2, 9)
            await asyncio.gather(*tasks)
            assert b.runtime.calls == [[0], [1, 2], [2], [2, 3]]
            assert max(rows for rows, _ in b.observer.batches) <= 4

    within(scenario())


def test_two_workers_run_two_batches_at_a_time():
    async def scenario():
        async with bench(held=True, workers=2) as b:
            tasks = [await b.occupy(1), await b.occupy(2)]
            b.runtime.gate.set()
            assert [await scores(task) for task in tasks] == [expected_scores(1, 1), expected_scores(2, 1)]

    within(scenario())


@pytest.mark.parametrize("leaves", ["while it waits", "while it is scored"])
def test_a_caller_that_is_cancelled_does_not_move_its_neighbours_numbers(leaves):
    async def scenario():
        async with bench(held=True) as b:
            first = await b.occupy()
            tasks = [b.submit(1, 2), b.submit(2, 3), b.submit(3, 1)]
            await turn()
            if leaves == "while it is scored":
                await hand_over(b, first)
            tasks[1].cancel()
            await turn()
            b.runtime.gate.set()

            assert await scores(tasks[0]) == expected_scores(1, 2)
            assert await scores(tasks[2]) == expected_scores(3, 1)
            assert tasks[1].cancelled()
            joined = [1, 2, 3] if leaves == "while it is scored" else [1, 3]
            assert b.runtime.calls == [[0], joined]
            await first

    within(scenario())


async def hand_over(b, first):
    """Finish the first batch, and hold the graph again in the second."""
    gate, b.runtime.gate = b.runtime.gate, threading.Event()
    gate.set()
    await first
    assert await asyncio.to_thread(b.runtime.entered.acquire, timeout=PATIENCE_S)


@pytest.mark.parametrize("expires", ["while it waits", "while it is scored"])
def test_a_caller_that_times_out_does_not_hang_its_neighbours(expires):
    async def scenario():
        async with bench(held=True) as b:
            first = await b.occupy()
            scored = expires == "while it is scored"
            tasks = [b.submit(1, 2), b.submit(2, 3, deadline=0.3 if scored else 0.02), b.submit(3, 1)]
            await turn()
            if scored:
                await hand_over(b, first)
            with pytest.raises(DeadlineExceeded):
                await tasks[1]
            b.runtime.gate.set()

            assert await scores(tasks[0]) == expected_scores(1, 2)
            assert await scores(tasks[2]) == expected_scores(3, 1)
            await first

    within(scenario())


def test_a_request_whose_deadline_has_passed_never_reaches_the_graph():
    async def scenario():
        async with bench() as b:
            b.clock.advance(5.0)
            with pytest.raises(DeadlineExceeded):
                await b.submit(1, deadline=5.0)
            assert b.runtime.calls == []

    within(scenario())


def test_a_poisoned_request_fails_alone_and_the_next_batch_lives():
    async def scenario():
        async with bench(held=True) as b:
            tasks = [await b.occupy(), b.submit(1), b.submit(2, poisoned=True), b.submit(3)]
            await turn()
            b.runtime.gate.set()

            with pytest.raises(InferenceFailed, match="poisoned"):
                await tasks[2]
            assert await scores(tasks[1]) == expected_scores(1, 2)
            assert await scores(tasks[3]) == expected_scores(3, 2)
            assert await scores(b.submit(4)) == expected_scores(4, 2)
            await tasks[0]

    within(scenario())


def test_a_request_that_cannot_be_joined_with_its_neighbours_hangs_nobody():
    async def scenario():
        async with bench(held=True) as b:
            first = await b.occupy()
            odd = make_inputs(2, 1)
            odd = replace(odd, candidate=SideArrays(ids=odd.candidate.ids, dense=np.zeros((1, 2), np.float32)))
            tasks = [b.submit(1), asyncio.create_task(b.batcher.submit(odd, deadline=None)), b.submit(3)]
            await turn()
            b.runtime.gate.set()

            assert await scores(tasks[0]) == expected_scores(1, 2)
            assert await scores(tasks[2]) == expected_scores(3, 2)
            await asyncio.gather(first, tasks[1])

    within(scenario())


def test_more_rows_than_may_wait_are_refused_at_once_with_a_time_to_return():
    async def scenario():
        async with bench(held=True, max_waiting_rows=4) as b:
            tasks = [await b.occupy(), b.submit(1, 4)]
            await turn()
            with pytest.raises(Overloaded) as refused:
                await b.submit(2, 1)
            assert refused.value.retry_after_s is not None

            b.runtime.gate.set()
            assert await scores(tasks[1]) == expected_scores(1, 4)
            assert await scores(b.submit(3, 1)) == expected_scores(3, 1)
            await tasks[0]

    within(scenario())


def test_a_caller_that_left_holds_no_place_in_the_queue():
    async def scenario():
        async with bench(held=True, max_waiting_rows=4) as b:
            first, waiting, left = await b.occupy(), b.submit(1, 1), b.submit(2, 3)
            await turn()
            left.cancel()
            await turn()
            newcomer = b.submit(3, 3)
            await turn()
            b.runtime.gate.set()

            assert await scores(newcomer) == expected_scores(3, 3)
            await asyncio.gather(first, waiting)

    within(scenario())


def test_closing_refuses_new_requests_and_finishes_those_accepted():
    async def scenario():
        async with bench(held=True, max_batch_rows=2) as b:
            tasks = [await b.occupy(), b.submit(1), b.submit(2)]
            await turn()
            closing = asyncio.create_task(b.batcher.aclose())
            await turn()
            with pytest.raises(ShuttingDown):
                await b.submit(3)
            assert not closing.done()

            b.runtime.gate.set()
            await closing
            assert all(task.done() for task in tasks)
            assert await scores(tasks[2]) == expected_scores(2, 2)

    within(scenario())


def test_an_answer_says_how_long_it_waited():
    async def scenario():
        async with bench(held=True) as b:
            first = await b.occupy()
            second = b.submit(1)
            await turn()
            b.clock.advance(2.0)
            b.runtime.gate.set()
            assert (await first).queue_s == 0.0
            assert (await first).infer_s == 2.0
            assert (await second).queue_s == 2.0

    within(scenario())


REQUESTS = st.lists(
    st.tuples(st.integers(1, 12), st.sampled_from(["plain", "plain", "poisoned", "cancelled", "late"])),
    min_size=1,
    max_size=12,
)


@settings(max_examples=40, deadline=None)
@given(requests=REQUESTS, workers=st.integers(1, 2), max_batch_rows=st.integers(1, 20))
def test_every_caller_gets_exactly_its_own_rows_or_its_own_error(requests, workers, max_batch_rows):
    async def scenario():
        async with bench(held=True, workers=workers, max_batch_rows=max_batch_rows, max_waiting_rows=1000) as b:
            tasks = [
                b.submit(n, rows, poisoned=kind == "poisoned", deadline=0.0 if kind == "late" else None)
                for n, (rows, kind) in enumerate(requests)
            ]
            await turn()
            for task, (_, kind) in zip(tasks, requests, strict=True):
                if kind == "cancelled":
                    task.cancel()
            b.runtime.gate.set()
            answers = await asyncio.gather(*tasks, return_exceptions=True)

            errors = {"poisoned": InferenceFailed, "cancelled": asyncio.CancelledError, "late": DeadlineExceeded}
            for n, ((rows, kind), answer) in enumerate(zip(requests, answers, strict=True)):
                if kind == "plain":
                    assert answer.heads["score"].tolist() == expected_scores(n, rows)
                else:
                    assert isinstance(answer, errors[kind])
            assert all(rows <= max_batch_rows for rows, _ in b.observer.batches)

    within(scenario())
