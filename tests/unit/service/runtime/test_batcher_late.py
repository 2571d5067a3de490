"""A deadline that passes on the clock before its timer has had a turn, as on a busy loop."""

import asyncio
import threading

import pytest

from service.errors import DeadlineExceeded
from service.runtime.batcher import Batcher
from tests.factories import tiny_inputs
from tests.fakes import PATIENCE_S, FakeRuntime, ManualClock, Recorder


class Gated(FakeRuntime):
    """Waits in every call until the gate opens, and keeps the rows of each call."""

    def __init__(self):
        super().__init__()
        self.rows = []
        self.entered = threading.Event()
        self.gate = threading.Event()

    def run(self, inputs):
        self.rows.append(len(inputs.request_index))
        self.entered.set()
        assert self.gate.wait(PATIENCE_S), "the test never opened the gate"
        return super().run(inputs)


def test_scores_that_come_after_the_deadline_are_no_answer():
    async def scenario():
        clock = ManualClock()

        def run(inputs):
            clock.advance(10.0)
            return FakeRuntime().run(inputs)

        batcher = Batcher(run, max_batch_rows=9, max_waiting_rows=9, workers=1, clock=clock, observer=Recorder())
        with pytest.raises(DeadlineExceeded):
            await batcher.submit(tiny_inputs(2), deadline=5.0)
        await batcher.aclose()

    asyncio.run(scenario())


def test_a_request_whose_time_ran_out_in_the_queue_never_reaches_the_graph():
    async def scenario():
        graph, clock = Gated(), ManualClock()
        batcher = Batcher(
            graph.run, max_batch_rows=100, max_waiting_rows=100, workers=1, clock=clock, observer=Recorder()
        )
        first = asyncio.create_task(batcher.submit(tiny_inputs(1), deadline=None))
        assert await asyncio.to_thread(graph.entered.wait, PATIENCE_S)
        late = asyncio.create_task(batcher.submit(tiny_inputs(20), deadline=3600.0))
        patient = asyncio.create_task(batcher.submit(tiny_inputs(3), deadline=7200.0))
        await asyncio.sleep(0)
        clock.advance(3600.0)
        graph.gate.set()
        answers = await asyncio.gather(first, late, patient, return_exceptions=True)
        await batcher.aclose()
        return graph.rows, answers

    rows, (_, late, patient) = asyncio.run(scenario())

    assert rows == [1, 3]
    assert isinstance(late, DeadlineExceeded)
    assert patient.heads["ctr"].shape == (3,)
