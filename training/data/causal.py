"""Counters that know only what was known: an event counts for impressions strictly after it became known.

A click is known at the time of its impression, a reading time only when the reading has ended. Impressions of one
instant do not see each other.
"""

import heapq
from collections.abc import Callable
from itertools import count
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["DecayedCounter", "KnownLater", "ranks_within"]

Array = NDArray[Any]


class KnownLater:
    """Events that wait until they are known."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()

    def push(self, known_at: float, apply: Callable[[], None]) -> None:
        """Have *apply* called once time has passed *known_at* (seconds)."""
        heapq.heappush(self._heap, (known_at, next(self._order), apply))

    def advance(self, now: float) -> None:
        """Apply, in order, every event that was known strictly before *now*."""
        while self._heap and self._heap[0][0] < now:
            heapq.heappop(self._heap)[2]()


class DecayedCounter:
    """A count a row that halves every *half_life_s* seconds; infinite never forgets.

    Args:
        rows: Number of rows.
        half_life_s: Seconds.
    """

    def __init__(self, rows: int, half_life_s: float) -> None:
        self._value = np.zeros(rows)
        self._since = np.zeros(rows)
        self._half_life_s = half_life_s

    def at(self, rows: Array, now: float) -> Array:
        """Give the counts of *rows* at *now*."""
        return np.asarray(self._value[rows] * np.exp2((self._since[rows] - now) / self._half_life_s))

    def add(self, rows: Array, now: float, amount: float | Array = 1.0) -> None:
        """Add to distinct *rows* at *now*; times may not go back."""
        self._value[rows] = self.at(rows, now) + amount
        self._since[rows] = now


def ranks_within(values: Array) -> Array:
    """Give each value's place within its list, 0 (smallest) to 1 (largest), ties sharing their mean."""
    if len(values) < 2:
        return np.full(len(values), 0.5)
    below = (values[:, None] > values).sum(axis=1)
    equal = (values[:, None] == values).sum(axis=1) - 1
    return np.asarray((below + equal / 2) / (len(values) - 1))
