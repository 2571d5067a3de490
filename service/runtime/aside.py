"""Work in a process of its own that yields to the service.

A thread would not do: between any two of its steps it holds the interpreter for a moment, and a request that needs it
then waits. Nor would a thread that only feeds the process: each time that it wakes it takes a core from a request in
the middle of something. So the event loop feeds it, in parts that take as long as a small request. And since the
interpreter stands still for milliseconds while a process is started, it is kept for the next work.
"""

import asyncio
import os
import pickle
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from service.errors import WorkerFailed

__all__ = ["Aside"]

_GRACE_S = 20.0
_IDLE_S = 300.0
_PAUSE_S = 0.008  # between two parts: few requests meet one, hardly any two
_LENGTH = 8  # bytes before each pickle that say how long it is
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
        self._one_at_a_time = asyncio.Lock()
        self._process: Process | None = None
        self._idle: asyncio.TimerHandle | None = None

    async def __call__(
        self, work: Callable[[Iterator[Any]], _Result], parts: Iterable[Any], *, budget_s: float
    ) -> _Result:
        """Run *work* over *parts*; both and the result can be pickled.

        Args:
            work: May leave parts unread.
            budget_s: Seconds that the work itself means to take.

        Raises:
            WorkerFailed: When the process cannot be started, fails, or does not end in time.
        """
        async with self._one_at_a_time:
            process = await self._ready()
            try:
                async with asyncio.timeout(budget_s + self._grace_s):
                    is_good, result = await _exchange(process, work, parts)
            except (OSError, EOFError) as error:
                await self._end()
                raise WorkerFailed("the process ended without an answer", fix=_BUSY) from error
            except BaseException:  # it may be in the middle of something
                await self._end()
                raise
            self._idle = asyncio.get_running_loop().call_later(self._idle_s, process.kill)
        if not is_good:
            raise WorkerFailed(f"the process failed: {result}", fix="see its traceback in the log")
        answer: _Result = result
        return answer

    async def aclose(self) -> None:
        """End the process, also when it works."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
        async with self._one_at_a_time:
            await self._end()

    async def _ready(self) -> Process:
        if self._idle is not None:
            self._idle.cancel()
        if self._process is not None and self._process.returncode is not None:
            await self._end()
        if self._process is None:
            self._process = await _started()
        return self._process

    async def _end(self) -> None:
        process, self._process = self._process, None
        if self._idle is not None:
            self._idle.cancel()
        if process is not None:
            if process.returncode is None:
                process.kill()
            await process.communicate()


async def _started() -> Process:
    one_thread = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    try:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "service.runtime.aside_process",
            stdin=PIPE,
            stdout=PIPE,
            env={**os.environ, **one_thread, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
    except OSError as error:
        raise WorkerFailed(f"no process could be started: {error}", fix="allow the service one more") from error


async def _exchange(process: Process, work: Any, parts: Iterable[Any]) -> tuple[bool, Any]:
    assert process.stdin is not None  # noqa: S101 - both pipes were asked for
    assert process.stdout is not None  # noqa: S101
    process.stdin.write(_framed(work))
    await asyncio.sleep(_PAUSE_S)
    for part in parts:
        process.stdin.write(_framed(part))
        await process.stdin.drain()
        await asyncio.sleep(_PAUSE_S)
    process.stdin.write(bytes(_LENGTH))
    length = int.from_bytes(await process.stdout.readexactly(_LENGTH))
    is_good, result = pickle.loads(await process.stdout.readexactly(length))  # noqa: S301 - of our own process
    return is_good, result


def _framed(value: Any) -> bytes:
    content = pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL)
    return len(content).to_bytes(_LENGTH) + content
