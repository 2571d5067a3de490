"""The state that the event loop and the runners share: who waits, and who is at work. Thread-safe, never waits."""

import threading

from contract.arrays import GraphInputs
from service.errors import DeadlineExceeded, ShuttingDown
from service.ports import Clock
from service.runtime.admission import Admission, Asking, Refusal
from service.runtime.cost import CostModel
from service.runtime.line import Batch, Line, Part, Place, Ticket
from service.runtime.splitting import split

__all__ = ["BatchQueue", "too_late"]


class BatchQueue:
    """Lets requests in, hands batches out, keeps count. Every method holds the lock for microseconds.

    Args:
        workers: Batches that may be out at a time.
        max_batch_rows: Candidates of a batch at most; a longer list becomes several parts.
        max_waiting_rows: Candidates that may wait.
        max_queue_wait_s: Seconds that those who wait may delay a newcomer.
        model: What a batch will take.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        *,
        workers: int,
        max_batch_rows: int,
        max_waiting_rows: int,
        max_queue_wait_s: float,
        model: CostModel,
        clock: Clock,
    ) -> None:
        self._workers = workers
        self._max_batch_rows = max_batch_rows
        self._max_queue_wait_s = max_queue_wait_s
        self._clock = clock
        self._line = Line(max_batch_rows=max_batch_rows, model=model)
        self._admission = Admission(
            line=self._line,
            model=model,
            max_batch_rows=max_batch_rows,
            max_waiting_rows=max_waiting_rows,
            max_queue_wait_s=max_queue_wait_s,
        )
        self._lock = threading.Lock()
        self._at_work: set[Batch] = set()
        self._undelivered = 0
        self._arrivals = 0
        self._is_closed = False

    @property
    def rows(self) -> int:
        """Candidates that wait."""
        return self._line.rows

    def check(self, *, rows: int, requests: int, deadline: float | None) -> Refusal | None:
        """Say whether a request would be let in now.

        Raises:
            DeadlineExceeded: When *deadline* has passed.
            ShuttingDown: After :meth:`close`.
        """
        with self._lock:
            return self._check(rows, requests, deadline, self._clock())

    def offer(self, ticket: Ticket, inputs: GraphInputs) -> Refusal | None:
        """Let a request in, or say why not; raises as :meth:`check` does."""
        with self._lock:
            rows, requests = len(inputs.request_index), len(inputs.request)
            refusal = self._check(rows, requests, ticket.deadline, ticket.arrived)
            if refusal is None:
                self._enqueue(ticket, inputs)
            return refusal

    def take(self) -> tuple[list[Batch], list[Ticket]]:
        """Take a batch for every runner that idles, and those whose time has run out."""
        batches: list[Batch] = []
        late: list[Ticket] = []
        with self._lock:
            while len(self._line) and len(self._at_work) < self._workers:
                batch, expired = self._line.take(self._clock(), closing=self._is_closed)
                late += expired
                if batch is not None:
                    batches.append(batch)
                    self._at_work.add(batch)
                    self._undelivered += 1
        return batches, late

    def finish(self, batch: Batch) -> None:
        """Note that a runner is done with its batch."""
        with self._lock:
            self._at_work.discard(batch)
            batch.took_s = self._clock() - batch.started

    def deliver(self, *, again: list[Part]) -> None:
        """Note that the callers of a batch have their answers, but for some parts that run again, each alone."""
        with self._lock:
            self._undelivered -= 1
            for part in again:
                part.alone = True
                self._line.add(part)

    def withdraw(self, ticket: Ticket) -> None:
        """Take what still waits out of the line, so that callers who left hold no place."""
        with self._lock:
            for part in ticket.parts:
                self._line.remove(part)
            ticket.parts.clear()  # parts know their ticket: a circle would keep their arrays until a collection

    def close(self) -> None:
        """Let nobody in any more."""
        with self._lock:
            self._is_closed = True

    def is_drained(self) -> bool:
        """Whether it is closed and everyone who was let in has an answer."""
        with self._lock:
            return self._is_closed and not self._undelivered and not len(self._line)

    def _check(self, rows: int, requests: int, deadline: float | None, now: float) -> Refusal | None:
        if self._is_closed:
            raise ShuttingDown("the service is shutting down", fix="send the request to another replica")
        if deadline is not None and now >= deadline:
            raise too_late()
        if len(self._at_work) < self._workers:
            return None
        asking = Asking(rows=rows, requests=requests, deadline=deadline, place=self._place(deadline, now))
        return self._admission.refuse(asking, [batch.ends for batch in self._at_work], now)

    def _enqueue(self, ticket: Ticket, inputs: GraphInputs) -> None:
        place = self._place(ticket.deadline, ticket.arrived)
        self._arrivals += 1
        for number, piece in enumerate(split(inputs, self._max_batch_rows)):
            part = Part(ticket=ticket, inputs=piece, place=(*place[:2], number))
            ticket.parts.append(part)
            self._line.add(part)

    def _place(self, deadline: float | None, now: float) -> Place:
        latest = now + self._max_queue_wait_s
        return (latest if deadline is None else min(deadline, latest), self._arrivals, 0)


def too_late() -> DeadlineExceeded:
    """Say that a deadline has passed."""
    return DeadlineExceeded(
        "the deadline passed before the candidates were scored", fix="give more time or send fewer candidates"
    )
