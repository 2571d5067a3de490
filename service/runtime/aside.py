"""Work in a process of its own that yields to everything else on the machine.

A thread would not do: between any two of its steps it holds the interpreter for a moment, and a request that needs it
then waits. The parent only pickles the parts, a few at a time.
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

__all__ = ["Aside"]

_PAUSE_S = 0.005  # between two parts, so that no request meets more than one
_GRACE_S = 20.0
_Result = TypeVar("_Result")


class Aside:
    """Runs one piece of work at a time in a process that is started for it.

    Args:
        grace_s: Seconds beyond its own budget after which the process is ended.
    """

    def __init__(self, *, grace_s: float = _GRACE_S) -> None:
        self._grace_s = grace_s
        self._process: subprocess.Popen[bytes] | None = None
        self._closed = False

    def __call__(self, work: Callable[[Iterator[Any]], _Result], parts: Iterable[Any], *, budget_s: float) -> _Result:
        """Run *work* over *parts*; both and the result can be pickled. Blocking.

        Args:
            work: May leave parts unread.
            budget_s: Seconds that the work itself means to take.

        Raises:
            WorkerFailed: When the process cannot be started, fails, or does not end in time.
        """
        with self._started() as process:
            self._process = process
            if self._closed:
                process.kill()
            watchdog = threading.Timer(budget_s + self._grace_s, process.kill)
            watchdog.start()
            try:
                _send(process, work, parts)
                answer = process.stdout.read() if process.stdout else b""
            finally:
                watchdog.cancel()
                self._process = None
        result: _Result = _result(answer)
        return result

    def close(self) -> None:
        """End the process that runs."""
        self._closed = True
        if process := self._process:
            process.kill()

    def _started(self) -> subprocess.Popen[bytes]:
        one_thread = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        try:
            return subprocess.Popen(
                [sys.executable, "-m", "service.runtime.aside_process"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                start_new_session=True,  # Linux shares the processor between sessions first; see aside_process
                env={**os.environ, **one_thread, "PYTHONPATH": os.pathsep.join(sys.path)},
            )
        except OSError as error:
            raise WorkerFailed(f"no process could be started: {error}", fix="allow the service one more") from error


def _send(process: subprocess.Popen[bytes], work: Any, parts: Iterable[Any]) -> None:
    assert process.stdin is not None  # noqa: S101 - it was asked for
    try:
        with process.stdin as pipe:
            pickle.dump(work, pipe)
            for part in parts:
                pickle.dump(part, pipe, protocol=pickle.HIGHEST_PROTOCOL)
                time.sleep(_PAUSE_S)
    except BrokenPipeError:
        pass  # it has read enough, or has died, which its answer tells


def _result(answer: bytes) -> Any:
    if not answer:
        raise WorkerFailed("the process ended without an answer", fix="try again; ask for fewer requests")
    is_good, result = pickle.loads(answer)  # noqa: S301 - of our own process
    if not is_good:
        raise WorkerFailed(f"the process failed: {result}", fix="see its traceback in the log")
    return result
