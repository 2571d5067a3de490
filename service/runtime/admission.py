"""Who is let in: only who will be answered in time, as far as can be told.

What is refused is refused before it has cost anything, and the time of the graph goes to answers that arrive
before their deadline (goodput), however many more ask. See ``docs/adr/0007-what-admission-promises.md``.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from service.runtime.cost import CostModel
from service.runtime.line import Line, Part, Place

__all__ = ["Admission", "Asking", "Refusal"]


@dataclass(frozen=True, kw_only=True)
class Asking:
    """Who wants in.

    Args:
        place: Where in the line it would stand.
        deadline: None never expires.
    """

    rows: int
    requests: int
    place: Place
    deadline: float | None


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """Why not, and when to come back.

    Args:
        reason: ``rows``, ``wait`` or ``deadline``.
    """

    reason: str
    detail: str
    retry_after_s: float


class Admission:
    """Decides from what runs and what waits.

    The prediction is a lower bound for the cost that is believed: time that is lost between batches that do not
    fill up is left out. So nobody is refused for a doubt about the packing.

    Args:
        line: What waits.
        model: What a batch will take.
        max_batch_rows: Rows that are joined at most.
        max_waiting_rows: Rows that may wait.
        max_queue_wait_s: Seconds that those who wait may delay a newcomer.
    """

    def __init__(
        self, *, line: Line, model: CostModel, max_batch_rows: int, max_waiting_rows: int, max_queue_wait_s: float
    ) -> None:
        self._line = line
        self._model = model
        self._max_batch_rows = max_batch_rows
        self._max_waiting_rows = max_waiting_rows
        self._max_queue_wait_s = max_queue_wait_s

    def refuse(self, asking: Asking, ends: Sequence[float], now: float) -> Refusal | None:
        """Say why a request is not let in; None lets it in.

        Args:
            asking: Who.
            ends: When each runner should be free. All are at work: where one idles there is nothing to decide, the
                request runs. That is also how a model that is wrong by far gets to see batches again.
            now: The time.
        """
        line = self._line
        if len(line) and line.rows + asking.rows > self._max_waiting_rows:
            drained_s = self._work_s(line.rows, line.requests) / len(ends)
            return _refusal("rows", f"{line.rows} candidates wait already", drained_s)
        overtaken = list(line.behind(asking.place))
        rows = line.rows + asking.rows - sum(part.rows for part in overtaken)
        requests = line.requests + asking.requests - sum(part.requests for part in overtaken)
        # What runs already is not counted: it cannot be avoided, and where calls are long it would keep all out.
        others_s = self._work_s(rows, requests) - self._work_s(asking.rows, asking.requests)
        delay_s = others_s / len(ends)
        if delay_s > self._max_queue_wait_s:
            detail = f"those who wait would delay it by {_ms(delay_s)}; {_ms(self._max_queue_wait_s)} are allowed"
            return _refusal("wait", detail, delay_s - self._max_queue_wait_s)
        busy_s = [abs(end - now) for end in ends]  # a call that is overdue takes as long again as it is over
        finish_s = self._finish_s(rows, requests, busy_s)
        late_s = self._late_s(finish_s, asking.deadline, now)
        if late_s > 0.0:
            return _refusal("deadline", f"the scores would come {_ms(late_s)} after the deadline", late_s)
        if overtaken and self._delays_someone(asking, overtaken, rows, requests, busy_s, now):
            return _refusal("deadline", "those who were let in before would miss their deadline", finish_s)
        return None

    def _delays_someone(
        self, asking: Asking, overtaken: list[Part], rows: int, requests: int, busy_s: Sequence[float], now: float
    ) -> bool:
        """Whether someone who would have been in time is late once *asking* stands before them."""
        for part in overtaken:
            rows, requests, deadline = rows + part.rows, requests + part.requests, part.ticket.deadline
            if deadline is None:
                continue
            without_s = self._finish_s(rows - asking.rows, requests - asking.requests, busy_s)
            with_s = self._finish_s(rows, requests, busy_s)
            if self._late_s(without_s, deadline, now) <= 0.0 < self._late_s(with_s, deadline, now):
                return True
        return False

    def _late_s(self, finish_s: float, deadline: float | None, now: float) -> float:
        return -math.inf if deadline is None else now + self._model.margin * finish_s - deadline

    def _finish_s(self, rows: int, requests: int, busy_s: Sequence[float]) -> float:
        """Give the seconds until so many rows, in order, are scored: at least those of the last call alone."""
        work_s, calls = self._work_s(rows, requests), math.ceil(rows / self._max_batch_rows)
        return max(min(busy_s) + work_s / calls, _level(busy_s, work_s))

    def _work_s(self, rows: int, requests: int) -> float:
        return self._model.cost.seconds(rows, requests, math.ceil(rows / self._max_batch_rows))


def _level(busy_s: Sequence[float], work_s: float) -> float:
    """Give how high *work_s* stands when it is poured over runners that are busy up to here and there."""
    filled, level = work_s, math.inf
    for count, until in enumerate(sorted(busy_s), 1):
        if level <= until:
            break
        filled += until
        level = filled / count
    return level


def _refusal(reason: str, detail: str, retry_after_s: float) -> Refusal:
    return Refusal(reason=reason, detail=detail, retry_after_s=max(round(retry_after_s, 3), 0.001))


def _ms(seconds: float) -> str:
    return f"{1000 * seconds:.0f} ms"
