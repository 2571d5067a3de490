import os
import threading
from contextlib import closing

import pytest

from service.errors import WorkerFailed
from service.runtime.aside import Aside
from tests.errands import dies, fails, first, large, never_ends, whereabouts
from tests.suites.preview_runner import PreviewRunnerSuite

LONG_S = 120.0


@pytest.fixture(scope="module")
def aside():
    """One process for all tests that leave it alive."""
    with closing(Aside(grace_s=LONG_S)) as made:
        yield made


class TestAside(PreviewRunnerSuite):
    @pytest.fixture
    def run(self, aside):
        return aside


def test_the_work_runs_in_another_process_that_yields_and_has_one_thread(aside):
    pid, policy, threads, total = aside(whereabouts, iter([1, 2]), budget_s=LONG_S)

    assert pid != os.getpid()
    assert policy == os.SCHED_IDLE
    assert (threads, total) == ("1", 3)


def test_the_process_stays_for_the_next_work(aside):
    pids = {aside(whereabouts, iter([]), budget_s=LONG_S)[0] for _ in range(3)}

    assert len(pids) == 1


def test_an_answer_and_what_is_left_unread_may_be_large(aside):
    assert aside(large, iter([b"x" * 200_000] * 3), budget_s=LONG_S) == bytes(3_000_000)
    assert aside(first, iter([1, *[b"x" * 200_000] * 3]), budget_s=LONG_S) == 1
    assert aside(sum, iter([1, 2]), budget_s=LONG_S) == 3


def test_work_that_fails_says_why_and_the_next_is_done(aside):
    with pytest.raises(WorkerFailed, match="ArithmeticError: no answer to 3"):
        aside(fails, iter([1, 2]), budget_s=LONG_S)

    assert aside(sum, iter([1, 2]), budget_s=LONG_S) == 3


def test_a_process_that_dies_fails_the_work_and_the_next_gets_another(aside):
    with pytest.raises(WorkerFailed, match="without an answer"):
        aside(dies, iter([bytes(100_000)] * 20), budget_s=LONG_S)

    assert aside(sum, iter([1, 2]), budget_s=LONG_S) == 3


def test_parts_that_fail_in_the_middle_do_not_reach_the_next_work(aside):
    def broken():
        yield 1
        raise KeyError("a part")

    with pytest.raises(KeyError):
        aside(sum, broken(), budget_s=LONG_S)

    assert aside(sum, iter([5]), budget_s=LONG_S) == 5


def test_a_process_that_does_not_end_in_time_is_ended():
    with closing(Aside(grace_s=0.05)) as hasty, pytest.raises(WorkerFailed, match="without an answer"):
        hasty(never_ends, iter([]), budget_s=0.0)


def test_a_process_that_has_nothing_to_do_goes_and_the_next_work_gets_another():
    with closing(Aside(grace_s=LONG_S, idle_s=0.01)) as aside:
        before = aside(whereabouts, iter([]), budget_s=LONG_S)[0]
        aside._idle.join(LONG_S)

        assert aside._process is None
        assert aside(whereabouts, iter([]), budget_s=LONG_S)[0] != before


def test_closing_ends_what_runs():
    aside, failed = Aside(grace_s=LONG_S), []

    def run():
        try:
            aside(never_ends, iter([]), budget_s=LONG_S)
        except WorkerFailed as error:
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    while aside._process is None:
        threading.Event().wait(0.005)
    aside.close()
    thread.join(LONG_S)

    assert len(failed) == 1


def test_an_interpreter_that_cannot_be_started_is_an_error_of_ours(monkeypatch):
    monkeypatch.setattr("sys.executable", "/no/such/python")

    with pytest.raises(WorkerFailed, match="no process could be started"):
        Aside()(sum, iter([1]), budget_s=LONG_S)
