import asyncio
import os
from contextlib import asynccontextmanager

import pytest

from service.errors import WorkerFailed
from service.runtime.aside import Aside
from tests.errands import dies, fails, first, large, never_ends, whereabouts
from tests.suites.preview_runner import PreviewRunnerSuite

pytestmark = pytest.mark.anyio
LONG_S = 120.0


@asynccontextmanager
async def closing(aside):
    try:
        yield aside
    finally:
        await aside.aclose()


@pytest.fixture
async def aside():
    async with closing(Aside(grace_s=LONG_S)) as made:
        yield made


class TestAside(PreviewRunnerSuite):
    @pytest.fixture
    def run(self, aside):
        return aside


async def test_the_work_runs_in_another_process_that_yields_and_has_one_thread(aside):
    pid, policy, threads, total = await aside(whereabouts, iter([1, 2]), budget_s=LONG_S)

    assert pid != os.getpid()
    assert policy == os.SCHED_IDLE
    assert (threads, total) == ("1", 3)


async def test_the_process_stays_for_the_next_work(aside):
    pids = {(await aside(whereabouts, iter([]), budget_s=LONG_S))[0] for _ in range(3)}

    assert len(pids) == 1


async def test_an_answer_and_what_is_left_unread_may_be_large(aside):
    assert await aside(large, iter([b"x" * 200_000] * 3), budget_s=LONG_S) == bytes(3_000_000)
    assert await aside(first, iter([1, *[b"x" * 200_000] * 3]), budget_s=LONG_S) == 1
    assert await aside(sum, iter([1, 2]), budget_s=LONG_S) == 3


async def test_work_that_fails_says_why_and_the_next_is_done(aside):
    with pytest.raises(WorkerFailed, match="ArithmeticError: no answer to 3"):
        await aside(fails, iter([1, 2]), budget_s=LONG_S)

    assert await aside(sum, iter([1, 2]), budget_s=LONG_S) == 3


async def test_a_process_that_dies_fails_the_work_and_the_next_gets_another(aside):
    with pytest.raises(WorkerFailed, match="without an answer"):
        await aside(dies, iter([bytes(100_000)] * 20), budget_s=LONG_S)

    assert await aside(sum, iter([1, 2]), budget_s=LONG_S) == 3


async def test_parts_that_fail_in_the_middle_do_not_reach_the_next_work(aside):
    def broken():
        yield 1
        raise KeyError("a part")

    with pytest.raises(KeyError):
        await aside(sum, broken(), budget_s=LONG_S)

    assert await aside(sum, iter([5]), budget_s=LONG_S) == 5


async def test_a_caller_that_leaves_in_the_middle_does_not_reach_the_next_work(aside):
    task = asyncio.create_task(aside(never_ends, iter([1]), budget_s=LONG_S))
    while aside._process is None:
        await asyncio.sleep(0.005)
    task.cancel()
    await asyncio.wait([task])

    assert await aside(sum, iter([5]), budget_s=LONG_S) == 5


async def test_a_process_that_does_not_end_in_time_is_ended():
    async with closing(Aside(grace_s=0.05)) as hasty:
        with pytest.raises(WorkerFailed, match="without an answer"):
            await hasty(never_ends, iter([]), budget_s=0.0)


async def test_a_process_that_has_nothing_to_do_goes_and_the_next_work_gets_another():
    async with closing(Aside(grace_s=LONG_S, idle_s=0.01)) as aside:
        before = (await aside(whereabouts, iter([]), budget_s=LONG_S))[0]
        await aside._process.wait()

        assert (await aside(whereabouts, iter([]), budget_s=LONG_S))[0] != before


async def test_closing_ends_what_runs():
    aside = Aside(grace_s=LONG_S)
    task = asyncio.create_task(aside(never_ends, iter([]), budget_s=LONG_S))
    while aside._process is None:
        await asyncio.sleep(0.005)

    await aside.aclose()

    with pytest.raises(WorkerFailed):
        await task


async def test_an_interpreter_that_cannot_be_started_is_an_error_of_ours(monkeypatch):
    monkeypatch.setattr("sys.executable", "/no/such/python")

    with pytest.raises(WorkerFailed, match="no process could be started"):
        await Aside()(sum, iter([1]), budget_s=LONG_S)
