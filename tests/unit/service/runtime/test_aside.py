import os
import threading

import pytest

from service.errors import WorkerFailed
from service.runtime.aside import Aside
from tests.errands import dies, fails, large, never_ends, whereabouts
from tests.suites.preview_runner import PreviewRunnerSuite


class TestAside(PreviewRunnerSuite):
    @pytest.fixture
    def run(self):
        return Aside(grace_s=120.0)


def test_the_work_runs_in_another_process_that_yields_and_has_one_thread():
    pid, priority, threads, total = Aside()(whereabouts, iter([1, 2]), budget_s=120.0)

    assert pid != os.getpid()
    assert priority > os.getpriority(os.PRIO_PROCESS, 0)
    assert (threads, total) == ("1", 3)


def test_an_answer_may_be_large():
    assert Aside()(large, iter([b"x" * 200_000] * 3), budget_s=120.0) == bytes(3_000_000)


def test_work_that_fails_says_why():
    with pytest.raises(WorkerFailed, match="ArithmeticError: no answer to 3"):
        Aside()(fails, iter([1, 2]), budget_s=120.0)


def test_a_process_that_dies_fails_the_work_and_nothing_else():
    aside = Aside()

    with pytest.raises(WorkerFailed, match="without an answer"):
        aside(dies, iter([bytes(100_000)] * 20), budget_s=120.0)

    assert aside(sum, iter([1, 2]), budget_s=120.0) == 3


def test_a_process_that_does_not_end_in_time_is_ended():
    with pytest.raises(WorkerFailed, match="without an answer"):
        Aside(grace_s=0.05)(never_ends, iter([]), budget_s=0.0)


def test_closing_ends_what_runs():
    aside, failed = Aside(), []

    def run():
        try:
            aside(never_ends, iter([]), budget_s=120.0)
        except WorkerFailed as error:
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    while aside._process is None:
        threading.Event().wait(0.005)
    aside.close()
    thread.join(120.0)

    assert len(failed) == 1


def test_an_interpreter_that_cannot_be_started_is_an_error_of_ours(monkeypatch):
    monkeypatch.setattr("sys.executable", "/no/such/python")

    with pytest.raises(WorkerFailed, match="no process could be started"):
        Aside()(sum, iter([1]), budget_s=120.0)
