"""Work in a process of its own that yields to the service.

A thread would not do: between any two of its steps it holds the interpreter for a moment, and a request that needs it
then waits. The parent only pickles the parts, a few at a time. Nor would a process for each piece of work: while one is
started the interpreter is held for milliseconds. So it is started with the first piece and kept for the next ones.
"""

import os
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from service.errors import WorkerFailed

__all__ = ["END", "Aside"]

END = "end of the parts"
_PAUSE_S = 0.002  # between two parts, so that a request meets one at most
_GRACE_S = 20.0
_IDLE_S = 300.0
_BUSY = "try again when the machine is less busy, or ask for less"
_Result = TypeVar("_Result")


class Aside:
    """Runs one piece of work at a time.

    Args:
        grace_s: Seconds beyond its own budget after which the process is ended.
        idle_s: Seconds without work after which it is ended.
    """

    def __init__(self, *, grace_s: float = _GRACE_S, idle_s: float = _IDLE_S) -> None:
        self._grace_s = grace_s
        self._idle_s = idle_s
        self._one_at_a_time = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._idle: threading.Timer | None = None
        self._closed = False

    def __call__(self, work: Callable[[Iterator[Any]], _Result], parts: Iterable[Any], *, budget_s: float) -> _Result:
        """Run *work* over *parts*; both and the result can be pickled. Blocking.

        Args:
            work: May leave parts unread.
            budget_s: Seconds that the work itself means to take.

        Raises:
            WorkerFailed: When the process cannot be started, fails, or does not end in time.
        """
        with self._one_at_a_time:
            process = self._ready()
            watchdog = _later(budget_s + self._grace_s, process.kill)
            is_over = False
            try:
                is_good, result = _exchange(process, work, parts)
                is_over = True
            except (OSError, EOFError, pickle.UnpicklingError):
                raise WorkerFailed("the process ended without an answer", fix=_BUSY) from None
            finally:
                watchdog.cancel()
                self._leave(is_over)
        if not is_good:
            raise WorkerFailed(f"the process failed: {result}", fix="see its traceback in the log")
        answer: _Result = result
        return answer

    def close(self) -> None:
        """End the process, also when it works."""
        self._closed = True
        if process := self._process:
            process.kill()
        with self._one_at_a_time:
            self._end()

    def _ready(self) -> "subprocess.Popen[bytes]":
        if self._idle is not None:
            self._idle.cancel()
        if self._process is not None and self._process.poll() is not None:
            self._end()
        if self._process is None:
            self._process = _started()
        if self._closed:
            self._process.kill()
        return self._process

    def _leave(self, is_over: bool) -> None:
        """Keep the process for the next work, or end one that may be in the middle of something."""
        if is_over:
            self._idle = _later(self._idle_s, self._end_idle)
        else:
            self._end()

    def _end_idle(self) -> None:
        if self._one_at_a_time.acquire(blocking=False):  # else there is work again
            try:
                self._end()
            finally:
                self._one_at_a_time.release()

    def _end(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
        if process := self._process:
            process.kill()
            process.__exit__(None, None, None)  # closes the pipes and waits
        self._process = None


def _started() -> "subprocess.Popen[bytes]":
    one_thread = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    try:
        return subprocess.Popen(
            [sys.executable, "-m", "service.runtime.aside_process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            process_group=0,  # an interrupt from the terminal is for the service
            env={**os.environ, **one_thread, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
    except OSError as error:
        raise WorkerFailed(f"no process could be started: {error}", fix="allow the service one more") from error


def _exchange(process: "subprocess.Popen[bytes]", work: Any, parts: Iterable[Any]) -> tuple[bool, Any]:
    assert process.stdin is not None  # noqa: S101 - both pipes were asked for
    assert process.stdout is not None  # noqa: S101
    pickle.dump(work, process.stdin)
    for part in parts:
        pickle.dump(part, process.stdin, protocol=pickle.HIGHEST_PROTOCOL)
        process.stdin.flush()
        time.sleep(_PAUSE_S)
    pickle.dump(END, process.stdin)
    process.stdin.flush()
    is_good, result = pickle.load(process.stdout)  # noqa: S301 - of our own process
    return is_good, result


def _later(seconds: float, act: Callable[[], None]) -> threading.Timer:
    timer = threading.Timer(seconds, act)
    timer.daemon = True
    timer.start()
    return timer
