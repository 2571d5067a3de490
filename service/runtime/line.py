"""Who waits for a graph call, and in what order.

Whoever has to start first is first: the order is by deadline, and who has none, or a late one, counts as due
when the longest wait that is promised has passed. So nobody starves: whoever arrives after that moment stands
behind, whatever deadline it states. Equal ones keep their order of arrival. Nothing overtakes to fill a gap.
"""

import asyncio
import math
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, field

from contract.arrays import GraphInputs, Predictions
from service.ports import Inference
from service.runtime.cost import CostModel

__all__ = ["Batch", "Line", "Part", "Place", "Ticket"]

Place = tuple[float, int, int]
"""When it is due, in the order of which arrival, and which part of that."""


@dataclass(eq=False, kw_only=True, slots=True)
class Ticket:
    """One caller.

    Args:
        future: What the caller awaits.
        deadline: None never expires.
        started: When the first of its parts began; infinite before.
    """

    future: "asyncio.Future[Inference]"
    arrived: float
    deadline: float | None
    parts: "list[Part]" = field(default_factory=list)
    started: float = math.inf

    def is_late(self, now: float) -> bool:
        """Whether its deadline has passed."""
        return self.deadline is not None and now >= self.deadline

    def is_complete(self) -> bool:
        """Whether every part has its answer."""
        return all(part.answer is not None for part in self.parts)


@dataclass(eq=False, slots=True)
class Part:
    """Rows of one caller that go into one graph call together.

    Args:
        place: Where in the line it stands.
        alone: Whether it has to run without neighbours, because a batch with it in it failed.
    """

    ticket: Ticket
    inputs: GraphInputs
    place: Place
    rows: int = field(init=False)
    requests: int = field(init=False)
    answer: Predictions | None = None
    alone: bool = False
    is_waiting: bool = False

    def __post_init__(self) -> None:
        self.rows, self.requests = len(self.inputs.request_index), len(self.inputs.request)


@dataclass(eq=False, kw_only=True, slots=True)
class Batch:
    """Parts that run in one graph call.

    Args:
        reason: Why no more were taken: nobody else waited (``idle``, or ``drain`` when closing), the next did not
            fit (``full``), it would have made a member late (``deadline``), or a retry runs ``alone``.
        expected_s: What the cost model thinks it takes.
    """

    parts: list[Part]
    rows: int
    requests: int
    reason: str
    started: float
    expected_s: float
    took_s: float = 0.0

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop that its callers wait on."""
        return self.parts[0].ticket.future.get_loop()

    @property
    def ends(self) -> float:
        """When it should be done."""
        return self.started + self.expected_s


class Line:
    """Parts that wait, ordered.

    Args:
        max_batch_rows: Rows that are joined at most.
        model: What a batch will take.
    """

    def __init__(self, *, max_batch_rows: int, model: CostModel) -> None:
        self._max_batch_rows = max_batch_rows
        self._model = model
        self._parts: list[Part] = []
        self.rows = 0
        self.requests = 0

    def __len__(self) -> int:
        return len(self._parts)

    def add(self, part: Part) -> None:
        """Put a part where it belongs."""
        self._parts.insert(self._index(part.place), part)
        self._count(part, 1)

    def remove(self, part: Part) -> None:
        """Take a part out, if it still waits."""
        if part.is_waiting:
            del self._parts[self._index(part.place)]
            self._count(part, -1)

    def behind(self, place: Place) -> Iterator[Part]:
        """Give the parts that a newcomer with this place would overtake, in order."""
        yield from self._parts[self._index(place) :]

    def take(self, now: float, *, closing: bool) -> tuple[Batch | None, list[Ticket]]:
        """Take from the front what goes into the next graph call, and those whose time has run out."""
        late: list[Ticket] = []
        batch = Batch(parts=[], rows=0, requests=0, reason="drain" if closing else "idle", started=now, expected_s=0.0)
        latest, seen = math.inf, 0
        for part in self._parts:
            if part.ticket.is_late(now):
                late.append(part.ticket)
            elif not part.ticket.future.done():
                reason = self._stop(batch, part, now, latest)
                if reason:
                    batch.reason = reason
                    break
                latest = min(latest, self._join(batch, part, now))
            seen += 1
        for part in self._parts[:seen]:
            self._count(part, -1)
        del self._parts[:seen]
        return (batch if batch.parts else None), late

    def _stop(self, batch: Batch, part: Part, now: float, latest: float) -> str | None:
        """Say why a part may not join a batch."""
        if not batch.parts:
            return None
        if batch.parts[0].alone:
            return "alone"
        if part.alone or batch.rows + part.rows > self._max_batch_rows:
            return "full"
        expected_s = self._model.cost.seconds(batch.rows + part.rows, batch.requests + part.requests)
        return "deadline" if now + self._model.margin * expected_s > latest else None

    def _join(self, batch: Batch, part: Part, now: float) -> float:
        """Add a part; give the moment up to which the batch may grow, for its sake."""
        batch.parts.append(part)
        if part.alone:
            batch.reason = "alone"
        batch.rows += part.rows
        batch.requests += part.requests
        batch.expected_s = self._model.cost.seconds(batch.rows, batch.requests)
        deadline = math.inf if part.ticket.deadline is None else part.ticket.deadline
        is_lost = now + self._model.margin * batch.expected_s > deadline  # its neighbours shall not pay for it
        return math.inf if is_lost else deadline

    def _index(self, place: Place) -> int:
        parts = self._parts
        if not parts or place > parts[-1].place:
            return len(parts)
        return bisect_left(parts, place, key=_place)

    def _count(self, part: Part, sign: int) -> None:
        part.is_waiting = sign > 0
        self.rows += sign * part.rows
        self.requests += sign * part.requests


def _place(part: Part) -> Place:
    return part.place
