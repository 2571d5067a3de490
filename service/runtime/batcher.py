"""Joins requests that wait at the same time into one graph call. Event-driven: nothing polls, nothing sleeps.

A request runs at once when a worker is idle. While all are busy waiting is free, so requests gather, and the
worker that comes free takes as many as fit, in order of arrival.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

from contract.arrays import GraphInputs, Predictions
from service.errors import DeadlineExceeded, InferenceFailed, Overloaded, ServiceError, ShuttingDown
from service.ports import Clock, Inference

__all__ = ["BatchObserver", "Batcher"]


class BatchObserver(Protocol):
    """Told of every batch that ran."""

    def observe_batch(self, *, rows: int, requests: int) -> None:
        """Record its size."""
        ...


@dataclass(eq=False, kw_only=True)
class _Waiting:
    inputs: GraphInputs
    rows: int
    arrived: float
    deadline: float | None
    future: "asyncio.Future[Inference]"


class Batcher:
    """A queue in front of a graph.

    Args:
        run: The graph; blocking, thread-safe.
        max_batch_rows: Candidates that are joined at most; a larger request runs alone.
        max_waiting_rows: Candidates that may wait; beyond, requests are refused at once.
        workers: Graph calls at a time.
        clock: Monotonic seconds.
        observer: Told of every batch.
    """

    def __init__(
        self,
        run: Callable[[GraphInputs], Predictions],
        *,
        max_batch_rows: int,
        max_waiting_rows: int,
        workers: int,
        clock: Clock,
        observer: BatchObserver,
    ) -> None:
        self._run = run
        self._max_batch_rows = max_batch_rows
        self._max_waiting_rows = max_waiting_rows
        self._idle = workers
        self._clock = clock
        self._observer = observer
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="fulcrum-infer")
        self._waiting: OrderedDict[_Waiting, None] = OrderedDict()
        self._waiting_rows = 0
        self._running: set[asyncio.Task[None]] = set()
        self._closed = False

    async def submit(self, inputs: GraphInputs, *, deadline: float | None) -> Inference:
        """Score one request's rows.

        Raises:
            Overloaded: When too many rows wait already.
            DeadlineExceeded: When *deadline* passes first; neighbours in the batch are not touched.
            InferenceFailed: When the graph fails on these rows.
            ShuttingDown: After :meth:`aclose`.
        """
        entry = self._admit(inputs, deadline)
        self._dispatch()
        timer = None
        if deadline is not None:
            wait = max(0.0, deadline - self._clock())
            timer = asyncio.get_running_loop().call_later(wait, _expire, entry.future)
        try:
            return await entry.future
        finally:
            if timer is not None:
                timer.cancel()
            self._withdraw(entry)

    async def aclose(self) -> None:
        """Refuse new requests and finish those that were accepted."""
        self._closed = True
        while self._running:
            await asyncio.wait(self._running)
        self._threads.shutdown()

    def _admit(self, inputs: GraphInputs, deadline: float | None) -> _Waiting:
        rows, now = len(inputs.request_index), self._clock()
        if self._closed:
            raise ShuttingDown("the service is shutting down", fix="send the request to another replica")
        if deadline is not None and now >= deadline:
            raise _too_late()
        if self._waiting and self._waiting_rows + rows > self._max_waiting_rows:
            raise Overloaded(
                f"{self._waiting_rows} candidates wait already", fix="try again shortly", retry_after_s=1.0
            )
        future = asyncio.get_running_loop().create_future()
        entry = _Waiting(inputs=inputs, rows=rows, arrived=now, deadline=deadline, future=future)
        self._waiting[entry] = None
        self._waiting_rows += rows
        return entry

    def _dispatch(self) -> None:
        while self._idle and (batch := self._take()):
            self._idle -= 1
            task = asyncio.get_running_loop().create_task(self._work(batch))
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    def _take(self) -> list[_Waiting]:
        """Take what fits, in order; callers that left or ran out of time are dropped here."""
        batch: list[_Waiting] = []
        rows, now = 0, self._clock()
        while self._waiting:
            entry = next(iter(self._waiting))
            if entry.deadline is not None and now >= entry.deadline:
                _expire(entry.future)  # its timer may be late when the loop was busy
            if not entry.future.done() and batch and rows + entry.rows > self._max_batch_rows:
                break
            self._withdraw(entry)
            if not entry.future.done():
                batch.append(entry)
                rows += entry.rows
        return batch

    def _withdraw(self, entry: _Waiting) -> None:
        """Take an entry out of the queue if it is still there, so that callers who left hold no place."""
        if entry in self._waiting:
            del self._waiting[entry]
            self._waiting_rows -= entry.rows

    async def _work(self, batch: list[_Waiting]) -> None:
        try:
            await self._answer(batch)
        finally:
            self._idle += 1
            self._dispatch()

    async def _answer(self, batch: list[_Waiting]) -> None:
        started = self._clock()
        try:
            merged = GraphInputs.merge([entry.inputs for entry in batch])
            outputs = await asyncio.get_running_loop().run_in_executor(self._threads, self._run, merged)
        except Exception as error:  # noqa: BLE001 - whatever broke must reach its callers, not end the queue
            await self._after_failure(batch, error)
            return
        took, start = self._clock() - started, 0
        for entry in batch:
            heads = {name: values[start : start + entry.rows] for name, values in outputs.items()}
            start += entry.rows
            if not entry.future.done():
                entry.future.set_result(Inference(heads=heads, queue_s=started - entry.arrived, infer_s=took))
        self._observer.observe_batch(rows=start, requests=len(batch))  # last: no metric may cost an answer

    async def _after_failure(self, batch: list[_Waiting], error: Exception) -> None:
        """Find out who broke the batch: each member runs once more alone, so neighbours get their answer."""
        if len(batch) > 1:
            for entry in batch:
                if not entry.future.done():
                    await self._answer([entry])
            return
        if not batch[0].future.done():
            known = error if isinstance(error, ServiceError) else InferenceFailed(f"the graph failed: {error}")
            batch[0].future.set_exception(known)


def _expire(future: "asyncio.Future[Inference]") -> None:
    if not future.done():
        future.set_exception(_too_late())


def _too_late() -> DeadlineExceeded:
    return DeadlineExceeded(
        "the deadline passed before the candidates were scored", fix="give more time or send fewer candidates"
    )
