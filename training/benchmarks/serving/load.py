"""The load driver: a closed loop of connections, and an open loop whose arrivals wait for nobody.

In the open loop a request is due at a moment that was drawn before the run, and its latency counts from there. A server
that stalls makes all who are due meanwhile late, and each of them is counted (https://github.com/giltene/wrk2 on
coordinated omission).
"""

import asyncio
import itertools
import time
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from training.benchmarks.serving.samples import BROKEN, TIMED_OUT, Load, Sample
from training.benchmarks.serving.wire import Answer, Connection

__all__ = ["closed_loop", "open_loop", "poisson_schedule"]


def poisson_schedule(rate: float, seconds: float, seed: int) -> NDArray[np.float64]:
    """Give moments (seconds from the start, rising) of Poisson arrivals at *rate* a second."""
    rng = np.random.default_rng(seed)
    count = rng.poisson(rate * seconds)
    return np.sort(rng.uniform(0.0, seconds, count))  # given their number, arrivals are uniform


async def closed_loop(
    port: int,
    requests: Sequence[bytes],
    *,
    connections: int,
    seconds: float,
    warm_up_s: float = 0.0,
    timeout_s: float = 10.0,
) -> Load:
    """Keep *connections* busy, each with its next request as soon as it has its answer.

    Counted is what was answered in the *seconds* after the warm-up.
    """
    driver = _Driver(port, timeout_s)
    turn = itertools.cycle(requests)
    end = warm_up_s + seconds
    await asyncio.gather(*(driver.keep_asking(turn, end) for _ in range(connections)))
    driver.close()
    counted = [each for each in driver.samples if each.done_s <= end and each.done_s > warm_up_s]
    return Load(samples=counted, seconds=seconds)


async def open_loop(
    port: int,
    requests: Sequence[bytes],
    *,
    rate: float,
    seconds: float,
    seed: int = 0,
    timeout_s: float = 2.0,
    max_connections: int = 512,
) -> Load:
    """Send at drawn moments whatever the server does; a late answer counts until *timeout_s* past its due moment.

    Beyond *max_connections* requests wait for a free connection, and that wait is theirs too.
    """
    driver = _Driver(port, timeout_s, max_connections)
    turn = itertools.cycle(requests)
    tasks = []
    for due in poisson_schedule(rate, seconds, seed):
        await driver.sleep_until(due)
        tasks.append(asyncio.create_task(driver.ask(next(turn), float(due))))
    await asyncio.gather(*tasks)
    driver.close()
    return Load(samples=driver.samples, seconds=seconds)


class _Driver:
    """Connections that are used again, and the samples of what was asked over them."""

    def __init__(self, port: int, timeout_s: float, max_connections: int = 512) -> None:
        self.samples: list[Sample] = []
        self._port = port
        self._timeout_s = timeout_s
        self._idle: list[Connection] = []
        self._free = asyncio.Semaphore(max_connections)
        self._begin = time.perf_counter()

    def now(self) -> float:
        return time.perf_counter() - self._begin

    async def sleep_until(self, due: float) -> None:
        await asyncio.sleep(max(0.0, due - self.now()))

    async def keep_asking(self, turn: Iterator[bytes], end: float) -> None:
        while (now := self.now()) < end:
            if await self.ask(next(turn), now) == BROKEN:
                await asyncio.sleep(0.01)  # nobody listens: do not spin

    async def ask(self, request: bytes, due: float) -> int:
        sent = [due]
        status, told = TIMED_OUT, False
        try:
            async with asyncio.timeout(due + self._timeout_s - self.now()):
                answer = await self._over_a_connection(request, sent)
                status, told = answer.status, answer.retry_after is not None
        except TimeoutError:
            pass
        except OSError:
            status = BROKEN
        self.samples.append(Sample(due_s=due, sent_s=sent[0], done_s=self.now(), status=status, told_to_wait=told))
        return status

    async def _over_a_connection(self, request: bytes, sent: list[float]) -> Answer:
        async with self._free:
            connection = await self._connection()
            sent[0] = self.now()
            try:
                answer = await connection.ask(request)
            except BaseException:  # a time-out cancels: the rest of that answer must not meet the next request
                connection.close()
                raise
            self._idle.append(connection)
            return answer

    async def _connection(self) -> Connection:
        while self._idle:
            connection = self._idle.pop()
            if connection.is_open:
                return connection
        return await Connection.open(self._port)

    def close(self) -> None:
        for connection in self._idle:
            connection.close()
